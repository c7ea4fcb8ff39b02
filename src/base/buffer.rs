//! Receive buffers: leased from the core's pool while bytes are at hand, back on drop.
//!
//! Invariants: a lease belongs to whoever holds it and may travel to another core (its memory then joins that core's
//! pool); a pool holds at most [`POOLED_BUFFERS_MAX`] free buffers, the rest goes back to the allocator; an idle
//! connection holds no lease; what a burst left in a pool is freed by [`trim`].
//! A body keeps the buffers it arrived in: [`BufLease::freeze`] turns a lease into [`Bytes`] (one small allocation for
//! the reference count), whose slices are the message until the store copies them into its write buffer.

use super::meter::{Counter, Gauge};
use super::spare::Spare;
use bytes::Bytes;
use std::cell::RefCell;
use std::sync::Arc;

/// Size of one receive buffer. One read takes a typical mail whole; larger ones only add memory per transaction.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;

/// Free buffers a core keeps, so that a burst does not pin its peak for ever (16 MiB a core at most).
pub const POOLED_BUFFERS_MAX: usize = 1024;

/// One core's pool, for metrics; see `base::meter`.
#[derive(Debug, Default)]
pub struct BufferMeters {
    /// Buffers allocated because the pool was empty.
    pub made: Counter,
    /// Buffers in the pool.
    pub free: Gauge,
}

struct Pool {
    spare: Spare,
    meters: Arc<BufferMeters>,
}

impl Pool {
    fn take(&mut self) -> Box<[u8]> {
        if let Some(memory) = self.spare.take() {
            self.meters.free.add(-1);
            return memory;
        }
        self.meters.made.add(1);
        new_memory()
    }

    fn give_back(&mut self, memory: Box<[u8]>) {
        self.change(|spare| spare.give_back(memory));
    }

    /// Lets `change` alter how many there are, and counts.
    fn change(&mut self, change: impl FnOnce(&mut Spare)) {
        let before = self.spare.count();
        change(&mut self.spare);
        self.meters.free.add(self.spare.count() as i64 - before as i64);
    }
}

fn new_memory() -> Box<[u8]> {
    vec![0; RECEIVE_BUFFER_BYTES].into_boxed_slice()
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool {
        spare: Spare::new(POOLED_BUFFERS_MAX),
        meters: Arc::default(),
    });
}

/// Frees what this core's pool did not need since the last call; to be called every
/// [`TRIM_PERIOD`](super::spare::TRIM_PERIOD).
pub fn trim() {
    POOL.with_borrow_mut(|pool| pool.change(Spare::trim));
}

impl BufferMeters {
    /// Those of the core whose thread this is.
    #[must_use]
    pub fn of_this_core() -> Arc<Self> {
        POOL.with_borrow(|pool| pool.meters.clone())
    }
}

/// One receive buffer of which the first `filled` bytes are received data.
#[derive(Debug)]
pub struct BufLease {
    memory: Option<Box<[u8]>>,
    filled: usize,
}

impl BufLease {
    /// Takes a buffer from the core's pool, or a new one.
    #[must_use]
    pub fn take() -> Self {
        // A thread that is ending has no pool any more.
        let memory = POOL.try_with(|pool| pool.borrow_mut().take());
        let memory = memory.unwrap_or_else(|_| new_memory());
        Self {
            memory: Some(memory),
            filled: 0,
        }
    }

    /// The whole buffer, to receive into.
    pub fn space(&mut self) -> &mut [u8] {
        self.memory.as_deref_mut().unwrap_or_default()
    }

    /// Says how much of [`Self::space`] now holds received bytes.
    ///
    /// # Panics
    /// When `filled` exceeds the buffer: the caller counted bytes that cannot be there.
    pub fn set_filled(&mut self, filled: usize) {
        assert!(filled <= self.space().len());
        self.filled = filled;
    }

    /// The received bytes, to be changed in place (TLS decrypts there).
    pub fn filled_mut(&mut self) -> &mut [u8] {
        let filled = self.filled;
        &mut self.space()[..filled]
    }

    /// The memory itself, [`RECEIVE_BUFFER_BYTES`], for a kernel that receives into it by itself.
    pub(crate) fn into_memory(mut self) -> Box<[u8]> {
        self.memory.take().unwrap_or_default()
    }

    /// A lease of `memory`, which [`Self::into_memory`] gave, of which the first `filled` bytes were received.
    pub(crate) fn from_memory(memory: Box<[u8]>, filled: usize) -> Self {
        assert!(memory.len() == RECEIVE_BUFFER_BYTES && filled <= memory.len());
        Self {
            memory: Some(memory),
            filled,
        }
    }

    /// Makes the received bytes shareable without copying them; the buffer returns to a pool with the last clone.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for BufLease {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_deref().map_or(&[], |m| &m[..self.filled])
    }
}

impl std::ops::Deref for BufLease {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl Drop for BufLease {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        // A thread that is ending has no pool any more: then the memory is simply freed.
        let _ = POOL.try_with(|pool| pool.borrow_mut().give_back(memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lease_and_a_dropped_body_return_to_the_pool() {
        let mut lease = BufLease::take();
        lease.space()[..3].copy_from_slice(b"abc");
        lease.set_filled(3);
        let place = lease.as_ptr();
        let body = lease.freeze();
        let slice = body.slice(1..);
        drop(body);
        assert_eq!(&slice[..], b"bc");
        drop(slice);
        assert_eq!(BufLease::take().space().as_ptr(), place);
    }
}
