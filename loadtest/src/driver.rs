//! Runs one workload over many connections in one thread: the event loop shared by the SMTP, IMAP and POP3 loads.
//!
//! Owns: the sockets, bytes that the kernel would not take yet, incomplete input, reconnection, pacing, and the end of
//! the run (no new work, what is in flight may finish within `GRACE`).
//! Invariants: a workload is told of each connection's loss exactly once; a session is in one place only: connecting,
//! talking, resting (no work is due), or pausing after a fault.
//! Not here: what is said (`smtp`, `imap`, `pop3`), figures (`stats`).

use crate::epoll::{self, Epoll, Interest, Ready};
use crate::tls::{Security, TlsLink};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a session waits after a fault: a server that refuses must not be hammered by a closed loop.
const PAUSE: Duration = Duration::from_millis(20);
/// How long work in flight may take after the run's end before it counts as unanswered.
const GRACE: Duration = Duration::from_secs(10);
/// Longest time between two looks at the clock and the stop flag.
const TICK: Duration = Duration::from_millis(50);
/// One read from a socket. Larger than any reply here, and large enough for a message fetched whole.
const SCRATCH_BYTES: usize = 64 * 1024;

/// What a session wants after it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for the peer.
    Read,
    /// Nothing is due: wake me when it is.
    Rest,
    /// Wake me after a short pause.
    Pause,
    /// Close and connect anew, at once if work is due.
    Reconnect,
    /// Close, and connect anew after a short pause.
    Abandon,
}

/// When work may start: at once (closed loop), or at fixed moments whatever the server does (open loop).
pub struct Pace {
    interval: Option<Duration>,
    next: Instant,
    left: u64,
    is_stopped: bool,
}

impl Pace {
    /// `rate` per second, or as fast as answers come; at most `limit` starts.
    pub fn new(rate: Option<f64>, limit: u64) -> Pace {
        let interval = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Pace {
            interval,
            next: Instant::now(),
            left: limit,
            is_stopped: false,
        }
    }

    /// The moment from which the latency of the work to start now counts, if any is due. In an open loop that is the
    /// intended moment, so a server that stalls is charged with everything that should have started meanwhile.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        if self.is_stopped || self.left == 0 {
            return None;
        }
        let Some(interval) = self.interval else {
            self.left -= 1;
            return Some(now);
        };
        if self.next > now {
            return None;
        }
        let intended = self.next;
        self.next += interval;
        self.left -= 1;
        Some(intended)
    }

    fn wait(&self, now: Instant) -> Duration {
        if self.interval.is_some() && !self.is_stopped {
            self.next.saturating_duration_since(now)
        } else {
            TICK
        }
    }

    fn is_over(&self) -> bool {
        self.is_stopped || self.left == 0
    }
}

/// Where a session writes. What the kernel does not take at once is kept and sent when it does.
pub struct Wire<'a> {
    stream: &'a TcpStream,
    pending: &'a mut Vec<u8>,
    tls: Option<&'a mut TlsLink>,
    pub now: Instant,
}

impl Wire<'_> {
    /// Sends or keeps all of `bytes`. A dead connection is learnt by the next read.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Some(tls) = &mut self.tls {
            // A broken TLS session says so when the peer is heard next.
            let _ = tls.send(bytes, self.pending);
            return flush(self.stream, self.pending);
        }
        let mut sent = 0;
        if self.pending.is_empty() {
            let mut stream = self.stream;
            sent = stream.write(bytes).unwrap_or(0);
        }
        self.pending.extend_from_slice(&bytes[sent..]);
    }
}

/// Sends what the kernel takes of what waits.
fn flush(mut stream: &TcpStream, pending: &mut Vec<u8>) {
    if !pending.is_empty()
        && let Ok(sent) = stream.write(pending)
    {
        pending.drain(..sent);
    }
}

/// A workload: everything its sessions share, and how one of them behaves.
pub trait Workload {
    type Session;

