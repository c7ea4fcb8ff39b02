//! Dialogues, each a claim about what a peer is told.

use super::*;
use crate::model::{DsnReturn, EnvelopeId, Notify, OriginalRecipient};
use crate::proto::{Actions, Event, Protocol};

#[test]
fn ehlo_offers_what_the_server_does() {
    let mut session = session();
    session.play(
        "C: EHLO probe.test
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-SIZE 52428800
         S: 250-8BITMIME
         S: 250-ENHANCEDSTATUSCODES
         S: 250-STARTTLS
         S: 250-DSN
         S: 250-CHUNKING
         S: 250-BINARYMIME
         S: 250-LIMITS RCPTMAX=1000
         S: 250 SMTPUTF8
         C: HELO probe.test
         S: 250 mx.test",
    );
    assert!(!session.core.is_extended());
    assert_eq!(session.core.hello_name(), Some("probe.test"));
}

#[test]
fn a_name_of_hello_is_made_fit_for_a_trace_field() {
    session().play(
        "C: HELO
         S: 501 5.5.4
         C: HELO a\tb
         S: 501 5.5.4
         C: HELO [127.0.0.1]
         S: 250 mx.test",
    );
    for (said, kept) in [
        (&b"a(b)"[..], "a?b?"),
        (b"MY PC", "MY?PC"),
        ("Büro-PC".as_bytes(), "B?ro-PC"),
        (b"B\xfcro-PC", "B?ro-PC"),
    ] {
        let mut session = session();
        session.feed(&[b"EHLO ", said, b"\r\n"].concat());
        assert_eq!(session.core.hello_name(), Some(kept));
    }
}

#[test]
fn commands_out_of_order_are_refused() {
    session().play(
        "C: MAIL FROM:<a@y.test>
         S: 503 5.5.1
         C: RCPT TO:<u@x.test>
         S: 503 5.5.1
         C: HELO probe.test
         S: 250
         C: RCPT TO:<u@x.test>
         S: 503 5.5.1
         C: DATA
         S: 503 5.5.1
         C: MAIL FROM:<a@y.test>
         S: 250 2.1.0
         C: DATA
         S: 503 5.5.1
         C: MAIL FROM:<b@y.test>
         S: 503 5.5.1
         C: RCPT TO:<u@x.test>
         S: 250 2.1.5
         C: RSET
         S: 250 2.0.0
         C: DATA
         S: 503 5.5.1",
    );
}

#[test]
fn small_commands_have_their_answers() {
    greeted().play(
        "C: NOOP hello world
         S: 250 2.0.0
         C: VRFY u
         S: 252 2.5.0
         C: VRFY
         S: 501 5.5.4
         C: EXPN list
         S: 502 5.5.1
         C: HELP
         S: 214 2.0.0
         C: AUTH PLAIN
         S: 502 5.5.1
         C: FROBNICATE x
         S: 500 5.5.2
         C: mAil fRom:<a@y.test>
         S: 250 2.1.0
         C: QUIT
         S: 221 2.0.0
         S: close",
    );
}

#[test]
fn quit_closes_whatever_lies_behind_it() {
    let mut session = greeted();
    session.feed(b"NOOP\r\nQUIT\r\nNOOP\r\nMAIL FROM:<a@y.test>\r\n");
    session.play("S: 250\nS: 221\nS: close");
}

