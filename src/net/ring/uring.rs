//! The kernel's side of the ring: requests, completions, and every byte of memory the kernel may touch.
//!
//! Owns: the ring, the buffers provided for receives, the bytes being sent. All `unsafe` of the back end is here.
//! Invariants: memory named in a request is owned here until the request's completion was reaped; a buffer the kernel has
//! filled leaves as a [`BufLease`] without a copy and another one takes its place at once, so leases held by message bodies
//! never starve the ring; the ring is closed before any of its memory is freed.
//! Limits: [`PROVIDED_BUFFERS`], [`SUBMISSIONS`], [`COMPLETIONS`] (beyond it the kernel keeps completions until asked).
//! Failure: a kernel that lacks something of this is told by [`Uring::new`]; requests that cannot be submitted now are kept.
//! Not here: who waits for what (`sockets`), when to enter the kernel (`driver`).

use crate::base::buffer::{BufLease, RECEIVE_BUFFER_BYTES};
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Buffers the kernel has to receive into, a power of two. Each is replaced when its completion is reaped, so this bounds
/// only what arrives in one turn; receives beyond it are repeated in the next. They are used round robin: more would cost
/// resident memory (1 MiB a core) and cache.
pub(super) const PROVIDED_BUFFERS: u16 = 64;

/// Requests prepared before the kernel must be entered.
const SUBMISSIONS: u32 = 512;

/// Completions the kernel writes before it keeps them to itself.
const COMPLETIONS: u32 = 4096;

/// The one group of provided buffers.
const BUFFER_GROUP: u16 = 0;

/// Longest wait for the last completions when the ring ends. Requests on sockets are cancelled at once; memory of one that
/// is not is never freed.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Pieces of deferred work the kernel runs each time it is entered, at least, if there are so many; a request under way has one
/// at most (IO_LOCAL_TW_DEFAULT_MAX of Linux 6.18; older ones run all).
const DEFERRED_A_TURN: usize = 20;

/// IORING_ENTER_GETEVENTS: run deferred work, too.
const ENTER_GETEVENTS: u32 = 1;

/// IORING_RECVSEND_POLL_FIRST: the socket is known to be empty, so wait before the first attempt.
const POLL_FIRST: u16 = 1;

/// What a request is; in the upper half of its user data, above the key of what it is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Receive = 1,
    Send = 2,
    Accept = 3,
    Cancel = 4,
    CancelAll = 5,
    Call = 6,
}

fn user_data(kind: Kind, key: u32) -> u64 {
    ((kind as u64) << 32) | u64::from(key)
}

/// A request's end, or one connection of an accept that goes on.
#[derive(Debug)]
pub(super) struct Completion {
    /// What the request was made with.
    pub(super) key: u32,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// An empty lease is the end of the stream.
    Received {
        result: io::Result<BufLease>,
        /// More bytes wait in the socket.
        has_more: bool,
    },
    /// With the bytes given to [`Uring::send`].
    Sent {
        result: io::Result<usize>,
        bytes: Vec<u8>,
    },
    Accepted {
        result: io::Result<OwnedFd>,
        /// The accept has not ended.
        goes_on: bool,
    },
    Cancelled,
}

pub(super) struct Uring {
    // Dropped first: fields are dropped in order, and the kernel must not know memory that is freed.
    ring: IoUring,
    buffers: ProvidedBuffers,
    /// Bytes being sent, by key; empty where nothing is.
    sending: Vec<Vec<u8>>,
    /// Requests for which the queue had no room.
    backlog: VecDeque<squeue::Entry>,
    /// Requests whose last completion has not been reaped.
    in_flight: usize,
    /// Where the read of a call from outside puts its eight bytes.
    call: Box<u64>,
    /// That read is under way.
    awaits_call: bool,
}

impl Uring {
    /// A ring of the calling thread that signals `bell`. An error says what the kernel lacks.
    pub(super) fn new(bell: BorrowedFd<'_>) -> io::Result<Self> {
        Self::with_deferred_work(bell, true).or_else(|error| match error.raw_os_error() {
            // Before 6.1.
            Some(libc::EINVAL) => Self::with_deferred_work(bell, false),
            _ => Err(error),
        })
    }

