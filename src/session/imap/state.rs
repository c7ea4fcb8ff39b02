//! What an authenticated session holds, and how a command can end early.

use super::Services;
use super::append::Upload;
use super::context::SearchContext;
use super::link::Lost;
use super::notify::Watch;
use crate::mailbox::reader::ReadError;
use crate::mailbox::status::shown_mod_seq;
use crate::mailbox::view::View;
use crate::model::{MailboxId, ModSeq, Uid};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::types::{NameForm, SequenceNumber, SequenceSet};
use crate::proto::imap::{Code, Completion, MAILBOX_DELETED, Status};
use crate::proto::message::structure::Structure;
use crate::session::owner::Owner;
use crate::store::{AccountState, Change, MailboxState, Outcome, Pin, StoreError};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

/// A session's side of one logged-in connection.
pub struct Session<S: Services> {
    pub services: Rc<S>,
    pub owner: Owner,
    /// Keeps the account's state in memory, where every command looks at it.
    _pin: Pin,
    pub selected: Option<Selected>,
    /// The selected mailbox was deleted by another session: the end of this command ends the session.
    pub has_lost_mailbox: bool,
    /// A CONDSTORE enabling command was given (RFC 7162 §3.1): FETCH responses that tell of changes carry MODSEQ.
    pub is_condstore: bool,
    /// ENABLE QRESYNC (RFC 7162 §3.2.3): VANISHED takes the place of EXPUNGE.
    pub is_qresync: bool,
    /// ENABLE UIDONLY (RFC 9586): message numbers are neither taken nor given.
    pub is_uid_only: bool,
    /// What NOTIFY asked for (RFC 5465); `None`: it was never given.
    pub notify: Option<Box<Watch>>,
    /// ENABLE IMAP4rev2 was given: see `rev2`.
    pub is_rev2: bool,
    /// ENABLE UTF8=ACCEPT (RFC 6855).
    pub is_utf8_accept: bool,
    /// How names of mailboxes are written.
    pub names: NameForm,
    /// The message of the APPEND in progress.
    pub upload: Option<Box<Upload<S::Environment>>>,
}

/// The selected mailbox.
pub struct Selected {
    pub view: View,
    /// By EXAMINE.
    pub is_read_only: bool,
    /// What `$` stands for (RFC 5182), ascending.
    pub saved: Vec<Uid>,
    /// MODSEQs of this session's own flag changes that [`super::changes`] has not passed over yet.
    pub own: SmallVec<[ModSeq; 2]>,
    /// The flags of those changes are in FETCH responses, not `.SILENT`.
    pub own_were_told: bool,
    /// Messages this session put here since it was last told of new ones: NOTIFY does not send them back.
    pub own_new: Vec<Uid>,
    /// Searches whose results are kept up to date (RFC 5267).
    pub contexts: Vec<SearchContext>,
    /// The structure of the message taken apart last: its sections are often asked for one after the other.
    pub structure: Option<(Uid, Rc<Structure>)>,
}

impl Selected {
    pub fn new(view: View, is_read_only: bool) -> Self {
        Self {
            view,
            is_read_only,
            saved: Vec::new(),
            own: SmallVec::new(),
            own_were_told: false,
            own_new: Vec::new(),
            contexts: Vec::new(),
            structure: None,
        }
    }

    /// The messages a set names, as index ranges of the view.
    pub fn resolve(&self, set: &SequenceSet, by_uid: bool) -> Result<SmallVec<[Range<usize>; 4]>, Stop> {
        let resolved = set.resolve(self.view.uids(), &self.saved, by_uid);
        match resolved.first_invalid {
            None => Ok(resolved.ranges),
            Some(SequenceNumber::Number(number)) => {
                Err(Completion::bad(format!("There is no message {number}")).into())
            }
            Some(SequenceNumber::Largest) => Err(Completion::bad("There are no messages").into()),
        }
    }
}

/// Why a command does not go on.
pub enum Stop {
    /// Answered with this.
    Ended(Completion),
    /// Nothing can be answered.
    Lost(Lost),
}

/// What most commands come to.
pub type Answered = Result<Completion, Stop>;

impl From<Lost> for Stop {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl From<Completion> for Stop {
    fn from(completion: Completion) -> Self {
        Self::Ended(completion)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Ended(completion_of(&error))
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Busy => no(Code::Unavailable, "Too many long messages at once, try again").into(),
            ReadError::TooLong => no(Code::Limit, "The message is too long to be taken apart").into(),
        }
    }
}

/// `NO [code] text`
pub fn no(code: Code, text: impl Into<Cow<'static, str>>) -> Completion {
    Completion::no(text).with_code(code)
}