    fn new_session(&mut self) -> Self::Session;
    /// The connection is being made; the peer speaks first.
    fn opened(&mut self, session: &mut Self::Session, now: Instant);
    /// Bytes came. Returns how many were used; the rest is offered again with more behind it.
    fn input(&mut self, session: &mut Self::Session, bytes: &[u8], wire: &mut Wire) -> (usize, Next);
    /// The session asked for `Rest` or `Pause` and may go on.
    fn wake(&mut self, session: &mut Self::Session, wire: &mut Wire) -> Next;
    /// The connection is gone without the session having asked for it.
    fn lost(&mut self, session: &mut Self::Session, error: &io::Error);
    fn pace(&mut self) -> &mut Pace;
    /// Work started whose answer has not come.
    fn in_flight(&self) -> usize;
}

struct Connection<S> {
    session: S,
    stream: Option<TcpStream>,
    tls: Option<TlsLink>,
    pending: Vec<u8>,
    input: Vec<u8>,
    interest: Interest,
}

/// The event loop.
pub struct Driver<W: Workload> {
    workload: W,
    address: SocketAddr,
    security: Option<Security>,
    epoll: Epoll,
    connections: Vec<Connection<W::Session>>,
    resting: VecDeque<usize>,
    /// Sorted by time, because every pause has the same length.
    pausing: VecDeque<(Instant, usize)>,
    scratch: Vec<u8>,
}

