//! What a client sends and what it sees, command by command.

use super::*;

#[test]
fn the_greeting_has_the_capabilities_of_the_channel() {
    let clear = Table::new(Channel::default());
    assert_eq!(
        String::from_utf8_lossy(&clear.wire),
        "* OK [CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ SASL-IR ID ENABLE STARTTLS LOGINDISABLED] Ringpost ready\r\n"
    );
    let mut secure = Table::secure();
    let all = secure.exchange(b"a CAPABILITY\r\n");
    assert_eq!(
        all,
        "* CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN AUTH=LOGIN\r\na OK CAPABILITY completed\r\n"
    );
}

#[test]
fn a_capability_can_be_hidden() {
    let config = Config {
        hidden_capabilities: vec![
            "move".to_owned(),
            "APPENDLIMIT".to_owned(),
            "Unauthenticate".to_owned(),
        ],
        ..Config::default()
    };
    let mut table = Table::unopened(
        Channel {
            is_tls: true,
            is_plaintext_login_allowed: false,
        },
        config,
    );
    table.event(Event::Opened, false);
    let answer = table.exchange(b"a LOGIN alice secret\r\n");
    assert!(answer.contains(" IDLE "), "{answer}");
    assert!(
        !answer.contains("MOVE") && !answer.contains("APPENDLIMIT"),
        "{answer}"
    );
    // RFC 8437 §8: this one is switched off by it.
    assert!(table.exchange(b"b UNAUTHENTICATE\r\n").starts_with("b BAD "));
}

#[test]
fn login_with_literals_of_both_kinds() {
    let mut table = Table::secure();
    let answer = table.exchange(b"a LOGIN {5}\r\nalice {6+}\r\nsecret\r\n");
    assert!(
        answer.starts_with("+ Ready for literal data\r\na OK [CAPABILITY "),
        "{answer}"
    );
    assert_eq!(table.imap.state(), State::Authenticated);
}

#[test]
fn authenticate_plain_and_login_with_and_without_initial_response() {
    let mut table = Table::secure();
    assert_eq!(table.exchange(b"a authenticate plain\r\n"), "+ \r\n");
    assert!(
        table
            .exchange(b"AGFsaWNlAHNlY3JldA==\r\n")
            .starts_with("a OK [CAPABILITY ")
    );
    let mut table = Table::secure();
    assert!(
        table
            .exchange(b"a AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n")
            .starts_with("a OK ")
    );
    let mut table = Table::secure();
    assert_eq!(table.exchange(b"a AUTHENTICATE LOGIN\r\n"), "+ VXNlcm5hbWU6\r\n");
    assert_eq!(table.exchange(b"YWxpY2U=\r\n"), "+ UGFzc3dvcmQ6\r\n");
    assert!(table.exchange(b"c2VjcmV0\r\n").starts_with("a OK "));
}

#[test]
fn authenticate_can_be_cancelled_and_bad_base64_is_bad() {
    let mut table = Table::secure();
    assert_eq!(
        table.exchange(b"a AUTHENTICATE PLAIN\r\n*\r\n"),
        "+ \r\na BAD Authentication cancelled\r\n"
    );
    assert_eq!(
        table.exchange(b"b AUTHENTICATE PLAIN ???\r\n"),
        "b BAD Not base64\r\n"
    );
    assert_eq!(
        table.exchange(b"c AUTHENTICATE PLAIN =\r\n"),
        "c BAD Not a message of this mechanism\r\n"
    );
    assert_eq!(
        table.exchange(b"d AUTHENTICATE NTLM\r\n"),
        "d NO [CANNOT] No such mechanism\r\n"
    );
    assert_eq!(table.imap.state(), State::NotAuthenticated);
}

