//! The connection, what was received on it and what is to be sent: one per session.
//!
//! Invariants: responses leave in the order they were written, the session's before the core's tagged one; a wait holds
//! no receive buffer.
//! Limits: [`SEND_BUFFER_BYTES`] of responses before the peer must take some of them, [`QUICK_SEND_BUFFER_BYTES`] for one
//! that takes them at once; [`SEND_TIMEOUT`] for it to do so.
//! Not here: what is written (the files beside this one).

use super::compress::{Inflater, RESIDUE_BYTES_MAX, deflated, deflated_last, residue_bytes};
use crate::base::buffer::BufLease;
use crate::base::wait::Waiter;
use crate::mailbox::searching::Pace;
use crate::proto::Actions;
use crate::proto::imap::Question;
use crate::session::input::Input;
use crate::session::pipe::Pipe;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Responses are sent once this many octets are written: enough to fill TLS records and segments, small beside the
/// buffers of the socket. One item more (a header, at most 1 MiB) may lie behind it.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The same for a peer that took the last such buffer within [`QUICK_SEND_TIME`]: a third of the system calls and of the
/// turns of the ring. With an item more behind it, it is still one send of the connection.
pub const QUICK_SEND_BUFFER_BYTES: usize = 192 * 1024;

/// In which a quick peer takes a buffer: some 60 MB/s. One that slows down holds at most one of the larger buffers.
pub const QUICK_SEND_TIME: Duration = Duration::from_millis(1);

/// Responses up to this length are most of all, and get no more memory than they need.
const SHORT_BYTES: usize = 4 * 1024;

/// Room for what an item may write behind a full buffer, if it is none of the longest.
const ITEM_BYTES: usize = 8 * 1024;

/// A peer that takes nothing of one buffer for so long is gone (the time a command may take to be sent, the other way).
pub const SEND_TIMEOUT: Duration = Duration::from_secs(300);

/// Computing after which others get a turn; sends count as turns. GLOMMIO.md asks for slices of 1 ms.
pub const TURN_TIME: Duration = Duration::from_millis(1);

/// The connection is gone; nothing more can be said on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl From<io::Error> for Lost {
    /// Which of the ways it was lost in matters to nobody: `net` counts them.
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// What a wait ended with.
#[derive(Debug)]
pub enum Woken {
    /// Bytes; none at the end of the stream.
    Received(BufLease),
    /// The deadline has passed.
    Late,
    /// The account changed.
    Changed,
    /// The server stops.
    Stopping,
}

/// A connection with its buffers.
#[derive(Debug)]
pub struct Link<P> {
    pub pipe: P,
    pub input: Input,
    pub actions: Actions<Question>,
    /// The core's deadline.
    pub deadline: Option<Instant>,
    /// Once COMPRESS is active.
    pub inflater: Option<Box<Inflater>>,
    /// Octets of the end of the peer's compression that may still come.
    residue: u8,
    /// When others last had a turn.
    turn: Option<Instant>,
    /// The peer took the last full buffer at once.
    is_quick: bool,
}

impl<P: Pipe> Link<P> {
    /// A connection on which `carry` was received before.
    pub fn new(pipe: P, carry: Vec<u8>, deadline: Option<Instant>) -> Self {
        Self {
            pipe,
            input: Input::with_carry(carry),
            actions: Actions::default(),
            deadline,
            inflater: None,
            residue: 0,
            turn: None,
            is_quick: false,
        }
    }

