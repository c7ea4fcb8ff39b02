//! The loop of a session: offers input to the core, does what it says, answers what it asks, waits.
//!
//! Invariants: one question is answered before more input is offered; what was written is sent before every wait; a
//! login is answered by the core that owns the account.
//! Not here: commands (`commands`).

use super::changes::{Occasion, Standing};
use super::commands::with_standing;
use super::link::{Link, Lost, Woken};
use super::state::Session;
use super::{AuthVerdict, Services};
use crate::base::wait::Waiter;
use crate::model::Account;
use crate::proto::imap::encode::code::push_bye_line;
use crate::proto::imap::types::{Command, CommandBody};
use crate::proto::imap::{
    Answer, Channel, Code, Completion, Imap, LoginRefusal, MAILBOX_DELETED, Question, Status, Transition,
};
use crate::proto::sasl::Bindings;
use crate::proto::{Event, Protocol};
use crate::session::owner::{IDLE_LOOK, Owner};
use crate::session::pipe::Pipe;
use crate::store::CommitReceipt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// How a session ended on this core.
pub enum Served<P: Pipe> {
    /// The connection is closed.
    Ended,
    /// It goes on at [`Moved::core`].
    Moved(Box<Moved<P>>),
}

/// A connection on its way to the core that owns its account, its login not answered yet. `Send`.
pub struct Moved<P: Pipe> {
    /// Where to.
    pub core: usize,
    connection: P::Detached,
    carry: Vec<u8>,
    imap: Imap<CommitReceipt>,
    deadline: Option<Instant>,
    certificate: Option<Box<[u8]>>,
    owner: Owner,
}

/// Serves a new connection. `is_tls`: TLS is up already (implicit TLS).
pub fn serve<P: Pipe, S: Services>(
    pipe: P,
    is_tls: bool,
    services: Rc<S>,
) -> impl Future<Output = Served<P>> {
    let channel = Channel {
        is_tls,
        is_plaintext_login_allowed: services.is_plaintext_login_allowed(pipe.peer()),
    };
    let mut driver = Box::new(Driver {
        imap: Imap::new(services.config(), channel),
        link: Link::new(pipe, Vec::new(), None),
        session: None,
        services,
        certificate: None,
        is_stopping: false,
    });
    driver.name_channel();
    driver.tell(Event::Opened);
    driver.run()
}

/// Takes over a connection on the core [`Moved::core`] names.
///
/// # Errors
/// The connection could not be attached; it is gone.
pub fn resume<P: Pipe, S: Services>(
    moved: Moved<P>,
    services: Rc<S>,
) -> io::Result<impl Future<Output = Served<P>>> {
    let pipe = P::attach(moved.connection)?;
    let driver = Box::new(Driver {
        imap: moved.imap,
        link: Link::new(pipe, moved.carry, moved.deadline),
        session: None,
        services,
        certificate: moved.certificate,
        is_stopping: false,
    });
    let beginning = Box::pin(driver.begun(moved.owner));
    Ok(async move { beginning.await.run().await })
}

/// All there is of a session; boxed, so that the futures around it stay small.
pub(super) struct Driver<P: Pipe, S: Services> {
    imap: Imap<CommitReceipt>,
    link: Link<P>,
    /// Once logged in.
    session: Option<Session<S>>,
    services: Rc<S>,
    /// The peer's (DER), which an authority that we trust vouches for.
    certificate: Option<Box<[u8]>>,
    /// The core knows of the shutdown.
    is_stopping: bool,
}

/// What the loop does next.
enum Next {
    Go,
    Wait,
    Move(Owner),
    Close,
}

impl<P: Pipe, S: Services> Driver<P, S> {
    fn tell(&mut self, event: Event<'_, Answer<CommitReceipt>>) {
        self.imap.handle(event, &mut self.link.actions);
    }

    /// With the session of an account this core owns, if the store can serve it.
    async fn begun(mut self: Box<Self>, owner: Owner) -> Box<Self> {
        let answer = self.begin_session(owner).await;
        self.tell(Event::Answer(answer));
        self
    }