#[test]
fn mechanisms_are_offered_as_the_operator_says_and_scram_is_an_exchange() {
    let all = Mechanisms::PASSWORDS
        .and(Mechanisms::SCRAM)
        .and(Mechanisms::TOKENS);
    let mut table = Table::with_mechanisms(all);
    let offered = table.exchange(b"a CAPABILITY\r\n");
    assert!(
        offered.contains(
            " AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-1 AUTH=OAUTHBEARER AUTH=XOAUTH2 AUTH=PLAIN AUTH=LOGIN"
        ),
        "{offered}"
    );
    // RFC 5802 §5, with the empty message by which the client acknowledges the server's proof.
    assert_eq!(
        table.exchange(b"b AUTHENTICATE SCRAM-SHA-1 biwsbj11c2VyLHI9ZnlrbytkMmxiYkZnT05Sdjlxa3hkYXdM\r\n"),
        "+ cj1meWtvK2QybGJiRmdPTlJ2OXFreGRhd0wzcmZjTkhZSlkxWlZ2V1ZzN2oscz1RU1hDUitRNnNlazhiZjkyLGk9NDA5Ng==\r\n"
    );
    assert_eq!(
        table.exchange(
            b"Yz1iaXdzLHI9ZnlrbytkMmxiYkZnT05Sdjlxa3hkYXdMM3JmY05IWUpZMVpWdldWczdqLHA9djBYOHYzQnoyVDBDSkdiSlF5RjBYK0hJNFRzPQ==\r\n"
        ),
        "+ dj1ybUY5cHFWOFM3c3VBb1pXamE0ZEpSa0ZzS1E9\r\n"
    );
    assert!(table.exchange(b"\r\n").starts_with("b OK "));
}

#[test]
fn a_refused_token_is_acknowledged() {
    let mut table = Table::with_mechanisms(Mechanisms::TOKENS);
    assert_eq!(
        table.exchange(b"a AUTHENTICATE XOAUTH2 dXNlcj10aW1AeC50ZXN0AWF1dGg9QmVhcmVyIGJhZAEB\r\n"),
        "+ eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NoZW1lcyI6ImJlYXJlciJ9\r\n"
    );
    assert_eq!(
        table.exchange(b"AQ==\r\n"),
        "a NO [AUTHENTICATIONFAILED] Authentication failed\r\n"
    );
}

#[test]
fn a_password_in_clear_is_refused_before_it_is_asked_about() {
    let mut table = Table::new(Channel::default());
    assert_eq!(
        table.exchange(b"a LOGIN alice secret\r\nb AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n"),
        "a NO [PRIVACYREQUIRED] Start TLS first\r\nb NO [PRIVACYREQUIRED] Start TLS first\r\n"
    );
    assert!(table.trace.is_empty());
}

#[test]
fn starttls_resets_and_then_offers_login() {
    let mut table = Table::new(Channel::default());
    assert_eq!(
        table.exchange(b"a STARTTLS\r\n"),
        "a OK Begin TLS negotiation now\r\n"
    );
    assert!(table.is_tls_due);
    table.is_tls_due = false;
    table.event(Event::TlsReady, false);
    assert!(
        table
            .exchange(b"b LOGIN alice secret\r\n")
            .starts_with("b OK [CAPABILITY ")
    );
    assert_eq!(table.exchange(b"c STARTTLS\r\n"), "c BAD Not in this state\r\n");
}

#[test]
fn commands_are_taken_in_their_states_only() {
    let mut table = Table::secure();
    assert_eq!(
        table.exchange(b"a SELECT INBOX\r\n"),
        "a BAD Not in this state\r\n"
    );
    let mut table = Table::logged_in();
    assert_eq!(
        table.exchange(b"a FETCH 1 FLAGS\r\n"),
        "a BAD Not in this state\r\n"
    );
    assert_eq!(
        table.exchange(b"b SELECT INBOX\r\n"),
        "b OK [READ-WRITE] done\r\n"
    );
    assert_eq!(table.exchange(b"c FETCH 1 FLAGS\r\n"), "c OK done\r\n");
    assert_eq!(table.exchange(b"d CLOSE\r\n"), "d OK done\r\n");
    assert_eq!(
        table.exchange(b"e FETCH 1 FLAGS\r\n"),
        "e BAD Not in this state\r\n"
    );
    assert_eq!(table.exchange(b"f LOGIN a b\r\n"), "f BAD Not in this state\r\n");
}