    pub(super) fn with_deferred_work(bell: BorrowedFd<'_>, deferred: bool) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .setup_taskrun_flag()
            .dontfork();
        if deferred {
            builder.setup_single_issuer().setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        let ring: IoUring = builder.build(SUBMISSIONS)?;
        let mut supported = Probe::new();
        ring.submitter().register_probe(&mut supported)?;
        let needed = [
            opcode::Recv::CODE,
            opcode::Send::CODE,
            opcode::AcceptMulti::CODE,
            opcode::AsyncCancel::CODE,
        ];
        // Kernels without NODROP lose completions; all with buffer rings have it.
        if !needed.into_iter().all(|code| supported.is_supported(code)) || !ring.params().is_feature_nodrop()
        {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let buffers = ProvidedBuffers::new()?;
        // SAFETY: the mapping holds PROVIDED_BUFFERS entries and outlives the ring (order of fields, and `Drop`).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffers.entries as u64,
                PROVIDED_BUFFERS,
                BUFFER_GROUP,
                0,
            )?;
        }
        ring.submitter().register_eventfd(bell.as_raw_fd())?;
        let mut uring = Self {
            ring,
            buffers,
            sending: Vec::new(),
            backlog: VecDeque::new(),
            in_flight: 0,
            call: Box::default(),
            awaits_call: false,
        };
        uring.set_bell(false);
        Ok(uring)
    }

    /// Receives into a provided buffer, once. `likely_empty`: no byte is expected to be there already.
    pub(super) fn recv(&mut self, key: u32, fd: BorrowedFd<'_>, likely_empty: bool) {
        let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), ptr::null_mut(), 0)
            .buf_group(BUFFER_GROUP)
            .ioprio(if likely_empty { POLL_FIRST } else { 0 })
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(user_data(Kind::Receive, key));
        // SAFETY: the request names no memory but the group of buffers, which outlives the ring.
        unsafe { self.push(entry) };
    }

    /// Sends `bytes[from..to]`, all of it unless there is an error. One send a key at a time.
    pub(super) fn send(&mut self, key: u32, fd: BorrowedFd<'_>, bytes: Vec<u8>, from: usize, to: usize) {
        let index = key as usize;
        if self.sending.len() <= index {
            self.sending.resize_with(index + 1, Vec::new);
        }
        assert!(self.sending[index].is_empty(), "one send at a time");
        let part = &bytes[from..to];
        let entry = opcode::Send::new(
            Fd(fd.as_raw_fd()),
            part.as_ptr(),
            u32::try_from(part.len()).unwrap_or(u32::MAX),
        )
        .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
        .build()
        .user_data(user_data(Kind::Send, key));
        self.sending[index] = bytes;
        // SAFETY: the kernel reads `part` until this request's completion. Its memory belongs to `sending`, whose vectors
        // nobody changes and which gives this one back only when that completion is reaped.
        unsafe { self.push(entry) };
    }

    /// Accepts until an error.
    pub(super) fn accept(&mut self, key: u32, fd: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(Fd(fd.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(Kind::Accept, key));
        // SAFETY: the request names no memory.
        unsafe { self.push(entry) };
    }

    /// Cancels the receive of `key`; completes as `Cancelled`, whether there was one or not.
    pub(super) fn cancel_recv(&mut self, key: u32) {
        self.cancel(key, Kind::Receive);
    }

    pub(super) fn cancel_send(&mut self, key: u32) {
        self.cancel(key, Kind::Send);
    }

    fn cancel(&mut self, key: u32, kind: Kind) {
        let entry = opcode::AsyncCancel::new(user_data(kind, key))
            .build()
            .user_data(user_data(Kind::Cancel, key));
        // SAFETY: the request names no memory.
        unsafe { self.push(entry) };
    }

    /// # Safety
    /// Memory named by `entry` stays where it is, unchanged, until its completion was reaped.
    unsafe fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        // Behind the backlog, so that requests keep their order.
        if self.backlog.is_empty() {
            // SAFETY: as promised by the caller.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // An error shows as a queue that is still full.
            let _ = self.submit(0, 0);
            // SAFETY: as promised by the caller.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    fn push_backlog(&mut self) {
        let mut submission = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: as promised to `push`, which put it here.
            if unsafe { submission.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn submit(&mut self, wait_for: u32, flags: u32) -> io::Result<()> {
        let waiting = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
        // SAFETY: plain counts and flags; no argument is passed.
        let entered = unsafe {
            self.ring
                .submitter()
                .enter::<libc::sigset_t>(waiting, wait_for, flags, None)
        };
        match entered {
            // Nothing is lost: what was not submitted still waits.
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
            entered => entered.map(drop),
        }
    }

    /// Submits what waits and runs what the kernel deferred to this thread; waits for `wait_for` completions.
    pub(super) fn enter(&mut self, wait_for: u32) -> io::Result<()> {
        self.push_backlog();
        self.submit(wait_for, ENTER_GETEVENTS)
    }

    /// Submits what waits, then sleeps until something completes, `event` (an eventfd) is written to, or `longest` is over.
    pub(super) fn nap(&mut self, event: BorrowedFd<'_>, longest: Duration) -> io::Result<()> {
        if !self.awaits_call {
            let entry = opcode::Read::new(
                Fd(event.as_raw_fd()),
                ptr::from_mut(&mut *self.call).cast(),
                size_of::<u64>() as u32,
            )
            .build()
            .user_data(user_data(Kind::Call, 0));
            self.awaits_call = true;
            // SAFETY: `call` is touched by nobody else and lives until the ring has ended (order of fields, and `Drop`).
            unsafe { self.push(entry) };
        }
        self.push_backlog();
        let longest = Timespec::from(longest);
        let wait = SubmitArgs::new().timespec(&longest);
        match self.ring.submitter().submit_with_args(1, &wait) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => Ok(()),
            entered => entered.map(drop),
        }
    }

    /// Is there nothing to submit, to run or to reap? With the bell on, what comes later rings it.
    pub(super) fn is_at_rest(&mut self) -> bool {
        self.has_run_deferred() && !self.must_submit() && self.ring.completion().is_empty()
    }

    /// Runs what the kernel deferred to this thread before now, and tells whether all of that is done and completed nothing.
    ///
    /// The kernel's mark alone does not tell: it is set after the work was queued, so work that ran in between leaves it behind
    /// until more work comes, which may be never. Entering as often as it takes to run all there can be does.
    fn has_run_deferred(&mut self) -> bool {
        for _ in 0..=self.in_flight / DEFERRED_A_TURN + 1 {
            if !self.ring.submission().taskrun() {
                return true;
            }
            if self.submit(0, ENTER_GETEVENTS).is_err() || !self.ring.completion().is_empty() {
                return false;
            }
        }
        true
    }

    /// Is there anything to enter the kernel for?
    pub(super) fn must_enter(&mut self) -> bool {
        self.must_submit() || self.ring.submission().taskrun()
    }

    fn must_submit(&mut self) -> bool {
        let submission = self.ring.submission();
        !submission.is_empty() || submission.cq_overflow() || !self.backlog.is_empty()
    }

    /// Whether a completion, or work deferred to this thread, rings the bell.
    pub(super) fn set_bell(&mut self, rings: bool) {
        let completion = self.ring.completion();
        if rings {
            completion.enable_eventfd();
        } else {
            completion.disable_eventfd();
        }
        // The kernel sees this before what is looked at next: whatever comes after that look rings.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Appends what has completed.
    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) {
        let Self {
            ring,
            buffers,
            sending,
            in_flight,
            awaits_call,
            ..
        } = self;
        for entry in ring.completion() {
            if !cqueue::more(entry.flags()) {
                *in_flight -= 1;
            }
            *awaits_call &= entry.user_data() != user_data(Kind::Call, 0);
            if let Some(completion) = complete(&entry, buffers, sending) {
                completions.push(completion);
            }
        }
        buffers.publish();
    }

    /// Cancels everything and waits for the last completion. `false`: some did not come.
    fn drain(&mut self) -> bool {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any().all())
            .build()
            .user_data(user_data(Kind::CancelAll, 0));
        // SAFETY: the request names no memory.
        unsafe { self.push(entry) };
        let until = Instant::now() + END_PATIENCE;
        let tick = Timespec::from(Duration::from_millis(10));
        let mut ended = Vec::new();
        while self.in_flight > 0 {
            self.push_backlog();
            let wait = SubmitArgs::new().timespec(&tick);
            // ETIME and EINTR are looked at by their effect.
            let _ = self.ring.submitter().submit_with_args(1, &wait);
            self.reap(&mut ended);
            // Accepted connections are closed here.
            ended.clear();
            if Instant::now() > until {
                return false;
            }
        }
        true
    }
}

