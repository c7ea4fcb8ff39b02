//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2; RFC 7162 §3.1; RFC 8474 §4).

use super::Services;
use super::changes::{count, write_flags_lines};
use super::link::Link;
use super::rev2;
use super::state::{Answered, Selected, Session, Stop, no};
use super::transfer::deleted_uids;
use super::uid_only::uid_required;
use crate::mailbox::status::select_summary;
use crate::mailbox::view::View;
use crate::model::{MailboxId, MailboxName, Uid};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::encode::mailbox::push_count_line;
use crate::proto::imap::types::SelectParameters;
use crate::proto::imap::{Code, Completion, Status, Transition};
use crate::session::pipe::Pipe;
use crate::store::{Change, MailboxState, StoreError};

impl<S: Services> Session<S> {
    /// SELECT, or EXAMINE when `is_read_only`. A mailbox selected before is closed first, also when this one fails.
    pub async fn select<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        name: &MailboxName,
        parameters: SelectParameters,
        is_read_only: bool,
    ) -> Answered {
        if parameters.qresync.is_some() {
            self.check_qresync()?;
        }
        if self.is_uid_only
            && parameters
                .qresync
                .as_ref()
                .is_some_and(|known| known.sample.is_some())
        {
            return Ok(uid_required());
        }
        // A mailbox lost before is not the one that is asked for now.
        self.has_lost_mailbox = false;
        if self.selected.take().is_some() {
            push_status_line(
                b"*",
                Status::Ok,
                Some(&Code::Closed),
                "Previous mailbox closed",
                link.out(),
            );
        }
        if parameters.condstore {
            self.enable_condstore(link.out());
        }
        let view = self.with_account(|account| {
            let (_, id) = account.names.find(name)?;
            let state = account.mailboxes.get(id)?;
            let mut view = View::new(state);
            if !self.is_rev2 {
                view.take_recent(state, !is_read_only);
            }
            let style = Style {
                may_change_flags: !is_read_only,
                gives_numbers: !self.is_uid_only,
                is_rev2: self.is_rev2,
            };
            write_summary(state, &view, style, link.out());
            if self.is_rev2 {
                rev2::write_selected(account, state, name, self.names, link.out());
            }
            Some(view)
        })?;
        let Some(view) = view else {
            let refused = no(Code::NonExistent, "No such mailbox");
            return Ok(refused.with_transition(Transition::Unselected));
        };
        self.selected = Some(Selected::new(view, is_read_only));
        if let Some(known) = &parameters.qresync {
            // What fails here is the connection, or the mailbox in this moment: the next command finds out.
            match self.resynchronise(link, known).await {
                Ok(()) | Err(Stop::Ended(_)) => {}
                Err(lost) => return Err(lost),
            }
        }
        let (code, text) = if is_read_only {
            (Code::ReadOnly, "EXAMINE completed")
        } else {
            (Code::ReadWrite, "SELECT completed")
        };
        Ok(Completion::ok(text)
            .with_code(code)
            .with_transition(Transition::Selected))
    }

    /// UNSELECT: nothing is expunged.
    pub fn unselect(&mut self) -> Completion {
        self.deselected(Completion::ok("UNSELECT completed"))
    }

    /// CLOSE: expunges without telling, unless the mailbox was opened by EXAMINE. One that another session has deleted
    /// meanwhile can be closed as well: RFC 9051 §6.4.1 has no NO.
    pub async fn close(&mut self) -> Answered {
        if let Some(selected) = self.selected.as_ref().filter(|selected| !selected.is_read_only) {
            let mailbox = selected.view.mailbox();
            let uids = self.with_account(|account| account.mailboxes.get(&mailbox).map(deleted_uids))?;
            if let Some(uids) = uids.filter(|uids| !uids.is_empty()) {
                self.expunge_silently(mailbox, uids).await?;
            }
        }
        Ok(self.deselected(Completion::ok("CLOSE completed")))
    }

    async fn expunge_silently(&self, mailbox: MailboxId, uids: Vec<Uid>) -> Result<(), Stop> {
        let only_deleted = true;
        let expunge = Change::Expunge {
            mailbox,
            uids,
            only_deleted,
        };
        match self.services.store().change(self.owner.account.id, expunge).await {
            // It was deleted in this moment.
            Ok(_) | Err(StoreError::NoSuchMailbox) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn deselected(&mut self, completion: Completion) -> Completion {
        self.selected = None;
        self.has_lost_mailbox = false;
        completion.with_transition(Transition::Unselected)
    }
}

/// What the responses of SELECT depend on.
#[derive(Clone, Copy)]
struct Style {
    may_change_flags: bool,
    /// RFC 9586 §3.7: UNSEEN is a message number.
    gives_numbers: bool,
    is_rev2: bool,
}

fn write_summary(state: &MailboxState, view: &View, style: Style, out: &mut Vec<u8>) {
    let summary = select_summary(state);
    let ok = |code: Code, text: &str, out: &mut Vec<u8>| {
        push_status_line(b"*", Status::Ok, Some(&code), text, out);
    };
    write_flags_lines(state, style.may_change_flags, out);
    push_count_line(count(summary.exists), "EXISTS", out);
    if !style.is_rev2 {
        push_count_line(count(view.recent_count()), "RECENT", out);
        if let Some(first) = summary.first_unseen.filter(|_| style.gives_numbers) {
            ok(Code::Unseen(first), "First unseen message", out);
        }
    }
    ok(Code::UidValidity(summary.uid_validity), "UIDs are valid", out);
    ok(Code::UidNext(summary.uid_next), "Predicted next UID", out);
    ok(Code::HighestModSeq(summary.highest_mod_seq), "Highest", out);
    ok(Code::MailboxId(summary.mailbox), "Mailbox id", out);
}
