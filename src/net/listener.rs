//! Listening sockets: one per core and address, bound before any executor exists.
//!
//! Invariants: one long-lived accept task per listener; accepted sockets inherit TCP_NODELAY and keep-alive from the
//! listening one; nothing accepted is lost, at the stop neither.
//! Limits: [`ACCEPT_BACKLOG`], [`ACCEPT_BATCH`] accepted before other tasks are let in.
//! Failure: without descriptors the listener sheds what waits (accept and close, with a descriptor kept in reserve) and backs
//! off; errors about single connections are skipped; a failed bind says what the admin can do.
//! Traps of glommio met here: its `bind` has a fixed backlog and panics on a bad address, so sockets are made here; dropping a
//! pending `accept()` leaks the accepted descriptor, so the accept is never dropped but ended by `shutdown(2)`; a listener
//! shared between executors races into a blocking accept, hence SO_REUSEPORT; an EMFILE comes straight back, hence the
//! timer; closing a SO_REUSEPORT listener resets what waits in its backlog, so [`Listener::stop`] accepts that first.
//! Not here: how many connections are allowed (`node::connections`).

use super::conn::Conn;
use super::meters::NetMeters;
use super::ring::Acceptor;
use super::stream::{Backend, Stream};
use crate::runtime;
use glommio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// Connections the kernel completes before they are accepted (cut to net.core.somaxconn, 4,096 by default).
pub const ACCEPT_BACKLOG: i32 = 4096;

/// Connections accepted in one go before the reactor is visited: 64 take about 1 ms.
const ACCEPT_BATCH: usize = 64;

/// Wait when descriptors or memory have run out. Long enough not to spin, short enough not to be noticed.
pub(super) const EXHAUSTED_BACKOFF: Duration = Duration::from_millis(50);

/// Connections shed in one go with the reserve descriptor.
const SHED_BATCH: usize = 64;

/// Keep-alive for idle connections (IMAP IDLE lasts 29 min): a peer that vanished is noticed after 5 + 4 × 1 min, before
/// the usual NAT forgets the connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_PROBES: u32 = 4;

/// A bound, listening socket, not yet on any executor. Send.
#[derive(Debug)]
pub struct BoundListener {
    socket: Socket,
    local: SocketAddr,
}

impl BoundListener {
    /// Binds with SO_REUSEPORT and a named backlog. Port 0: a free one. Bind one per core to the same address.
    /// An IPv6 address takes IPv6 only, so that `0.0.0.0` and `[::]` can be listened on side by side.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::listen(address).map_err(|error| explain(address, &error))
    }

    /// One listener per core on `address`, the free port of port 0 being the same for all. Unlike [`BoundListener::bind`] it
    /// notices another process that listens there, even one that allows sharing.
    pub fn bind_all(address: SocketAddr, cores: usize) -> io::Result<Vec<Self>> {
        if address.port() != 0 {
            // SO_REUSEPORT would let a second server of the same user start and take a share of the connections.
            let probe = new_socket(address).map_err(|error| explain(address, &error))?;
            probe
                .bind(&address.into())
                .map_err(|error| explain(address, &error))?;
        }
        let mut all = Vec::with_capacity(cores);
        let mut address = address;
        for _ in 0..cores {
            let bound = Self::bind(address)?;
            address = bound.local;
            all.push(bound);
        }
        Ok(all)
    }

    fn listen(address: SocketAddr) -> io::Result<Self> {
        let socket = new_socket(address)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEPALIVE_IDLE)
                .with_interval(KEEPALIVE_INTERVAL)
                .with_retries(KEEPALIVE_PROBES),
        )?;
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_BACKLOG)?;
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self { socket, local })
    }

    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }
}

