//! The laws of `proto` for SMTP.

use super::*;
use crate::model::AddrSpec;
use crate::proto::smtp::limits::{COMMAND_LINE_BYTES_MAX, WIRE_BYTES_MAX};
use crate::proto::smtp::{BeginVerdict, Path};
use crate::proto::{Actions, Event, Protocol};
use proptest::prelude::*;

/// Pieces of which dialogues, good and bad, are made.
pub(super) fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |text: &'static str| Just(text.as_bytes().to_vec());
    prop_oneof![
        1 => fixed("EHLO a.test\r\n"),
        1 => fixed("HELO a.test\r\n"),
        6 => fixed("MAIL FROM:<a@y.test>\r\n"),
        1 => fixed("MAIL FROM:<\u{fc}@y.test> SMTPUTF8 SIZE=3\r\n"),
        2 => fixed("MAIL FROM:<a@y.test> BODY=BINARYMIME RET=FULL ENVID=a+20b\r\n"),
        2 => fixed("RCPT TO:<u@x.test> NOTIFY=DELAY ORCPT=rfc822;a@b\r\n"),
        6 => fixed("RCPT TO:<u@x.test>\r\n"),
        2 => fixed("RCPT TO:<late@x.test>\r\n"),
        1 => fixed("RCPT TO:<nobody@x.test>\r\n"),
        6 => fixed("DATA\r\n"),
        6 => fixed("Subject: x\r\n\r\n..y\r\n.z\r\n"),
        6 => fixed(".\r\n"),
        2 => fixed("BDAT 5\r\n"),
        2 => fixed("BDAT 0 LAST\r\n"),
        1 => fixed("BDAT 7 LAST\r\n"),
        2 => fixed("12345"),
        1 => fixed("RSET\r\n"),
        1 => fixed("NOOP\r\n"),
        1 => fixed("STARTTLS\r\n"),
        1 => fixed("\r"),
        1 => fixed("\n"),
        1 => fixed("."),
        1 => fixed("\0"),
        1 => Just(vec![b'a'; 3000]),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

pub(super) fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..40).prop_map(|pieces| pieces.concat())
}

/// A session whose synchronisation points are always quiet, so that cuts do not matter there either.
fn quiet_session() -> Session {
    let mut session = session();
    session.is_always_quiet = true;
    session.feed(b"EHLO a.test\r\n");
    session
}

#[derive(Debug, Clone)]
enum Any {
    Bytes(Vec<u8>),
    Opened,
    Early,
    Quiet,
    TlsReady,
    Deadline,
    Shutdown,
    Revoked,
    PeerClosed,
    Begin(bool),
    Recipient(bool),
    Committed(bool),
}

fn any_event() -> impl Strategy<Value = Any> {
    prop_oneof![
        12 => piece().prop_map(Any::Bytes),
        1 => Just(Any::Opened),
        1 => Just(Any::Early),
        6 => Just(Any::Quiet),
        1 => Just(Any::TlsReady),
        1 => Just(Any::Deadline),
        1 => Just(Any::Shutdown),
        1 => Just(Any::Revoked),
        1 => Just(Any::PeerClosed),
        4 => any::<bool>().prop_map(Any::Begin),
        4 => any::<bool>().prop_map(Any::Recipient),
        4 => any::<bool>().prop_map(Any::Committed),
    ]
}