#[test]
fn id_noop_and_logout() {
    let mut table = Table::secure();
    assert_eq!(
        table.exchange(b"a ID (\"name\" \"x\" \"os\" NIL)\r\nb ID NIL\r\nc NOOP\r\nd LOGOUT\r\ne NOOP\r\n"),
        "* ID (\"name\" \"Ringpost\")\r\na OK ID completed\r\n* ID (\"name\" \"Ringpost\")\r\nb OK ID completed\r\n\
         c OK NOOP completed\r\n* BYE Logging out\r\nd OK LOGOUT completed\r\n"
    );
    assert!(table.is_closed);
}

#[test]
fn the_longest_id_of_the_rfc_is_taken_before_login() {
    let pair = |n: usize| format!("\"{n:030}\" \"{}\"", "v".repeat(1024));
    let pairs: Vec<_> = (0..30).map(pair).collect();
    let mut table = Table::secure();
    let answer = table.exchange(format!("a ID ({})\r\n", pairs.join(" ")).as_bytes());
    assert!(answer.ends_with("a OK ID completed\r\n"), "{answer}");
}

#[test]
fn append_streams_its_message_and_is_done_with_a_receipt() {
    let mut table = Table::logged_in();
    assert_eq!(
        table.exchange(b"a APPEND INBOX (\\Seen $x) \"17-Jul-1996 02:44:25 -0700\" {5}\r\n"),
        "+ Ready for literal data\r\n"
    );
    assert_eq!(table.exchange(b"he\r\nl"), "");
    assert_eq!(
        table.exchange(b"\r\n"),
        "a OK [APPENDUID 7 1] APPEND completed\r\n"
    );
    assert_eq!(table.committed, [b"he\r\nl"]);
    let pipelined = b"b APPEND {5+}\r\nINBOX ~{3+}\r\nabc\r\nc NOOP\r\n";
    assert_eq!(
        table.exchange(pipelined),
        "b OK [APPENDUID 7 2] APPEND completed\r\nc OK done\r\n"
    );
}

#[test]
fn several_messages_are_appended_together_or_not_at_all() {
    let mut table = Table::logged_in();
    assert_eq!(
        table.exchange(b"a APPEND INBOX {1}\r\nx (\\Seen) {2}\r\n"),
        "+ Ready for literal data\r\n+ Ready for literal data\r\n"
    );
    assert_eq!(
        table.exchange(b"yy \"17-Jul-1996 02:44:25 -0700\" ~{3+}\r\nzzz\r\nb NOOP\r\n"),
        "a OK [APPENDUID 7 1:3] APPEND completed\r\nb OK done\r\n"
    );
    assert_eq!(table.committed, [&b"x"[..], b"yy", b"zzz"]);
    for (input, answer) in [
        (
            "a APPEND INBOX {1+}\r\nx {13+}\r\nyyyyyyyyyyyyy\r\n",
            "a NO [OVERQUOTA] No room\r\n",
        ),
        (
            "a APPEND INBOX {1+}\r\nx {13}\r\n",
            "a NO [OVERQUOTA] No room\r\n",
        ),
        (
            "a APPEND INBOX {1+}\r\nx {0+}\r\n\r\n",
            "a NO A message has at least one octet\r\n",
        ),
        (
            "a APPEND INBOX {1+}\r\nx {99999999}\r\n",
            "a NO [TOOBIG] The message is too big\r\n",
        ),
        (
            "a APPEND INBOX {1+}\r\nx (\\Seen\r\n",
            "a BAD Expected another message after the space\r\n",
        ),
        (
            "a APPEND INBOX {1+}\r\nx (Seen {3+}\r\nyyy\r\n",
            "a BAD Expected a keyword\r\n",
        ),
    ] {
        let answers = table.exchange(format!("{input}b NOOP\r\n").as_bytes());
        assert_eq!(answers, format!("{answer}b OK done\r\n"), "{input}");
    }
    assert_eq!(table.committed.len(), 3);
}

