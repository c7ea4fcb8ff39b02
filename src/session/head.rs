//! The beginning of a message, kept until it is known to hold the whole header.
//!
//! Invariants: a header that came in one piece is not copied; one that came in many is joined, so that no receive buffer
//! is kept for a few octets.
//! Limits: [`HEADER_SCAN_BYTES_MAX`].
//! Not here: what is read from it (`proto::message`).

use bytes::Bytes;

/// Octets of a message's beginning that are kept to look for trace fields; a header longer than this is not searched
/// further.
pub const HEADER_SCAN_BYTES_MAX: usize = 256 * 1024;

/// A header, perhaps with some of the body behind it.
#[derive(Debug, Default)]
pub struct Head {
    octets: Octets,
    is_complete: bool,
    is_cut: bool,
}

#[derive(Debug, Default)]
enum Octets {
    #[default]
    None,
    Shared(Bytes),
    Joined(Vec<u8>),
}

impl Head {
    /// Takes the next octets of the message, if they may still be header.
    pub fn push(&mut self, piece: &Bytes) {
        if self.is_complete {
            return;
        }
        if matches!(self.octets, Octets::None) {
            self.is_complete = ends_header(piece) || piece.starts_with(b"\r\n");
            self.octets = Octets::Shared(piece.clone());
            return;
        }
        let mut joined = match std::mem::take(&mut self.octets) {
            Octets::Joined(joined) => joined,
            Octets::Shared(first) => first.to_vec(),
            Octets::None => Vec::new(),
        };
        // The empty line may be cut anywhere.
        let seam = joined.len().saturating_sub(3);
        joined.extend_from_slice(piece);
        let has_ended = ends_header(&joined[seam..]);
        self.is_cut = !has_ended && joined.len() >= HEADER_SCAN_BYTES_MAX;
        self.is_complete = has_ended || self.is_cut;
        self.octets = Octets::Joined(joined);
    }

    /// The header is longer than what is looked at: what stands behind may say anything.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// What was kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.octets {
            Octets::None => &[],
            Octets::Shared(bytes) => bytes,
            Octets::Joined(bytes) => bytes,
        }
    }
}

fn ends_header(octets: &[u8]) -> bool {
    memchr::memmem::find(octets, b"\r\n\r\n").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Received: a\r\nSubject: b\r\n\r\nbody\r\n\r\nReceived: not a field\r\n";

    #[test]
    fn every_split_keeps_the_header_and_stops_behind_it() {
        for size in 1..MESSAGE.len() {
            let mut head = Head::default();
            MESSAGE
                .chunks(size)
                .for_each(|piece| head.push(&Bytes::copy_from_slice(piece)));
            assert!(head.bytes().starts_with(&MESSAGE[..27]), "{size}");
            assert!(
                head.bytes().len() < 27 + size.max(4),
                "{size}: {}",
                head.bytes().len()
            );
        }
    }

    #[test]
    fn a_header_that_does_not_end_is_said_to_be_cut() {
        let mut head = Head::default();
        MESSAGE
            .chunks(10)
            .for_each(|piece| head.push(&Bytes::copy_from_slice(piece)));
        assert!(!head.is_cut());
        let mut head = Head::default();
        for _ in 0..=HEADER_SCAN_BYTES_MAX / 1024 {
            head.push(&Bytes::from(vec![b'x'; 1024]));
        }
        assert!(head.is_cut());
    }

    #[test]
    fn one_piece_is_shared() {
        let message = Bytes::from_static(MESSAGE);
        let mut head = Head::default();
        head.push(&message);
        assert_eq!(head.bytes().as_ptr(), message.as_ptr());
    }
}
