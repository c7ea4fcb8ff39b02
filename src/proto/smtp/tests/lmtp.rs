//! What LMTP does differently (RFC 2033).

use super::laws::dialogue;
use super::*;
use crate::proto::Event;
use proptest::prelude::*;

fn lmtp() -> Session {
    lmtp_session(config())
}

#[test]
fn only_lhlo_says_hello() {
    let config = Config {
        role: Role::Lmtp,
        ..config()
    };
    let mut session = Session::opened(Smtp::new(Arc::new(config)), Table::default());
    session.play(
        "S: 220 mx.test LMTP Ringpost
         C: EHLO mta.test
         S: 500 5.5.2
         C: HELO mta.test
         S: 500 5.5.2
         C: MAIL FROM:<a@y.test>
         S: 503 5.5.1 Send LHLO first
         C: LHLO
         S: 501 5.5.4",
    );
    session.feed(b"LHLO mta.test\r\n");
    assert!(session.replies().contains(&"250-PIPELINING".to_owned()));
    assert!(session.core.is_extended());
    greeted().play("C: LHLO mta.test\nS: 500 5.5.2");
}

#[test]
fn each_accepted_recipient_has_its_reply_in_order() {
    let mut session = lmtp();
    session.play(
        "C: MAIL FROM:<>
         S: 250
         C: RCPT TO:<late1@x.test>
         S: 250
         C: RCPT TO:<nobody@x.test>
         S: 550
         C: RCPT TO:<u@x.test>
         S: 250
         C: RCPT TO:<late2@x.test>
         S: 250
         C: RCPT TO:<u@x.test>
         S: 250
         C: DATA
         S: 354
         C: Subject: d
         C: .
         S: 452 4.2.2
         S: 250 2.0.0 Ok: queued as 1.1
         S: 452 4.2.2
         S: 250 2.0.0 Ok: queued as 1.1
         C: NOOP
         S: 250
         C: DATA
         S: 503",
    );
}

#[test]
fn without_a_recipient_data_is_refused_once() {
    lmtp().play(
        "C: MAIL FROM:<>
         S: 250
         C: RCPT TO:<nobody@x.test>
         S: 550
         C: DATA
         S: 503 5.5.1
         C: BDAT 2 LAST
         C:
         S: 503 5.5.1
         C: NOOP
         S: 250",
    );
}

fn with_two(mut session: Session) -> Session {
    session.feed(b"MAIL FROM:<>\r\nRCPT TO:<u@x.test>\r\nRCPT TO:<late@x.test>\r\n");
    session.play("S: 250\nS: 250\nS: 250");
    session
}

#[test]
fn the_last_chunk_is_answered_for_each_and_the_others_once() {
    let mut session = with_two(lmtp());
    session.feed(b"BDAT 4\r\na\r\n\r");
    session.play("S: 250 2.0.0 Ok: 4 octets");
    session.feed(b"BDAT 1 LAST\r\n\nNOOP\r\n");
    session.play("S: 250 2.0.0 Ok: queued\nS: 452 4.2.2\nS: 250 2.0.0 Ok");
}

#[test]
fn a_fault_of_the_message_is_told_to_each() {
    let small = || {
        lmtp_session(Config {
            message_bytes_max: 10,
            ..config()
        })
    };
    let mut session = with_two(small());
    session.feed(b"BDAT 11 LAST\r\n12345678901NOOP\r\n");
    session.play("S: 552 5.3.4\nS: 552 5.3.4\nS: 250");
    // A chunk before the last is refused once, and the rest of the message belongs to no transaction.
    let mut session = with_two(small());
    session.feed(b"BDAT 11\r\n12345678901BDAT 1 LAST\r\n1NOOP\r\n");
    session.play("S: 552 5.3.4\nS: 503 5.5.1\nS: 250");
    let mut session = with_two(small());
    session.play("C: DATA\nS: 354\nC: 12345678901\nC: .\nS: 552 5.3.4\nS: 552 5.3.4\nC: NOOP\nS: 250");
    let mut session = with_two(lmtp());
    session.play("C: DATA\nS: 354\nB: x\\ny\nC:\nC: .\nS: 550 5.5.2\nS: 550 5.5.2\nS: close");
}

