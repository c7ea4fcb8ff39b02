//! APPEND and REPLACE (RFC 9051 §6.3.12, RFC 3502, RFC 4315, RFC 8508): each message streams from the receive buffers into the store.
//!
//! Invariants: the target and the room are checked before the client is told to send; the OK is built from the store's
//! receipt; a message that fails on its way is read to its end and dropped; NUL comes in a literal8 only (RFC 3516).
//! Several messages of one command are one change: all are there, or none. A message and the one it replaces are one
//! change too, and only the difference counts against the quota.
//! Limits: the size is the core's (`Config::message_bytes_max`); memory is the body writer's, [`APPEND_MESSAGES_MAX`]
//! times.
//! LIMITATION: octets above 127 in a header are taken without RFC 6855 §4's UTF8, which says to refuse them: much old mail has
//! them, and whoever moves a mailbox here would lose it.
//! Not here: the dialogue around the literal (`proto::imap::append`).

use super::Services;
use super::changes::Occasion;
use super::link::{Link, Lost};
use super::naming::Known;
use super::state::{Session, Stop, code_of};
use crate::base::clock::Clock;
use crate::mailbox::view::row_of;
use crate::model::flags::partition_flags;
use crate::model::{MailboxName, Uid, Usage};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::types::{Append, AppendMessage, InternalDate, Replaced, SequenceRange, SequenceSet};
use crate::proto::imap::{Answer, Appended, Code, Refusal, Status};
use crate::session::pipe::Pipe;
use crate::store::{BodyWriter, Change, CommitReceipt, Environment, NewMessage, Outcome, StoreError};
use bytes::Bytes;
use memchr::memchr;
use smallvec::smallvec;

/// Most messages of one APPEND. Each waits in memory for the last one, unless it is long
/// ([`crate::store::options::BODY_IN_MEMORY_BYTES_MAX`]): together some MiB.
const APPEND_MESSAGES_MAX: usize = 32;

/// Messages on their way in.
pub struct Upload<E: Environment> {
    mailbox: MailboxName,
    /// Those that have come whole, and their octets.
    whole: Vec<NewMessage>,
    whole_bytes: u64,
    /// The one that is coming.
    message: AppendMessage,
    writer: BodyWriter<E>,
    /// Why they will not be kept.
    failure: Option<Refusal>,
    /// The message of the selected mailbox that goes with it (REPLACE), and its octets.
    replaces: Option<(Uid, u64)>,
}

impl<S: Services> Session<S> {
    /// May this message come?
    pub async fn append_begin(&mut self, mut append: Append) -> Answer<CommitReceipt> {
        let replaces = match append
            .replaces
            .map(|replaced| self.replaced(replaced))
            .transpose()
        {
            Ok(replaces) => replaces,
            Err(refusal) => return Answer::AppendRefused(refusal),
        };
        let parts = append.message.catenate.take();
        let bytes = append.message.size;
        if parts.is_some() {
            append.message.size = 0;
        }
        match self.check_append(&append.mailbox, Usage::message(bytes), freed_by(replaces)) {
            Ok(()) => {
                self.upload = Some(Box::new(Upload {
                    mailbox: append.mailbox,
                    whole: Vec::new(),
                    whole_bytes: 0,
                    message: append.message,
                    writer: self.services.store().body_writer(),
                    failure: None,
                    replaces,
                }));
                match parts {
                    Some(parts) => self.append_part(&parts.urls, bytes, parts.is_binary()).await,
                    None => Answer::AppendReady,
                }
            }
            Err(refusal) => Answer::AppendRefused(refusal),
        }
    }