impl<W: Workload> Driver<W> {
    /// Connections are plain without `security`.
    pub fn new(
        mut workload: W,
        address: SocketAddr,
        security: Option<Security>,
        connections: usize,
    ) -> io::Result<Driver<W>> {
        let connections = (0..connections)
            .map(|_| Connection {
                session: workload.new_session(),
                stream: None,
                tls: None,
                pending: Vec::new(),
                input: Vec::new(),
                interest: Interest::Read,
            })
            .collect();
        Ok(Driver {
            workload,
            address,
            security,
            epoll: Epoll::new()?,
            connections,
            resting: VecDeque::new(),
            pausing: VecDeque::new(),
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Runs until `end`, `stop` or the pace's limit, then until nothing is in flight or `GRACE` is over. With `stop`
    /// nothing is waited for: the server is gone.
    pub fn run(mut self, end: Instant, stop: &AtomicBool) -> io::Result<W> {
        for token in 0..self.connections.len() {
            self.open(token);
        }
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            let now = Instant::now();
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if now >= end {
                self.workload.pace().is_stopped = true;
            }
            let is_idle = self.workload.in_flight() == 0;
            if self.workload.pace().is_over() && (is_idle || now >= end + GRACE) {
                break;
            }
            self.wake_due(now);
            let mut timeout = TICK.min(end.saturating_duration_since(now).max(Duration::from_millis(1)));
            if !self.resting.is_empty() {
                timeout = timeout.min(self.workload.pace().wait(now));
            }
            if let Some((due, _)) = self.pausing.front() {
                timeout = timeout.min(due.saturating_duration_since(now));
            }
            ready.clear();
            self.epoll.wait(timeout, &mut ready)?;
            for event in &ready {
                self.serve(*event);
            }
        }
        Ok(self.workload)
    }

    fn wake_due(&mut self, now: Instant) {
        while self.pausing.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, token)) = self.pausing.pop_front() else {
                return;
            };
            if self.connections[token].stream.is_none() {
                self.open(token)
            } else {
                self.wake(token, now)
            }
        }
        // Each is asked once: one that finds nothing due goes back to the end of the line.
        for _ in 0..self.resting.len() {
            let is_due = !self.workload.pace().is_over() && self.workload.pace().next <= now;
            if !is_due {
                return;
            }
            let Some(token) = self.resting.pop_front() else {
                return;
            };
            self.wake(token, now);
        }
    }

    fn wake(&mut self, token: usize, now: Instant) {
        let connection = &mut self.connections[token];
        // One that was lost while it rested is connected anew by `lose`, and rests no more.
        let Some(stream) = &connection.stream else { return };
        let mut wire = Wire {
            stream,
            pending: &mut connection.pending,
            tls: connection.tls.as_mut(),
            now,
        };
        let next = self.workload.wake(&mut connection.session, &mut wire);
        self.follow(token, next);
    }

    fn open(&mut self, token: usize) {
        let now = Instant::now();
        let connection = &mut self.connections[token];
        connection.pending.clear();
        connection.input.clear();
        connection.interest = Interest::Read;
        self.workload.opened(&mut connection.session, now);
        let connection = &mut self.connections[token];
        let begun = self.security.as_ref().map(Security::begin).transpose();
        let begun = begun.and_then(|mut tls| {
            let opened = tls.as_mut().map(|tls| tls.open(&mut connection.pending));
            connection.tls = opened.transpose().map(|_| tls)?;
            Ok(())
        });
        // What is to be said first waits until the connection is made.
        if !connection.pending.is_empty() {
            connection.interest = Interest::ReadWrite;
        }
        let interest = connection.interest;
        let opened = begun
            .and_then(|()| epoll::connect(self.address))
            .and_then(|stream| self.epoll.add(&stream, token, interest).map(|()| stream));
        match opened {
            Ok(stream) => connection.stream = Some(stream),
            Err(error) => self.lose(token, &error),
        }
    }

    fn serve(&mut self, event: Ready) {
        let connection = &mut self.connections[event.token];
        let Some(stream) = &connection.stream else { return };
        if event.is_writable {
            flush(stream, &mut connection.pending);
        }
        if !event.is_readable {
            return self.follow(event.token, Next::Read);
        }
        let mut reader = stream;
        let count = match reader.read(&mut self.scratch) {
            Ok(0) => return self.lose(event.token, &io::Error::from(ErrorKind::UnexpectedEof)),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(error) => return self.lose(event.token, &error),
        };
        let now = Instant::now();
        if let Some(tls) = &mut connection.tls {
            let received = tls.receive(
                &self.scratch[..count],
                &mut connection.input,
                &mut connection.pending,
            );
            flush(stream, &mut connection.pending);
            if let Err(error) = received {
                return self.lose(event.token, &error);
            }
        }
        let is_tls = connection.tls.is_some();
        let mut wire = Wire {
            stream,
            pending: &mut connection.pending,
            tls: connection.tls.as_mut(),
            now,
        };
        let next = if is_tls {
            let mut next = Next::Read;
            if !connection.input.is_empty() {
                let used;
                (used, next) = self
                    .workload
                    .input(&mut connection.session, &connection.input, &mut wire);
                connection.input.drain(..used);
            }
            next
        } else if connection.input.is_empty() {
            let (used, next) =
                self.workload
                    .input(&mut connection.session, &self.scratch[..count], &mut wire);
            connection.input.extend_from_slice(&self.scratch[used..count]);
            next
        } else {
            connection.input.extend_from_slice(&self.scratch[..count]);
            let (used, next) = self
                .workload
                .input(&mut connection.session, &connection.input, &mut wire);
            connection.input.drain(..used);
            next
        };
        self.follow(event.token, next);
    }

    fn follow(&mut self, token: usize, next: Next) {
        match next {
            Next::Read => {}
            Next::Rest => self.resting.push_back(token),
            Next::Pause => self.pausing.push_back((Instant::now() + PAUSE, token)),
            Next::Reconnect => {
                self.connections[token].stream = None;
                if self.workload.pace().is_over() {
                    return;
                }
                return self.open(token);
            }
            Next::Abandon => {
                self.connections[token].stream = None;
                self.pausing.push_back((Instant::now() + PAUSE, token));
                return;
            }
        }
        let connection = &mut self.connections[token];
        let interest = if connection.pending.is_empty() {
            Interest::Read
        } else {
            Interest::ReadWrite
        };
        if interest != connection.interest
            && let Some(stream) = &connection.stream
        {
            connection.interest = interest;
            // Failing means the socket is dead, which the next read reports.
            let _ = self.epoll.change(stream, token, interest);
        }
    }

    fn lose(&mut self, token: usize, error: &io::Error) {
        self.connections[token].stream = None;
        // It may have been resting; a token stands in one list only.
        self.resting.retain(|resting| *resting != token);
        self.pausing.retain(|(_, pausing)| *pausing != token);
        self.workload.lost(&mut self.connections[token].session, error);
        self.pausing.push_back((Instant::now() + PAUSE, token));
    }
}
