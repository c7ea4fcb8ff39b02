//! Dialogues, each a claim about what a peer is told.

use super::*;
use crate::proto::pop3::Retention;
use crate::proto::{Event, Protocol};

#[test]
fn capabilities_depend_on_what_may_be_done_now() {
    let capabilities = |session: &mut Session| {
        session.feed(b"CAPA\r\n");
        session.replies()
    };
    let open = capabilities(&mut session());
    for keyword in [
        "TOP",
        "UIDL",
        "RESP-CODES",
        "AUTH-RESP-CODE",
        "PIPELINING",
        "EXPIRE NEVER",
        "LOGIN-DELAY 0",
        "UTF8 USER",
        "LANG",
        "USER",
        "SASL PLAIN LOGIN",
        "STLS",
        "IMPLEMENTATION Ringpost",
        ".",
    ] {
        assert!(open.iter().any(|line| line == keyword), "{keyword} is missing");
    }
    let config = Config {
        tls_available: true,
        ..Config::default()
    };
    let mut strict = session_with(config, Vec::new());
    assert!(
        !capabilities(&mut strict)
            .iter()
            .any(|line| line == "USER" || line.starts_with("SASL"))
    );
    strict.play("C: STLS\nS: +OK");
    let behind_tls = capabilities(&mut strict);
    assert!(behind_tls.iter().any(|line| line == "USER") && !behind_tls.iter().any(|line| line == "STLS"));
}

#[test]
fn passwords_are_not_taken_in_clear_unless_allowed() {
    let mut session = session_with(Config::default(), Vec::new());
    session.play(
        "C: USER tim@x.test
         S: -ERR Plaintext
         C: PASS pass word
         S: -ERR Plaintext
         C: AUTH PLAIN AHRpbUB4LnRlc3QAcGFzcyB3b3Jk
         S: -ERR Plaintext
         C: STLS
         S: -ERR TLS not offered",
    );
}

#[test]
fn login_is_by_user_and_pass() {
    session().play(
        "C: STAT
         S: -ERR
         C: PASS x
         S: -ERR Send USER first
         C: USER tim@x.test
         S: +OK
         C: PASS wrong
         S: -ERR [AUTH]
         C: PASS pass word
         S: -ERR Send USER first
         C: USER tim@x.test
         S: +OK
         C: PASS pass word
         S: +OK 5 messages
         C: USER tim@x.test
         S: -ERR Not valid
         C: STLS
         S: -ERR Not valid",
    );
}

#[test]
fn login_is_by_auth_plain() {
    session().play(
        "C: AUTH PLAIN AHRpbUB4LnRlc3QAcGFzcyB3b3Jk
         S: +OK 5 messages",
    );
    session().play(
        "C: AUTH CRAM-MD5
         S: -ERR Mechanism
         C: auth plain
         S: +
         C: *
         S: -ERR Authentication cancelled
         C: AUTH PLAIN
         S: +
         C: not base64!
         S: -ERR Bad SASL
         C: AUTH PLAIN
         S: +
         C: AHRpbUB4LnRlc3QAd3Jvbmc=
         S: -ERR [AUTH]
         C: AUTH PLAIN
         S: +
         C: AHRpbUB4LnRlc3QAcGFzcyB3b3Jk
         S: +OK 5 messages",
    );
}

#[test]
fn acting_as_somebody_else_is_for_the_session_to_judge() {
    // ursel NUL tim@x.test NUL pass word
    session().play("C: AUTH PLAIN dXJzZWwAdGltQHgudGVzdABwYXNzIHdvcmQ=\nS: -ERR [AUTH]");
}

#[test]
fn guessing_ends_the_connection() {
    let mut session = session();
    for _ in 0..4 {
        session.play("C: USER tim@x.test\nS: +OK\nC: PASS x\nS: -ERR [AUTH] Login failed");
    }
    session.play("C: USER tim@x.test\nS: +OK\nC: PASS x\nS: -ERR [AUTH] Too many\nS: close");
}

#[test]
fn stat_and_lists_agree_with_what_is_sent() {
    logged_in().play(
        "C: STAT
         S: +OK 5 210
         C: LIST 1
         S: +OK 1 42
         C: UIDL 2
         S: +OK 2 7.11
         C: RETR 1
         S: +OK 42 octets
         S: Subject: m0
         S:
         S: ..dot line
         S: line 2
         S: line 3
         S: .
         C: DELE 2
         S: +OK
         C: LIST
         S: +OK
         S: 1 42
         S: 3 42
         S: 4 42
         S: 5 42
         S: .
         C: UIDL
         S: +OK
         S: 1 7.10
         S: 3 7.12
         S: 4 7.13
         S: 5 7.14
         S: .
         C: STAT
         S: +OK 4 168
         C: RSET
         S: +OK
         C: STAT
         S: +OK 5 210",
    );
}