    /// Where responses are written.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.actions.wire
    }

    /// Sends everything written so far. `now` is the monotonic clock's.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn flush(&mut self, now: Instant) -> Result<(), Lost> {
        if self.actions.wire.is_empty() {
            return Ok(());
        }
        // Boxed: most waits of a session are for its client's next command, and the memory of a send is not needed then.
        Box::pin(self.send_all(now)).await
    }

    async fn send_all(&mut self, now: Instant) -> Result<(), Lost> {
        let wire = std::mem::take(&mut self.actions.wire);
        self.pipe.set_deadline(Some(now + SEND_TIMEOUT));
        if self.inflater.is_some() {
            self.pipe.send(deflated(&wire)).await?;
            self.actions.wire = wire;
        } else {
            self.actions.wire = self.pipe.send(wire).await?;
        }
        self.actions.wire.clear();
        Ok(())
    }

    /// Takes what was received.
    pub fn received(&mut self, lease: BufLease) {
        match &mut self.inflater {
            Some(inflater) => inflater.put(lease),
            None => self.put_plain(lease, 0),
        }
    }

    /// Takes octets from `at` on as they are.
    fn put_plain(&mut self, lease: BufLease, at: usize) {
        let residue = residue_bytes(&lease[at..], self.residue);
        let skipped = at + usize::from(residue);
        self.residue = if skipped < lease.len() {
            0
        } else {
            self.residue - residue
        };
        self.input.put(lease);
        if skipped > 0 {
            self.input.consume(skipped);
        }
    }

    /// Sends everything written so far as the end of what is compressed; what the peer sends behind its own is taken as it
    /// is (RFC 8437 §4.1). All that was inflated must be consumed.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn end_compression(&mut self, now: Instant) -> Result<(), Lost> {
        let wire = std::mem::take(&mut self.actions.wire);
        self.pipe.set_deadline(Some(now + SEND_TIMEOUT));
        self.pipe.send(deflated_last(&wire)).await?;
        self.residue = RESIDUE_BYTES_MAX;
        if let Some((lease, at)) = self.inflater.take().and_then(|inflater| inflater.into_rest()) {
            self.put_plain(lease, at);
        }
        Ok(())
    }

    /// Inflates more input, if there is any; others get a turn before it is used. False: there is none.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn inflate<C: Pace>(&mut self, pace: &C) -> Result<bool, Lost> {
        let Some(inflater) = &mut self.inflater else {
            return Ok(false);
        };
        while inflater.has_more() {
            if let Some(lease) = inflater.next()? {
                self.input.put(lease);
                pace.breathe().await;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Between two parts of a long command: sends when [`SEND_BUFFER_BYTES`] are written (more to a quick peer), lets others run when
    /// [`TURN_TIME`] has passed.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn part_done<C: Pace>(&mut self, pace: &C) -> Result<(), Lost> {
        let now = pace.now();
        let turn = *self.turn.get_or_insert(now);
        let full = if self.is_quick {
            QUICK_SEND_BUFFER_BYTES
        } else {
            SEND_BUFFER_BYTES
        };
        if self.actions.wire.len() < full {
            self.grow(full);
        } else {
            self.flush(now).await?;
            let sent = pace.now();
            self.is_quick = sent.saturating_duration_since(now) < QUICK_SEND_TIME;
            self.turn = Some(sent);
            return Ok(());
        }
        if now.saturating_duration_since(turn) > TURN_TIME {
            pace.breathe().await;
            self.turn = Some(pace.now());
        }
        Ok(())
    }

    /// Makes room for a whole buffer as soon as a response is not short. Growing by and by, through eight sizes, took more memory that was
    /// never touched before, and touching that was half of what a list of ten thousand messages took.
    fn grow(&mut self, full: usize) {
        let wire = &mut self.actions.wire;
        if wire.len() >= SHORT_BYTES && wire.capacity() < full {
            wire.reserve_exact(full + ITEM_BYTES - wire.len());
        }
    }

    /// Waits for bytes, for the deadline or `look_at`, for `changes` and for `stopping`, whichever comes first.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn wait(
        &mut self,
        changes: Option<&mut Waiter>,
        stopping: &mut Waiter,
        look_at: Option<Instant>,
    ) -> Result<Woken, Lost> {
        self.turn = None;
        self.input.park();
        // A buffer for a command's responses costs less than what one kept by each idle session would.
        self.actions.wire = Vec::new();
        self.pipe
            .set_deadline([self.deadline, look_at].into_iter().flatten().min());
        let mut received = pin!(self.pipe.recv());
        let mut changed = changes.map(Waiter::changed);
        let mut stopped = stopping.changed();
        poll_fn(|cx| {
            if let Poll::Ready(result) = received.as_mut().poll(cx) {
                return Poll::Ready(match result {
                    Ok(lease) => Ok(Woken::Received(lease)),
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Woken::Late),
                    Err(error) => Err(error.into()),
                });
            }
            if pin!(&mut stopped).poll(cx).is_ready() {
                return Poll::Ready(Ok(Woken::Stopping));
            }
            if let Some(changed) = &mut changed
                && pin!(changed).poll(cx).is_ready()
            {
                return Poll::Ready(Ok(Woken::Changed));
            }
            Poll::Pending
        })
        .await
    }
}