#[test]
fn one_answer_for_all_is_said_to_each() {
    let mut session = with_two(lmtp());
    session.table.answers_each = false;
    session.table.commit_refusal = Some(CommitRefusal::Failed);
    session.play("C: DATA\nS: 354\nC: .\nS: 451 4.3.0\nS: 451 4.3.0\nC: NOOP\nS: 250");
}

#[test]
fn answers_that_do_not_fit_the_recipients_promise_nothing() {
    let mut core = lmtp().core;
    let mut out = crate::proto::Actions::default();
    let mut handle = |event: Event<'_, Answer<TestReceipt>>| {
        out.clear();
        crate::proto::Protocol::handle(&mut core, event, &mut out);
        String::from_utf8_lossy(&out.wire).into_owned()
    };
    handle(Event::Bytes(b"MAIL FROM:<>\r\n"));
    handle(Event::Answer(Answer::Begin(Ok(()))));
    handle(Event::Bytes(b"RCPT TO:<u@x.test>\r\n"));
    handle(Event::Answer(Answer::Recipient(Ok(()))));
    handle(Event::Bytes(b"BDAT 0 LAST\r\n"));
    let results = vec![Ok(TestReceipt(1)), Ok(TestReceipt(1))];
    assert!(handle(Event::Answer(Answer::CommittedEach(results))).starts_with("421 4.3.0"));
}

fn lmtp_dialogue() -> impl Strategy<Value = Vec<u8>> {
    dialogue().prop_map(|octets| {
        // No dialogue holds these letters but where a peer says hello.
        let mut octets = octets;
        for at in 0..octets.len() {
            if octets[at..].starts_with(b"EHLO ") {
                octets[at] = b'L';
                octets[at + 1] = b'H';
            }
        }
        octets
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_split_gives_the_same_dialogue(dialogue in lmtp_dialogue(), mut cuts in proptest::collection::vec(0usize..2000, 0..30)) {
        cuts.sort_unstable();
        let mut sessions = [lmtp(), lmtp()];
        sessions[0].is_always_quiet = true;
        sessions[1].is_always_quiet = true;
        let [whole, split] = &mut sessions;
        whole.feed(&dialogue);
        split.feed_cut(&dialogue, &cuts);
        if whole.handshakes == 0 && split.handshakes == 0 {
            prop_assert_eq!(whole.replies(), split.replies());
            prop_assert_eq!(&whole.table.messages, &split.table.messages);
            prop_assert_eq!(whole.is_closed, split.is_closed);
        }
    }

    #[test]
    fn there_are_as_many_final_replies_as_accepted_recipients(
        names in proptest::collection::vec(prop_oneof![Just("u"), Just("late"), Just("nobody"), Just("full")], 1..9),
        is_chunked in any::<bool>(),
    ) {
        let mut session = lmtp();
        session.feed(b"MAIL FROM:<a@y.test>\r\n");
        for name in &names {
            session.feed(format!("RCPT TO:<{name}@x.test>\r\n").as_bytes());
        }
        session.replies();
        if is_chunked {
            session.feed(b"BDAT 2 LAST\r\n\r\n");
        } else {
            session.feed(b"DATA\r\n");
            let is_open = session.replies()[0].starts_with("354");
            prop_assert_eq!(is_open, names.iter().any(|name| matches!(*name, "u" | "late")));
            if !is_open {
                return Ok(());
            }
            session.feed(b"\r\n.\r\n");
        }
        let code = |name: &&str| match *name {
            "u" => Some("250"),
            "late" => Some("452"),
            _ => None,
        };
        let mut expected: Vec<&str> = names.iter().filter_map(code).collect();
        if expected.is_empty() {
            expected.push("503");
        }
        let replies = session.replies();
        let codes: Vec<&str> = replies.iter().map(|reply| &reply[..3]).collect();
        prop_assert_eq!(codes, expected);
    }
}
