//! COPY, MOVE, EXPUNGE, UID EXPUNGE (RFC 9051 §6.4.3, §6.4.7, §6.4.8; RFC 4315; RFC 6851).
//!
//! Invariants: COPY and MOVE are one durable change each, whole or not at all; COPYUID names exactly what was copied.
//! A COPY or MOVE by number that names an expunged message is refused whole, `NO [EXPUNGEISSUED]` (RFC 2180 §4.4.1); by
//! UID such a message is passed over.
//! LIMITATION: the quota of a COPY is checked against the durable state, not against what is being committed.

use super::Services;
use super::link::Link;
use super::state::{Answered, Session, Stop, no};
use crate::mailbox::view::row_of;
use crate::model::{Flags, MailboxId, MailboxName, Uid};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::types::SequenceSet;
use crate::proto::imap::{Code, Completion, Status};
use crate::session::pipe::Pipe;
use crate::store::{Change, Outcome, StoreError};

/// Messages to be copied or moved.
struct Sources {
    uids: Vec<Uid>,
    bytes: u64,
}

impl<S: Services> Session<S> {
    pub async fn copy(&mut self, set: SequenceSet, target: MailboxName, by_uid: bool) -> Answered {
        let from = self.selected()?.view.mailbox();
        let to = self.mailbox_id(&target, Code::TryCreate)?;
        let sources = self.sources(&set, by_uid)?;
        let done = Completion::ok("COPY completed");
        if sources.uids.is_empty() {
            return Ok(done);
        }
        self.check_quota(sources.bytes)?;
        let uids = sources.uids;
        let outcome = self.transfer(Change::Copy { from, uids, to }).await?;
        self.note_copies(to, &outcome);
        Ok(match copy_uid(outcome) {
            Some(code) => done.with_code(code),
            None => done,
        })
    }

    pub async fn r#move<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        set: SequenceSet,
        target: MailboxName,
        by_uid: bool,
    ) -> Answered {
        let from = self.writable()?;
        let to = self.mailbox_id(&target, Code::TryCreate)?;
        let uids = self.sources(&set, by_uid)?.uids;
        if !uids.is_empty() {
            let outcome = self.transfer(Change::Move { from, uids, to }).await?;
            self.note_copies(to, &outcome);
            if let Some(code) = copy_uid(outcome) {
                // RFC 6851 §4.3: before the EXPUNGE responses, which the end of the command writes.
                push_status_line(b"*", Status::Ok, Some(&code), "Moved", link.out());
                if self.is_qresync {
                    return Ok(self.with_highest_mod_seq(Completion::ok("MOVE completed")));
                }
            }
        }
        Ok(Completion::ok("MOVE completed"))
    }

    /// The end of the command writes the EXPUNGE responses.
    pub async fn expunge(&mut self, set: Option<SequenceSet>) -> Answered {
        let mailbox = self.writable()?;
        let uids = match set {
            Some(set) => self.uids_of(&set)?,
            None => self.deleted_uids()?,
        };
        if !uids.is_empty() {
            let only_deleted = true;
            let expunge = Change::Expunge {
                mailbox,
                uids,
                only_deleted,
            };
            if let Outcome::Expunged(gone) = self.change(expunge).await?
                && !gone.is_empty()
                && self.is_qresync
            {
                return Ok(self.with_highest_mod_seq(Completion::ok("EXPUNGE completed")));
            }
        }
        Ok(Completion::ok("EXPUNGE completed"))
    }

    fn uids_of(&self, set: &SequenceSet) -> Result<Vec<Uid>, Stop> {
        let selected = self.selected()?;
        Ok(selected.view.uids_in(&selected.resolve(set, true)?))
    }

    /// Every message with \Deleted, also those this session has not been told of yet (RFC 9051 §6.4.3).
    pub(super) fn deleted_uids(&self) -> Result<Vec<Uid>, Stop> {
        self.with_selected(|state, _| {
            let deleted = state.rows.iter().filter(|row| row.flags.contains(Flags::DELETED));
            deleted.map(|row| row.uid).collect()
        })
    }

    fn sources(&self, set: &SequenceSet, by_uid: bool) -> Result<Sources, Stop> {
        let ranges = self.selected()?.resolve(set, by_uid)?;
        let sources = self.with_selected(|state, selected| {
            let named = selected.view.uids_in(&ranges);
            let mut sources = Sources {
                uids: Vec::with_capacity(named.len()),
                bytes: 0,
            };
            for uid in &named {
                if let Some(row) = row_of(&state.rows, *uid) {
                    sources.uids.push(*uid);
                    sources.bytes += u64::from(row.size);
                }
            }
            let has_gone = sources.uids.len() < named.len();
            (by_uid || !has_gone).then_some(sources)
        })?;
        sources.ok_or_else(|| no(Code::ExpungeIssued, "Some of the messages are expunged").into())
    }

    fn check_quota(&self, bytes: u64) -> Result<(), Stop> {
        let used = self.with_account(|account| account.bytes_used)?;
        let limit = self.account.quota_bytes.unwrap_or(u64::MAX);
        if used.saturating_add(bytes) > limit {
            return Err(no(Code::OverQuota, "The account is over its quota").into());
        }
        Ok(())
    }

    fn note_copies(&mut self, to: MailboxId, outcome: &Outcome) {
        if let Outcome::Copied { uids, .. } = outcome {
            let copies: Vec<Uid> = uids.iter().map(|(_, copy)| *copy).collect();
            self.note_own_arrivals(to, &copies);
        }
    }

    async fn transfer(&self, change: Change) -> Result<Outcome, Stop> {
        let changed = self.services.store().change(self.account.id, change).await;
        match changed {
            Ok((_receipt, outcome)) => Ok(outcome),
            // The source is selected, so it is the target that went away meanwhile.
            Err(StoreError::NoSuchMailbox) => Err(no(Code::TryCreate, "No such mailbox").into()),
            Err(error) => Err(error.into()),
        }
    }
}

fn copy_uid(outcome: Outcome) -> Option<Code> {
    let Outcome::Copied { uid_validity, uids } = outcome else {
        return None;
    };
    let (source, copies): (Vec<Uid>, Vec<Uid>) = uids.into_iter().unzip();
    (!source.is_empty()).then_some(Code::CopyUid {
        uid_validity,
        source,
        copies,
    })
}