/// What `entry` says. Memory of the request is given back by this.
fn complete(
    entry: &cqueue::Entry,
    buffers: &mut ProvidedBuffers,
    sending: &mut [Vec<u8>],
) -> Option<Completion> {
    const KEY_MASK: u64 = u32::MAX as u64;
    let key = (entry.user_data() & KEY_MASK) as u32;
    let count = entry.result();
    let result = usize::try_from(count).map_err(|_| io::Error::from_raw_os_error(-count));
    let kind = entry.user_data() >> 32;
    let outcome = if kind == Kind::Receive as u64 {
        let filled = result.as_ref().copied().unwrap_or(0);
        let lease = cqueue::buffer_select(entry.flags()).map(|buffer| buffers.take(buffer, filled));
        Outcome::Received {
            // At the end of the stream the kernel need not use up a buffer.
            result: result.map(|_| lease.unwrap_or_else(BufLease::take)),
            has_more: cqueue::sock_nonempty(entry.flags()),
        }
    } else if kind == Kind::Send as u64 {
        Outcome::Sent {
            result,
            bytes: mem::take(&mut sending[key as usize]),
        }
    } else if kind == Kind::Accept as u64 {
        Outcome::Accepted {
            // SAFETY: the kernel has just made this descriptor for this ring; nobody else knows it.
            result: result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
            goes_on: cqueue::more(entry.flags()),
        }
    } else if kind == Kind::Cancel as u64 {
        Outcome::Cancelled
    } else {
        return None;
    };
    Some(Completion { key, outcome })
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.drain() {
            return;
        }
        // The kernel may still write there.
        tracing::error!(
            requests = self.in_flight,
            "network requests did not end; their memory is left alone"
        );
        mem::forget(mem::take(&mut self.sending));
        mem::forget(mem::take(&mut self.call));
        self.buffers.is_left_alone = true;
    }
}

