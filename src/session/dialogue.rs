//! The loop that every session shares: feeds one protocol core from one connection and does what the core says, up to
//! the next thing only the session can do.
//!
//! Invariants: replies leave in the order they were made; they are sent before any wait for input and before TLS or a
//! close, and gathered until then, so that a pipelined group is answered in one packet; an idle connection holds no
//! receive buffer.
//! Failure: an error of the connection ends the dialogue, nobody is told; a passed deadline is told once, and the
//! goodbye may take [`GOODBYE_TIMEOUT`].
//! Not here: what questions mean (`smtp`, `pop3`, `imap`).

use super::input::Input;
use super::pipe::Pipe;
use crate::base::buffer::BufLease;
use crate::base::wait::Waiter;
use crate::node::shutdown::Shutdown;
use crate::proto::sasl::Bindings;
use crate::proto::{Actions, Consumed, Deadline, Event, Protocol};
use bytes::Bytes;
use futures_util::future::{Either, select};
use smallvec::SmallVec;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a peer may take to read the last reply.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// When the server stops: how long a peer in the middle of something may take until it is told 421 and cut off. Shorter
/// than the patience of `boot`, so that the reply still leaves.
pub const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(8);

/// Memory of the reply buffer kept between sends.
const WIRE_KEPT_BYTES_MAX: usize = 16 * 1024;

/// What the session has to do before the dialogue goes on.
#[derive(Debug)]
pub enum Step<Q> {
    /// Octets of a message body, in order.
    Body(SmallVec<[Bytes; 4]>),
    /// The peer has sent something, which the protocol sees next: the time to say that a login holds no more.
    Arrived,
    /// A question; come back with [`Dialogue::answer`].
    Ask(Q),
    /// The dialogue is over and every reply is sent.
    Ended,
}

/// One protocol core on one connection.
#[derive(Debug)]
pub struct Dialogue<P, C: Protocol> {
    /// The connection.
    pub pipe: P,
    /// The protocol.
    pub core: C,
    input: Input,
    out: Actions<C::Question>,
    body: SmallVec<[Bytes; 4]>,
    /// The peer's certificate (DER), which an authority that we trust vouches for.
    pub certificate: Option<Box<[u8]>>,
    /// The core has taken all it can of what is there.
    needs_more: bool,
    tls: Arc<rustls::ServerConfig>,
    shutdown: Shutdown,
    stopping: Waiter,
    was_told_to_stop: bool,
    /// The protocol's, if the server did not stop before.
    deadline: Option<Instant>,
    /// No deadline is later than this once the server is stopping.
    stop_by: Option<Instant>,
}

/// What the wait for input ended with.
enum Arrival {
    Bytes(BufLease),
    End,
    Stop,
}

impl<P: Pipe, C: Protocol> Dialogue<P, C> {
    /// Opens the dialogue: the greeting is due.
    pub fn open(pipe: P, core: C, tls: Arc<rustls::ServerConfig>, shutdown: &Shutdown) -> Self {
        let is_tls = pipe.tls().is_some();
        let mut dialogue = Self::resume(pipe, core, Input::default(), tls, shutdown);
        if is_tls {
            dialogue.name_channel();
            dialogue.feed(Event::TlsReady);
        }
        dialogue.feed(Event::Opened);
        dialogue
    }

    /// Goes on with a dialogue that another core began.
    pub fn resume(
        pipe: P,
        core: C,
        input: Input,
        tls: Arc<rustls::ServerConfig>,
        shutdown: &Shutdown,
    ) -> Self {
        Self {
            pipe,
            core,
            input,
            out: Actions::default(),
            body: SmallVec::new(),
            certificate: None,
            needs_more: false,
            tls,
            stopping: shutdown.waiter(),
            shutdown: shutdown.clone(),
            was_told_to_stop: false,
            deadline: None,
            stop_by: None,
        }
    }

    /// Runs the dialogue up to the next thing only the session can do.
    ///
    /// # Errors
    /// Those of the connection. Nothing more can be said to the peer then.
    pub async fn next(&mut self) -> io::Result<Step<C::Question>> {
        loop {
            if !self.body.is_empty() {
                return Ok(Step::Body(std::mem::take(&mut self.body)));
            }
            if let Some(deadline) = self.out.deadline.take() {
                self.set_deadline(deadline);
            }
            if std::mem::take(&mut self.out.start_tls) {
                self.flush().await?;
                // Once a session: its memory is not the idle session's.
                Box::pin(self.pipe.start_tls(self.tls.clone())).await?;
                self.name_channel();
                self.feed(Event::TlsReady);
            } else if let Some(question) = self.out.question.take() {
                return Ok(Step::Ask(question));
            } else if self.out.close {
                self.pipe.set_deadline(Some(Instant::now() + GOODBYE_TIMEOUT));
                self.flush().await?;
                return Ok(Step::Ended);
            } else if std::mem::take(&mut self.out.synchronise) {
                let is_early = !self.input.is_empty() || self.pipe.has_input();
                self.feed(if is_early { Event::Early } else { Event::Quiet });
            } else if !self.needs_more && !self.input.is_empty() {
                self.offer();
            } else if self.fetch().await? {
                return Ok(Step::Arrived);
            }
        }
    }