#[test]
fn a_refused_append_leaves_the_next_command_in_step() {
    let mut table = Table::logged_in();
    let input = b"a APPEND missing {8+}\r\nx NOOP\r\n\r\nb NOOP\r\n";
    assert_eq!(
        table.exchange(input),
        "a NO [TRYCREATE] No such mailbox\r\nb OK done\r\n"
    );
    assert_eq!(
        table.exchange(b"c APPEND missing {8}\r\nd NOOP\r\n"),
        "c NO [TRYCREATE] No such mailbox\r\nd OK done\r\n"
    );
    assert_eq!(
        table.exchange(b"e APPEND full {1+}\r\nx\r\n"),
        "e NO [OVERQUOTA] No room\r\n"
    );
    assert_eq!(
        table
            .exchange(b"f APPEND INBOX bogus {3+}\r\nabc\r\ng NOOP\r\n")
            .matches("BAD")
            .count(),
        1
    );
    assert_eq!(
        table.exchange(b"h APPEND INBOX {1+}\r\nxx {1+}\r\ny\r\ni NOOP\r\n"),
        "h BAD Expected the end of the line after the message\r\ni OK done\r\n"
    );
    assert_eq!(
        table.exchange(b"j APPEND INBOX {0}\r\n"),
        "j NO A message has at least one octet\r\n"
    );
    assert_eq!(
        table.exchange(b"k APPEND INBOX {52428801}\r\n"),
        "k NO [TOOBIG] The message is too big\r\n"
    );
    assert!(table.committed.is_empty());
}

#[test]
fn idle_ends_with_done_and_garbage_ends_it_with_bad() {
    let mut table = Table::logged_in();
    assert_eq!(table.exchange(b"a IDLE\r\n"), "+ idling\r\n");
    assert!(table.imap.is_idling());
    assert_eq!(
        table.exchange(b"done\r\nb NOOP\r\n"),
        "a OK IDLE completed\r\nb OK done\r\n"
    );
    assert_eq!(
        table.exchange(b"c IDLE\r\nc NOOP\r\n"),
        "+ idling\r\nc BAD Expected DONE\r\n"
    );
    assert!(!table.imap.is_idling());
}

#[test]
fn a_shutdown_lets_a_message_finish_and_says_bye() {
    let mut table = Table::logged_in();
    table.send(b"a APPEND INBOX {3+}\r\nab");
    table.event(Event::Shutdown, false);
    assert!(!table.is_closed);
    assert_eq!(
        table.exchange(b"c\r\n"),
        "a OK [APPENDUID 7 1] APPEND completed\r\n* BYE The server is shutting down\r\n"
    );
    assert!(table.is_closed);
}

#[test]
fn a_name_that_cannot_be_is_no_and_not_bad() {
    let mut table = Table::logged_in();
    for name in ["&", "&AGE", "&AGEA-", "&2AA-", "a//b", "/etc/passwd"] {
        let answer = table.exchange(format!("a CREATE \"{name}\"\r\n").as_bytes());
        assert!(answer.starts_with("a NO [CANNOT] "), "{name}: {answer}");
    }
    assert!(
        table
            .exchange(b"a CREATE x (USE (\\Nope))\r\n")
            .starts_with("a NO [USEATTR] ")
    );
}

#[test]
fn silence_ends_a_session_but_not_a_question() {
    let mut table = Table::logged_in();
    table.event(Event::Deadline, false);
    assert_eq!(
        String::from_utf8_lossy(&table.wire),
        "* BYE Too long without a command\r\n"
    );
    assert!(table.is_closed);
}

#[test]
fn deadlines_follow_the_dialogue() {
    use crate::proto::Deadline;
    let mut imap: Imap<TestReceipt> = Imap::new(
        Arc::new(Config::default()),
        Channel {
            is_tls: true,
            is_plaintext_login_allowed: false,
        },
    );
    let mut out = Actions::default();
    let mut deadline = |event: Event<'_, Answer<TestReceipt>>| {
        out.clear();
        let _ = imap.handle(event, &mut out);
        out.deadline.map(|deadline| match deadline {
            Deadline::Seconds(seconds) => seconds,
            // Time earned, in thousands beside the plain ones.
            Deadline::Earned { milliseconds, .. } => u32::try_from(milliseconds).unwrap() * 1_000,
        })
    };
    assert_eq!(deadline(Event::Opened), Some(60));
    assert_eq!(deadline(Event::Quiet), None);
    assert_eq!(deadline(Event::Bytes(b"a NOOP\r\nb LOGIN a b\r\n")), None);
    assert_eq!(deadline(Event::Answer(Answer::Authenticated)), Some(1800));
    assert_eq!(deadline(Event::Bytes(b"c NO")), Some(300));
    assert_eq!(deadline(Event::Bytes(b"O")), None);
    assert_eq!(deadline(Event::Bytes(b"P\r\n")), None);
    assert_eq!(
        deadline(Event::Answer(Answer::Done(Completion::ok("")))),
        Some(1800)
    );
    assert_eq!(deadline(Event::Bytes(b"d CAPABILITY\r\n")), Some(1800));
    assert_eq!(deadline(Event::Bytes(b"e APPEND x {3}\r\n")), None);
    assert_eq!(deadline(Event::Answer(Answer::AppendReady)), Some(60));
    // A hundred octets a second: ten milliseconds each.
    assert_eq!(deadline(Event::Bytes(b"a")), Some(10_000));
    assert_eq!(deadline(Event::Bytes(b"bc\r\n")), None);
}

