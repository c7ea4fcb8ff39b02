//! The ground everything else stands on: checksums, clocks, entropy, local waiting, receive buffers.
//!
//! Invariants: nothing here knows a protocol, a socket or a file; nothing here blocks.
//! Not here: limits. Every limit is a named constant in the module that enforces it.

pub mod buffer;
pub mod clock;
pub mod guard;
pub mod meter;
pub mod network;
pub mod oneshot;
pub mod pages;
pub mod spare;
pub mod text;
pub mod wait;

/// CRC-32C (Castagnoli, RFC 3720 §B.4) of `bytes`, hardware-assisted where the CPU has it.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// Continues a CRC-32C: `crc32c_append(crc32c(a), b) == crc32c(a ++ b)`.
#[must_use]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, bytes)
}