/// A listening socket for the control thread's runtime, which accepts by itself: non-blocking, one for all cores, and with the
/// same words for what goes wrong. An IPv6 address takes IPv6 only here too.
pub fn bind_for_control(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let bind = || {
        let socket = new_socket(address)?;
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    bind().map_err(|error: io::Error| explain(address, &error))
}

/// Whether a server could listen on `address`, as [`BoundListener::bind_all`] finds out: bound, and let go at once.
pub fn try_bind(address: SocketAddr) -> io::Result<()> {
    let bind = || new_socket(address)?.bind(&address.into());
    bind().map_err(|error| explain(address, &error))
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The same error, with the address and what to do about it.
fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in the unit), or a lower \
             net.ipv4.ip_unprivileged_port_start"
        }
        _ => "see bind(2) for this error",
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen on {address} ({error}): {hint}"),
    )
}

/// A listener on this core.
pub struct Listener {
    socket: Socket,
    local: SocketAddr,
    /// `None`: glommio accepts.
    ring: Option<Acceptor>,
    is_stopping: Cell<bool>,
    /// Accepted by [`Listener::stop`], still to be served.
    accepted_late: RefCell<Vec<OwnedFd>>,
    /// Given up for a moment when there is no other descriptor left.
    reserve: RefCell<Option<File>>,
}

impl Listener {
    /// On this core, whose executor runs. Its connections have the same back end.
    pub fn new(bound: BoundListener, backend: Backend) -> io::Result<Self> {
        Ok(Self {
            ring: backend.ring().map(Acceptor::new).transpose()?,
            socket: bound.socket,
            local: bound.local,
            is_stopping: Cell::new(false),
            accepted_late: RefCell::default(),
            reserve: RefCell::new(Some(open_reserve()?)),
        })
    }

    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Accepts until stopped; backs off on EMFILE with a reserve descriptor; never leaks an accepted descriptor.
    /// Calls `serve` for each connection (which spawns and returns at once). Must not be dropped while it waits.
    pub async fn accept_all(&self, serve: impl Fn(Conn)) {
        if let Some(acceptor) = &self.ring {
            self.accept_on_ring(acceptor, &serve).await;
        } else if let Some(acceptor) = self.acceptor().await {
            self.accept_on_glommio(&acceptor, &serve).await;
        }
        for fd in self.accepted_late.take() {
            self.serve_fd(fd, &serve);
        }
    }

    fn serve_fd(&self, fd: OwnedFd, serve: &impl Fn(Conn)) {
        if let Ok(stream) = Stream::from_fd(fd, self.ring.as_ref().map(Acceptor::ring)) {
            serve_new(stream, serve);
        }
    }

    async fn accept_on_ring(&self, acceptor: &Acceptor, serve: &impl Fn(Conn)) {
        let mut in_a_row = 0;
        let mut is_exhausted = false;
        // What was accepted before the stop still comes, and then the error by which the stop ended the accept.
        while let Some(accepted) = acceptor.next(&self.socket, || !self.is_stopping.get()).await {
            in_a_row += 1;
            if in_a_row % ACCEPT_BATCH == 0 {
                runtime::breathe().await;
            }
            match accepted {
                Ok(fd) => {
                    is_exhausted = false;
                    self.serve_fd(fd, serve);
                }
                Err(error) => self.endure(&error, &mut is_exhausted).await,
            }
        }
    }

    async fn accept_on_glommio(&self, acceptor: &TcpListener, serve: &impl Fn(Conn)) {
        let mut in_a_row = 0;
        let mut is_exhausted = false;
        while !self.is_stopping.get() {
            in_a_row += 1;
            if in_a_row % ACCEPT_BATCH == 0 {
                runtime::breathe().await;
            }
            let error = match acceptor.shared_accept().await {
                Ok(accepted) => {
                    is_exhausted = false;
                    let stream = accepted.bind_to_executor();
                    set_cloexec(&stream);
                    serve_new(Stream::new(stream), serve);
                    continue;
                }
                Err(error) => io::Error::from(error),
            };
            self.endure(&error, &mut is_exhausted).await;
        }
    }

