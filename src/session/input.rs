//! Bytes received and not yet consumed by the protocol core.
//!
//! A core consumes a prefix of what it is offered; the rest is offered again with more behind it. As long as a receive
//! buffer is consumed whole it is never copied; a rest is copied once into the *carry* and joined with the next buffer.
//! Invariants: bytes are offered in the order received and each is consumed once; when nothing is left no buffer is
//! held, so an idle connection costs none ([`crate::base::buffer`]).
//! Limits: the carry holds at most what a core may leave (its line limit) and one receive buffer.
//! Body bytes are handed on as slices of the receive buffer itself ([`Input::slice`]).
//! Not here: receiving (`net`), deciding what a line is (`proto`).

use crate::base::buffer::BufLease;
use bytes::Bytes;
use std::ops::Range;

/// The carry's memory is kept between uses up to this many octets; a rare long line does not stay allocated.
const CARRY_KEPT_BYTES_MAX: usize = 1024;

/// What was received last, shared once a body slice was taken from it.
#[derive(Debug, Default)]
enum Chunk {
    #[default]
    None,
    Lease(BufLease),
    Shared(Bytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Lease(lease) => lease,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Received bytes in front of a protocol core.
#[derive(Debug, Default)]
pub struct Input {
    /// Comes before `chunk`, which is then [`Chunk::None`].
    carry: Vec<u8>,
    chunk: Chunk,
    /// Octets of the carry, or else of the chunk, that were consumed.
    at: usize,
}

impl Input {
    /// Input that begins with bytes received before, on another core perhaps.
    #[must_use]
    pub fn with_carry(carry: Vec<u8>) -> Self {
        Self {
            carry,
            ..Self::default()
        }
    }

    /// Everything received and not consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.carry.is_empty() {
            &self.chunk.bytes()[self.at..]
        } else {
            &self.carry[self.at..]
        }
    }

    /// True when everything was consumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Puts newly received bytes behind what is left.
    pub fn put(&mut self, lease: BufLease) {
        if self.is_empty() {
            self.clear();
            self.chunk = Chunk::Lease(lease);
            return;
        }
        self.park();
        self.carry.extend_from_slice(&lease);
    }

    /// The first `count` octets were consumed.
    ///
    /// # Panics
    /// When that many were not offered: the core counted bytes that cannot be there.
    pub fn consume(&mut self, count: usize) {
        assert!(
            count <= self.bytes().len(),
            "a core consumed more than it was offered"
        );
        self.at += count;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Octets of what [`Self::bytes`] shows, without a copy when they lie in a receive buffer.
    ///
    /// # Panics
    /// When the range is not inside what was offered.
    pub fn slice(&mut self, range: Range<usize>) -> Bytes {
        if !self.carry.is_empty() {
            return Bytes::copy_from_slice(&self.bytes()[range]);
        }
        let shared = match std::mem::take(&mut self.chunk) {
            Chunk::Shared(bytes) => bytes,
            Chunk::Lease(lease) => lease.freeze(),
            Chunk::None => Bytes::new(),
        };
        let slice = shared.slice(self.at + range.start..self.at + range.end);
        self.chunk = Chunk::Shared(shared);
        slice
    }

    /// Gives the receive buffer back before a wait; what is left moves to the carry.
    pub fn park(&mut self) {
        if !self.carry.is_empty() {
            self.carry.drain(..self.at);
        } else {
            self.carry.extend_from_slice(&self.chunk.bytes()[self.at..]);
            self.chunk = Chunk::None;
        }
        self.at = 0;
    }

    /// Drops everything, consumed or not.
    pub fn clear(&mut self) {
        self.chunk = Chunk::None;
        self.at = 0;
        if self.carry.capacity() > CARRY_KEPT_BYTES_MAX {
            self.carry = Vec::new();
        }
        self.carry.clear();
    }

    /// What is left, to travel with the connection.
    #[must_use]
    pub fn into_carry(mut self) -> Vec<u8> {
        self.park();
        self.carry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lease(bytes: &[u8]) -> BufLease {
        let mut lease = BufLease::take();
        lease.space()[..bytes.len()].copy_from_slice(bytes);
        lease.set_filled(bytes.len());
        lease
    }

    #[test]
    fn a_buffer_consumed_whole_is_never_copied_and_not_kept() {
        let mut input = Input::default();
        let lease = lease(b"line\r\n");
        let place = lease.as_ptr();
        input.put(lease);
        assert_eq!(input.bytes().as_ptr(), place);
        let body = input.slice(1..3);
        assert_eq!(body.as_ptr(), place.wrapping_add(1));
        input.consume(6);
        assert!(matches!(input.chunk, Chunk::None) && input.carry.capacity() == 0);
        assert_eq!(&body[..], b"in");
    }

    #[test]
    fn several_slices_share_one_buffer() {
        let mut input = Input::default();
        input.put(lease(b"one two three"));
        let slices = [input.slice(0..3), input.slice(4..7), input.slice(8..13)];
        assert_eq!(slices.concat(), b"onetwothree");
    }

    proptest! {
        #[test]
        fn every_octet_is_offered_in_order_and_consumed_once(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0..50_usize, any::<bool>()), 0..30),
        ) {
            let mut input = Input::default();
            let (mut sent, mut consumed) = (Vec::new(), Vec::new());
            for (piece, take, parks) in pieces {
                input.put(lease(&piece));
                sent.extend_from_slice(&piece);
                let take = take.min(input.bytes().len());
                let slice = input.slice(0..take);
                prop_assert_eq!(&slice[..], &input.bytes()[..take]);
                consumed.extend_from_slice(&slice);
                input.consume(take);
                if parks { input.park(); }
            }
            consumed.extend_from_slice(&input.into_carry());
            prop_assert_eq!(sent, consumed);
        }
    }
}