    /// Until the connection ends or wants to move. What is rare in a session is boxed here, so that it takes no memory of an
    /// idle one.
    async fn run(mut self: Box<Self>) -> Served<P> {
        let mut stopping = self.services.shutdown().waiter();
        loop {
            let next = match self.step().await {
                Ok(Next::Wait) => self.wait(&mut stopping).await.map(|()| Next::Go),
                other => other,
            };
            match next {
                Ok(Next::Go | Next::Wait) => {}
                Ok(Next::Move(owner)) => return Box::pin(self.into_moved(owner)).await,
                Ok(Next::Close) => {
                    // What could not be sent does not matter any more.
                    let _ = self.link.flush(self.services.now()).await;
                    Box::pin(self.link.pipe.close()).await;
                    return Served::Ended;
                }
                Err(Lost) => {
                    Box::pin(self.link.pipe.close()).await;
                    return Served::Ended;
                }
            }
        }
    }

    /// Does what the core said last, then offers it what was received.
    async fn step(&mut self) -> Result<Next, Lost> {
        if self.services.shutdown().has_begun() && !self.is_stopping {
            self.is_stopping = true;
            self.imap.handle(Event::Shutdown, &mut self.link.actions);
        }
        if let Some(deadline) = self.link.actions.deadline.take() {
            self.link.deadline = deadline.moment(self.link.deadline, self.services.now());
        }
        if self.link.actions.start_tls {
            self.link.actions.start_tls = false;
            return Box::pin(self.start_tls()).await;
        }
        if let Some(question) = self.link.actions.question.take() {
            return Box::pin(self.answer(question)).await;
        }
        if self.link.actions.synchronise {
            self.link.actions.synchronise = false;
            let is_early = !self.link.input.is_empty() || self.link.pipe.has_input();
            let event = if is_early { Event::Early } else { Event::Quiet };
            self.imap.handle(event, &mut self.link.actions);
            return Ok(Next::Go);
        }
        if self.link.actions.close {
            return Ok(Next::Close);
        }
        if self.may_be_revoked() && !Box::pin(self.renew()).await {
            self.tell(Event::Revoked);
            return Ok(Next::Go);
        }
        if self.link.input.is_empty() && !self.link.inflate(&*self.services).await? {
            return Ok(Next::Wait);
        }
        self.offer().await
    }

    /// Between commands only: one that has begun is finished.
    fn may_be_revoked(&self) -> bool {
        let is_between = self.imap.is_between_commands();
        let session = self.session.as_ref().filter(|_| is_between);
        session.is_some_and(|session| self.services.may_be_revoked(&session.owner))
    }

    /// False: the account may not be used by IMAP any more.
    async fn renew(&mut self) -> bool {
        let Some(session) = &mut self.session else {
            return true;
        };
        let goes_on = self.services.renew(&mut session.owner).await;
        if !goes_on {
            let account = session.owner.account.id;
            tracing::info!(%account, "an IMAP session ends: its account may not use it any more");
        }
        goes_on
    }

    async fn offer(&mut self) -> Result<Next, Lost> {
        let link = &mut self.link;
        let input = Event::Bytes(link.input.bytes());
        let taken = self.imap.handle(input, &mut link.actions).0;
        let body = std::mem::take(&mut link.actions.body);
        for range in body {
            let piece = link.input.slice(range);
            if let Some(session) = &mut self.session {
                Box::pin(session.upload_piece(piece)).await;
            }
        }
        link.input.consume(taken);
        if taken > 0 || self.has_something_to_do() {
            return Ok(Next::Go);
        }
        if self.link.actions.wire.is_empty() {
            return Ok(Next::Wait);
        }
        // The core takes no more before its responses are sent.
        self.link.flush(self.services.now()).await?;
        Ok(Next::Go)
    }

    fn has_something_to_do(&self) -> bool {
        let actions = &self.link.actions;
        actions.question.is_some() || actions.synchronise || actions.start_tls || actions.close
    }

