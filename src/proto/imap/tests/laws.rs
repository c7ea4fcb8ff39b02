//! The laws of [`crate::proto`], as properties.

use super::*;
use crate::proto::imap::framing::Framer;
use crate::proto::imap::input::{COMMAND_LITERAL_BYTES_MAX, COMMAND_TEXT_BYTES_MAX};
use proptest::prelude::*;

/// Pieces that streams are made of: right, wrong, and half of something.
const PIECES: [&[u8]; 42] = [
    b"a NOOP\r\n",
    b"b CAPABILITY\r\n",
    b"c LOGIN alice secret\r\n",
    b"c LOGIN alice wrong\r\n",
    b"d LOGIN {5+}\r\nalice {6}\r\nsecret\r\n",
    b"e AUTHENTICATE PLAIN\r\n",
    b"AGFsaWNlAHNlY3JldA==\r\n",
    b"*\r\n",
    b"f SELECT INBOX\r\n",
    b"g UID FETCH 1:* (FLAGS BODY[1.TEXT])\r\n",
    b"h SEARCH OR {3+}\r\nALL SEEN\r\n",
    b"i APPEND INBOX {12+}\r\nSubject: x\r\n\r\n",
    b"j APPEND missing (\\Seen) {4+}\r\nabcd\r\n",
    b"k APPEND full {2}\r\nab\r\n",
    b"l APPEND INBOX {2+}\r\nabcd\r\n",
    b"m APPEND INBOX oops {3+}\r\nabc\r\n",
    b"n IDLE\r\n",
    b"DONE\r\n",
    b"o CREATE \"&AGE\"\r\n",
    b"p CREATE {70000+}\r\n",
    b"q CREATE {66000}\r\n",
    b"r LOGOUT\r\n",
    b"s STARTTLS\r\n",
    b"t ENABLE CONDSTORE\r\n",
    b"t APPEND x CATENATE (URL /a TEXT {3+}\r\nabc URL {2+}\r\n/b TEXT {0+}\r\n)\r\n",
    b"t APPEND x CATENATE (URL /a) CATENATE (URL /b TEXT {3+}\r\nabc) CATENATE (URL /c) (\\Seen) {2+}\r\nde {1+}\r\nf CATENATE (URL /d)\r\n",
    b"t APPEND x CATENATE (URL /a) CATENATE (URL /bad) CATENATE (TEXT {3+}\r\nabc)\r\n",
    b"t APPEND x CATENATE (URL /a) CATENATE (URL /b {2+}\r\nxx\r\n",
    b"t APPEND x CATENATE (TEXT {1+}\r\n( URL /bad TEXT {2+}\r\n)) URL /c)\r\n",
    b"t APPEND x CATENATE (TEXT {1+}\r\n( FILE {2+}\r\n))\r\n",
    b"t APPEND x CATENATE (URL /a URL /b)\r\n",
    b"t UID REPLACE 4 x {3+}\r\nabc\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"{3+}\r\n",
    b"{99999999999999999999+}\r\n",
    b"u NOOP (((((\r\n",
    b"v NOOP\0\r\n",
    b"POST / HTTP/1.1\r\n",
    b"w ID (\"name\" NIL)\r\n",
    b"x",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        12 => prop::sample::select(&PIECES[..]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (1_usize..70_000, prop::sample::select(&b"a{+ \r"[..])).prop_map(|(n, byte)| vec![byte; n]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Cuts `input` at places, repeated over its length.
fn cut<'a>(input: &'a [u8], steps: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = input;
    let mut slices = Vec::new();
    for step in steps.iter().cycle() {
        if rest.is_empty() {
            return slices;
        }
        let (slice, behind) = rest.split_at(rest.len().min(*step));
        slices.push(slice);
        rest = behind;
    }
    slices
}

fn run(is_logged_in: bool, is_tls: bool, slices: &[&[u8]]) -> Table {
    let mut table = if is_logged_in {
        Table::logged_in()
    } else {
        Table::new(Channel {
            is_tls,
            is_plaintext_login_allowed: true,
        })
    };
    for (place, slice) in slices.iter().enumerate() {
        table.is_more_coming = place + 1 < slices.len();
        table.send(slice);
    }
    table
}

/// Tags of the tagged responses in what was sent.
fn answered_tags(wire: &[u8]) -> Vec<String> {
    let wire = String::from_utf8_lossy(wire);
    let tags = wire.lines().filter_map(|line| line.split(' ').next());
    tags.filter(|tag| !matches!(*tag, "*" | "+"))
        .map(str::to_owned)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_split_gives_the_same_actions(
        stream in stream(),
        steps in prop::collection::vec(prop_oneof![1_usize..4, 1_usize..60, 1000_usize..40_000], 1..8),
        is_logged_in in any::<bool>(),
        is_tls in any::<bool>(),
    ) {
        let whole = run(is_logged_in, is_tls, &[&stream]);
        let split = run(is_logged_in, is_tls, &cut(&stream, &steps));
        prop_assert_eq!(String::from_utf8_lossy(&whole.wire), String::from_utf8_lossy(&split.wire));
        prop_assert_eq!(whole.trace, split.trace);
        prop_assert_eq!(whole.committed, split.committed);
        prop_assert_eq!(whole.is_closed, split.is_closed);
        prop_assert_eq!(whole.imap.state(), split.imap.state());
        prop_assert_eq!(whole.imap.is_idling(), split.imap.is_idling());
    }

    #[test]
    fn memory_is_bounded_and_given_back(
        stream in stream(),
        steps in prop::collection::vec(1_usize..5000, 1..8),
        is_logged_in in any::<bool>(),
    ) {
        let table = run(is_logged_in, true, &cut(&stream, &steps));
        // A growing vector may have twice what it holds.
        prop_assert!(table.most_held_bytes <= 2 * (COMMAND_TEXT_BYTES_MAX + COMMAND_LITERAL_BYTES_MAX));
        if table.imap.is_quiet() || table.is_closed {
            prop_assert_eq!(table.imap.held_bytes(), 0);
        }
    }

    #[test]
    fn no_sequence_of_events_panics(
        events in prop::collection::vec((0_u8..17, prop::sample::select(&PIECES[..])), 0..40),
    ) {
        let mut imap: Imap<TestReceipt> = Imap::new(Arc::new(Config::default()), Channel { is_tls: true, is_plaintext_login_allowed: true });
        let mut out = Actions::default();
        for (event, piece) in events {
            let completion = || Completion::ok("").with_transition(Transition::Selected);
            let event = match event {
                0 => Event::Opened,
                1 => Event::Early,
                2 => Event::Quiet,
                3 => Event::Answer(Answer::Authenticated),
                4 => Event::Answer(Answer::Refused(LoginRefusal::Unavailable)),
                5 => Event::Answer(Answer::Done(completion())),
                6 => Event::Answer(Answer::Idling),
                7 => Event::Answer(Answer::AppendReady),
                8 => Event::Answer(Answer::AppendDropped),
                9 => Event::TlsReady,
                10 => Event::Deadline,
                11 => Event::Shutdown,
                12 => Event::PeerClosed,
                13 => Event::Revoked,
                _ => Event::Bytes(piece),
            };
            let consumed = imap.handle(event, &mut out);
            prop_assert!(consumed.0 <= piece.len());
            prop_assert!(out.body.iter().all(|range| range.end <= piece.len()));
            out.clear();
        }
    }

    #[test]
    fn nothing_behind_starttls_is_acted_on(
        injected in prop_oneof![stream(), prop::sample::select(&PIECES[..]).prop_map(<[u8]>::to_vec)],
        step in 1_usize..30,
    ) {
        let input = [b"a STARTTLS\r\n", &injected[..]].concat();
        let table = run(false, false, &cut(&input, &[step]));
        prop_assert!(table.trace.is_empty());
        let tags = answered_tags(&table.wire);
        prop_assert_eq!(tags, ["a"]);
        prop_assert_eq!(table.is_closed, !injected.is_empty());
        prop_assert_eq!(table.is_tls_due, injected.is_empty());
    }

    #[test]
    fn responses_come_in_the_order_of_the_commands(
        verbs in prop::collection::vec(
            prop::sample::select(vec![
                "NOOP", "CAPABILITY", "BOGUS", "SELECT INBOX", "FETCH 1 FLAGS", "CREATE {1+}\r\nx", "ID NIL", "CREATE \"&\"",
                "APPEND INBOX {1+}\r\nx", "APPEND missing {1+}\r\nx", "IDLE\r\nDONE", "CREATE {66000}", "IDLE\r\nx", "NAMESPACE",
            ]),
            0..18,
        ),
        step in 1_usize..100,
    ) {
        let input: Vec<u8> = verbs.iter().enumerate().flat_map(|(n, verb)| format!("t{n} {verb}\r\n").into_bytes()).collect();
        let table = run(true, true, &cut(&input, &[step]));
        let expected: Vec<String> = (0..verbs.len()).map(|n| format!("t{n}")).collect();
        prop_assert_eq!(answered_tags(&table.wire), expected);
    }
}

#[test]
fn an_empty_framer_holds_nothing() {
    assert_eq!(Framer::default().held_bytes(), 0);
}
