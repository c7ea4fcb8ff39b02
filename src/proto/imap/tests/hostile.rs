//! Input that means harm: the cases of conformance/imap_hostile.py that the core decides, and the laws' worst cases.

use super::*;

#[test]
fn literal_bombs_are_refused_without_a_continuation() {
    for size in ["4294967296", "18446744073709551615", "18446744073709551616"] {
        let mut table = Table::logged_in();
        let answer = table.exchange(format!("a APPEND INBOX {{{size}+}}\r\n").as_bytes());
        assert!(
            answer.starts_with("a NO [TOOBIG]") || answer.starts_with("a BAD"),
            "{answer}"
        );
        assert!(answer.contains("* BYE") && table.is_closed, "{answer}");
        let mut table = Table::logged_in();
        let answer = table.exchange(format!("a APPEND INBOX {{{size}}}\r\n").as_bytes());
        assert!(!answer.contains('+') && !table.is_closed, "{answer}");
        assert_eq!(table.exchange(b"b NOOP\r\n"), "b OK done\r\n");
    }
    let mut table = Table::secure();
    assert!(table.exchange(b"a LOGIN {100000000+}\r\n").contains("* BYE"));
    let mut table = Table::secure();
    assert_eq!(
        table.exchange(b"a LOGIN {1000000}\r\n"),
        "a NO [TOOBIG] Literal too big\r\n"
    );
    assert_eq!(
        table.exchange(b"b LOGIN {1025}\r\nc NOOP\r\n"),
        "b NO [TOOBIG] Literal too big\r\nc OK NOOP completed\r\n"
    );
}

#[test]
fn a_small_refused_literal_is_skipped_and_the_next_command_is_in_step() {
    let mut table = Table::secure();
    let mut input = b"a LOGIN {2000+}\r\n".to_vec();
    input.extend(std::iter::repeat_n(b'x', 2000));
    input.extend_from_slice(b" {3+}\r\nabc\r\nb NOOP\r\n");
    assert_eq!(
        table.exchange(&input),
        "a NO [TOOBIG] Literal too big\r\nb OK NOOP completed\r\n"
    );
}

#[test]
fn nesting_has_a_limit_and_never_overflows_the_stack() {
    let mut table = Table::logged_in();
    let parens = [b"a NOOP ".as_slice(), &b"(".repeat(4000), b"\r\n"].concat();
    assert!(table.exchange(&parens).starts_with("a BAD"));
    table.send(b"s SELECT INBOX\r\n");
    for (open, close) in [("OR ALL ", "ALL"), ("NOT ", "ALL"), ("(", "ALL")] {
        let command = format!("b SEARCH {}{close}\r\n", open.repeat(60_000 / open.len()));
        assert_eq!(
            table.exchange(command.as_bytes()),
            "b NO [LIMIT] Nested more than 64 deep\r\n"
        );
    }
    let long = format!("c SEARCH {}ALL\r\n", "OR ALL ".repeat(20_000));
    assert_eq!(
        table.exchange(long.as_bytes()),
        "c BAD The command line is too long\r\n"
    );
    let flat = format!("d SEARCH {}ALL\r\n", "ALL ".repeat(10_000));
    assert_eq!(
        table.exchange(flat.as_bytes()),
        "d NO [LIMIT] Limit: too many search keys\r\n"
    );
}

#[test]
fn a_line_without_end_costs_no_more_than_its_limit() {
    let mut table = Table::logged_in();
    table.send(b"a NOOP ");
    for _ in 0..200 {
        table.send(&[b'a'; 1000]);
    }
    table.send(b"\r\nb NOOP\r\n");
    assert!(
        table.most_held_bytes <= 2 * 64 * 1024,
        "{}",
        table.most_held_bytes
    );
    assert_eq!(
        String::from_utf8_lossy(&table.wire),
        "a BAD The command line is too long\r\nb OK done\r\n"
    );
}

#[test]
fn a_megabyte_of_base64_is_refused() {
    for start in ["a AUTHENTICATE PLAIN ", "a AUTHENTICATE PLAIN\r\n"] {
        let mut table = Table::secure();
        let input = format!("{start}{}\r\nb NOOP\r\n", "A".repeat(1_000_000));
        let answer = table.exchange(input.as_bytes());
        assert!(
            answer.contains("a BAD ") && answer.ends_with("b OK NOOP completed\r\n"),
            "{answer}"
        );
    }
}

#[test]
fn nul_is_bad_in_lines_strings_and_literals() {
    let mut table = Table::logged_in();
    for command in [
        &b"a NOOP\0\r\n"[..],
        b"a CREATE \"a\0b\"\r\n",
        b"a CREATE {3+}\r\na\0b\r\n",
        b"a\0 NOOP\r\n",
    ] {
        let answer = table.exchange(command);
        assert!(answer.contains(" BAD "), "{answer}");
    }
}

#[test]
fn a_tag_that_cannot_be_read_gets_an_untagged_bad() {
    let mut table = Table::secure();
    for command in [&b"\r\n"[..], b"+ NOOP\r\n", b"(a) NOOP\r\n", b"a\r\n"] {
        let answer = table.exchange(command);
        assert!(answer.starts_with("* BAD Expected "), "{answer}");
    }
}

