//! From a command to the file that does it, and what every command has in common.
//!
//! Invariants: after every command but SELECT and EXAMINE the client is told what changed, EXPUNGE only where sequence numbers may change
//! (RFC 9051 §7.5.1: not during FETCH, STORE or SEARCH by number).

use super::Services;
use super::changes::{Occasion, Standing};
use super::link::{Link, Lost};
use super::state::{Answered, Session, Stop};
use super::uid_only::{uid_required, uses_numbers};
use crate::proto::imap::encode::mailbox::push_namespace_line;
use crate::proto::imap::types::{Command, CommandBody, SearchKey};
use crate::proto::imap::{Completion, Transition};
use crate::session::pipe::Pipe;

impl<S: Services> Session<S> {
    /// Executes a command, tells what changed, and says how it ended.
    pub async fn command<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        command: Command,
    ) -> Result<Completion, Lost> {
        let occasion = occasion(&command.body);
        let mut completion = match self.execute(link, command).await {
            Ok(completion) | Err(Stop::Ended(completion)) => completion,
            Err(Stop::Lost(lost)) => return Err(lost),
        };
        let standing = if completion.transition == Transition::Selected {
            // SELECT has told a state; what changed meanwhile is told as a change of it, from the next command or IDLE on.
            // imaptest takes EXISTS and VANISHED at the end of SELECT for parts of the state, and miscounts.
            self.correct_mod_seq(link.out());
            self.tell_others(link).await?;
            Standing::Selected
        } else {
            self.tell_changes(link, occasion).await?
        };
        self.state_mod_seq(&mut completion);
        if occasion == Occasion::Asked {
            self.state_mod_seq_of_part(&completion, link.out());
        }
        Ok(with_standing(completion, standing))
    }

    async fn execute<P: Pipe>(&mut self, link: &mut Link<P>, command: Command) -> Answered {
        let tag = command.tag;
        if self.is_uid_only && uses_numbers(&command.body) {
            return Ok(uid_required());
        }
        match command.body {
            CommandBody::Noop => Ok(Completion::ok("NOOP completed")),
            CommandBody::Check => Ok(Completion::ok("CHECK completed")),
            CommandBody::Enable(capabilities) => Ok(self.enable(&capabilities, link.out())),
            CommandBody::Select { mailbox, parameters } => {
                self.select(link, &mailbox, parameters, false).await
            }
            CommandBody::Examine { mailbox, parameters } => {
                self.select(link, &mailbox, parameters, true).await
            }
            CommandBody::Unselect => Ok(self.unselect()),
            CommandBody::Close => self.close().await,
            CommandBody::Create { mailbox, special_use } => {
                self.create(mailbox, &special_use, link.out()).await
            }
            CommandBody::Delete(mailbox) => self.delete(mailbox, link.out()).await,
            CommandBody::Rename { from, to } => self.rename(from, to, link.out()).await,
            CommandBody::Subscribe(mailbox) => self.subscribe(mailbox, true, link.out()).await,
            CommandBody::Unsubscribe(mailbox) => self.subscribe(mailbox, false, link.out()).await,
            CommandBody::List(list) => self.list(link, list).await,
            CommandBody::Lsub { reference, pattern } => self.lsub(link, &reference, &pattern).await,
            CommandBody::Namespace => {
                push_namespace_line(link.out());
                Ok(Completion::ok("NAMESPACE completed"))
            }
            CommandBody::Status { mailbox, items } => self.status(&mailbox, &items, link.out()),
            CommandBody::GetMetadata { mailbox, query } => {
                self.get_metadata(link, mailbox.as_ref(), &query).await
            }
            CommandBody::SetMetadata { mailbox, entries } => {
                self.set_metadata(mailbox, entries, link.out()).await
            }
            CommandBody::Notify(notify) => self.notify(link, notify).await,
            CommandBody::GetQuota(root) => self.quota(&root, link.out()),
            CommandBody::GetQuotaRoot(mailbox) => self.quota_root(&mailbox, link.out()),
            CommandBody::SetQuota { root, limits } => self.set_quota(&root, &limits, link.out()).await,
            CommandBody::Expunge { uids } => self.expunge(uids, link.out()).await,
            CommandBody::Search(search) => self.search(link, &tag, search).await,
            CommandBody::MultiSearch { sources, search } => {
                self.multi_search(link, &tag, &sources, &search).await
            }
            CommandBody::CancelUpdate(tags) => self.cancel_update(&tags),
            CommandBody::Thread { algorithm, search } => self.thread(link, &tag, algorithm, search).await,
            CommandBody::Fetch(fetch) => self.fetch(link, fetch).await,
            CommandBody::Store(store) => self.store(link, store).await,
            CommandBody::Copy { set, mailbox, by_uid } => self.copy(set, mailbox, by_uid, link.out()).await,
            CommandBody::Move { set, mailbox, by_uid } => self.r#move(link, set, mailbox, by_uid).await,
            // The core answers these itself or asks about them in other words.
            CommandBody::Capability
            | CommandBody::Logout
            | CommandBody::Unauthenticate
            | CommandBody::Compress
            | CommandBody::Id(_)
            | CommandBody::StartTls
            | CommandBody::Authenticate { .. }
            | CommandBody::Login { .. }
            | CommandBody::Append(_)
            | CommandBody::Idle => Ok(Completion::bad("Not now")),
        }
    }
}

/// What the command did stays said, whatever became of the selected mailbox meanwhile (RFC 9051 §7.1: NO says that the
/// operation failed); then the session ends: see the head of [`super`].
pub fn with_standing(completion: Completion, standing: Standing) -> Completion {
    match standing {
        Standing::Selected => completion,
        Standing::Deleted => completion.with_transition(Transition::Deleted),
    }
}

fn occasion(body: &CommandBody) -> Occasion {
    let keeps_numbers = match body {
        CommandBody::Noop
        | CommandBody::Check
        | CommandBody::Expunge { .. }
        | CommandBody::Move { .. }
        | CommandBody::Notify(_) => return Occasion::Asked,
        CommandBody::Fetch(fetch) => !fetch.by_uid,
        CommandBody::Store(store) => !store.by_uid,
        // RFC 7162 §3.2.10.2: not where numbers stand in the criteria.
        CommandBody::Search(search)
        | CommandBody::MultiSearch { search, .. }
        | CommandBody::Thread { search, .. } => {
            !search.by_uid || search.keys.iter().any(SearchKey::names_numbers)
        }
        _ => false,
    };
    if keeps_numbers {
        Occasion::Numbers
    } else {
        Occasion::Command
    }
}