    async fn wait(&mut self, stopping: &mut Waiter) -> Result<(), Lost> {
        self.link.pipe.expect_input();
        self.link.flush(self.services.now()).await?;
        let (mut changes, mut look_at) = (None, None);
        if let Some(occasion) = self.push_occasion()
            && let Some(session) = &mut self.session
        {
            // Made before the look, so that nothing falls between the look and the wait.
            changes = Some(self.services.store().watch(session.owner.account.id));
            let standing = Box::pin(session.tell_changes(&mut self.link, occasion)).await?;
            if standing == Standing::Deleted {
                say_deleted(&mut self.link);
                return Ok(());
            }
            self.link.flush(self.services.now()).await?;
            look_at = Some(self.services.now() + IDLE_LOOK);
        }
        match self.link.wait(changes.as_mut(), stopping, look_at).await? {
            Woken::Received(lease) if lease.is_empty() => {
                self.imap.handle(Event::PeerClosed, &mut self.link.actions);
            }
            Woken::Received(lease) => self.link.received(lease),
            Woken::Late
                if self
                    .link
                    .deadline
                    .is_none_or(|deadline| look_at.is_some_and(|at| at < deadline)) => {}
            Woken::Late => {
                // Said once: the core sets the next one.
                self.link.deadline = None;
                self.imap.handle(Event::Deadline, &mut self.link.actions);
            }
            // The account is looked at with the next step.
            // Looked at where the next step, the next wait begin.
            Woken::Stopping | Woken::Changed => {}
        }
        Ok(())
    }

    /// Are changes told now, while the client says nothing? In the middle of a command they are not.
    fn push_occasion(&self) -> Option<Occasion> {
        if self.imap.is_idling() {
            return Some(Occasion::Command);
        }
        let session = self.session.as_ref()?;
        let is_quiet = self.imap.is_quiet() && self.link.input.is_empty();
        (is_quiet && session.wants_notifications()).then_some(Occasion::Push)
    }

    async fn start_tls(&mut self) -> Result<Next, Lost> {
        self.link.flush(self.services.now()).await?;
        let Some(config) = self.services.tls() else {
            return Ok(Next::Close);
        };
        self.link.pipe.set_deadline(self.link.deadline);
        self.link.pipe.start_tls(config).await?;
        self.name_channel();
        self.imap.handle(Event::TlsReady, &mut self.link.actions);
        Ok(Next::Go)
    }

    fn name_channel(&mut self) {
        let Some(names) = self.link.pipe.take_names() else {
            return;
        };
        self.certificate = names.client;
        let bindings = Bindings {
            end_point: names.end_point.map(|name| name.as_ref().into()),
            exporter: names.exporter,
        };
        self.imap.name_channel(bindings, self.certificate.is_some());
    }

    /// Boxed where it is called: what a command needs while it runs must not be part of every idle session.
    async fn answer(&mut self, question: Question) -> Result<Next, Lost> {
        let answer = match question {
            Question::Authenticate(request) => {
                let (peer, certificate) = (self.link.pipe.peer(), self.certificate.as_deref());
                match self.services.authenticate(&request, peer, certificate).await {
                    AuthVerdict::Refused(refusal) => Answer::Refused(refusal),
                    AuthVerdict::Verifier(verifier, nonce) => Answer::Verifier(verifier, nonce),
                    AuthVerdict::Proven => Answer::Proven,
                    AuthVerdict::Account(owner) if self.is_local(&owner.account) => {
                        self.begin_session(owner).await
                    }
                    AuthVerdict::Account(owner) => return Ok(Next::Move(owner)),
                }
            }
            Question::Command(command) if command.body == CommandBody::Compress => {
                return self.compress().await;
            }
            Question::Command(command)
                if command.body == CommandBody::Unauthenticate && self.link.inflater.is_some() =>
            {
                return self.unauthenticate_compressed(command).await;
            }
            question => self.answer_in_session(question).await?,
        };
        self.imap.handle(Event::Answer(answer), &mut self.link.actions);
        Ok(Next::Go)
    }

    /// COMPRESS (RFC 4978 §3). What a client sends before it has seen the answer might be meant either way.
    async fn compress(&mut self) -> Result<Next, Lost> {
        let is_active = self.link.inflater.is_some();
        let completion = if !self.services.config().is_compress_offered {
            Completion::bad("COMPRESS is not offered")
        } else if is_active {
            Completion::no("DEFLATE is active already").with_code(Code::CompressionActive)
        } else if !self.link.input.is_empty() {
            Completion::bad("Nothing may follow COMPRESS before its answer")
        } else {
            Completion::ok("DEFLATE is active")
        };
        let begins = completion.status == Status::Ok;
        self.imap
            .handle(Event::Answer(Answer::Done(completion)), &mut self.link.actions);
        if begins {
            self.link.flush(self.services.now()).await?;
            self.link.inflater = Some(Box::default());
        }
        Ok(Next::Go)
    }