    /// Sheds and backs off, unless the error says nothing about the next connection.
    async fn endure(&self, error: &io::Error, is_exhausted: &mut bool) {
        if is_about_one_connection(error) || self.is_stopping.get() {
            return;
        }
        if !*is_exhausted {
            tracing::warn!(local = %self.local, %error, "cannot accept connections for now");
        }
        *is_exhausted = true;
        self.shed();
        runtime::sleep(EXHAUSTED_BACKOFF).await;
    }

    /// glommio's end of the socket. Without a descriptor for it the attempt is repeated until stopped.
    async fn acceptor(&self) -> Option<TcpListener> {
        while !self.is_stopping.get() {
            match self.socket.try_clone() {
                // SAFETY: the duplicate is a listening socket and its ownership passes to the listener.
                Ok(socket) => return Some(unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) }),
                Err(error) => {
                    tracing::warn!(local = %self.local, %error, "cannot accept connections for now");
                    runtime::sleep(EXHAUSTED_BACKOFF).await;
                }
            }
        }
        None
    }

    /// Ends `accept_all` after what waits in the backlog was accepted.
    pub fn stop(&self) {
        if self.is_stopping.replace(true) {
            return;
        }
        while let Some(fd) = self.accept_now() {
            self.accepted_late.borrow_mut().push(fd);
        }
        // Wakes the accept that waits, with an error or with a connection that came meanwhile.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Accepts what waits, or nothing.
    fn accept_now(&self) -> Option<OwnedFd> {
        // The flag is shared with glommio's duplicate, where it would turn waiting accepts into errors: so only for now.
        self.socket.set_nonblocking(true).ok()?;
        let accepted = self.socket.accept();
        let _ = self.socket.set_nonblocking(false);
        accepted.ok().map(|(socket, _)| socket.into())
    }

    /// Accepts and closes some of what waits, so that peers learn at once instead of waiting in the backlog.
    fn shed(&self) {
        let mut shed = 0;
        while shed < SHED_BATCH {
            drop(self.reserve.take());
            let accepted = self.accept_now();
            let is_done = accepted.is_none();
            drop(accepted);
            self.reserve.replace(open_reserve().ok());
            if is_done {
                break;
            }
            shed += 1;
        }
        NetMeters::count(|meters| meters.shed.add(shed as u64));
        tracing::debug!(shed, "connections closed for want of descriptors");
    }
}

fn serve_new(stream: Stream, serve: &impl Fn(Conn)) {
    // A peer that is gone already has no address any more, and nothing to be served.
    if let Ok(conn) = Conn::new(stream) {
        NetMeters::count(|meters| meters.accepted.add(1));
        runtime::contained("serve a connection", || serve(conn));
    }
}

fn open_reserve() -> io::Result<File> {
    File::open("/dev/null")
}

/// glommio accepts without SOCK_CLOEXEC.
fn set_cloexec(stream: &impl AsRawFd) {
    // SAFETY: the descriptor is open for the time of the call, which changes only its flag.
    unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Errors of accept(2) that the next connection need not meet: network errors already pending on the new socket
/// (accept(2), "Error handling"), a firewall's refusal, a peer that has left.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPROTO
                | libc::EPERM
                | libc::EINTR
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ETIMEDOUT
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_listened_on_side_by_side_by_everything() {
        // `0.0.0.0:443` and `[::]:443` are the defaults; a socket that takes both families would keep the other from its port.
        let address = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
        let Ok(control) = bind_for_control(address) else {
            return; // A kernel without IPv6.
        };
        let mail = BoundListener::bind(address).unwrap();
        assert!(Socket::from(control).only_v6().unwrap());
        assert!(mail.socket.only_v6().unwrap());
    }

    #[test]
    fn accepted_sockets_inherit_what_the_listener_was_given() {
        let bound = BoundListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = std::net::TcpStream::connect(bound.local()).unwrap();
        let (accepted, _) = bound.socket.accept().unwrap();
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    }
}