/// Buffers that belong to the kernel, and the table in which it finds them.
struct ProvidedBuffers {
    /// PROVIDED_BUFFERS entries, page-aligned. The kernel reads entries up to the tail that [`Self::publish`] wrote.
    entries: *mut BufRingEntry,
    /// The memory at each entry's buffer number, from `Box::into_raw`: RECEIVE_BUFFER_BYTES that only the kernel touches.
    memory: Vec<*mut u8>,
    tail: u16,
    is_left_alone: bool,
}

const TABLE_BYTES: usize = PROVIDED_BUFFERS as usize * size_of::<BufRingEntry>();

impl ProvidedBuffers {
    fn new() -> io::Result<Self> {
        // SAFETY: a new anonymous mapping; touches nothing that exists.
        let table = unsafe {
            libc::mmap(
                ptr::null_mut(),
                TABLE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if table == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut buffers = Self {
            entries: table.cast(),
            memory: vec![ptr::null_mut(); usize::from(PROVIDED_BUFFERS)],
            tail: 0,
            is_left_alone: false,
        };
        for buffer in 0..PROVIDED_BUFFERS {
            buffers.provide(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Gives the kernel a fresh buffer of number `buffer`, once published.
    fn provide(&mut self, buffer: u16) {
        let memory = Box::into_raw(BufLease::take().into_memory());
        let slot = usize::from(self.tail & (PROVIDED_BUFFERS - 1));
        self.memory[usize::from(buffer)] = memory.cast();
        // SAFETY: `slot` is within the table. The kernel does not read this entry before `publish`, because as many entries
        // are in use as there are buffers, and this one's buffer was just taken back. The tail, which lies in the unused
        // bytes of entry 0, is not touched.
        unsafe {
            let entry = &mut *self.entries.add(slot);
            entry.set_addr(memory.cast::<u8>() as u64);
            entry.set_len(RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was provided.
    fn publish(&mut self) {
        // SAFETY: the tail lies within the table, aligned for u16; the kernel only reads it, and everything else of the
        // entries was written before (release).
        unsafe {
            let tail = BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    /// The buffer the kernel has filled and completed with; another takes its place.
    fn take(&mut self, buffer: u16, filled: usize) -> BufLease {
        let memory = mem::replace(&mut self.memory[usize::from(buffer)], ptr::null_mut());
        assert!(!memory.is_null(), "a buffer completes once");
        let memory = ptr::slice_from_raw_parts_mut(memory, RECEIVE_BUFFER_BYTES);
        // SAFETY: from `Box::into_raw` in `provide`, of this size, and taken once. The kernel is done with it: the completion
        // that named it was reaped, and it stands in no published entry any more.
        let memory = unsafe { Box::from_raw(memory) };
        self.provide(buffer);
        BufLease::from_memory(memory, filled)
    }
}

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        if self.is_left_alone {
            return;
        }
        for memory in self.memory.drain(..).filter(|memory| !memory.is_null()) {
            let memory = ptr::slice_from_raw_parts_mut(memory, RECEIVE_BUFFER_BYTES);
            // SAFETY: from `Box::into_raw` in `provide`. Every request has completed, or none was ever made, and the ring
            // is closed: the kernel writes there no more.
            drop(BufLease::from_memory(unsafe { Box::from_raw(memory) }, 0));
        }
        // SAFETY: mapped in `new` with this size; no reference into it is left and the ring that knew it is closed.
        unsafe { libc::munmap(self.entries.cast(), TABLE_BYTES) };
    }
}

/// glommio's view of a descriptor, which must not close it: the ring does.
pub(super) fn file(fd: &OwnedFd) -> mem::ManuallyDrop<glommio::io::BufferedFile> {
    let fd = fd.as_raw_fd();
    // SAFETY: never dropped, so it never closes the descriptor; it is read only by the driver, which nobody
    // polls any more when the ring, its owner, ends.
    mem::ManuallyDrop::new(unsafe { glommio::io::BufferedFile::from_raw_fd(fd) })
}
