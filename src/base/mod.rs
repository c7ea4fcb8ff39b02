//! The ground everything else stands on: checksums, clocks, entropy, local waiting, receive buffers.
//!
//! Invariants: nothing here knows a protocol, a socket or a file; nothing here blocks.
//! Not here: limits. Every limit is a named constant in the module that enforces it.

pub mod buffer;
pub mod clock;
pub mod fair_queue;
pub mod guard;
pub mod id_map;
pub mod meter;
pub mod network;
pub mod oneshot;
pub mod pages;
pub mod spare;
pub mod text;
pub mod wait;

use crc_fast::CrcAlgorithm;

/// CRC-32C (Castagnoli, RFC 3720 §B.4) of `bytes`, by the widest carry-less multiplication that the CPU has.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_append(0, bytes)
}

/// Continues a CRC-32C: `crc32c_append(crc32c(a), b) == crc32c(a ++ b)`.
#[must_use]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    // The state in between is the checksum before its last step, which inverts it (RFC 3720 §12.1).
    let state = u64::from(!crc);
    let mut digest = crc_fast::Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, state);
    digest.update(bytes);
    u32::try_from(digest.finalize()).expect("a CRC of 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 3720 §B.4.
    #[test]
    fn the_examples_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
    }

    proptest! {
        /// What lies on disks was checked by another implementation: both must say the same, at every length at which one
        /// way of computing gives way to another.
        #[test]
        fn two_implementations_agree(bytes in prop::collection::vec(any::<u8>(), 0..9000), cut: prop::sample::Index, start: u32) {
            prop_assert_eq!(crc32c_append(start, &bytes), ::crc32c::crc32c_append(start, &bytes));
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(crc32c_append(crc32c(head), tail), ::crc32c::crc32c(&bytes));
        }
    }
}