    /// May this one come too? A refusal drops those before it.
    pub async fn append_next(&mut self, mut message: AppendMessage) -> Answer<CommitReceipt> {
        let Some(mut upload) = self.upload.take() else {
            return Answer::AppendRefused(no_message());
        };
        if upload.replaces.is_some() {
            return Answer::AppendRefused(Refusal::new(Code::Cannot, "One message replaces one"));
        }
        let writer = self.services.store().body_writer();
        let parts = message.catenate.take();
        let bytes = message.size;
        if parts.is_some() {
            message.size = 0;
        }
        let checked = match upload.next(message, writer, &*self.services).await {
            Ok(before) => {
                let added = Usage {
                    bytes: before.saturating_add(bytes),
                    messages: upload.whole.len() as u64 + 1,
                };
                self.check_append(&upload.mailbox, added, Usage::NONE)
            }
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = checked {
            return Answer::AppendRefused(refusal);
        }
        self.upload = Some(upload);
        match parts {
            Some(parts) => self.append_part(&parts.urls, bytes, parts.is_binary()).await,
            None => Answer::AppendReady,
        }
    }

    /// The message that REPLACE names: it must be there still, in a mailbox that may be changed.
    fn replaced(&self, replaced: Replaced) -> Result<(Uid, u64), Refusal> {
        if self.is_uid_only && !replaced.by_uid {
            return Err(Refusal::new(Code::UidRequired, "UIDONLY is enabled"));
        }
        let of_stop = |stop| match stop {
            Stop::Ended(completion) => Refusal {
                code: completion.code,
                text: completion.text,
            },
            Stop::Lost(_) => no_message(),
        };
        self.writable().map_err(of_stop)?;
        let set = SequenceSet::Ranges(smallvec![SequenceRange {
            first: replaced.number,
            last: replaced.number,
        }]);
        let found = self.with_selected(|state, selected| {
            let index = selected.resolve(&set, replaced.by_uid).ok()?.first()?.start;
            let row = row_of(&state.rows, selected.view.uids().at(index))?;
            Some((row.uid, u64::from(row.size)))
        });
        let gone = || Refusal::new(Code::NonExistent, "There is no such message to replace");
        found.map_err(of_stop)?.ok_or_else(gone)
    }

    /// Is there a mailbox, and room for what comes when what goes with it is gone (RFC 8508 §3.4)?
    pub(super) fn check_append(
        &self,
        mailbox: &MailboxName,
        added: Usage,
        freed: Usage,
    ) -> Result<(), Refusal> {
        let seen = self.services.store().account(self.owner.account.id, |account| {
            let used = Usage {
                bytes: account.bytes_used,
                messages: account.messages(),
            };
            (account.names.find(mailbox).is_some(), used)
        });
        let Some((true, used)) = seen else {
            return Err(Refusal::new(Code::TryCreate, "No such mailbox"));
        };
        // Checked again when it is committed: others may use the room meanwhile.
        if !self
            .owner
            .account
            .quota()
            .with_room_of(freed)
            .admits(used + added)
        {
            return Err(refusal_of(&StoreError::OverQuota));
        }
        let room = self.services.store().check_room(added.bytes);
        room.map_err(|error| refusal_of(&error))
    }

    /// The next octets of the message.
    pub async fn upload_piece(&mut self, piece: Bytes) {
        let Some(upload) = &mut self.upload else { return };
        // RFC 9051 §4.3: no literal holds NUL. Taken for what it says it is, it would go out as what it must not be.
        if upload.failure.is_none() && !upload.message.is_binary && memchr(0, &piece).is_some() {
            let refusal = Refusal::new(Code::Cannot, "A message with NUL in it must come as a literal8");
            upload.failure = Some(refusal);
        }
        self.add_piece(piece).await;
    }

    /// Octets of the message, wherever they come from.
    pub(super) async fn add_piece(&mut self, piece: Bytes) {
        let Some(upload) = &mut self.upload else { return };
        if upload.failure.is_some() {
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
            return Ok(Answer::AppendRefused(no_message()));
        };
        let occasion = match upload.replaces {
            Some(_) => Occasion::Asked,
            None => Occasion::Command,
        };
        let given = upload.mailbox.clone();
        let mut answer = match self.commit_upload(*upload).await {
            Ok(appended) => {
                if let Ok(name) = self.called(&given) {
                    // What is appended is durable, whatever else can be said.
                    let _ = self.tell_name(&given, &name, link.out());
                }
                if appended.were_told {
                    let code = Code::AppendUid {
                        uid_validity: appended.uid_validity,
                        uids: appended.uids.clone(),
                    };
                    // RFC 8508 §3.2: before EXISTS and EXPUNGE.
                    push_status_line(b"*", Status::Ok, Some(&code), "Replacement is ready", link.out());
                }
                Answer::Appended(appended)
            }
            Err(refusal) => Answer::AppendRefused(refusal),
        };
        // If the selected mailbox is gone, the end of the next command says so.
        self.tell_changes(link, occasion).await?;
        if let (Answer::Appended(appended), Some(selected)) = (&mut answer, &self.selected) {
            // RFC 8508 §4.5: as after UID EXPUNGE.
            let is_asked = appended.were_told && self.is_qresync;
            appended.highest_mod_seq = is_asked.then(|| selected.view.highest_mod_seq());
        }
        Ok(answer)
    }

    async fn commit_upload(
        &mut self,
        upload: Upload<S::Environment>,
    ) -> Result<Appended<CommitReceipt>, Refusal> {
        // Looked up only now: the mailbox may have been deleted or renamed while the messages came.
        let mailbox = self.find_mailbox(&upload.mailbox, Code::TryCreate);
        let replaced = upload.replaces.map(|(uid, _)| uid);
        let selected = self.selected.as_ref().map(|selected| selected.view.mailbox());
        let messages = upload.finish(&*self.services).await?;
        let Ok(Known { id: mailbox, .. }) = mailbox else {
            return Err(Refusal::new(Code::TryCreate, "No such mailbox"));
        };
        let append = Change::Append {
            mailbox,
            messages,
            quota: self.owner.account.quota(),
            replaces: selected.zip(replaced),
        };
        let changed = self.services.store().change(self.owner.account.id, append).await;
        match changed {
            Ok((receipt, Outcome::Appended { uid_validity, uids })) if !uids.is_empty() => {
                self.note_own_arrivals(mailbox, &uids);
                Ok(Appended {
                    receipt,
                    uid_validity,
                    uids,
                    were_told: replaced.is_some(),
                    highest_mod_seq: None,
                })
            }
            Ok(_) => Err(Refusal::new(Code::ServerBug, "The store answered something else")),
            Err(error) => Err(refusal_of(&error)),
        }
    }
}

impl<E: Environment> Upload<E> {
    /// So many octets more of the message that is coming; how many it has then.
    pub fn add_octets(&mut self, bytes: u64) -> u64 {
        self.message.size = self.message.size.saturating_add(bytes);
        self.message.size
    }