/// The end of a command by number that names expunged messages: done for the others, if there are any.
pub fn expunge_issued(done: &'static str, gone: &'static str, has_present: bool) -> Completion {
    if has_present {
        Completion::ok(done).with_code(Code::ExpungeIssued)
    } else {
        no(Code::ExpungeIssued, gone)
    }
}

/// The one table from errors of the store to response codes (RFC 5530, 9208).
pub fn code_of(error: &StoreError) -> (Code, Cow<'static, str>) {
    match error {
        StoreError::NoSpace(_) | StoreError::Failed(_) | StoreError::Disk(_) => (
            Code::Unavailable,
            "The store cannot do that now, try again later".into(),
        ),
        StoreError::ShuttingDown => (Code::Unavailable, "The server is shutting down".into()),
        // What was read is not served; the log says where.
        StoreError::Damaged { .. } => (Code::Corruption, "The message is damaged on disk".into()),
        StoreError::OverQuota => (Code::OverQuota, "The account is over its quota".into()),
        StoreError::BeyondQuota => (
            Code::OverQuota,
            "It is more than the account's quota allows in all".into(),
        ),
        StoreError::NoSuchMailbox => (Code::NonExistent, "No such mailbox".into()),
        StoreError::NoSuchMessage => (Code::NonExistent, "The message is not there any more".into()),
        StoreError::MailboxExists => (Code::AlreadyExists, "There is such a mailbox already".into()),
        StoreError::Cannot(reason) => (Code::Cannot, (*reason).into()),
        StoreError::Limit(limit) => (Code::Limit, format!("Limit reached: {limit}").into()),
    }
}

fn completion_of(error: &StoreError) -> Completion {
    let (code, text) = code_of(error);
    no(code, text)
}

/// The answer when the selected mailbox is not there any more.
pub fn mailbox_gone() -> Completion {
    no(Code::NonExistent, MAILBOX_DELETED)
}

impl<S: Services> Session<S> {
    pub fn new(services: Rc<S>, owner: Owner, pin: Pin) -> Self {
        Self {
            services,
            owner,
            _pin: pin,
            selected: None,
            has_lost_mailbox: false,
            is_condstore: false,
            is_qresync: false,
            is_uid_only: false,
            notify: None,
            is_rev2: false,
            is_utf8_accept: false,
            names: NameForm::default(),
            upload: None,
        }
    }

    /// Notes a CONDSTORE enabling command; the first one with a mailbox selected tells how far the client is (RFC 7162
    /// §3.1).
    pub fn enable_condstore(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_condstore, true) {
            return;
        }
        if let Some(selected) = &self.selected {
            let highest = Code::HighestModSeq(shown_mod_seq(selected.view.highest_mod_seq()));
            push_status_line(b"*", Status::Ok, Some(&highest), "Highest", out);
        }
    }

    /// Looks at the account's durable state.
    pub fn with_account<R>(&self, look: impl FnOnce(&AccountState) -> R) -> Result<R, Stop> {
        let seen = self.services.store().account(self.owner.account.id, look);
        // The login made sure of the account; without it the store was told to forget it meanwhile.
        seen.ok_or_else(|| no(Code::Unavailable, "The account is not there").into())
    }

    /// The selected mailbox; the core lets commands that need one through in no other state.
    pub fn selected(&self) -> Result<&Selected, Stop> {
        self.selected.as_ref().ok_or_else(nothing_selected)
    }

    /// As [`Self::selected`].
    pub fn selected_mut(&mut self) -> Result<&mut Selected, Stop> {
        self.selected.as_mut().ok_or_else(nothing_selected)
    }

    /// Looks at the selected mailbox and the session's view of it.
    pub fn with_selected<R>(&self, look: impl FnOnce(&MailboxState, &Selected) -> R) -> Result<R, Stop> {
        let selected = self.selected()?;
        let id = selected.view.mailbox();
        let seen = self.with_account(|account| account.mailboxes.get(&id).map(|m| look(m, selected)))?;
        seen.ok_or_else(|| mailbox_gone().into())
    }

    /// The selected mailbox for a command that changes it.
    pub fn writable(&self) -> Result<MailboxId, Stop> {
        let selected = self.selected()?;
        if selected.is_read_only {
            return Err(no(Code::ReadOnly, "The mailbox is selected read-only").into());
        }
        Ok(selected.view.mailbox())
    }

    /// Commits a change of the account; durable on return.
    pub async fn change(&self, change: Change) -> Result<Outcome, Stop> {
        let (_receipt, outcome) = self
            .services
            .store()
            .change(self.owner.account.id, change)
            .await?;
        Ok(outcome)
    }
}

/// The core lets no command through that needs a mailbox when none was selected: it was deleted meanwhile.
fn nothing_selected() -> Stop {
    mailbox_gone().into()
}