#[test]
fn only_crlf_ends_a_line() {
    let mut table = Table::secure();
    let answer = table.exchange(b"a NOOP\nb NOOP\rc NOOP\r\nd NOOP\r\n");
    assert!(
        answer.starts_with("a BAD") && answer.ends_with("\r\nd OK NOOP completed\r\n"),
        "{answer}"
    );
    assert_eq!(answer.lines().count(), 2);
}

#[test]
fn http_is_sent_away_at_once() {
    let mut table = Table::secure();
    let answer = table.exchange(b"POST / HTTP/1.1\r\nHost: x\r\n\r\na LOGIN alice secret\r\n");
    assert_eq!(answer, "* BYE This is an IMAP server\r\n");
    assert!(table.is_closed && table.trace.is_empty());
    let mut table = Table::secure();
    assert_eq!(table.exchange(b"GET NOOP\r\n"), "GET OK NOOP completed\r\n");
}

#[test]
fn errors_are_counted_before_and_after_login() {
    let mut table = Table::secure();
    let answer = table.exchange(&b"a LOGIN alice wrong\r\n".repeat(10));
    assert_eq!(answer.matches("a NO [AUTHENTICATIONFAILED]").count(), 5);
    assert!(answer.ends_with("* BYE Too many errors\r\n") && table.is_closed);
    let mut table = Table::logged_in();
    table.send(&b"a BOGUS\r\n".repeat(19));
    table.send(b"b NOOP\r\n");
    table.send(&b"a BOGUS\r\n".repeat(19));
    assert!(!table.is_closed);
    table.send(b"a BOGUS\r\n");
    assert!(table.is_closed);
}

#[test]
fn who_talks_before_the_greeting_is_sent_away() {
    let mut table = Table::unopened(Channel::default(), Config::default());
    table.event(Event::Opened, true);
    assert_eq!(
        String::from_utf8_lossy(&table.wire),
        "* BYE Wait for the greeting\r\n"
    );
    assert!(table.is_closed);
}

#[test]
fn plaintext_behind_starttls_is_never_acted_on() {
    let mut table = Table::new(Channel::default());
    let answer = table.exchange(b"a STARTTLS\r\nb NOOP\r\n");
    assert_eq!(
        answer,
        "a BAD Nothing may follow STARTTLS\r\n* BYE Plaintext after STARTTLS\r\n"
    );
    assert!(table.is_closed && !table.is_tls_due);
}

#[test]
fn endless_idle_garbage_leaves_idle_also_octet_by_octet() {
    let mut table = Table::logged_in();
    table.send(b"n IDLE\r\n");
    for _ in 0..8193 {
        table.send(b"a");
    }
    assert!(String::from_utf8_lossy(&table.wire).ends_with("+ idling\r\nn BAD Expected DONE\r\n"));
    assert_eq!(table.exchange(b"\r\no NOOP\r\n"), "o OK done\r\n");
}

#[test]
fn text_behind_a_message_is_bad_also_octet_by_octet() {
    let mut table = Table::logged_in();
    for byte in b"l APPEND INBOX {2+}\r\nab{3+}\r\nxyz\r\na NOOP\r\n" {
        table.send(&[*byte]);
    }
    assert_eq!(
        String::from_utf8_lossy(&table.wire),
        "l BAD Expected the end of the line after the message\r\na OK done\r\n"
    );
    assert!(table.committed.is_empty());
}

#[test]
fn a_peer_that_leaves_inside_a_literal_or_a_message_leaves_nothing() {
    for input in [
        &b"a CREATE {10+}\r\nabc"[..],
        b"a APPEND INBOX {10+}\r\nabc",
        b"a APPEND INBOX {3+}\r\nabc\r",
    ] {
        let mut table = Table::logged_in();
        table.send(input);
        table.event(Event::PeerClosed, false);
        assert!(table.is_closed && table.wire.is_empty() && table.committed.is_empty());
        assert_eq!(table.imap.held_bytes(), 0);
    }
}

#[test]
fn responses_are_not_heaped_up_without_being_sent() {
    let mut imap: Imap<TestReceipt> = Imap::new(Arc::new(Config::default()), Channel::default());
    let mut out = Actions::default();
    let _ = imap.handle(Event::Opened, &mut out);
    let _ = imap.handle(Event::Quiet, &mut out);
    out.clear();
    let input = b"a CAPABILITY\r\n".repeat(10_000);
    let taken = imap.handle(Event::Bytes(&input), &mut out).0;
    assert!(taken > 0 && taken < input.len() && out.wire.len() < 20_000);
}

#[test]
fn a_message_for_a_name_that_cannot_be_is_skipped_to_its_last_octet() {
    let mut table = Table::logged_in();
    for _ in 0..30 {
        let mut input = b"a APPEND \"a//b\" {100000+}\r\n".to_vec();
        input.extend(std::iter::repeat_n(b'\n', 100_000));
        input.extend_from_slice(b"\r\n");
        let answer = table.exchange(&input);
        assert!(
            answer.starts_with("a NO [CANNOT] ") && answer.lines().count() == 1,
            "{answer}"
        );
    }
    assert_eq!(table.exchange(b"b NOOP\r\n"), "b OK done\r\n");
}