#[test]
fn mail_takes_what_ehlo_offers_and_nothing_else() {
    for (line, code) in [
        ("<>", "250 2.1.0"),
        (" <a@y.test>", "250 2.1.0"),
        ("<a@y.test>  ", "250 2.1.0"),
        ("<\"a b\"@y.test>", "250 2.1.0"),
        ("<@r.test,@s.test:a@y.test>", "250 2.1.0"),
        ("<a@y.test> BODY=8BITMIME", "250 2.1.0"),
        ("<a@y.test> SIZE=52428800", "250 2.1.0"),
        ("<ü@y.test> SMTPUTF8", "250 2.1.0"),
        ("<ü@y.test>", "553 5.6.7"),
        ("<a@y.test> SIZE=52428801", "552 5.3.4"),
        ("<a@y.test> SIZE=99999999999", "552 5.3.4"),
        ("<a@y.test> SIZE=-1", "501 5.5.4"),
        ("<a@y.test> BODY=BINARYMIME", "250 2.1.0"),
        ("<a@y.test> RET=FULL ENVID=a+20b", "250 2.1.0"),
        ("<a@y.test> ENVID=a+0D+0ARCPT", "501 5.5.4"),
        ("<a@y.test> RET=SOME", "501 5.5.4"),
        ("<a@y.test> REQUIRETLS", "555 5.5.4"),
        ("<a@y.test> MT-PRIORITY=3", "555 5.5.4"),
        ("<a@y.test> FOO=bar", "555 5.5.4"),
        ("<a@y.test> AUTH=<>", "555 5.5.4"),
        ("<a@y.test>x", "501 5.1.7"),
        ("a@y.test", "501 5.1.7"),
        ("<a>", "501 5.1.7"),
        ("<a\\0b@y.test>", "501 5.5.2"),
        ("<a@y.test>\\nRCPT TO:<u@x.test>", "501 5.5.2"),
        ("<a@y.test>\\rRCPT TO:<u@x.test>", "501 5.5.2"),
    ] {
        greeted().play(&format!("C: MAIL FROM:{line}\nS: {code}"));
    }
}

#[test]
fn recipients_are_refused_each_with_its_reason() {
    let mut session = greeted();
    session.play(
        "C: MAIL FROM:<a@y.test>
         S: 250
         C: RCPT TO:<nobody@x.test>
         S: 550 5.1.1
         C: RCPT TO:<u@elsewhere.invalid>
         S: 554 5.7.1
         C: RCPT TO:<off@x.test>
         S: 550 5.2.1
         C: RCPT TO:<full@x.test>
         S: 452 4.2.2
         C: RCPT TO:<later@x.test>
         S: 451 4.3.0
         C: RCPT TO:<>
         S: 501 5.1.3
         C: RCPT TO:<u@x.test> FOO=bar
         S: 555 5.5.4
         C: RCPT TO:<u@x.test> NOTIFY=OFTEN
         S: 501 5.5.4
         C: RCPT TO:<u@x.test> ORCPT=rfc822;a+0Ab
         S: 501 5.5.4
         C: DATA
         S: 503 5.5.1
         C: RCPT TO:<postmaster>
         S: 250 2.1.5",
    );
    let paths = session
        .core
        .envelope()
        .map(|envelope| envelope.forward_paths.to_vec());
    assert_eq!(paths, Some(vec![ForwardPath::Postmaster]));
}

#[test]
fn recipients_beyond_the_limit_are_put_off_not_refused() {
    let mut session = greeted();
    session.feed(b"MAIL FROM:<a@y.test>\r\n");
    session.feed("RCPT TO:<u@x.test>\r\n".repeat(1001).as_bytes());
    let replies = session.replies();
    assert_eq!(replies.len(), 1002);
    assert!(replies[1000].starts_with("250 2.1.5"));
    assert!(replies[1001].starts_with("452 4.5.3"));
}

#[test]
fn unknown_recipients_end_the_session_unless_the_operator_says_no() {
    let rcpts = "RCPT TO:<nobody@x.test>\r\n".repeat(11);
    let mut session = greeted();
    session.feed(b"MAIL FROM:<a@y.test>\r\n");
    session.feed(rcpts.as_bytes());
    let replies = session.replies();
    assert!(
        session.is_closed && replies[10].starts_with("550 5.1.1") && replies[11].starts_with("421 4.7.0")
    );
    let mut session = session_with(Config {
        unknown_recipients_max: None,
        ..config()
    });
    session.feed(b"EHLO a\r\n");
    session.feed(b"MAIL FROM:<a@y.test>\r\n");
    session.feed(rcpts.as_bytes());
    assert!(!session.is_closed && session.replies().iter().all(|reply| !reply.starts_with('4')));
}

