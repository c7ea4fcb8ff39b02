//! One connection, plain or TLS: receive, send, agree on TLS, move, close.
//!
//! Invariants: bytes leave in the order they were sent and arrive in the order they came, over moves too; a dropped `recv`
//! loses nothing; a dropped `send` may have sent a part, so the connection refuses every send after it.
//! Limits: the deadline over every wait; [`HANDSHAKE_TIMEOUT`], [`HANDSHAKE_BYTES_MAX`], [`CLOSE_TIMEOUT`],
//! [`SEND_BATCH_BYTES`] of ciphertext made ahead.
//! Failure: `TimedOut` when the deadline has passed; `UnexpectedEof` when a TLS peer ends the stream without close_notify,
//! because whoever cut the connection may have cut the message (RFC 8446 §6.1); `InvalidData` for broken TLS.
//! Not here: moving bytes (`stream`), TLS records (`tls`).

use super::deadline::Deadline;
use super::meters::NetMeters;
use super::stream::{Stream, StreamParts};
use crate::base::buffer::BufLease;
use crate::runtime;
use crate::tls::{Names, Progress, RECORD_PLAINTEXT_BYTES_MAX, TlsSession};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Bound on [`Conn::close`].
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A handshake takes a few round trips; whoever needs longer does not want one. The connection's deadline applies as well.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes a client may send before its handshake is done: a ClientHello (bounded by `tls`) twice, after a retry request, and
/// room for its last flight.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Plaintext encrypted ahead of one send: four full records. More saves no system calls worth having and costs memory per
/// peer that does not read.
const SEND_BATCH_BYTES: usize = 4 * RECORD_PLAINTEXT_BYTES_MAX;

/// Bytes moved without a wait before the reactor is visited. A peer that sends (or reads) as fast as this core can work
/// never makes a wait pending, and would keep everybody else waiting; 256 KiB take well under 1 ms.
const BURST_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    /// Ciphertext is made in this buffer; a send that must wait keeps it, and the next one gets a new one.
    static CIPHERTEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One connection, plain or TLS, on this core.
#[derive(Debug)]
pub struct Conn {
    stream: Stream,
    peer: SocketAddr,
    local: SocketAddr,
    deadline: Deadline,
    tls: Option<Box<Tls>>,
    /// A send was begun and not ended: by an error, or because its wait was dropped.
    send_is_broken: bool,
    peer_has_ended: bool,
    /// Bytes moved since a wait was last pending.
    burst_bytes: usize,
}

struct Tls {
    /// Boxed from its first moment: the handshake is a part of every session's future, and so would be its 1.2 KB.
    session: Box<TlsSession>,
    info: TlsInfo,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.info.fmt(f)
    }
}

/// A connection between two cores: everything of it, TLS state and undecoded bytes included.
pub struct Detached {
    /// No descriptor was left for the move, or the connection has failed: told where the connection is attached, as its owner
    /// is there already.
    stream: io::Result<StreamParts>,
    peer: SocketAddr,
    local: SocketAddr,
    deadline: Option<Instant>,
    tls: Option<Box<Tls>>,
    send_is_broken: bool,
    peer_has_ended: bool,
}

/// What TLS was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: &'static str,
    /// `TLS13_AES_256_GCM_SHA384`
    pub cipher: String,
    /// The protocol agreed on by ALPN, if the client offered any.
    pub alpn: Option<String>,
}