#[test]
fn top_sends_the_header_and_so_many_lines() {
    logged_in().play(
        "C: TOP 1 0
         S: +OK
         S: Subject: m0
         S:
         S: .
         C: TOP 1 2
         S: +OK
         S: Subject: m0
         S:
         S: ..dot line
         S: line 2
         S: .
         C: TOP 1 -1
         S: -ERR
         C: TOP 1
         S: -ERR",
    );
}

#[test]
fn numbers_that_name_no_message_are_refused() {
    for argument in ["0", "6", "-1", "99999999999999999999", "x", ""] {
        for command in ["RETR", "LIST", "UIDL", "DELE"] {
            if argument.is_empty() && matches!(command, "LIST" | "UIDL") {
                continue;
            }
            logged_in().play(&format!("C: {command} {argument}\nS: -ERR"));
        }
    }
}

#[test]
fn a_deleted_message_is_not_there() {
    logged_in().play(
        "C: DELE 2
         S: +OK
         C: DELE 2
         S: -ERR No such message
         C: RETR 2
         S: -ERR No such message
         C: LIST 2
         S: -ERR No such message
         C: UIDL 2
         S: -ERR No such message
         C: TOP 2 1
         S: -ERR No such message",
    );
}

#[test]
fn a_message_expunged_elsewhere_is_gone_and_no_other_takes_its_place() {
    let mut session = logged_in();
    session.table.gone = vec![0];
    session.play("C: RETR 1\nS: -ERR Message is gone\nC: TOP 1 0\nS: -ERR\nC: TOP 2 0\nS: +OK\nS: Subject: m1\nS:\nS: .");
}

#[test]
fn a_stream_that_breaks_off_has_no_end() {
    let mut session = logged_in();
    session.table.is_broken = true;
    session.play("C: RETR 1\nS: +OK 42 octets\nS: close");
}

#[test]
fn quit_deletes_and_says_so_only_with_a_receipt() {
    let mut session = logged_in();
    session.play("C: DELE 5\nS: +OK\nC: DELE 1\nS: +OK\nC: QUIT\nS: +OK Deleted as 1.1\nS: close");
    assert_eq!(session.table.deleted, [0, 4]);
    let mut session = logged_in();
    session.table.is_broken = true;
    session.play("C: DELE 5\nS: +OK\nC: QUIT\nS: -ERR [SYS/TEMP]\nS: close");
}

#[test]
fn without_quit_nothing_is_deleted() {
    for event in [
        Event::PeerClosed,
        Event::Deadline,
        Event::Shutdown,
        Event::Revoked,
    ] {
        let mut session = logged_in();
        session.play("C: DELE 5\nS: +OK");
        session.event(event);
        assert!(session.is_closed && session.table.deleted.is_empty());
    }
}

#[test]
fn small_commands_have_their_answers() {
    logged_in().play(
        "C: NOOP
         S: +OK
         C: XYZ
         S: -ERR Unknown
         C:
         S: -ERR Unknown
         C: USER a\\0b
         S: -ERR Command holds
         C: QUIT
         S: +OK Bye
         S: close",
    );
    session().play("C: QUIT\nS: +OK Bye\nS: close");
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut session = logged_in();
    session.feed(b"STAT\r\nTOP 1 0\r\nNOOP\r\nQUIT\r\nNOOP\r\n");
    session.play("S: +OK 5 210\nS: +OK Top\nS: Subject\nS:\nS: .\nS: +OK\nS: +OK Bye\nS: close");
}

#[test]
fn stls_forgets_the_user_and_refuses_what_lies_behind_it() {
    session().play("C: USER tim@x.test\nS: +OK\nC: STLS\nS: +OK Begin\nC: PASS pass word\nS: -ERR Send USER");
    let mut session = session();
    session.feed(b"STLS\r\nNOOP\r\n");
    session.play("S: +OK Begin\nS: close");
    assert_eq!(session.handshakes, 0);
}

#[test]
fn long_lines_and_browsers_are_turned_away() {
    let mut long = session();
    long.feed(format!("USER {}\r\nCAPA x\r\n", "a".repeat(100_000)).as_bytes());
    long.play("S: -ERR Line too long\nS: -ERR Bad arguments");
    session().play("C: GET / HTTP/1.1\nS: -ERR This is no web server\nS: close");
}

#[test]
fn errors_are_counted() {
    let mut session = session();
    session.feed("XYZ\r\n".repeat(21).as_bytes());
    let replies = session.replies();
    assert!(session.is_closed && replies.len() == 21 && replies[20] == "-ERR Too many errors");
}