#[test]
fn unknown_recipients_are_counted_until_mail_gets_through() {
    let mut session = greeted();
    for _ in 0..12 {
        session.feed(
            b"MAIL FROM:<a@y.test>\r\nRCPT TO:<nobody@x.test>\r\nRCPT TO:<u@x.test>\r\nBDAT 0 LAST\r\n",
        );
        assert!(
            session
                .replies()
                .last()
                .is_some_and(|reply| reply.starts_with("250 2.0.0"))
        );
    }
    session.feed(b"MAIL FROM:<a@y.test>\r\n");
    session.feed("RCPT TO:<nobody@x.test>\r\n".repeat(11).as_bytes());
    assert!(session.is_closed);
}

#[test]
fn errors_are_counted_until_mail_gets_through() {
    let mut session = greeted();
    session.feed("XYZZY\r\n".repeat(20).as_bytes());
    assert_eq!(session.replies().len(), 20);
    session.feed(b"MAIL FROM:<a@y.test>\r\nRCPT TO:<u@x.test>\r\nBDAT 0 LAST\r\n");
    session.feed("XYZZY\r\n".repeat(21).as_bytes());
    let replies = session.replies();
    assert!(session.is_closed && replies.last().is_some_and(|reply| reply.starts_with("421 4.7.0")));
}

#[test]
fn commands_that_bring_no_mail_end_the_session_before_long() {
    let mut session = session();
    session.feed(b"EHLO a\r\n");
    session.feed("NOOP\r\nRSET\r\nVRFY a\r\n".repeat(33).as_bytes());
    session.replies();
    // The hundredth was the last; a message starts the count anew.
    session.feed(b"MAIL FROM:<a@y.test>\r\nRCPT TO:<u@x.test>\r\nBDAT 0 LAST\r\n");
    assert!(!session.is_closed);
    session.feed("NOOP\r\n".repeat(100).as_bytes());
    session.replies();
    session.play("C: NOOP\nS: 421 4.7.0\nS: close");
    let mut session = session_with(Config {
        idle_commands_max: None,
        ..config()
    });
    session.feed("NOOP\r\n".repeat(1_000).as_bytes());
    assert!(!session.is_closed);
}

#[test]
fn a_message_is_taken_with_its_dots_undone() {
    let mut session = with_envelope();
    session.play(
        "C: DATA
         S: 354
         C: Subject: d
         C:
         C: ..
         C: .x
         C: .
         S: 250 2.0.0 Ok: queued as 1.1",
    );
    assert_eq!(session.table.messages[0].body, b"Subject: d\r\n\r\n.\r\nx\r\n");
    assert_eq!(session.table.messages[0].envelope.forward_paths.len(), 1);
    session.play("C: DATA\nS: 503");
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let mut session = greeted();
    session.feed(b"MAIL FROM:<a@y.test>\r\nRCPT TO:<u@x.test>\r\nRCPT TO:<nobody@x.test>\r\nDATA\r\n");
    session.play("S: 250 2.1.0\nS: 250 2.1.5\nS: 550 5.1.1\nS: 354");
    session.feed(b".\r\nMAIL FROM:<b@y.test>\r\nNOOP\r\n");
    session.play("S: 250 2.0.0 Ok: queued\nS: 250 2.1.0\nS: 250 2.0.0");
}

#[test]
fn smuggling_ends_no_message_and_loses_the_connection() {
    for ending in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r"] {
        let mut session = with_envelope();
        session.play("C: DATA\nS: 354");
        session.feed(format!("Subject: x\r\n\r\nb{ending}MAIL FROM:<z@y.test>\r\n").as_bytes());
        session.play("");
        session.feed(b"RCPT TO:<u@x.test>\r\n.\r\nNOOP\r\n");
        session.play("S: 550 5.5.2\nS: close");
        assert!(session.table.messages.is_empty());
    }
}

#[test]
fn refusals_of_a_commit_come_from_one_table() {
    for (refusal, code) in [
        (CommitRefusal::NoSpace, "452 4.3.1"),
        (CommitRefusal::Failed, "451 4.3.0"),
        (CommitRefusal::OverQuota, "452 4.2.2"),
        (CommitRefusal::BeyondQuota, "552 5.2.2"),
        (CommitRefusal::Loop, "554 5.4.6 Too many hops"),
        (CommitRefusal::DeliveredBefore, "554 5.4.6 Mail loop"),
        (CommitRefusal::UnknownUser, "550 5.1.1"),
        (CommitRefusal::TooBig, "552 5.3.4"),
        (
            CommitRefusal::Rejected {
                status: (7, 1),
                text: "no".into(),
            },
            "550 5.7.1 no",
        ),
    ] {
        let mut session = with_envelope();
        session.table.commit_refusal = Some(refusal);
        session.play(&format!("C: DATA\nS: 354\nC: .\nS: {code}\nC: DATA\nS: 503"));
    }
}