impl Conn {
    /// A connection just accepted. An error when the peer is gone already.
    pub(super) fn new(stream: Stream) -> io::Result<Self> {
        let (peer, local) = stream.addresses()?;
        Ok(Self {
            stream,
            peer,
            local,
            deadline: Deadline::default(),
            tls: None,
            send_is_broken: false,
            peer_has_ended: false,
            burst_bytes: 0,
        })
    }

    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref().map(|tls| &tls.info)
    }

    /// What the TLS channel is called, and the certificate of the peer; after the handshake, once.
    pub fn take_names(&mut self) -> Option<Names> {
        self.tls.as_mut().map(|tls| tls.session.take_names())
    }

    /// `recv` and `send` fail with `TimedOut` once this moment has passed. One timer a connection, re-armed lazily.
    /// A `recv` that finds bytes, or a `send` that finds room, may still succeed then.
    pub fn set_deadline(&mut self, at: Option<Instant>) {
        self.deadline.set(at);
    }

    /// The next bytes (decrypted). An empty lease is the peer's end of stream. Dropping the wait loses nothing.
    pub async fn recv(&mut self) -> io::Result<BufLease> {
        self.end_burst().await?;
        let lease = poll_fn(|cx| {
            let received = if self.tls.is_some() {
                self.poll_recv_tls(cx)
            } else {
                self.poll_recv_plain(cx)
            };
            if received.is_pending() {
                self.poll_deadline(cx)
            } else {
                received
            }
        })
        .await?;
        self.burst_bytes += lease.len();
        NetMeters::count(|meters| meters.received_bytes.add(lease.len() as u64));
        Ok(lease)
    }

    /// At most this many of the next bytes as they are on the wire, before TLS: so that what lies behind them is left for
    /// whom it is meant. An empty lease is the peer's end of stream. Dropping the wait loses nothing.
    pub async fn recv_at_most(&mut self, bytes_max: usize) -> io::Result<BufLease> {
        poll_fn(|cx| {
            let received = self.poll_recv_at_most(cx, bytes_max);
            if received.is_pending() {
                self.poll_deadline(cx)
            } else {
                received
            }
        })
        .await
    }

    /// Says who the peer is, when a proxy has told.
    pub fn set_peer(&mut self, peer: SocketAddr) {
        self.peer = peer;
    }

    /// For a wait that is pending.
    fn poll_deadline<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.burst_bytes = 0;
        ready!(self.deadline.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Lets others in if this connection has kept the core busy, and looks at the deadline, which no pending wait did.
    async fn end_burst(&mut self) -> io::Result<()> {
        if self.burst_bytes < BURST_BYTES_MAX {
            return Ok(());
        }
        self.burst_bytes = 0;
        runtime::breathe().await;
        if self.deadline.has_passed() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    fn poll_recv_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<BufLease>> {
        let lease = ready!(self.stream.poll_recv_lease(cx))?;
        self.peer_has_ended |= lease.is_empty();
        Poll::Ready(Ok(lease))
    }

    fn poll_recv_at_most(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<io::Result<BufLease>> {
        // Taken inside the poll, back in the pool if it stays pending.
        let mut lease = BufLease::take();
        let space = lease.space();
        let bytes_max = bytes_max.min(space.len());
        let count = ready!(self.stream.poll_recv(cx, &mut space[..bytes_max]))?;
        lease.set_filled(count);
        self.peer_has_ended |= count == 0;
        Poll::Ready(Ok(lease))
    }

    fn poll_recv_tls(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<BufLease>> {
        let Some(tls) = &mut self.tls else {
            return Poll::Pending;
        };
        let session = &mut tls.session;
        loop {
            match session.advance().map_err(invalid)? {
                Progress::Plaintext => {
                    let lease = session.take_plaintext();
                    return Poll::Ready(lease.ok_or_else(|| io::ErrorKind::InvalidData.into()));
                }
                Progress::PeerClosed => {
                    self.peer_has_ended = true;
                    return Poll::Ready(Ok(BufLease::take()));
                }
                Progress::NeedsInput => {}
            }
            let space = session.space();
            if space.is_empty() {
                return Poll::Ready(Err(too_large()));
            }
            let Poll::Ready(count) = self.stream.poll_recv(cx, space) else {
                session.rest();
                return Poll::Pending;
            };
            match count? {
                0 => {
                    self.peer_has_ended = true;
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                count => session.received(count),
            }
        }
    }

    /// True when bytes are at hand without waiting (for synchronisation points).
    pub fn has_input(&mut self) -> bool {
        let Some(tls) = &mut self.tls else {
            return self.stream.has_input();
        };
        let session = &mut tls.session;
        loop {
            match session.advance() {
                Ok(Progress::Plaintext) => return true,
                // An error is told by the next `recv`, as the session keeps returning it.
                Ok(Progress::PeerClosed) | Err(_) => return false,
                Ok(Progress::NeedsInput) => {}
            }
            let count = self.stream.recv_now(session.space()).unwrap_or(0);
            if count == 0 {
                session.rest();
                return false;
            }
            session.received(count);
        }
    }

    /// Says that `recv` follows the next `send`: the back end may begin both at once.
    pub fn expect_input(&mut self) {
        self.stream.expect_input();
    }

    /// Sends all of `bytes` and gives the buffer back, emptied.
    pub async fn send(&mut self, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        NetMeters::count(|meters| meters.sent_bytes.add(bytes.len() as u64));
        if self.tls.is_some() {
            for part in bytes.chunks(SEND_BATCH_BYTES) {
                self.send_encrypted(|session, out| session.encrypt(part, out))
                    .await?;
            }
        } else {
            self.send_all(&mut bytes).await?;
        }
        bytes.clear();
        Ok(bytes)
    }

    async fn send_encrypted(
        &mut self,
        encrypt: impl FnOnce(&mut TlsSession, &mut Vec<u8>) -> Result<(), rustls::Error>,
    ) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut out = CIPHERTEXT.take();
        out.clear();
        encrypt(&mut tls.session, &mut out).map_err(invalid)?;
        self.send_all(&mut out).await?;
        CIPHERTEXT.set(out);
        Ok(())
    }

    /// Sends all of `bytes` as they are. They are there again after success only: the ring owns what it sends.
    async fn send_all(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if self.send_is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.send_is_broken = true;
        let mut sent = 0;
        while sent < bytes.len() {
            self.end_burst().await?;
            let part = sent..bytes.len().min(sent + BURST_BYTES_MAX);
            let count = poll_fn(|cx| {
                let sent = self.stream.poll_send(cx, bytes, part.clone());
                if sent.is_pending() {
                    self.poll_deadline(cx)
                } else {
                    sent
                }
            })
            .await?;
            self.burst_bytes += count;
            sent += count;
        }
        self.send_is_broken = false;
        Ok(())
    }

    /// Server handshake, over what the client sends from now on: plaintext that was received before it must have been taken
    /// or refused by the caller. After an error the connection is good for nothing but its drop.
    pub async fn start_tls(&mut self, config: Arc<rustls::ServerConfig>) -> io::Result<()> {
        let deadline = self.deadline.get();
        let limit = Instant::now() + HANDSHAKE_TIMEOUT;
        self.set_deadline(Some(deadline.map_or(limit, |at| at.min(limit))));
        let session = self.handshake(config).await;
        self.set_deadline(deadline);
        NetMeters::count(|meters| match &session {
            Ok(_) => meters.tls_handshakes.add(1),
            Err(_) => meters.tls_failures.add(1),
        });
        let session = session?;
        let info = TlsInfo {
            version: session.version(),
            cipher: session.cipher(),
            alpn: session
                .alpn()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
        };
        self.tls = Some(Box::new(Tls { session, info }));
        Ok(())
    }

    async fn handshake(&mut self, config: Arc<rustls::ServerConfig>) -> io::Result<Box<TlsSession>> {
        let mut session = Box::new(TlsSession::new(config).map_err(invalid)?);
        let mut received = 0;
        loop {
            let progress = session.advance();
            // The alert about an error goes out too.
            let sent = self.send_all(&mut session.take_outgoing()).await;
            progress.map_err(invalid)?;
            sent?;
            if !session.is_handshaking() {
                session.rest();
                return Ok(session);
            }
            let space = session.space();
            if space.is_empty() || received >= HANDSHAKE_BYTES_MAX {
                return Err(too_large());
            }
            let count = poll_fn(|cx| {
                let count = self.stream.poll_recv(cx, space);
                if count.is_pending() {
                    self.poll_deadline(cx)
                } else {
                    count
                }
            })
            .await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            session.received(count);
            received += count;
        }
    }

    /// Takes the connection off this core's executor. No wait of it may be pending.
    #[must_use]
    pub fn detach(self) -> Detached {
        Detached {
            stream: self.stream.into_parts(),
            peer: self.peer,
            local: self.local,
            deadline: self.deadline.get(),
            tls: self.tls,
            send_is_broken: self.send_is_broken,
            peer_has_ended: self.peer_has_ended,
        }
    }

    /// Puts it on this one, its deadline included.
    pub fn attach(detached: Detached) -> io::Result<Self> {
        let mut deadline = Deadline::default();
        deadline.set(detached.deadline);
        Ok(Self {
            stream: Stream::from_parts(detached.stream?)?,
            peer: detached.peer,
            local: detached.local,
            deadline,
            tls: detached.tls,
            send_is_broken: detached.send_is_broken,
            peer_has_ended: detached.peer_has_ended,
            burst_bytes: 0,
        })
    }

    /// close_notify and FIN, bounded by a short time; errors do not matter any more.
    ///
    /// Waits for the peer's end, discarding what it still sends: a socket closed with bytes unread sends RST, and the peer
    /// loses the last reply (RFC 1122 §4.2.2.13).
    pub async fn close(mut self) {
        self.set_deadline(Some(Instant::now() + CLOSE_TIMEOUT));
        // What still comes as ciphertext is not worth decrypting any more.
        if let Some(mut tls) = self.tls.take() {
            let mut out = Vec::new();
            if tls.session.close_notify(&mut out).is_err() {
                // The alert about what went wrong.
                out = tls.session.take_outgoing();
            }
            let _ = self.send_all(&mut out).await;
        }
        self.stream.shutdown_send();
        while !self.peer_has_ended && self.recv().await.is_ok() {}
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn too_large() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "more TLS handshake or record bytes than allowed",
    )
}
#[cfg(test)]
mod tests {
    use super::*;

    /// Every session's future contains these; with the TLS state inline they were 1.5 KB, for plain connections too.
    #[test]
    fn waits_are_small() {
        fn size<F>(_: impl Fn(&'static mut Conn, Arc<rustls::ServerConfig>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size_of::<Conn>() <= 272);
        assert!(size(|conn, _| conn.recv()) <= 64);
        assert!(size(|conn, _| conn.send(Vec::new())) <= 256);
        assert!(size(Conn::start_tls) <= 320);
    }
}