#[test]
fn with_literal_minus_long_literals_must_wait() {
    // RFC 7888 §5
    let config = Config {
        is_literal_plus: false,
        ..Config::default()
    };
    let channel = Channel {
        is_tls: true,
        is_plaintext_login_allowed: false,
    };
    let mut table = Table::unopened(channel, config);
    table.event(Event::Opened, false);
    assert!(String::from_utf8_lossy(&table.wire).contains(" LITERAL- "));
    assert!(!String::from_utf8_lossy(&table.wire).contains("LITERAL+"));
    table.exchange(b"a LOGIN alice {6+}\r\nsecret\r\n");
    let long = format!("b APPEND INBOX {{4097+}}\r\n{}\r\nc NOOP\r\n", "x".repeat(4097));
    let answer = table.exchange(long.as_bytes());
    assert!(answer.starts_with("b BAD [TOOBIG] "), "{answer}");
    assert!(answer.contains("\r\nc OK "), "{answer}");
    let fits = format!("d APPEND INBOX {{4096+}}\r\n{}\r\n", "x".repeat(4096));
    assert!(table.exchange(fits.as_bytes()).starts_with("d OK "));
    assert!(table.exchange(b"e APPEND INBOX {4097}\r\n").starts_with("+ "));
}

/// RFC 5530 §3, RFC 9051 §7.1.3: BAD is for what is not in the grammar.
#[test]
fn a_limit_is_no_and_no_fault_of_grammar() {
    let mut table = Table::logged_in();
    table.send(b"s SELECT INBOX\r\n");
    let repeated = |head: &str, item: &str, count: usize, tail: &str| {
        format!("a {head}{}{tail}\r\n", item.repeat(count))
    };
    for (command, limit) in [
        (
            repeated("FETCH 1", ",1", 30_000, " UID"),
            "too many ranges in a sequence set",
        ),
        (
            repeated("FETCH 1 (UID", " UID", 200, ")"),
            "too many items in a list",
        ),
        (
            repeated("FETCH 1 BODY[1", ".1", 200, "]"),
            "a part number has too many levels",
        ),
        (repeated("STORE 1 FLAGS (a", " a", 2_000, ")"), "too many"),
        (
            repeated("STORE 1 FLAGS (a", "b", 2_000, ")"),
            "a keyword is too long",
        ),
        (repeated("SEARCH ALL", " ALL", 10_000, ""), "too many search keys"),
        (repeated("ENABLE X", " X", 2_000, ""), "too many capabilities"),
        (
            repeated("CANCELUPDATE \"a\"", " \"a\"", 2_000, ""),
            "too many tags",
        ),
        (
            repeated("NOTIFY SET (selected none)", " (personal none)", 2_000, ""),
            "too many event groups",
        ),
        (
            repeated("GETMETADATA INBOX /private/", "a", 2_000, ""),
            "an entry's name is too long",
        ),
    ] {
        let answer = table.exchange(command.as_bytes());
        assert!(
            answer.starts_with("a NO [LIMIT] Limit: ")
                && answer.contains(limit)
                && answer.lines().count() == 1,
            "{limit}: {answer}"
        );
    }
    // However often: the client is not out of step.
    for _ in 0..30 {
        assert!(
            table
                .exchange(b"b SELECT \"a//b\"\r\n")
                .starts_with("b NO [CANNOT]")
        );
    }
    assert!(table.exchange(b"c FETCH 1 (UID UID\r\n").starts_with("c BAD"));
}