#[test]
fn a_message_over_the_limit_is_read_to_its_end_and_refused() {
    let mut session = session_with(Config {
        message_bytes_max: 10,
        ..config()
    });
    session.feed(b"EHLO a\r\n");
    session.feed(b"MAIL FROM:<>\r\nRCPT TO:<u@x.test>\r\nDATA\r\n");
    session.replies();
    session.feed(b"12345678\r\n");
    assert!(session.core.holds_body());
    session.feed(b"MAIL");
    assert!(!session.core.holds_body());
    session.play("C:  FROM:<b@y.test>\nC: .\nS: 552 5.3.4\nC: NOOP\nS: 250");
}

#[test]
fn a_line_beyond_64_kib_is_refused_at_the_end() {
    let mut session = with_envelope();
    session.play("C: DATA\nS: 354");
    session.feed(&vec![b'a'; 65_537]);
    session.play("C:\nC: .\nS: 500 5.5.2\nC: NOOP\nS: 250");
}

#[test]
fn chunks_are_data_whatever_they_hold() {
    let mut session = with_envelope();
    session.feed(b"BDAT 19\r\nSubject: b\r\n\r\n.\r\n\r\nBDAT 0 LAST\r\n");
    session.play("S: 250 2.0.0 Ok: 19 octets\nS: 250 2.0.0 Ok: queued");
    assert_eq!(session.table.messages[0].body, b"Subject: b\r\n\r\n.\r\n\r\n");
}

#[test]
fn what_a_sender_wants_to_be_told_stands_in_the_envelope() {
    let mut session = greeted();
    session.play(
        "C: MAIL FROM:<a@y.test> RET=HDRS ENVID=QQ+20314
         S: 250
         C: RCPT TO:<u@x.test>
         S: 250
         C: RCPT TO:<nobody@x.test> NOTIFY=SUCCESS
         S: 550
         C: RCPT TO:<v@x.test> NOTIFY=NEVER ORCPT=rfc822;w@z.test
         S: 250
         C: BDAT 0 LAST
         S: 250",
    );
    let envelope = &session.table.messages[0].envelope;
    assert_eq!(envelope.dsn_return, Some(DsnReturn::Headers));
    assert_eq!(envelope.envelope_id, EnvelopeId::new("QQ 314"));
    assert_eq!(
        (envelope.forward_paths.len(), envelope.recipient_dsn(0)),
        (2, None)
    );
    let asked = envelope.recipient_dsn(1).expect("it asked");
    assert_eq!(asked.notify, Some(Notify::Never));
    assert_eq!(asked.original, OriginalRecipient::new("rfc822", "w@z.test"));
}

#[test]
fn binary_messages_come_in_chunks_and_stay_as_they_are() {
    let mut session = greeted();
    session.play(
        "C: MAIL FROM:<a@y.test> BODY=BINARYMIME
         S: 250
         C: RCPT TO:<u@x.test>
         S: 250
         C: DATA
         S: 503 5.5.1 BODY=BINARYMIME needs BDAT",
    );
    let body = [&b"a\nb\rc\0\xff\r\n.\r\n"[..], &[b'x'; 70_000]].concat();
    session.feed(format!("BDAT {} LAST\r\n", body.len()).as_bytes());
    session.feed(&body);
    session.play("S: 250 2.0.0 Ok: queued\nC: NOOP\nS: 250");
    assert_eq!(session.table.messages[0].body, body);
    // The next message is not binary.
    session.play("C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<u@x.test>\nS: 250");
    session.feed(b"BDAT 3 LAST\r\na\nb");
    session.play("S: 550 5.5.2");
}

