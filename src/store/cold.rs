//! An account that is not in memory: the numbers a delivery to INBOX needs, what was delivered since its snapshot, and
//! where that snapshot lies.
//!
//! Invariants: the snapshot's blobs in order, then the delta's rows, are the account; the numbers are as of the delta's last
//! row. A message for INBOX without keywords goes to the delta; whatever else concerns the account needs it loaded first.
//! Limits: [`Cold`] is 96 bytes; the delta is what came in between two checkpoints.
//! Not here: reading snapshots (`snapshot`), deciding who is cold (`paging`).

use super::apply_messages::append_row;
use super::codec::Malformed;
use super::snapshot::BlobRef;
use super::state::{AccountState, INBOX_ID, MessageRow};
use crate::model::{MailboxId, ModSeq, UidValidity, Usage};
use smallvec::SmallVec;

/// The blobs of an account's snapshot: the base, then rows that were added. Empty: it has none yet.
pub type Chain = SmallVec<[BlobRef; 1]>;

/// What a delivery to INBOX has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the newest change of the account.
    pub highest_mod_seq: ModSeq,
    /// Octets of all its messages.
    pub bytes_used: u64,
    /// Messages in all its mailboxes.
    pub messages: u32,
    /// INBOX's.
    pub uid_next: u32,
    /// INBOX's.
    pub uid_validity: u32,
    /// The id of the next new mailbox.
    pub next_mailbox: u32,
    /// The UIDVALIDITY of the next new mailbox.
    pub next_uid_validity: u32,
    /// INBOX's; see `MailboxState::recent_from`.
    pub recent_from: u32,
}

impl Head {
    /// Of an account in memory.
    pub fn of(account: &AccountState) -> Self {
        let inbox = &account.mailboxes[&INBOX_ID];
        let messages: usize = account.mailboxes.values().map(|mailbox| mailbox.rows.len()).sum();
        Self {
            highest_mod_seq: account.highest_mod_seq,
            bytes_used: account.bytes_used,
            messages: u32::try_from(messages).unwrap_or(u32::MAX),
            uid_next: inbox.uid_next,
            uid_validity: inbox.uid_validity.0,
            next_mailbox: account.next_mailbox,
            next_uid_validity: account.next_uid_validity,
            recent_from: inbox.recent_from.get(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Cold {
    pub head: Head,
    pub chain: Chain,
    /// INBOX's rows behind the snapshot.
    pub delta: Vec<MessageRow>,
}

const _: () = assert!(size_of::<Cold>() <= 96);

impl Cold {
    /// Can a message go to the delta?
    pub fn takes(mailbox: MailboxId, has_keywords: bool) -> bool {
        mailbox == INBOX_ID && !has_keywords
    }

    /// A message came into INBOX.
    pub fn deliver(&mut self, row: MessageRow) -> Result<UidValidity, Malformed> {
        let head = &mut self.head;
        if row.uid.value() < head.uid_next {
            return Err(Malformed("a UID is given twice"));
        }
        head.uid_next = row
            .uid
            .value()
            .checked_add(1)
            .ok_or(Malformed("a UID too large"))?;
        head.highest_mod_seq = head.highest_mod_seq.max(row.mod_seq);
        head.bytes_used += u64::from(row.size);
        head.messages = head.messages.saturating_add(1);
        self.delta.push(row);
        Ok(UidValidity(head.uid_validity))
    }

    /// The account as its snapshot has it, brought up to date: `account` becomes what this stands for.
    pub fn bring_up(&self, mut account: AccountState) -> Result<AccountState, Malformed> {
        add_rows(&mut account, &self.delta)?;
        let others = account
            .mailboxes
            .values()
            .filter(|mailbox| mailbox.id != INBOX_ID);
        others.for_each(|mailbox| mailbox.recent_from.set(mailbox.uid_next));
        let inbox = account
            .mailboxes
            .get_mut(&INBOX_ID)
            .ok_or(Malformed("an account without INBOX"))?;
        inbox.recent_from.set(self.head.recent_from);
        // Nobody has a cursor into it yet.
        inbox.changes.forget();
        if Head::of(&account) == self.head {
            Ok(account)
        } else {
            Err(Malformed("a snapshot that is not what the checkpoint says"))
        }
    }
}

/// Rows of INBOX that came behind `account`'s.
pub fn add_rows(account: &mut AccountState, rows: &[MessageRow]) -> Result<(), Malformed> {
    let inbox = account
        .mailboxes
        .get_mut(&INBOX_ID)
        .ok_or(Malformed("an account without INBOX"))?;
    inbox.rows.reserve_exact(rows.len());
    for row in rows {
        append_row(inbox, *row)?;
        account.highest_mod_seq = account.highest_mod_seq.max(row.mod_seq);
        account.bytes_used += u64::from(row.size);
    }
    Ok(())
}

/// What is known of the snapshot of an account in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Its snapshot.
    pub chain: Chain,
    /// INBOX's last rows are not in it yet: so many. Nothing else is new unless `is_changed`.
    pub appended: u32,
    /// Something else is new as well: the next snapshot is a whole one.
    pub is_changed: bool,
    /// A checkpoint that is not durable yet has it.
    pub is_being_written: bool,
    /// About as many bytes are in memory.
    pub bytes: usize,
    /// When it was last asked for, in loads.
    pub last_used: u64,
}

impl Kept {
    /// Is it as its snapshot says?
    pub fn is_clean(&self) -> bool {
        self.appended == 0 && !self.is_changed && !self.is_being_written && !self.chain.is_empty()
    }
}

/// An account's numbers, whether it is in memory or not.
#[derive(Clone, Copy, Debug)]
pub enum Durable<'a> {
    Loaded(&'a AccountState),
    Cold(&'a Cold),
}

impl Durable<'_> {
    /// All its mail.
    pub fn usage(self) -> Usage {
        let messages = match self {
            Self::Loaded(account) => account.messages(),
            Self::Cold(cold) => u64::from(cold.head.messages),
        };
        Usage {
            bytes: self.bytes_used(),
            messages,
        }
    }

    /// Octets of all its messages.
    pub fn bytes_used(self) -> u64 {
        match self {
            Self::Loaded(account) => account.bytes_used,
            Self::Cold(cold) => cold.head.bytes_used,
        }
    }
}
