//! A thread beside a core that writes and then syncs for it, both in one go.
//!
//! Why: glommio hands what a task queued to the kernel when no task of the core can run any more, and a sync can only be
//! queued when the core has seen the end of its write. Under load a group so waited twice for everybody whom the group
//! before it woke, the disk idle meanwhile. The thread begins at once and needs the core again when all is durable.
//! Invariants: a sync begins when its write is over and was right (DURABILITY rule 1); orders are carried out one after the
//! other; memory and file outlive an order, also when nobody waits for it any more.
//! Limits: an order for each that waits: one, for a core has one log.
//! Failure: an error of either call is the answer, and nothing is tried again but a write that a signal kept from beginning.
//! Without a thread (the machine refuses one) the file writes and syncs through glommio.
//! Not here: what is written, and when (`store::writer`).

use crate::runtime::from_outside;
use glommio::io::{DmaBuffer, DmaFile};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Bytes of the thread's stack: it makes system calls and keeps nothing.
const STACK_BYTES: usize = 64 * 1024;

/// The thread. It ends when this is dropped and what was ordered is done.
#[derive(Debug)]
pub(super) struct Scribe {
    orders: mpsc::Sender<Order>,
}

/// What came of an order.
#[derive(Debug)]
pub(super) struct Done {
    /// Bytes written.
    pub write: io::Result<usize>,
    pub write_time: Duration,
    /// `None`: the write did not go well.
    pub sync: Option<io::Result<()>>,
    pub sync_time: Duration,
}

#[derive(Debug)]
struct Order {
    file: RawFd,
    memory: *const u8,
    bytes: usize,
    position: u64,
    answer: oneshot::Sender<Done>,
}

// SAFETY: the memory is only read, by the kernel, and `Lent` keeps it and the descriptor until the answer is there, for ever if
// nobody waits for that. Nobody writes to it meanwhile: it is shared by `Rc`, which gives no `&mut`.
unsafe impl Send for Order {}

/// What an order refers to. Never given back if it is dropped while the thread may use it.
struct Lent(Option<(Rc<DmaFile>, Rc<DmaBuffer>)>);

impl Drop for Lent {
    fn drop(&mut self) {
        // A core ends, or a task was given up: rather a leak than memory that the kernel reads while another owns it.
        std::mem::forget(self.0.take());
    }
}

impl Scribe {
    pub fn start() -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("log".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                leave_core();
                for order in waiting {
                    // Whoever waited may be gone.
                    let _ =
                        order
                            .answer
                            .send(carry_out(order.file, order.memory, order.bytes, order.position));
                }
            })?;
        Ok(Self { orders })
    }

    /// Writes all of `buffer` at `position`, then syncs the file.
    pub async fn write_and_sync(
        &self,
        file: Rc<DmaFile>,
        buffer: Rc<DmaBuffer>,
        position: u64,
    ) -> io::Result<Done> {
        let (answer, answered) = oneshot::channel();
        let order = Order {
            file: file.as_raw_fd(),
            memory: buffer.as_bytes().as_ptr(),
            bytes: buffer.len(),
            position,
            answer,
        };
        let mut lent = Lent(Some((file, buffer)));
        let gone = || io::Error::other("the thread that writes the log has ended");
        self.orders.send(order).map_err(|_| gone())?;
        let done = from_outside(answered).await.map_err(|_| gone())?;
        drop(lent.0.take());
        Ok(done)
    }
}

fn carry_out(file: RawFd, memory: *const u8, bytes: usize, position: u64) -> Done {
    let began = Instant::now();
    let write = write(file, memory, bytes, position);
    let write_time = began.elapsed();
    let began = Instant::now();
    let sync = matches!(write, Ok(written) if written == bytes).then(|| sync(file));
    Done {
        write,
        write_time,
        sync,
        sync_time: began.elapsed(),
    }
}

fn write(file: RawFd, memory: *const u8, bytes: usize, position: u64) -> io::Result<usize> {
    let position =
        libc::off_t::try_from(position).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        // SAFETY: see `Order`: `bytes` bytes from `memory` on are there, and the descriptor is open, until the answer is given.
        let written = unsafe { libc::pwrite(file, memory.cast(), bytes, position) };
        match usize::try_from(written) {
            Ok(written) => return Ok(written),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn sync(file: RawFd) -> io::Result<()> {
    #[cfg(feature = "planted-bugs")]
    if super::planted::skips_sync() {
        return Ok(());
    }
    // SAFETY: the descriptor is open, see `Order`; the call touches no memory.
    match unsafe { libc::fdatasync(file) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A thread inherits the one CPU of the core that made it. This one goes wherever the process may, which is where its first
/// thread may. On an error it stays, which is slower and no more.
fn leave_core() {
    let Ok(process) = libc::pid_t::try_from(std::process::id()) else {
        return;
    };
    // SAFETY: `cpu_set_t` is plain bits, all-zero is the empty set; the calls write and read at most the size given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(process, size_of::<libc::cpu_set_t>(), &raw mut set) == 0 {
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
    }
}