    /// UNAUTHENTICATE ends COMPRESS: the client's behind the command, the server's behind the answer (RFC 8437 §4.1). TLS stays.
    async fn unauthenticate_compressed(&mut self, command: Box<Command>) -> Result<Next, Lost> {
        if !self.link.input.is_empty() {
            // Compressed though it must not be. A NO is not permitted, and BYE is the way out (§3).
            self.session = None;
            let text = "Nothing behind UNAUTHENTICATE is compressed";
            push_bye_line(None, text, self.link.out());
            return Ok(Next::Close);
        }
        let answer = self.answer_in_session(Question::Command(command)).await?;
        self.imap.handle(Event::Answer(answer), &mut self.link.actions);
        self.link.end_compression(self.services.now()).await?;
        Ok(Next::Go)
    }

    async fn answer_in_session(&mut self, question: Question) -> Result<Answer<CommitReceipt>, Lost> {
        let link = &mut self.link;
        // The core asks these only after a login was answered, which made the session.
        let Some(session) = &mut self.session else {
            return Ok(Answer::Done(Completion::bad("Not logged in")));
        };
        Ok(match question {
            Question::Authenticate(_) => Answer::Refused(LoginRefusal::Unavailable),
            Question::Command(command) if command.body == CommandBody::Unauthenticate => {
                // RFC 8437 §3: everything of the login is forgotten, nothing is expunged.
                self.session = None;
                let done = Completion::ok("UNAUTHENTICATE completed");
                Answer::Done(done.with_transition(Transition::Unauthenticated))
            }
            Question::Command(command) => Answer::Done(session.command(link, *command).await?),
            Question::Idle => Answer::Idling,
            Question::IdleDone => {
                let standing = session.tell_changes(link, Occasion::Command).await?;
                Answer::Done(with_standing(Completion::ok("IDLE completed"), standing))
            }
            Question::AppendBegin(append) => session.append_begin(append).await,
            Question::AppendNext(message) => session.append_next(message).await,
            Question::AppendPart {
                urls,
                bytes,
                is_binary,
            } => session.append_part(&urls, bytes, is_binary).await,
            Question::AppendCommit => session.append_commit(link).await?,
            Question::AppendAbandon => {
                session.upload = None;
                Answer::AppendDropped
            }
        })
    }

    fn is_local(&self, account: &Account) -> bool {
        let core = self.services.core();
        account.id.partition().core(core.count) == core.id
    }

    /// Makes the session of an account this core owns.
    async fn begin_session(&mut self, owner: Owner) -> Answer<CommitReceipt> {
        let store = self.services.store();
        let account = &owner.account;
        let pinned = match store.load(account.id).await {
            Ok(pin) => store.ensure_account(account.id).await.map(|()| pin),
            Err(error) => Err(error),
        };
        match pinned {
            Ok(pin) => {
                self.session = Some(Session::new(self.services.clone(), owner, pin));
                Answer::Authenticated
            }
            Err(error) => {
                tracing::warn!(account = %account.id, %error, "no IMAP session: the store cannot serve the account");
                Answer::Refused(LoginRefusal::Unavailable)
            }
        }
    }

    async fn into_moved(mut self: Box<Self>, owner: Owner) -> Served<P> {
        if self.link.flush(self.services.now()).await.is_err() {
            self.link.pipe.close().await;
            return Served::Ended;
        }
        Served::Moved(Box::new(Moved {
            core: owner.account.id.partition().core(self.services.core().count),
            carry: self.link.input.into_carry(),
            connection: self.link.pipe.detach(),
            imap: self.imap,
            deadline: self.link.deadline,
            certificate: self.certificate,
            owner,
        }))
    }
}

/// Ends the session because its mailbox is gone: see the head of [`super`].
fn say_deleted<P: Pipe>(link: &mut Link<P>) {
    push_bye_line(None, MAILBOX_DELETED, link.out());
    link.actions.close = true;
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Conn;
    use crate::node::Node;

    /// What each idle session holds. With commands, sends and closes inline they were 1.6 and 2.0 KB.
    #[test]
    fn an_idle_session_is_small() {
        fn size<F>(_: impl Fn(Box<Driver<Conn, Node>>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size_of::<Driver<Conn, Node>>() <= 1408);
        assert!(size(Driver::run) <= 576);
    }
}
