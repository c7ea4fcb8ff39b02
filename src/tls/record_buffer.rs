//! Where ciphertext waits until a record is whole.
//!
//! Invariants: memory is held only while bytes wait in it; it comes from and returns to the pool of the thread.
//! Limits: [`INCOMING_BYTES`] per connection, [`POOLED_MAX`] free ones per core.
//! Not here: plaintext (`base::buffer`, whose buffers are too small for a record with its overhead).

use crate::base::spare::Spare;
use std::cell::RefCell;

/// Size of one buffer: the largest record (16,384 bytes and 2,048 + 5 of overhead, RFC 5246 §6.2.3) and the head of the
/// next. A handshake message must fit whole, so this also bounds the ClientHello; real ones have less than 2.5 KiB, with
/// post-quantum key shares.
pub(super) const INCOMING_BYTES: usize = 20 * 1024;

/// Free buffers a core keeps (5 MiB at most).
const POOLED_MAX: usize = 256;

thread_local! {
    static POOL: RefCell<Spare> = const { RefCell::new(Spare::new(POOLED_MAX)) };
}

/// Frees what this core's pool did not need since the last call; to be called every
/// [`TRIM_PERIOD`](crate::base::spare::TRIM_PERIOD).
pub fn trim() {
    POOL.with_borrow_mut(Spare::trim);
}

/// Bytes received and not yet consumed.
#[derive(Default)]
pub(super) struct RecordBuffer {
    memory: Option<Box<[u8]>>,
    filled: usize,
}

impl RecordBuffer {
    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Some(memory) => &mut memory[..self.filled],
            None => &mut [],
        }
    }

    /// Room behind what waits; empty when there is none.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let memory = self.memory.get_or_insert_with(|| {
            let pooled = POOL.try_with(|pool| pool.borrow_mut().take()).ok().flatten();
            pooled.unwrap_or_else(|| vec![0; INCOMING_BYTES].into_boxed_slice())
        });
        &mut memory[self.filled..]
    }

    /// `received` bytes were written into [`Self::space`].
    pub(super) fn add_filled(&mut self, received: usize) {
        self.filled += received;
        assert!(self.filled <= self.memory.as_ref().map_or(0, |memory| memory.len()));
    }

    /// Forgets the first `consumed` bytes.
    pub(super) fn consume(&mut self, consumed: usize) {
        let filled = self.filled;
        assert!(consumed <= filled);
        if consumed > 0 {
            self.filled_mut().copy_within(consumed.., 0);
            self.filled = filled - consumed;
        }
    }

    /// Gives the memory back if nothing waits in it.
    pub(super) fn release_if_empty(&mut self) {
        if self.filled == 0
            && let Some(memory) = self.memory.take()
        {
            // A thread that is ending has no pool any more: then the memory is simply freed.
            let _ = POOL.try_with(|pool| pool.borrow_mut().give_back(memory));
        }
    }
}

impl Drop for RecordBuffer {
    fn drop(&mut self) {
        self.filled = 0;
        self.release_if_empty();
    }
}