fn give(core: &mut Core, event: &Any, out: &mut Actions<Question>) {
    let begin = |is_ok: bool| -> BeginVerdict {
        is_ok
            .then_some(())
            .ok_or(super::super::reply::BeginRefusal::NoSpace)
    };
    core.handle(
        match event {
            Any::Bytes(octets) => Event::Bytes(octets),
            Any::Opened => Event::Opened,
            Any::Early => Event::Early,
            Any::Quiet => Event::Quiet,
            Any::TlsReady => Event::TlsReady,
            Any::Deadline => Event::Deadline,
            Any::Shutdown => Event::Shutdown,
            Any::Revoked => Event::Revoked,
            Any::PeerClosed => Event::PeerClosed,
            Any::Begin(is_ok) => Event::Answer(Answer::Begin(begin(*is_ok))),
            Any::Recipient(is_ok) => {
                let verdict = is_ok.then_some(()).ok_or(RecipientRefusal::UnknownUser);
                Event::Answer(Answer::Recipient(verdict))
            }
            Any::Committed(is_ok) => {
                let result = is_ok.then_some(TestReceipt(1)).ok_or(CommitRefusal::Failed);
                Event::Answer(Answer::Committed(result))
            }
        },
        out,
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_split_gives_the_same_dialogue(dialogue in dialogue(), mut cuts in proptest::collection::vec(0usize..2000, 0..30)) {
        cuts.sort_unstable();
        let mut whole = quiet_session();
        whole.feed(&dialogue);
        let mut split = quiet_session();
        split.feed_cut(&dialogue, &cuts);
        // Whether plaintext lies behind STARTTLS is what its synchronisation point is about: another test's.
        if whole.handshakes == 0 && split.handshakes == 0 {
            prop_assert_eq!(whole.replies(), split.replies());
            prop_assert_eq!(&whole.table.messages, &split.table.messages);
            prop_assert_eq!(whole.is_closed, split.is_closed);
        }
    }

}

proptest! {
    // Slow: every octet is an event.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn one_octet_at_a_time_gives_the_same_dialogue(dialogue in dialogue()) {
        let cuts: Vec<usize> = (0..dialogue.len()).collect();
        let mut whole = quiet_session();
        whole.feed(&dialogue);
        let mut split = quiet_session();
        split.feed_cut(&dialogue, &cuts);
        if whole.handshakes == 0 && split.handshakes == 0 {
            prop_assert_eq!(whole.replies(), split.replies());
            prop_assert_eq!(&whole.table.messages, &split.table.messages);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn memory_stays_within_its_limits(dialogue in dialogue(), mut cuts in proptest::collection::vec(0usize..2000, 0..30)) {
        cuts.sort_unstable();
        let mut session = greeted();
        session.feed_cut(&dialogue, &cuts);
        prop_assert!(session.carried_max < COMMAND_LINE_BYTES_MAX);
        prop_assert!(session.wire_max <= WIRE_BYTES_MAX + 512);
        session.replies();
    }

    #[test]
    fn no_order_of_events_panics_and_nothing_is_said_after_the_close(events in proptest::collection::vec(any_event(), 0..60)) {
        let mut core = Core::new(Arc::new(config()));
        let mut out = Actions::default();
        let mut is_closed = false;
        for event in &events {
            out.clear();
            give(&mut core, event, &mut out);
            prop_assert!(!(is_closed && !(out.wire.is_empty() && out.body.is_empty() && out.question.is_none())));
            is_closed |= out.close;
        }
    }

    #[test]
    fn plaintext_behind_starttls_is_never_acted_on(injected in dialogue(), cut in 0usize..40) {
        prop_assume!(!injected.is_empty());
        let mut session = greeted();
        let mut octets = b"STARTTLS\r\n".to_vec();
        octets.extend_from_slice(&injected);
        // Cuts inside the command leave the injection in the same read as the command's end.
        session.feed_cut(&octets, &[cut.min(9)]);
        session.play("S: 501 5.5.4\nS: close");
        prop_assert_eq!(session.handshakes, 0);
        prop_assert!(session.table.messages.is_empty());
    }

    #[test]
    fn without_crlf_nothing_is_answered(octets in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let octets: Vec<u8> = octets.into_iter().filter(|octet| *octet != b'\n').collect();
        let mut session = greeted();
        session.feed(&octets);
        session.feed(&octets);
        prop_assert_eq!(session.replies(), Vec::<String>::new());
    }

    #[test]
    fn pipelining_answers_as_one_by_one(commands in proptest::collection::vec(prop_oneof![
        Just("NOOP\r\n"), Just("RSET\r\n"), Just("VRFY a\r\n"), Just("HELP\r\n"), Just("EXPN a\r\n"),
        Just("MAIL FROM:<a@y.test>\r\n"), Just("RCPT TO:<u@x.test>\r\n"), Just("RCPT TO:<full@x.test>\r\n"),
    ], 0..60)) {
        let mut together = greeted();
        together.feed(commands.concat().as_bytes());
        let mut apart = greeted();
        let mut replies = Vec::new();
        for command in &commands {
            apart.feed(command.as_bytes());
            let reply = apart.replies();
            prop_assert_eq!(reply.len(), usize::from(!apart.is_closed || !reply.is_empty()));
            replies.extend(reply);
        }
        prop_assert_eq!(together.replies(), replies);
    }

    #[test]
    fn a_path_written_is_read_back(local in "[ -~ü]{1,20}", domain in "[a-z0-9]{1,10}(\\.[a-z]{1,5}){0,3}") {
        let local_part = crate::model::LocalPart::new(&local).expect("printable");
        let domain = crate::model::Domain::new(&domain).expect("labels");
        let address = AddrSpec { local_part, domain };
        let written = format!("<{address}>");
        let (path, rest) = Path::split(written.as_bytes()).expect("a path");
        prop_assert!(rest.is_empty());
        prop_assert_eq!(path.forward(true), Ok(ForwardPath::Address(address)));
    }
}