#[test]
fn requiretls_is_offered_where_tls_is() {
    let mut session = greeted();
    session.play("C: STARTTLS\nS: 220 2.0.0");
    session.feed(b"EHLO a\r\n");
    assert!(session.replies().contains(&"250-REQUIRETLS".to_owned()));
    session.play("C: MAIL FROM:<a@y.test> REQUIRETLS=1\nS: 501\nC: MAIL FROM:<a@y.test> REQUIRETLS\nS: 250");
    assert!(
        session
            .core
            .envelope()
            .is_some_and(|envelope| envelope.requires_tls)
    );
}

#[test]
fn chunks_and_data_do_not_mix() {
    with_envelope().play(
        "C: BDAT 2
         B: hi
         S: 250 2.0.0
         C: DATA
         S: 503 5.5.1
         C: RCPT TO:<v@x.test>
         S: 503 5.5.1
         C: BDAT 2 LAST
         C:
         S: 250 2.0.0 Ok: queued",
    );
}

#[test]
fn a_refused_chunk_is_read_exactly() {
    greeted().play(
        "C: BDAT 6 LAST
         B: QUIT\\r\\n
         S: 503 5.5.1
         C: MAIL FROM:<a@y.test>
         S: 250
         C: BDAT 6
         B: QUIT\\r\\n
         S: 503 5.5.1
         C: MAIL FROM:<a@y.test>
         S: 250
         C: RCPT TO:<u@x.test>
         S: 250
         C: BDAT 6 FIRST
         B: QUIT\\r\\n
         S: 501 5.5.4
         C: NOOP
         S: 250",
    );
}

#[test]
fn a_chunk_of_unknown_size_ends_the_session() {
    for line in [
        "BDAT",
        "BDAT x",
        "BDAT -1",
        "BDAT 18446744073709551616 LAST",
        "BDAT 5\\0",
    ] {
        with_envelope().play(&format!("C: {line}\nS: 501 5.5.4\nS: close"));
    }
}

#[test]
fn chunks_beyond_the_limit_are_dropped_and_refused() {
    let mut session = session_with(Config {
        message_bytes_max: 10,
        ..config()
    });
    session.feed(b"EHLO a\r\n");
    session.feed(b"MAIL FROM:<>\r\nRCPT TO:<u@x.test>\r\n");
    session.replies();
    session.feed(b"BDAT 8\r\n12345678BDAT 8 LAST\r\n12345678NOOP\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n");
    session.play("S: 250 2.0.0\nS: 552 5.3.4\nS: 250\nS: 503\nS: 250");
    assert!(session.table.messages.is_empty());
}

#[test]
fn bare_line_ends_in_chunks_are_refused_at_the_last() {
    let mut session = with_envelope();
    session.feed(b"BDAT 3\r\na\r\nBDAT 3\r\nb\ncBDAT 3 LAST\r\nd\r\nNOOP\r\n");
    session.play("S: 250\nS: 250\nS: 550 5.5.2\nS: 250");
    assert!(session.table.messages.is_empty());
    let mut session = with_envelope();
    session.feed(b"BDAT 2\r\na\rBDAT 1 LAST\r\n\n");
    session.play("S: 250\nS: 250 2.0.0 Ok: queued");
    assert_eq!(session.table.messages[0].body, b"a\r\n");
}

#[test]
fn talking_too_early_is_a_protocol_error() {
    let mut session = Session::new(Smtp::new(Arc::new(config())), Table::default());
    let mut out = Actions::default();
    session.core.handle(Event::Opened, &mut out);
    assert!(out.synchronise && out.wire.is_empty());
    session.event(Event::Early);
    session.play("S: 554 5.5.1\nS: close");

    let mut session = with_envelope();
    session.feed(b"DATA\r\nSubject: x\r\n");
    session.play("S: 554 5.5.1\nS: close");

    let mut session = super::session();
    session.feed(b"EHLO a\r\nMAIL FROM:<a@y.test>\r\n");
    session.play("S: 554 5.5.1\nS: close");
}

#[test]
fn starttls_forgets_what_was_said_in_plaintext() {
    let mut session = with_envelope();
    session.play("C: STARTTLS\nS: 220 2.0.0");
    assert!(session.handshakes == 1 && session.core.is_tls());
    assert!(session.core.hello_name().is_none() && session.core.envelope().is_none());
    session.play("C: MAIL FROM:<a@y.test>\nS: 503 5.5.1\nC: STARTTLS\nS: 503 5.5.1");
    session.feed(b"EHLO a\r\n");
    assert!(session.replies().iter().all(|reply| !reply.contains("STARTTLS")));
}