    fn name_channel(&mut self) {
        let names = self.pipe.take_names().unwrap_or_default();
        self.certificate = names.client;
        let bindings = Bindings {
            end_point: names.end_point.map(|name| name.as_ref().into()),
            exporter: names.exporter,
        };
        self.core.name_channel(bindings, self.certificate.is_some());
    }

    /// Answers the open question.
    pub fn answer(&mut self, answer: C::Answer) {
        self.feed(Event::Answer(answer));
    }

    /// The replies gathered so far, for a session that has something of its own to say behind them: it leaves with them.
    pub fn wire(&mut self) -> &mut Vec<u8> {
        &mut self.out.wire
    }

    /// Gives the peer `limit` from now, whatever the protocol gave it.
    pub fn renew_deadline(&mut self, limit: Duration) {
        let limits = [Some(Instant::now() + limit), self.stop_by];
        self.pipe.set_deadline(limits.into_iter().flatten().min());
    }

    /// Sends the replies gathered so far.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.out.wire.is_empty() {
            return Ok(());
        }
        let mut wire = self.pipe.send(std::mem::take(&mut self.out.wire)).await?;
        if wire.capacity() > WIRE_KEPT_BYTES_MAX {
            wire = Vec::new();
        }
        wire.clear();
        self.out.wire = wire;
        Ok(())
    }

    /// The parts, to travel to another core. Replies not yet sent are lost: flush before.
    pub fn into_parts(self) -> (P, C, Vec<u8>) {
        (self.pipe, self.core, self.input.into_carry())
    }

    fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline.moment(self.deadline, Instant::now());
        let limits = [self.deadline, self.stop_by];
        self.pipe.set_deadline(limits.into_iter().flatten().min());
    }

    fn feed(&mut self, event: Event<'_, C::Answer>) {
        self.core.handle(event, &mut self.out);
        self.needs_more = false;
    }

    /// Offers the core what is there.
    fn offer(&mut self) {
        let Consumed(count) = self.core.handle(Event::Bytes(self.input.bytes()), &mut self.out);
        for range in self.out.body.drain(..) {
            self.body.push(self.input.slice(range));
        }
        self.input.consume(count);
        self.needs_more = count == 0;
    }

    /// Whoever has logged in may not be here any more.
    pub fn revoke(&mut self) {
        self.feed(Event::Revoked);
    }

    /// Sends what is to be sent, or else waits for the peer. True: something has come.
    async fn fetch(&mut self) -> io::Result<bool> {
        if !self.out.wire.is_empty() {
            if self.input.is_empty() {
                self.pipe.expect_input();
            }
            self.flush().await?;
            // A core with too many unsent replies takes nothing; now it may.
            self.needs_more = false;
            return Ok(false);
        }
        self.input.park();
        match self.wait().await {
            Ok(Arrival::Bytes(lease)) => {
                self.input.put(lease);
                self.needs_more = false;
                return Ok(true);
            }
            Ok(Arrival::End) => {
                self.feed(Event::PeerClosed);
                self.out.close = true;
            }
            Ok(Arrival::Stop) => {
                self.stop_by = Some(Instant::now() + LAST_WORDS_TIMEOUT);
                self.feed(Event::Shutdown);
                self.pipe.set_deadline(self.stop_by);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.feed(Event::Deadline);
                self.out.close = true;
            }
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    async fn wait(&mut self) -> io::Result<Arrival> {
        loop {
            if self.shutdown.has_begun() && !std::mem::replace(&mut self.was_told_to_stop, true) {
                return Ok(Arrival::Stop);
            }
            // Dropping the receive loses nothing, see `Pipe`.
            match select(pin!(self.pipe.recv()), self.stopping.changed()).await {
                Either::Left((Ok(lease), _)) if lease.is_empty() => return Ok(Arrival::End),
                Either::Left((received, _)) => return received.map(Arrival::Bytes),
                Either::Right(((), _)) => {}
            }
        }
    }
}
