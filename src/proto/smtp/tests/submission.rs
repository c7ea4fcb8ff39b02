//! AUTH and what needs it, as dialogues; and the laws again for sessions that begin with it.

use super::laws::{dialogue, piece};
use super::*;
use crate::proto::sasl::{Mechanisms, RESPONSE_BYTES_MAX};
use crate::proto::{Actions, Deadline, Event, Protocol};
use proptest::prelude::*;

/// PLAIN's message of tim@x.test with the password `pass word`.
const TIM: &str = "AHRpbUB4LnRlc3QAcGFzcyB3b3Jk";

fn core(allows_plaintext: bool) -> Core {
    let config = Config {
        role: Role::Submission,
        mechanisms: Mechanisms::PASSWORDS.and(Mechanisms::TOKENS),
        ..config()
    };
    Smtp::new(Arc::new(config)).with_plaintext(allows_plaintext)
}

/// Behind the greeting.
fn submission(allows_plaintext: bool) -> Session {
    let mut session = Session::opened(core(allows_plaintext), Table::default());
    session.play("S: 220 mx.test ESMTP Ringpost");
    session
}

fn capabilities(session: &mut Session) -> Vec<String> {
    session.feed(b"EHLO a.test\r\n");
    session.replies()
}

#[test]
fn nothing_is_sent_before_it_is_known_by_whom() {
    let mut session = submission(false);
    assert!(
        !capabilities(&mut session)
            .iter()
            .any(|line| line.contains("AUTH"))
    );
    session.play(
        "C: MAIL FROM:<tim@x.test>
         S: 530 5.7.0 Must issue
         C: RCPT TO:<u@x.test>
         S: 530 5.7.0 Must issue
         C: AUTH PLAIN AHRpbUB4LnRlc3QAcGFzcyB3b3Jk
         S: 538 5.7.11
         C: AUTH CRAM-MD5
         S: 504 5.5.4
         C: STARTTLS
         S: 220 2.0.0
         C: AUTH PLAIN AHRpbUB4LnRlc3QAcGFzcyB3b3Jk
         S: 503 5.5.1 Send EHLO",
    );
    assert!(capabilities(&mut session).contains(&"250-AUTH OAUTHBEARER XOAUTH2 PLAIN LOGIN".to_owned()));
    session.play(&format!(
        "C: MAIL FROM:<tim@x.test>
         S: 530 5.7.0 Authentication
         C: AUTH PLAIN {TIM}
         S: 235 2.7.0
         C: AUTH PLAIN {TIM}
         S: 503 5.5.1
         C: MAIL FROM:<tim@x.test> AUTH=<>
         S: 250 2.1.0
         C: RCPT TO:<u@x.test>
         S: 250 2.1.5
         C: DATA
         S: 354
         C: From: tim@x.test
         C:
         C: .
         S: 250 2.0.0 Ok: queued as 1.1"
    ));
    assert_eq!(session.table.messages.len(), 1);
}

#[test]
fn every_mechanism_leads_in_or_is_refused_alike() {
    let mut session = submission(true);
    capabilities(&mut session);
    session.play(
        "C: AUTH
         S: 501 5.5.4
         C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: *
         S: 501 5.7.0
         C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: not base64
         S: 501 5.5.2
         C: AUTH LOGIN dGltQHgudGVzdA==
         S: 334 UGFzc3dvcmQ6
         C: d3Jvbmc=
         S: 535 5.7.8
         C: AUTH XOAUTH2 dXNlcj10aW1AeC50ZXN0AWF1dGg9QmVhcmVyIGJhZAEB
         S: 334 eyJzdGF0dXMi
         C: AQ==
         S: 535 5.7.8
         C: AUTH PLAIN
         S: 334
         C: AHRpbUB4LnRlc3QAcGFzcyB3b3Jk
         S: 235 2.7.0",
    );
}

#[test]
fn guessing_ends_the_connection_and_other_services_know_no_auth() {
    let mut session = submission(true);
    capabilities(&mut session);
    for _ in 1..5 {
        session.play("C: AUTH PLAIN AHRpbUB4LnRlc3QAd3Jvbmc=\nS: 535 5.7.8");
    }
    session.play("C: AUTH PLAIN AHRpbUB4LnRlc3QAd3Jvbmc=\nS: 421 4.7.0\nS: close");
    greeted().play("C: AUTH PLAIN AHRpbUB4LnRlc3QAcGFzcyB3b3Jk\nS: 502 5.5.1");
}

#[test]
fn tls_forgets_who_it_was_and_login_has_its_time_once() {
    let mut session = submission(true);
    capabilities(&mut session);
    session.play(&format!("C: AUTH PLAIN {TIM}\nS: 235\nC: STARTTLS\nS: 220"));
    capabilities(&mut session);
    session.play("C: MAIL FROM:<tim@x.test>\nS: 530 5.7.0");
    let mut core = core(true);
    let mut out = Actions::default();
    core.handle(Event::Opened, &mut out);
    core.handle(Event::Quiet, &mut out);
    assert_eq!(out.deadline, Some(Deadline::Seconds(60)));
    out.clear();
    core.handle(Event::Bytes(b"NOOP\r\nNOOP\r\n"), &mut out);
    assert_eq!(out.deadline, None, "commands give no more time to log in");
}

fn authentication() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |text: String| Just(text.into_bytes());
    prop_oneof![
        2 => fixed(format!("AUTH PLAIN {TIM}\r\n")),
        2 => fixed("AUTH PLAIN\r\n".to_owned()),
        2 => fixed("AUTH LOGIN\r\n".to_owned()),
        2 => fixed(format!("{TIM}\r\n")),
        1 => fixed("*\r\n".to_owned()),
        1 => fixed("dGltQHgudGVzdA==\r\n".to_owned()),
        1 => Just(vec![b'a'; 13_000]),
        6 => piece(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_dialogue(
        pieces in proptest::collection::vec(authentication(), 0..20),
        rest in dialogue(),
        mut cuts in proptest::collection::vec(0usize..2000, 0..30),
    ) {
        cuts.sort_unstable();
        let octets = [b"EHLO a.test\r\n".to_vec(), pieces.concat(), rest].concat();
        let run = |cuts: &[usize]| {
            let mut session = submission(true);
            session.is_always_quiet = true;
            session.feed_cut(&octets, cuts);
            session
        };
        let (mut whole, mut split) = (run(&[]), run(&cuts));
        prop_assert!(split.carried_max < RESPONSE_BYTES_MAX + 2);
        if whole.handshakes == 0 && split.handshakes == 0 {
            prop_assert_eq!(whole.replies(), split.replies());
            prop_assert_eq!(&whole.table.messages, &split.table.messages);
            prop_assert_eq!(whole.is_closed, split.is_closed);
        }
    }
}
