//! The kernel's readiness queue and non-blocking TCP, in as few system calls as a generator can do with.
//!
//! Owns: the epoll descriptor, and how a socket is opened without waiting for its peer. Level-triggered, so a session
//! that leaves bytes in the socket is told again.
//! Not here: who owns the sockets and what is said on them (`driver`).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Events taken from the kernel in one call: enough that a call is shared by many sockets, small enough to stay in L1.
const EVENTS_PER_WAIT: usize = 512;

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    ReadWrite,
}

impl Interest {
    fn bits(self) -> u32 {
        match self {
            Interest::Read => (libc::EPOLLIN | libc::EPOLLRDHUP) as u32,
            Interest::ReadWrite => (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLOUT) as u32,
        }
    }
}

/// One ready socket.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub token: usize,
    pub is_writable: bool,
    pub is_readable: bool,
}

/// An epoll instance and the buffer its events arrive in.
pub struct Epoll {
    descriptor: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: takes no pointer; a non-negative result is a descriptor nobody else owns.
        let raw = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        check(raw)?;
        // SAFETY: `raw` was just made and is owned by nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Epoll {
            descriptor,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT],
        })
    }

    pub fn add(&self, stream: &TcpStream, token: usize, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, stream, token, interest)
    }

    pub fn change(&self, stream: &TcpStream, token: usize, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, stream, token, interest)
    }

    pub fn remove(&self, stream: &TcpStream) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, stream, 0, Interest::Read)
    }

    fn control(
        &self,
        operation: libc::c_int,
        stream: &TcpStream,
        token: usize,
        interest: Interest,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.bits(),
            u64: token as u64,
        };
        // SAFETY: both descriptors are open for the length of the call; the kernel copies `event`.
        check(unsafe {
            libc::epoll_ctl(
                self.descriptor.as_raw_fd(),
                operation,
                stream.as_raw_fd(),
                &mut event,
            )
        })
        .map(drop)
    }

    /// Waits up to `timeout` (to the nanosecond: an open loop is paced by it) and adds what is ready to `ready`.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        let limit = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        };
        // SAFETY: `events` has EVENTS_PER_WAIT elements and outlives the call; `limit` too; no signal mask is given.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.descriptor.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_PER_WAIT as libc::c_int,
                &limit as *const libc::timespec,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(())
            } else {
                Err(error)
            };
        }
        ready.extend(self.events[..count as usize].iter().map(|event| Ready {
            token: event.u64 as usize,
            is_writable: event.events & libc::EPOLLOUT as u32 != 0,
            // Errors and hang-ups are learnt by reading.
            is_readable: event.events & !(libc::EPOLLOUT as u32) != 0,
        }));
        Ok(())
    }
}

/// Starts a TCP connection and returns at once. It is made when the socket becomes writable; a refusal shows then.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: takes no pointer.
    let raw = unsafe {
        libc::socket(
            family,
            libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        )
    };
    check(raw)?;
    // SAFETY: `raw` was just made and is owned by nobody else.
    let stream = unsafe { TcpStream::from_raw_fd(raw) };
    stream.set_nodelay(true)?;
    let outcome = match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: `name` is a whole sockaddr_in and its size is given; the kernel copies it.
            unsafe {
                libc::connect(
                    raw,
                    (&raw const name).cast(),
                    size_of_val(&name) as libc::socklen_t,
                )
            }
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: `name` is a whole sockaddr_in6 and its size is given; the kernel copies it.
            unsafe {
                libc::connect(
                    raw,
                    (&raw const name).cast(),
                    size_of_val(&name) as libc::socklen_t,
                )
            }
        }
    };
    match check(outcome) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(stream),
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
