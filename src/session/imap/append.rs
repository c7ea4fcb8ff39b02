//! APPEND (RFC 9051 §6.3.12, RFC 4315): the message streams from the receive buffers into the store.
//!
//! Invariants: the target and the room are checked before the client is told to send; the OK is built from the store's
//! receipt; a message that fails on its way is read to its end and dropped; NUL comes in a literal8 only (RFC 3516).
//! Limits: the size is the core's (`Config::message_bytes_max`); memory is the body writer's.
//! Not here: the dialogue around the literal (`proto::imap::append`).

use super::Services;
use super::link::{Link, Lost};
use super::state::{Session, code_of};
use crate::base::clock::Clock;
use crate::model::flags::partition_flags;
use crate::proto::imap::types::{Append, InternalDate};
use crate::proto::imap::{Answer, Appended, Code, Refusal};
use crate::session::pipe::Pipe;
use crate::store::{BodyWriter, Change, CommitReceipt, Environment, NewMessage, Outcome, StoreError};
use bytes::Bytes;
use memchr::memchr;

/// A message on its way in.
pub struct Upload<E: Environment> {
    append: Append,
    writer: BodyWriter<E>,
    /// Why it will not be kept.
    failure: Option<Refusal>,
}

impl<S: Services> Session<S> {
    /// May this message come?
    pub fn append_begin(&mut self, append: Append) -> Answer<CommitReceipt> {
        match self.check_append(&append) {
            Ok(()) => {
                self.upload = Some(Box::new(Upload {
                    append,
                    writer: self.services.store().body_writer(),
                    failure: None,
                }));
                Answer::AppendReady
            }
            Err(refusal) => Answer::AppendRefused(refusal),
        }
    }

    fn check_append(&self, append: &Append) -> Result<(), Refusal> {
        let seen = self.services.store().account(self.account.id, |account| {
            (account.names.contains_key(&append.mailbox), account.bytes_used)
        });
        let Some((true, used)) = seen else {
            return Err(Refusal::new(Code::TryCreate, "No such mailbox"));
        };
        // Checked again when it is committed: others may use the room meanwhile.
        let limit = self.account.quota_bytes.unwrap_or(u64::MAX);
        if used.saturating_add(append.size) > limit {
            return Err(refusal_of(&StoreError::OverQuota));
        }
        let room = self.services.store().check_room(append.size);
        room.map_err(|error| refusal_of(&error))
    }

    /// The next octets of the message.
    pub async fn upload_piece(&mut self, piece: Bytes) {
        let Some(upload) = &mut self.upload else { return };
        if upload.failure.is_some() {
            return;
        }
        // RFC 9051 §4.3: no literal holds NUL. Taken for what it says it is, it would go out as what it must not be.
        if !upload.append.is_binary && memchr(0, &piece).is_some() {
            let refusal = Refusal::new(Code::Cannot, "A message with NUL in it must come as a literal8");
            upload.failure = Some(refusal);
            return;
        }
        let pushed = upload.writer.push(piece).await;
        upload.failure = pushed.err().map(|error| refusal_of(&error));
    }

    /// The message is complete: commits it and tells what changed.
    pub async fn append_commit<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
    ) -> Result<Answer<CommitReceipt>, Lost> {
        let Some(upload) = self.upload.take() else {
            let refusal = Refusal::new(Code::ServerBug, "There is no message");
            return Ok(Answer::AppendRefused(refusal));
        };
        let answer = match self.commit_upload(*upload).await {
            Ok(appended) => Answer::Appended(appended),
            Err(refusal) => Answer::AppendRefused(refusal),
        };
        // If the selected mailbox is gone, the end of the next command says so.
        self.tell_changes(link, true).await?;
        Ok(answer)
    }

    async fn commit_upload(
        &self,
        upload: Upload<S::Environment>,
    ) -> Result<Appended<CommitReceipt>, Refusal> {
        if let Some(failure) = upload.failure {
            return Err(failure);
        }
        let Append {
            mailbox,
            flags,
            internal_date,
            ..
        } = upload.append;
        // Looked up only now: the mailbox may have been deleted or renamed while the message came.
        let Ok(mailbox) = self.mailbox_id(&mailbox, Code::TryCreate) else {
            return Err(Refusal::new(Code::TryCreate, "No such mailbox"));
        };
        let body = upload.writer.finish().await.map_err(|error| refusal_of(&error))?;
        let (flags, keywords) = partition_flags(&flags);
        let internal_date = internal_date.unwrap_or_else(|| InternalDate {
            at: self.services.clock().now(),
            zone_minutes: 0,
        });
        let append = Change::Append {
            mailbox,
            messages: vec![NewMessage {
                flags,
                keywords,
                internal_date,
                body,
            }],
            quota_bytes: self.account.quota_bytes,
        };
        let changed = self.services.store().change(self.account.id, append).await;
        match changed {
            Ok((receipt, Outcome::Appended { uid_validity, uids })) if !uids.is_empty() => Ok(Appended {
                receipt,
                uid_validity,
                uid: uids[0],
            }),
            Ok(_) => Err(Refusal::new(Code::ServerBug, "The store answered something else")),
            Err(error) => Err(refusal_of(&error)),
        }
    }
}

fn refusal_of(error: &StoreError) -> Refusal {
    let (code, text) = code_of(error);
    Refusal::new(code, text)
}
