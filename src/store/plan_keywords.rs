//! Keywords that a change would give to messages: is there room for all of them in the mailbox?
//!
//! Invariants: a change that is planned loses no keyword when its records are applied: each name that it or a change in
//! flight may give to a message of the mailbox has one of the [`KEYWORDS_MAX`] bits, beside those in use. So counted,
//! whatever comes first may give away any bit that no message has, and there is one left for the next. What is in flight
//! and frees a bit does not count until it is durable.
//! Not here: which bit it is (`state`). LIMITATION: what an admin brings back (`undelete`) comes without the keywords for
//! which there is no room: the message counts for more.

use super::apply_messages::{FlagChange, rows_between};
use super::codec::UidSet;
use super::plan::Planner;
use super::record::StoreRule;
use super::state::{KEYWORDS_MAX, MailboxState};
use super::{Change, StoreError};
use crate::model::{AccountId, Keyword, MailboxId};
use crate::proto::imap::types::StoreOperation;

/// What the refusal says.
const LIMIT: &str = "64 keywords of a mailbox";
const _: () = assert!(KEYWORDS_MAX == 64);

/// Keywords that messages of a mailbox may get. Some may be named more than once.
pub struct Given {
    pub mailbox: MailboxId,
    pub keywords: Vec<Keyword>,
}

impl Planner<'_> {
    /// What the change may give; `None`: nothing.
    pub fn keywords_given(&mut self, id: AccountId, change: &Change, uids: &UidSet) -> Option<Given> {
        let (mailbox, keywords) = match change {
            Change::StoreFlags {
                mailbox, keywords, ..
            } if !keywords.is_empty() => {
                let gives = self.store_gives(id, change, uids);
                (*mailbox, gives.then(|| keywords.to_vec())?)
            }
            Change::Append {
                mailbox, messages, ..
            } => {
                let keywords = messages.iter().flat_map(|message| &message.keywords);
                (*mailbox, keywords.cloned().collect())
            }
            Change::Copy { from, to, .. } | Change::Move { from, to, .. } => {
                (*to, self.keywords_of_all(id, *from, uids))
            }
            _ => return None,
        };
        (!keywords.is_empty()).then_some(Given { mailbox, keywords })
    }

    /// [`StoreError::Limit`] when not all of them would be kept.
    pub fn check_keywords(&mut self, id: AccountId, given: &Given) -> Result<(), StoreError> {
        let (account, durable, _) = self.account(id);
        let mailbox = durable.and_then(|durable| durable.mailboxes.get(&given.mailbox));
        let known = mailbox.map_or(0, |mailbox| mailbox.keywords.len());
        let wanted = || account.keywords_given(given.mailbox).chain(&given.keywords);
        // Nearly always: nothing has to be looked through.
        if known + wanted().count() <= KEYWORDS_MAX {
            return Ok(());
        }
        let in_use = mailbox.map_or(0, MailboxState::used_keyword_bits);
        let free = in_use.count_zeros() as usize;
        let is_in_use = |keyword: &&Keyword| {
            let bits = mailbox.map_or(0, |mailbox| {
                mailbox.known_keyword_bits(std::slice::from_ref(*keyword))
            });
            bits & in_use != 0
        };
        let mut new: Vec<&Keyword> = Vec::new();
        for keyword in wanted().filter(|keyword| !is_in_use(keyword)) {
            if new.contains(&keyword) {
                continue;
            }
            if new.len() == free {
                return Err(StoreError::Limit(LIMIT));
            }
            new.push(keyword);
        }
        Ok(())
    }

    /// The change that is planned may give them.
    pub fn note_given(&mut self, id: AccountId, Given { mailbox, keywords }: Given) {
        let (account, _, _) = self.account(id);
        account.note_keywords(mailbox, keywords);
    }

    /// Does a STORE give its keywords to any message? What is in flight may change which messages its condition spares.
    fn store_gives(&mut self, id: AccountId, change: &Change, uids: &UidSet) -> bool {
        let Change::StoreFlags {
            mailbox,
            operation,
            flags,
            keywords,
            unchanged_since,
            ..
        } = change
        else {
            return false;
        };
        let (account, durable, _) = self.account(id);
        let mailbox = durable.and_then(|durable| durable.mailboxes.get(mailbox));
        let Some(mailbox) = mailbox.filter(|_| account.is_quiet()) else {
            return *operation != StoreOperation::Remove;
        };
        let wanted = FlagChange {
            operation: *operation,
            flags: *flags,
            keywords,
            unchanged_since: *unchanged_since,
            rule: StoreRule::OfChanged,
        };
        wanted.gives_bits(mailbox, uids, mailbox.known_keyword_bits(keywords))
    }

    /// Of those of the messages that are there, with what is in flight to them.
    fn keywords_of_all(&mut self, id: AccountId, from: MailboxId, uids: &UidSet) -> Vec<Keyword> {
        let (account, durable, _) = self.account(id);
        let Some(mailbox) = durable.and_then(|durable| durable.mailboxes.get(&from)) else {
            return Vec::new();
        };
        let ranges = uids.ranges().iter();
        let rows = ranges.flat_map(|(first, last)| &mailbox.rows[rows_between(&mailbox.rows, *first, *last)]);
        let bits = rows.fold(0, |bits, row| bits | row.keywords);
        let durable = mailbox.keywords_of(bits);
        durable.chain(account.keywords_given(from)).cloned().collect()
    }
}