    /// What the literal that comes next is.
    pub fn expect_literal(&mut self, is_binary: bool) {
        self.message.is_binary = is_binary;
    }

    /// Where they go.
    pub fn mailbox(&self) -> &MailboxName {
        &self.mailbox
    }

    /// What comes if they are kept as they are now.
    pub fn added(&self) -> Usage {
        Usage {
            bytes: self.whole_bytes.saturating_add(self.message.size),
            messages: self.whole.len() as u64 + 1,
        }
    }

    /// What goes with it.
    pub fn freed(&self) -> Usage {
        freed_by(self.replaces)
    }

    /// Ends the message that was coming and begins `message`; the octets of those before it.
    async fn next<S: Services<Environment = E>>(
        &mut self,
        message: AppendMessage,
        writer: BodyWriter<E>,
        services: &S,
    ) -> Result<u64, Refusal> {
        let count = self.whole.len() + 1;
        if let Some(limit) = services.config().message_limit
            && count == limit.get() as usize
        {
            // RFC 9738 §3.1: none of them is kept.
            let code = Code::MessageLimit { limit, lowest: None };
            return Err(Refusal::new(code, "Too many messages in one APPEND"));
        }
        if count == APPEND_MESSAGES_MAX {
            let text = format!("An APPEND takes at most {APPEND_MESSAGES_MAX} messages");
            return Err(Refusal::new(Code::Limit, text));
        }
        if self.message.size == 0 {
            return Err(empty());
        }
        self.whole_bytes += self.message.size;
        let message = std::mem::replace(&mut self.message, message);
        let writer = std::mem::replace(&mut self.writer, writer);
        if self.failure.is_none() {
            self.whole.push(whole(message, writer, services).await?);
        }
        Ok(self.whole_bytes)
    }

    /// The messages, all of them whole.
    async fn finish<S: Services<Environment = E>>(self, services: &S) -> Result<Vec<NewMessage>, Refusal> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.message.size == 0 {
            return Err(empty());
        }
        let mut messages = self.whole;
        messages.push(whole(self.message, self.writer, services).await?);
        Ok(messages)
    }
}

async fn whole<S: Services>(
    message: AppendMessage,
    writer: BodyWriter<S::Environment>,
    services: &S,
) -> Result<NewMessage, Refusal> {
    let body = writer.finish().await.map_err(|error| refusal_of(&error))?;
    let (flags, keywords) = partition_flags(&message.flags);
    let internal_date = message.internal_date.unwrap_or_else(|| InternalDate {
        at: services.clock().now(),
        zone_minutes: 0,
    });
    Ok(NewMessage {
        flags,
        keywords,
        internal_date,
        body,
    })
}

/// What goes with a message that is replaced.
fn freed_by(replaces: Option<(Uid, u64)>) -> Usage {
    replaces.map_or(Usage::NONE, |(_, bytes)| Usage::message(bytes))
}

/// Parts may be empty, a message may not.
fn empty() -> Refusal {
    Refusal::new(Code::Cannot, "A message has at least one octet")
}

fn no_message() -> Refusal {
    Refusal::new(Code::ServerBug, "There is no message")
}

fn refusal_of(error: &StoreError) -> Refusal {
    let (code, text) = code_of(error);
    Refusal::new(code, text)
}
