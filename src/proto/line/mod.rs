//! Lines and message bodies on the wire: where a command line ends, where DATA ends.
//!
//! Invariants: only CRLF ends a line (RFC 5321 §2.3.8, RFC 1939 §3, RFC 9051 §2.2); a bare CR or LF is an octet of the
//! line it stands in, and [`is_clean`] says whether a line has one. What is answered never depends on how the octets
//! were split into reads.
//! Limits: the caller's, per line. A partial line is not consumed until it is whole, so the session carries at most one
//! limit of octets; a line beyond the limit is discarded as it arrives and reported once, at its CRLF.
//! Not here: IMAP literals (`proto::imap`), what a line means (each protocol).

pub mod body;

use memchr::{memchr, memchr3};

/// What stands at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its CRLF. It and its CRLF are `taken` octets.
    Whole {
        /// Without CRLF.
        content: &'a [u8],
        /// CRLF included.
        taken: usize,
    },
    /// An over-long line ended within the next `taken` octets; it is answered once, now.
    TooLong {
        /// Octets up to and including the CRLF.
        taken: usize,
    },
    /// The line is not whole yet. `taken` is 0 unless octets of an over-long line were discarded.
    Partial {
        /// Octets discarded.
        taken: usize,
    },
}

/// Finds lines, one at a time; remembers only whether an over-long one is being discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineReader {
    is_discarding: bool,
}

impl LineReader {
    /// Looks for the next line of at most `bytes_max` octets, CRLF included, at the front of `input`.
    pub fn next<'a>(&mut self, input: &'a [u8], bytes_max: usize) -> Line<'a> {
        match find_crlf(input) {
            Some(at) => {
                let taken = at + 2;
                if std::mem::take(&mut self.is_discarding) || taken > bytes_max {
                    return Line::TooLong { taken };
                }
                Line::Whole {
                    content: &input[..at],
                    taken,
                }
            }
            // One octet below the limit could still be followed by the LF that makes the line just fit.
            None if self.is_discarding || input.len() >= bytes_max => {
                self.is_discarding = true;
                // A CR at the very end may be half of the CRLF that ends the line: it is offered again.
                let held = usize::from(input.last() == Some(&b'\r'));
                Line::Partial {
                    taken: input.len() - held,
                }
            }
            None => Line::Partial { taken: 0 },
        }
    }

    /// True while the rest of an over-long line is still to come.
    #[must_use]
    pub fn is_discarding(self) -> bool {
        self.is_discarding
    }
}

/// Where the first CRLF of `input` begins.
#[must_use]
pub fn find_crlf(input: &[u8]) -> Option<usize> {
    // Searching for LF and looking back costs one comparison a line; memmem's set-up costs more than a short line.
    let mut from = 0;
    while let Some(found) = memchr(b'\n', &input[from..]) {
        let at = from + found;
        if at > 0 && input[at - 1] == b'\r' {
            return Some(at - 1);
        }
        from = at + 1;
    }
    None
}

/// False when a command line has a bare CR, a bare LF or a NUL in it: a syntax error in every protocol.
#[must_use]
pub fn is_clean(line: &[u8]) -> bool {
    memchr3(b'\r', b'\n', 0, line).is_none()
}

/// HTTP request methods. A peer that begins with one is a browser being used against us (cross-protocol attack): every
/// line protocol closes at once instead of working through the request as a list of bad commands.
#[must_use]
pub fn is_http_method(verb: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] = [
        b"GET", b"POST", b"HEAD", b"PUT", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE",
    ];
    METHODS.iter().any(|method| verb.eq_ignore_ascii_case(method))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `input` in pieces that end at `cuts`, as a session does, and notes every line.
    fn lines(input: &[u8], cuts: &[usize], bytes_max: usize) -> (Vec<Option<Vec<u8>>>, usize) {
        let mut reader = LineReader::default();
        let (mut found, mut carried_max, mut start) = (Vec::new(), 0, 0);
        for end in cuts.iter().copied().chain([input.len()]) {
            let end = end.min(input.len()).max(start);
            loop {
                match reader.next(&input[start..end], bytes_max) {
                    Line::Whole { content, taken } => {
                        found.push(Some(content.to_vec()));
                        start += taken;
                    }
                    Line::TooLong { taken } => {
                        found.push(None);
                        start += taken;
                    }
                    Line::Partial { taken } => {
                        start += taken;
                        break;
                    }
                }
            }
            carried_max = carried_max.max(end - start);
        }
        (found, carried_max)
    }

    #[test]
    fn a_bare_lf_or_cr_does_not_end_a_line() {
        let (found, _) = lines(b"a\nb\rc\r\nd\r\n", &[], 100);
        assert_eq!(found, [Some(b"a\nb\rc".to_vec()), Some(b"d".to_vec())]);
        assert!(!is_clean(b"a\nb"));
    }

    #[test]
    fn the_longest_line_fits_and_one_octet_more_does_not() {
        let (found, _) = lines(b"12345678\r\n123456789\r\nx\r\n", &[], 10);
        assert_eq!(found, [Some(b"12345678".to_vec()), None, Some(b"x".to_vec())]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines_and_carries_at_most_the_limit(
            input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..120),
            mut cuts in proptest::collection::vec(0usize..120, 0..20),
        ) {
            cuts.sort_unstable();
            let (whole, _) = lines(&input, &[], 10);
            let (split, carried) = lines(&input, &cuts, 10);
            prop_assert_eq!(whole, split);
            prop_assert!(carried < 10);
        }
    }
}
