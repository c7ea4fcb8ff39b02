//! The fast decoder against a slow one that looks at one octet at a time.

use super::*;
use proptest::prelude::*;

/// Enough of plain lines that some blocks hold nothing else.
const LINES: &[u8] = b"A line of text that is neither long nor short, and that ends as it should.\r\n\
    Another one, so that a few of these together fill a whole block and begin the next at any place of theirs.\r\n\
    .Dots begin only some of them.\r\nThe last one has no end here, for it goes on with whatever comes next";

/// What RFC 5321 says, written down naively: the body and its end, if CRLF.CRLF comes.
fn oracle(input: &[u8]) -> (Option<usize>, Vec<u8>, bool) {
    // The CRLF of the DATA command counts as the first half of CRLF.CRLF.
    let mut all = b"\r\n".to_vec();
    all.extend_from_slice(input);
    let end = (0..all.len()).find(|&at| all[at..].starts_with(b"\r\n.\r\n"));
    let text = &all[2..end.map_or(all.len(), |at| at + 2).max(2)];
    let mut body = Vec::new();
    for (at, octet) in text.iter().enumerate() {
        let begins_line = at == 0 || text[..at].ends_with(b"\r\n");
        if !(begins_line && *octet == b'.') {
            body.push(*octet);
        }
    }
    let has_bare = (0..text.len()).any(|at| match text[at] {
        b'\r' => text.get(at + 1).is_some_and(|next| *next != b'\n'),
        b'\n' => at == 0 || text[at - 1] != b'\r',
        _ => false,
    });
    (end.map(|at| at + 5 - 2), body, has_bare)
}

fn decode(input: &[u8], cuts: &[usize]) -> (Option<usize>, Vec<u8>, Faults) {
    let mut decoder = DataDecoder::new(u64::MAX);
    let mut body = Vec::new();
    let mut at = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        let end = end.min(input.len()).max(at);
        while at < end {
            let slice = &input[at..end];
            let progress = decoder.decode(slice, |range| {
                body.extend_from_slice(&slice[range]);
                false
            });
            at += progress.taken;
            if progress.is_end {
                return (Some(at), body, decoder.faults());
            }
        }
    }
    (None, body, decoder.faults())
}

#[test]
fn smuggling_variants_never_end_data() {
    for ending in [
        &b"\n.\n"[..],
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\r\n",
        b"\r\n..\r\n",
        b"\n\n.\n",
    ] {
        let mut input = b"Subject: x\r\n\r\nb".to_vec();
        input.extend_from_slice(ending);
        assert_eq!(decode(&input, &[]).0, None, "{ending:?} ended DATA");
        input.extend_from_slice(b"MAIL FROM:<z@x.test>\r\n.\r\n");
        assert_eq!(decode(&input, &[]).0, Some(input.len()), "{ending:?}");
    }
}

#[test]
fn an_empty_body_ends_at_once() {
    assert_eq!(decode(b".\r\n", &[]), (Some(3), Vec::new(), Faults::default()));
}

#[test]
fn a_line_of_64_kib_is_taken_and_a_longer_one_is_a_fault() {
    let longest = usize::try_from(TEXT_LINE_BYTES_MAX).expect("fits");
    for (bytes, is_fault) in [(longest, false), (longest + 1, true)] {
        let mut input = vec![b'a'; bytes];
        input.extend_from_slice(b"\r\n.\r\n");
        for cuts in [vec![], vec![1, 40_000], vec![bytes], vec![bytes + 1]] {
            assert_eq!(decode(&input, &cuts).2.line_too_long, is_fault);
        }
        let mut check = LineEndCheck::default();
        check.scan(&input[..5]);
        check.scan(&input[5..]);
        assert_eq!(check.finish().line_too_long, is_fault);
    }
}

#[test]
fn too_many_octets_are_a_fault_however_they_come() {
    let mut decoder = DataDecoder::new(4);
    let progress = decoder.decode(b"ab\r\n.\r\n", |_| true);
    assert!(progress.is_end && !decoder.faults().any());
    let mut decoder = DataDecoder::new(3);
    decoder.decode(b"ab\r", |_| true);
    assert!(!decoder.faults().any());
    decoder.decode(b"\n.\r\n", |_| panic!("told beyond the limit"));
    assert!(decoder.faults().too_big);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn any_split_decodes_as_the_oracle_does(
        input in proptest::collection::vec(
            prop_oneof![2 => Just(&b"\r\n"[..]), 2 => Just(&b"."[..]), 1 => Just(&b"\r"[..]), 1 => Just(&b"\n"[..]),
                        2 => Just(&b"ab"[..]), 1 => Just(&b"\r\n.\r\n"[..]), 2 => Just(LINES)], 0..40),
        mut cuts in proptest::collection::vec(0usize..1000, 0..10),
    ) {
        let input: Vec<u8> = input.concat();
        cuts.sort_unstable();
        let (end, body, has_bare) = oracle(&input);
        let (found_end, found_body, faults) = decode(&input, &cuts);
        prop_assert_eq!(found_end, end);
        if end.is_some() {
            prop_assert_eq!(faults.bare_line_end, has_bare);
            if !has_bare {
                prop_assert_eq!(found_body, body);
            }
        }
    }

    #[test]
    fn any_split_gives_the_same_line_end_check(
        input in proptest::collection::vec(
            prop_oneof![2 => Just(&b"\r"[..]), 2 => Just(&b"\n"[..]), 4 => Just(&b"\r\n"[..]), 2 => Just(&b"a"[..]),
                        2 => Just(LINES)], 0..40),
        cut in 0usize..2000,
    ) {
        let input: Vec<u8> = input.concat();
        let mut whole = LineEndCheck::default();
        whole.scan(&input);
        let mut split = LineEndCheck::default();
        let cut = cut.min(input.len());
        split.scan(&input[..cut]);
        split.scan(&input[cut..]);
        prop_assert_eq!(whole.finish(), split.finish());
        let joined = String::from_utf8(input).expect("ASCII").replace("\r\n", "");
        prop_assert_eq!(whole.finish().bare_line_end, joined.contains(['\r', '\n']));
    }
}