#[test]
fn a_large_maildrop_is_listed_piece_by_piece() {
    let mut session = plaintext_session(Config::default(), vec![b"A: b\r\n\r\n".to_vec(); 20_000]);
    session.play("C: USER tim@x.test\nS: +OK\nC: PASS pass word\nS: +OK");
    session.feed(b"UIDL\r\nNOOP\r\n");
    let replies = session.replies();
    assert_eq!(replies.len(), 20_003);
    assert_eq!(replies[20_000], "20000 7.20009");
    assert_eq!(&replies[20_001..], [".", "+OK"]);
    assert!(session.wire_max < super::super::limits::WIRE_BYTES_MAX + 512);
}

#[test]
fn replies_are_in_the_language_asked_for() {
    let mut session = session();
    session.play(
        "C: LANG
         S: +OK Language listing
         S: en English
         S: de Deutsch
         S: .
         C: LANG fr
         S: -ERR Language not
         C: LANG de-AT
         S: +OK de Ab jetzt
         C: XYZ
         S: -ERR Unbekannter
         C: USER tim@x.test
         S: +OK Jetzt PASS
         C: PASS wrong
         S: -ERR [AUTH] Anmeldung
         C: USER tim@x.test
         S: +OK Jetzt PASS
         C: PASS pass word
         S: +OK 5 Nachrichten (210 Oktette)
         C: DELE 1
         S: +OK Zum Löschen
         C: LANG *
         S: +OK en Replies
         C: DELE 1
         S: -ERR No such message",
    );
    session.event(Event::Shutdown);
    session.play("S: -ERR [SYS/TEMP] Server\nS: close");
}

#[test]
fn utf8_is_for_before_the_login_and_tls_forgets_the_language() {
    session().play(
        "C: UTF8
         S: +OK UTF8
         C: UTF8 now
         S: -ERR Bad arguments
         C: LANG de
         S: +OK de
         C: STLS
         S: +OK TLS kann
         C: USER tim@x.test
         S: +OK Send PASS
         C: PASS pass word
         S: +OK 5 messages
         C: UTF8
         S: -ERR Not valid",
    );
}

#[test]
fn retention_is_told_once_it_is_known_whose() {
    let config = Config {
        retention: None,
        login_delay_seconds: 30,
        ..Config::default()
    };
    let mut session = plaintext_session(config, five_messages());
    session.feed(b"CAPA\r\n");
    let before = session.replies();
    assert!(before.contains(&"LOGIN-DELAY 30".to_owned()));
    assert!(!before.iter().any(|line| line.starts_with("EXPIRE")));
    session.feed(b"USER tim@x.test\r\nPASS pass word\r\nCAPA\r\n");
    assert!(session.replies().contains(&"EXPIRE NEVER".to_owned()));
    let kept = Table::new(Vec::new())
        .maildrop()
        .with_retention(Retention::Days(30));
    let mut core = Core::new(Arc::new(Config::default()));
    let mut out = crate::proto::Actions::default();
    for event in [
        Event::TlsReady,
        Event::Opened,
        Event::Bytes(b"USER a\r\nPASS b\r\n"),
    ] {
        core.handle(event, &mut out);
    }
    out.clear();
    core.handle(Event::Answer(Answer::Opened(kept)), &mut out);
    core.handle(Event::Bytes(b"CAPA\r\n"), &mut out);
    assert!(String::from_utf8_lossy(&out.wire).contains("\r\nEXPIRE 30\r\n"));
}

#[test]
fn every_mechanism_leads_in_or_is_refused_alike() {
    let config = || Config {
        mechanisms: Mechanisms::PASSWORDS
            .and(Mechanisms::SCRAM)
            .and(Mechanisms::TOKENS),
        ..Config::default()
    };
    plaintext_session(config(), five_messages()).play(
        "C: AUTH LOGIN
         S: + VXNlcm5hbWU6
         C: dGltQHgudGVzdA==
         S: + UGFzc3dvcmQ6
         C: cGFzcyB3b3Jk
         S: +OK 5 messages",
    );
    plaintext_session(config(), five_messages()).play(
        "C: AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=
         S: + cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3c29Fc1VFamI2Z1E9PSxpPTQwOTY=
         C: Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==
         S: + dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ==
         C:
         S: +OK 5 messages",
    );
    plaintext_session(config(), five_messages()).play(
        "C: AUTH XOAUTH2 dXNlcj10aW1AeC50ZXN0AWF1dGg9QmVhcmVyIGJhZAEB
         S: + eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NoZW1lcyI6ImJlYXJlciJ9
         C: AQ==
         S: -ERR [AUTH] Login failed
         C: AUTH OAUTHBEARER biwsAWF1dGg9QmVhcmVyIGdvb2QBAQ==
         S: +OK 5 messages",
    );
    session().play("C: AUTH SCRAM-SHA-256\nS: -ERR Mechanism not\nC: AUTH EXTERNAL =\nS: -ERR Mechanism not");
}
