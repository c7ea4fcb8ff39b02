//! COMPRESS=DEFLATE (RFC 4978): what is received is inflated a buffer at a time, what is sent is deflated a send at a time.
//!
//! Invariants: the protocol core sees inflated octets only, so its limits on commands, literals and messages bound what a
//! small packet can unfold to, and nothing is inflated ahead of what it has taken. Each send is deflated on its own, up
//! to a sync flush: valid as a stream, and no compressor has to be kept between sends.
//! Input is inflated up to each flush of the peer's at most, so that what it sends uncompressed behind one (RFC 8437 §4.1) is
//! never taken for more of the stream.
//! Limits: [`STATE_BYTES`] a connection; one compressor a core.
//! Failure: octets that are no DEFLATE stream, and whatever follows the end of the stream, end the connection.
//! Rejected: a compressor for each connection finds repetitions of earlier responses, and costs ten times the memory.
//! Not here: the command (`driver`), when buffers are sent (`link`).

use super::link::Lost;
use crate::base::buffer::BufLease;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;

/// Memory of a connection that compresses: DEFLATE's window of 32 KiB, Huffman tables, and this.
const STATE_BYTES: usize = 48 * 1024;

const _: () = assert!(size_of::<Inflater>() < STATE_BYTES);

/// Room for what octets that cannot be compressed grow by: a block's head now and then, and the flush.
const GROWTH_BYTES: usize = 256;

/// An empty stored block, which a flush ends with (RFC 1979 §2.1): behind it the stream is at the start of an octet.
const FLUSH_MARK: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

thread_local! {
    /// The level is the cheapest: RFC 4978 §4 has it at 25–40 % of typical responses.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// The receiving side of a compressed connection.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// Received, inflated up to the second.
    received: Option<(BufLease, usize)>,
    /// The last buffer was filled: the stream may have more of what it has taken.
    was_full: bool,
    has_ended: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Self {
            stream: Decompress::new(false),
            received: None,
            was_full: false,
            has_ended: false,
        }
    }
}

impl Inflater {
    /// Takes what was received. The last one was used up before.
    pub fn put(&mut self, lease: BufLease) {
        self.received = Some((lease, 0));
    }

    /// True while something received has not been inflated.
    pub fn has_more(&self) -> bool {
        self.received.is_some()
    }

    /// The next buffer of inflated octets. `None`: nothing is left of what was received.
    ///
    /// # Errors
    /// It is no DEFLATE stream, or its end.
    pub fn next(&mut self) -> Result<Option<BufLease>, Lost> {
        let Some((lease, at)) = &mut self.received else {
            return Ok(None);
        };
        if self.has_ended {
            return Err(Lost);
        }
        let piece = if self.was_full {
            0
        } else {
            piece_bytes(&lease[*at..])
        };
        let mut inflated = BufLease::take();
        let (taken, made) = (self.stream.total_in(), self.stream.total_out());
        let status = self
            .stream
            .decompress(&lease[*at..*at + piece], inflated.space(), FlushDecompress::Sync)
            .map_err(|_| Lost)?;
        let taken = usize::try_from(self.stream.total_in() - taken).map_err(|_| Lost)?;
        let made = usize::try_from(self.stream.total_out() - made).map_err(|_| Lost)?;
        *at += taken;
        let is_used_up = *at == lease.len();
        self.has_ended = status == Status::StreamEnd;
        self.was_full = made == inflated.space().len();
        if made == 0 && (self.has_ended || taken < piece) {
            return Err(Lost);
        }
        // With nothing more to take it may still make octets of what it took before.
        if is_used_up && made == 0 {
            self.received = None;
        }
        inflated.set_filled(made);
        Ok((made > 0).then_some(inflated))
    }

    /// What was received behind the end of the compression, from the second on.
    pub fn into_rest(self) -> Option<(BufLease, usize)> {
        self.received
    }
}

/// Octets up to the end of the first flush.
fn piece_bytes(received: &[u8]) -> usize {
    let mark = memchr::memmem::find(received, &FLUSH_MARK);
    mark.map_or(received.len(), |at| at + FLUSH_MARK.len())
}

/// Octets of the end of a peer's stream that may come when all of the text in it is there already.
pub const RESIDUE_BYTES_MAX: u8 = 16;

/// How many octets there are, `most` at most, of the end of a stream: an empty block of any kind, in front of a command, which
/// begins with a character.
pub fn residue_bytes(octets: &[u8], most: u8) -> u8 {
    let of_stream = octets
        .iter()
        .take(most.into())
        .take_while(|octet| !octet.is_ascii_graphic());
    u8::try_from(of_stream.count()).unwrap_or(most)
}

/// What `octets` are sent as.
pub fn deflated(octets: &[u8]) -> Vec<u8> {
    deflated_with(octets, FlushCompress::Sync)
}

/// The same, behind which the stream ends.
pub fn deflated_last(octets: &[u8]) -> Vec<u8> {
    deflated_with(octets, FlushCompress::Finish)
}

fn deflated_with(octets: &[u8], flush: FlushCompress) -> Vec<u8> {
    COMPRESSOR.with_borrow_mut(|stream| {
        stream.reset();
        // Room for all of it at once: a flush that is cut short by a full buffer is not taken up again.
        let mut out = Vec::with_capacity(octets.len() + octets.len() / 64 + GROWTH_BYTES);
        let done = stream.compress_vec(octets, &mut out, flush);
        assert!(
            done.is_ok() && stream.total_in() == octets.len() as u64 && out.len() < out.capacity(),
            "a send was deflated whole"
        );
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lease(octets: &[u8]) -> BufLease {
        let mut lease = BufLease::take();
        lease.space()[..octets.len()].copy_from_slice(octets);
        lease.set_filled(octets.len());
        lease
    }

    fn inflate(inflater: &mut Inflater, sent: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in sent.chunks(1_000) {
            inflater.put(lease(piece));
            while inflater.received.is_some() {
                if let Some(inflated) = inflater.next().unwrap() {
                    all.extend_from_slice(&inflated);
                }
            }
        }
        all
    }

    #[test]
    fn a_small_packet_unfolds_a_buffer_at_a_time() {
        let mut inflater = Inflater::default();
        let sent = deflated(&vec![b'x'; 4_000_000]);
        assert!(sent.len() < 40_000);
        inflater.put(lease(&sent[..10_000]));
        let first = inflater.next().unwrap().unwrap();
        assert_eq!(first.len(), crate::base::buffer::RECEIVE_BUFFER_BYTES);
        assert!(inflater.received.is_some());
    }

    #[test]
    fn what_is_no_deflate_stream_ends_the_connection() {
        let mut inflater = Inflater::default();
        inflater.put(lease(b"\xff\xff\xff\xff a NOOP\r\n"));
        assert!(matches!(inflater.next(), Err(Lost)));
        let mut inflater = Inflater::default();
        // An empty last block: the end of the stream.
        inflater.put(lease(&[0x03, 0x00]));
        assert!(matches!(inflater.next(), Err(Lost)));
    }

    proptest! {
        #[test]
        fn sends_are_one_stream_and_come_out_as_they_went_in(
            sends in prop::collection::vec((any::<u8>(), 0..60_000_usize, any::<bool>()), 1..6),
        ) {
            let mut inflater = Inflater::default();
            for (seed, length, is_plain) in sends {
                let mut state = u32::from(seed) + 1;
                let octets: Vec<u8> = (0..length).map(|at| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if is_plain { (at / 7) as u8 } else { (state >> 24) as u8 }
                }).collect();
                prop_assert_eq!(inflate(&mut inflater, &deflated(&octets)), octets);
            }
        }
    }
}