#[test]
fn xclient_is_for_trusted_peers_and_starts_anew() {
    greeted().play("C: XCLIENT ADDR=192.0.2.1\nS: 550 5.7.0");
    let core = Smtp::new(Arc::new(config())).with_xclient();
    let mut session = Session::opened(core, Table::default());
    session.feed(b"EHLO proxy.test\r\n");
    assert!(
        session
            .replies()
            .iter()
            .any(|line| line.starts_with("250-XCLIENT NAME ADDR"))
    );
    session.play(
        "C: XCLIENT ADDR=x
         S: 501 5.5.4
         C: XCLIENT
         S: 501 5.5.4
         C: XCLIENT NAME=c.test ADDR=192.0.2.7 PORT=99
         S: 220 mx.test
         C: MAIL FROM:<>
         S: 503 5.5.1 Send EHLO",
    );
    assert_eq!(session.core.client(), "192.0.2.7:99".parse().ok());
    session.feed(b"HELO client.test\r\nMAIL FROM:<>\r\n");
    session.replies();
    let mut session = Session::opened(Smtp::new(Arc::new(config())).with_xclient(), Table::default());
    session.feed(b"EHLO proxy.test\r\n");
    session.replies();
    session.play("C: MAIL FROM:<>\nS: 250\nC: XCLIENT ADDR=192.0.2.7\nS: 503");
    session.play("C: RSET\nS: 250");
    // What was sent before the new greeting was meant for somebody else.
    session.feed(b"XCLIENT ADDR=192.0.2.7\r\nEHLO a\r\n");
    session.play("S: 554 5.5.1\nS: close");
}

#[test]
fn starttls_is_refused_where_there_is_no_certificate() {
    let mut session = session_with(Config::new("mx.test"));
    session.feed(b"EHLO a\r\n");
    assert!(session.replies().iter().all(|reply| !reply.contains("STARTTLS")));
    session.play("C: STARTTLS\nS: 502 5.5.1");
}

#[test]
fn lines_too_long_are_one_error_each() {
    let mut session = greeted();
    session.feed(format!("NOOP {}\r\n", "a".repeat(504)).as_bytes());
    session.play("S: 250");
    for _ in 0..100 {
        session.feed(&[b'a'; 1000]);
    }
    session.play("C: b\nS: 500 5.5.2\nC: NOOP\nS: 250");
}

#[test]
fn a_browser_is_turned_away_at_once() {
    let mut session = session();
    session.feed(b"POST / HTTP/1.1\r\nHost: mx.test\r\n\r\nEHLO a\r\n");
    session.play("S: 421 4.7.0\nS: close");
}

#[test]
fn shutdown_waits_for_the_message_under_way() {
    let mut session = with_envelope();
    session.play("C: DATA\nS: 354");
    session.event(Event::Shutdown);
    session.play("C: .\nS: 250 2.0.0 Ok: queued\nS: 421 4.3.2\nS: close");
    let mut session = with_envelope();
    session.event(Event::Shutdown);
    session.play("S: 421 4.3.2\nS: close");
}

#[test]
fn whoever_may_not_send_any_more_ends_the_message_under_way_and_begins_none() {
    let mut session = with_envelope();
    session.play("C: DATA\nS: 354");
    session.event(Event::Revoked);
    session.play("C: .\nS: 250 2.0.0 Ok: queued\nS: 421 4.7.0\nS: close");
    let mut session = greeted();
    session.event(Event::Revoked);
    session.play("S: 421 4.7.0\nS: close");
}

#[test]
fn time_runs_out_with_a_word() {
    let mut session = greeted();
    session.event(Event::Deadline);
    session.play("S: 421 4.4.2\nS: close");
}

#[test]
fn an_answer_to_another_question_promises_nothing() {
    let mut session = greeted();
    session.event(Event::Answer(Answer::Committed(Ok(TestReceipt(1)))));
    session.play("S: 421 4.3.0\nS: close");
}
