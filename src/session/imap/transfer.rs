//! COPY, MOVE, EXPUNGE, UID EXPUNGE (RFC 9051 §6.4.3, §6.4.7, §6.4.8; RFC 4315; RFC 6851).
//!
//! Invariants: COPY and MOVE are one durable change each, whole or not at all; COPYUID names exactly what was copied.
//! A COPY or MOVE by number that names an expunged message is refused whole, `NO [EXPUNGEISSUED]` (RFC 2180 §4.4.1); by
//! UID such a message is passed over.

use super::Services;
use super::link::Link;
use super::message_limit;
use super::state::{Answered, Session, Stop, no};
use crate::mailbox::view::row_of;
use crate::model::{Flags, MailboxId, MailboxName, Uid};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::types::SequenceSet;
use crate::proto::imap::{Code, Completion, Status};
use crate::session::pipe::Pipe;
use crate::store::{Change, MailboxState, Outcome, StoreError};

/// Messages to be copied or moved.
struct Sources {
    uids: Vec<Uid>,
    bytes: u64,
}

impl<S: Services> Session<S> {
    pub async fn copy(
        &mut self,
        set: SequenceSet,
        target: MailboxName,
        by_uid: bool,
        out: &mut Vec<u8>,
    ) -> Answered {
        let from = self.selected()?.view.mailbox();
        let to = self.mailbox(&target, Code::TryCreate, out)?.id;
        let sources = self.sources(&set, by_uid)?;
        let done = Completion::ok("COPY completed");
        if sources.uids.is_empty() {
            return Ok(done);
        }
        let mut uids = sources.uids;
        if let Some(reached) = self.cut_to_limit(&mut uids) {
            // Whole or not at all (RFC 9051 §6.4.7); the UID says how far the next try may reach.
            return Ok(reached.refusal());
        }
        let quota = self.owner.account.quota();
        let outcome = self
            .transfer(Change::Copy {
                from,
                uids,
                to,
                quota,
            })
            .await?;
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
        let to = self.mailbox(&target, Code::TryCreate, link.out())?.id;
        let mut uids = self.sources(&set, by_uid)?.uids;
        let reached = self.cut_to_limit(&mut uids);
        if !uids.is_empty() {
            let outcome = self.transfer(Change::Move { from, uids, to }).await?;
            self.note_copies(to, &outcome);
            if let Some(code) = copy_uid(outcome) {
                // RFC 6851 §4.3: before the EXPUNGE responses, which the end of the command writes.
                push_status_line(b"*", Status::Ok, Some(&code), "Moved", link.out());
                if self.is_qresync && reached.is_none() {
                    return Ok(self.with_highest_mod_seq(Completion::ok("MOVE completed")));
                }
            }
        }
        Ok(message_limit::ended(
            Completion::ok("MOVE completed"),
            reached,
            link.out(),
        ))
    }

    /// The end of the command writes the EXPUNGE responses.
    pub async fn expunge(&mut self, set: Option<SequenceSet>, out: &mut Vec<u8>) -> Answered {
        let mailbox = self.writable()?;
        let mut reached = None;
        let uids = match set {
            Some(set) => {
                let mut uids = self.deleted_among(&set)?;
                reached = self.cut_to_limit(&mut uids);
                uids
            }
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
                && reached.is_none()
            {
                return Ok(self.with_highest_mod_seq(Completion::ok("EXPUNGE completed")));
            }
        }
        Ok(message_limit::ended(
            Completion::ok("EXPUNGE completed"),
            reached,
            out,
        ))
    }

    fn deleted_among(&self, set: &SequenceSet) -> Result<Vec<Uid>, Stop> {
        let ranges = self.selected()?.resolve(set, true)?;
        self.with_selected(|state, selected| {
            let mut uids = selected.view.uids_in(&ranges);
            uids.retain(|uid| {
                row_of(&state.rows, *uid).is_some_and(|row| row.flags.contains(Flags::DELETED))
            });
            uids
        })
    }

    /// Every message with \Deleted, also those this session has not been told of yet (RFC 9051 §6.4.3).
    pub(super) fn deleted_uids(&self) -> Result<Vec<Uid>, Stop> {
        self.with_selected(|state, _| deleted_uids(state))
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

    fn note_copies(&mut self, to: MailboxId, outcome: &Outcome) {
        if let Outcome::Copied { uids, .. } = outcome {
            let copies: Vec<Uid> = uids.iter().map(|(_, copy)| *copy).collect();
            self.note_own_arrivals(to, &copies);
        }
    }

    async fn transfer(&self, change: Change) -> Result<Outcome, Stop> {
        let changed = self.services.store().change(self.owner.account.id, change).await;
        match changed {
            Ok((_receipt, outcome)) => Ok(outcome),
            // The source is selected, so it is the target that went away meanwhile.
            Err(StoreError::NoSuchMailbox) => Err(no(Code::TryCreate, "No such mailbox").into()),
            Err(error) => Err(error.into()),
        }
    }
}

pub fn deleted_uids(state: &MailboxState) -> Vec<Uid> {
    let deleted = state.rows.iter().filter(|row| row.flags.contains(Flags::DELETED));
    deleted.map(|row| row.uid).collect()
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
