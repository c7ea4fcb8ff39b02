//! The laws of `proto` for POP3.

use super::*;
use crate::proto::pop3::limits::{COMMAND_LINE_BYTES_MAX, WIRE_BYTES_MAX};
use crate::proto::{Actions, Event, Protocol};
use proptest::prelude::*;

/// Pieces of which dialogues, good and bad, are made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
    prop_oneof![
        4 => fixed("USER tim@x.test\r\nPASS pass word\r\n"),
        1 => fixed("USER tim@x.test\r\n"),
        1 => fixed("PASS wrong\r\n"),
        1 => fixed("AUTH PLAIN\r\n"),
        1 => fixed("AHRpbUB4LnRlc3QAcGFzcyB3b3Jk\r\n"),
        1 => fixed("*\r\n"),
        1 => fixed("CAPA\r\n"),
        1 => fixed("STLS\r\n"),
        1 => fixed("STAT\r\n"),
        1 => fixed("LIST\r\n"),
        1 => fixed("UIDL\r\n"),
        2 => fixed("RETR 2\r\n"),
        2 => fixed("TOP 3 1\r\n"),
        2 => fixed("DELE 2\r\n"),
        1 => fixed("RSET\r\n"),
        1 => fixed("NOOP\r\n"),
        1 => fixed("QUIT\r\n"),
        1 => fixed("\r"),
        1 => fixed("\n"),
        1 => fixed("\0"),
        1 => Just(vec![b'a'; 3000]),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..30).prop_map(|pieces| pieces.concat())
}

/// What may come besides octets, by number.
fn event(number: u8) -> Event<'static, Answer<TestReceipt>> {
    match number {
        0 => Event::Opened,
        1 => Event::Early,
        2 => Event::Quiet,
        3 => Event::TlsReady,
        4 => Event::Deadline,
        5 => Event::Shutdown,
        6 => Event::PeerClosed,
        12 => Event::Revoked,
        7 => Event::Answer(Answer::Opened(Table::new(five_messages()).maildrop())),
        8 => Event::Answer(Answer::LoginRefused(LoginRefusal::Credentials)),
        9 => Event::Answer(Answer::Retrieval(Ok(()))),
        10 => Event::Answer(Answer::Streamed(Ok(()))),
        11 => Event::Answer(Answer::Flushed),
        _ => Event::Answer(Answer::Committed(Ok(Some(TestReceipt(1))))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_split_gives_the_same_dialogue(dialogue in dialogue(), mut cuts in proptest::collection::vec(0usize..1000, 0..30)) {
        cuts.sort_unstable();
        let mut whole = session();
        whole.is_always_quiet = true;
        whole.feed(&dialogue);
        let mut split = session();
        split.is_always_quiet = true;
        split.feed_cut(&dialogue, &cuts);
        // Whether plaintext lies behind STLS is what its synchronisation point is about: another test's.
        if whole.handshakes == 0 && split.handshakes == 0 {
            prop_assert_eq!(whole.replies(), split.replies());
            prop_assert_eq!(&whole.table.deleted, &split.table.deleted);
            prop_assert_eq!(whole.is_closed, split.is_closed);
        }
    }

    #[test]
    fn memory_stays_within_its_limits(dialogue in dialogue(), mut cuts in proptest::collection::vec(0usize..1000, 0..30)) {
        cuts.sort_unstable();
        let mut session = session();
        session.feed_cut(&dialogue, &cuts);
        // A SASL response may be longer than a command, but is not longer than its own limit.
        prop_assert!(session.carried_max < COMMAND_LINE_BYTES_MAX.max(crate::proto::sasl::RESPONSE_BYTES_MAX + 2));
        prop_assert!(session.wire_max <= WIRE_BYTES_MAX + 512);
    }

    #[test]
    fn no_order_of_events_panics_and_nothing_is_said_after_the_close(
        events in proptest::collection::vec(prop_oneof![2 => piece().prop_map(Ok), 1 => (0u8..14).prop_map(Err)], 0..60),
    ) {
        let mut core = Core::new(Arc::new(Config { tls_available: true, ..Config::default() })).with_plaintext(true);
        let mut out = Actions::default();
        let mut is_closed = false;
        for next in &events {
            out.clear();
            match next {
                Ok(octets) => core.handle(Event::Bytes(octets), &mut out),
                Err(number) => core.handle(event(*number), &mut out),
            };
            prop_assert!(!is_closed || (out.wire.is_empty() && out.question.is_none()));
            is_closed |= out.close;
        }
    }

    #[test]
    fn plaintext_behind_stls_is_never_acted_on(injected in dialogue(), cut in 0usize..6) {
        prop_assume!(!injected.is_empty());
        let mut session = session();
        let mut octets = b"STLS\r\n".to_vec();
        octets.extend_from_slice(&injected);
        session.feed_cut(&octets, &[cut.min(5)]);
        session.play("S: +OK Begin\nS: close");
        prop_assert_eq!(session.handshakes, 0);
    }

    #[test]
    fn without_crlf_nothing_is_answered(octets in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let octets: Vec<u8> = octets.into_iter().filter(|octet| *octet != b'\n').collect();
        let mut session = session();
        session.feed(&octets);
        session.feed(&octets);
        prop_assert_eq!(session.replies(), Vec::<String>::new());
    }
}
