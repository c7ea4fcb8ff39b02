//! SEARCH over the wire.

use super::world::{Client, World};

fn search(a: &mut Client, world: &mut World, keys: &str) -> Vec<u32> {
    let reply = a.ok(world, &format!("SEARCH {keys}"));
    let line = reply
        .untagged
        .lines()
        .find(|l| l.starts_with("* SEARCH"))
        .unwrap()
        .to_owned();
    line["* SEARCH".len()..]
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect()
}

fn mailbox(world: &mut World) -> Client {
    let mut a = world.selected(1);
    a.append(world, "INBOX", "\\Seen", "From: Ann <ann@x.org>\r\nSubject: red apple\r\nDate: Mon, 5 Jan 2026 23:00:00 -0500\r\n\r\nsweet\r\n");
    a.append(
        world,
        "INBOX",
        "\\Flagged $Fruit",
        "From: Bob <bob@y.org>\r\nSubject: =?utf-8?q?gr=C3=BCne_Birne?=\r\n\r\nsauer\r\n",
    );
    a.append(world, "INBOX", "", "From: ann@x.org\r\nTo: bob@y.org\r\nSubject: long\r\n\r\nsweet and long, longer than the others are\r\n");
    a
}

#[test]
fn keys_find_what_they_say() {
    let mut world = World::new();
    let mut a = mailbox(&mut world);
    for (keys, found) in [
        ("ALL", vec![1, 2, 3]),
        ("SEEN", vec![1]),
        ("UNSEEN", vec![2, 3]),
        ("KEYWORD $fruit", vec![2]),
        ("UNKEYWORD $Fruit", vec![1, 3]),
        ("KEYWORD $none", vec![]),
        ("NEW", vec![2, 3]),
        ("RECENT", vec![1, 2, 3]),
        ("OLD", vec![]),
        ("FROM ann", vec![1, 3]),
        ("FROM ANN SUBJECT apple", vec![1]),
        ("OR FROM bob TO bob", vec![2, 3]),
        ("NOT FROM ann", vec![2]),
        ("BODY sweet", vec![1, 3]),
        ("BODY apple", vec![]),
        ("TEXT apple", vec![1]),
        ("OR BODY sauer SEEN", vec![1, 2]),
        ("NOT (BODY sweet SEEN)", vec![2, 3]),
        ("HEADER To \"\"", vec![3]),
        ("SENTON 5-Jan-2026", vec![1]),
        ("SENTBEFORE 1-Jan-2026", vec![]),
        ("ON 2-Jan-2026", vec![1, 2, 3]),
        ("BEFORE 2-Jan-2026", vec![]),
        ("SINCE 2-Jan-2026", vec![1, 2, 3]),
        ("SMALLER 90", vec![2]),
        ("YOUNGER 60", vec![1, 2, 3]),
        ("OLDER 60", vec![]),
        ("2:* UNSEEN", vec![2, 3]),
        ("UID 1,3:9", vec![1, 3]),
        ("NOT 2", vec![1, 3]),
        ("CHARSET UTF-8 SUBJECT {6+}\r\nGR\u{dc}NE", vec![2]),
    ] {
        assert_eq!(search(&mut a, &mut world, keys), found, "{keys}");
    }
}

#[test]
fn addresses_are_found_as_written_and_as_meant() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let message = "From: user-from (comment)@ (comment) domain.org\r\nTo: \"Bob\\ B\" <bob @ y.org>, \
        friends: =?utf-8?q?J=C3=BCrgen?=\r\n <\"j.x\"@z.org>;\r\n\r\nx\r\n";
    a.append(&mut world, "INBOX", "", message);
    for (keys, found) in [
        ("FROM user-from@domain.org", vec![1]),
        ("FROM \"(comment)@ (\"", vec![1]),
        ("TO bob@y.org", vec![1]),
        ("TO \"bob b <bob@\"", vec![1]),
        ("TO j.x@z.org", vec![1]),
        ("TO friends:", vec![1]),
        ("CC bob@y.org", vec![]),
        ("HEADER To bob@y.org", vec![]),
        ("TO missing", vec![]),
    ] {
        assert_eq!(search(&mut a, &mut world, keys), found, "{keys}");
    }
}

#[test]
fn extended_results_and_saved_ones() {
    let mut world = World::new();
    let mut a = mailbox(&mut world);
    let all = a.ok(&mut world, "UID SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN");
    assert!(
        all.untagged.contains(" UID MIN 2 MAX 3 COUNT 2 ALL 2:3\r\n"),
        "{all:?}"
    );
    assert!(
        a.ok(&mut world, "SEARCH RETURN () ALL")
            .untagged
            .contains(" ALL 1:3\r\n")
    );
    assert!(
        a.ok(&mut world, "SEARCH RETURN (COUNT) KEYWORD $none")
            .untagged
            .contains(" COUNT 0\r\n")
    );
    assert_eq!(a.ok(&mut world, "SEARCH RETURN (SAVE) FROM ann").untagged, "");
    let fetch = a.ok(&mut world, "FETCH $ UID");
    assert_eq!(fetch.lines(), ["* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)"]);
    assert_eq!(search(&mut a, &mut world, "$ UNSEEN"), [3]);
    a.ok(&mut world, "SEARCH RETURN (SAVE MAX) ALL");
    assert_eq!(a.ok(&mut world, "FETCH $ UID").lines(), ["* 3 FETCH (UID 3)"]);
}

#[test]
fn refusals() {
    let mut world = World::new();
    let mut a = mailbox(&mut world);
    assert!(
        a.tagged(&mut world, "SEARCH CHARSET x-none ALL")
            .starts_with("NO [BADCHARSET (UTF-8")
    );
    a.ok(&mut world, "SEARCH RETURN (SAVE) ALL");
    assert!(
        a.tagged(&mut world, "SEARCH RETURN (SAVE) CHARSET x-none ALL")
            .starts_with("NO")
    );
    assert_eq!(a.ok(&mut world, "FETCH $ UID").untagged, "");
}

#[test]
fn modseq_is_given_with_the_result() {
    let mut world = World::new();
    let mut a = mailbox(&mut world);
    a.ok(&mut world, "ENABLE CONDSTORE");
    let reply = a.ok(&mut world, "SEARCH MODSEQ 1");
    assert!(reply.untagged.starts_with("* SEARCH 1 2 3 (MODSEQ "), "{reply:?}");
}

#[test]
fn extended_modseq_is_that_of_what_is_returned() {
    let mut world = World::new();
    let mut a = mailbox(&mut world);
    a.ok(&mut world, "ENABLE CONDSTORE");
    a.ok(&mut world, "STORE 2 +FLAGS.SILENT (\\Seen)");
    let fetch = a.ok(&mut world, "FETCH 1:3 MODSEQ");
    let mod_seqs: Vec<_> = fetch
        .lines()
        .into_iter()
        .map(|line| line.split(['(', ')']).nth(2).unwrap().to_owned())
        .collect();
    for (options, result) in [
        ("MIN", format!("MIN 1 MODSEQ {}", mod_seqs[0])),
        ("MAX", format!("MAX 3 MODSEQ {}", mod_seqs[2])),
        ("MIN MAX", format!("MIN 1 MAX 3 MODSEQ {}", mod_seqs[2])),
        ("MIN COUNT", format!("MIN 1 COUNT 3 MODSEQ {}", mod_seqs[1])),
        ("MIN ALL", format!("MIN 1 ALL 1:3 MODSEQ {}", mod_seqs[1])),
        ("", format!("ALL 1:3 MODSEQ {}", mod_seqs[1])),
    ] {
        let search = a.ok(&mut world, &format!("SEARCH RETURN ({options}) MODSEQ 1"));
        assert!(
            search.untagged.ends_with(&format!(" {result}\r\n")),
            "{options}: {search:?}"
        );
    }
}

#[test]
fn a_search_that_takes_too_long_is_refused_and_the_session_goes_on() {
    let mut world = World::new();
    let mut a = mailbox(&mut world);
    world.services.look.set(std::time::Duration::from_millis(700));
    assert!(
        a.tagged(&mut world, "SEARCH BODY nothing")
            .starts_with("NO [LIMIT]")
    );
    world.services.look.set(std::time::Duration::ZERO);
    assert_eq!(search(&mut a, &mut world, "BODY sauer"), [2]);
}

#[test]
fn messages_are_sorted() {
    let mut world = World::new();
    let mut a = world.selected(1);
    for message in [
        "From: \"Zoe\" <b@x.org>\r\nSubject: Re: pear\r\nDate: Mon, 5 Jan 2026 10:00:00 +0200\r\n\r\n",
        "From: c@x.org\r\nSubject: apple\r\nDate: Mon, 5 Jan 2026 09:00:00 +0000\r\n\r\nlong\r\n",
        "From: A@x.org\r\nTo: group: x@y.org;\r\nSubject: [l] Fwd: PEAR\r\nDate: 4 Jan 2026\r\n\r\n",
        "Subject: \r\n\r\n",
    ] {
        a.append(&mut world, "INBOX", "", message);
    }
    for (sort, order) in [
        ("(ARRIVAL) UTF-8 ALL", "1 2 3 4"),
        ("(REVERSE ARRIVAL) UTF-8 ALL", "1 2 3 4"),
        ("(SUBJECT) UTF-8 ALL", "4 2 1 3"),
        ("(REVERSE SUBJECT) UTF-8 ALL", "1 3 2 4"),
        ("(SUBJECT REVERSE FROM) UTF-8 1:3", "2 1 3"),
        ("(FROM) US-ASCII NOT 4", "3 1 2"),
        ("(DISPLAYFROM) UTF-8 ALL", "4 3 2 1"),
        ("(DATE) UTF-8 1:3", "3 1 2"),
        ("(REVERSE SIZE) UTF-8 1:2", "1 2"),
        ("(REVERSE TO CC DISPLAYTO) UTF-8 ALL", "3 1 2 4"),
    ] {
        let reply = a.ok(&mut world, &format!("SORT {sort}"));
        assert_eq!(reply.lines(), [format!("* SORT {order}")], "{sort}");
    }
    assert_eq!(
        a.ok(&mut world, "UID SORT (SIZE) UTF-8 DELETED").lines(),
        ["* SORT"]
    );
    let extended = a.ok(
        &mut world,
        "SORT RETURN (MIN MAX COUNT ALL SAVE) (SUBJECT) UTF-8 ALL",
    );
    assert!(
        extended
            .untagged
            .ends_with(" MIN 4 MAX 3 COUNT 4 ALL 4,2,1,3\r\n"),
        "{extended:?}"
    );
    assert_eq!(a.ok(&mut world, "FETCH $ UID").lines().len(), 4);
    assert!(
        a.tagged(&mut world, "SORT (SIZE) x-none ALL")
            .starts_with("NO [BADCHARSET")
    );
    assert!(a.tagged(&mut world, "SORT () UTF-8 ALL").starts_with("BAD"));
}

/// RFC 6855 §3.
#[test]
fn a_search_names_no_charset_once_utf8_is_accepted() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 1);
    a.ok(&mut world, "SEARCH CHARSET UTF-8 ALL");
    a.ok(&mut world, "ENABLE UTF8=ACCEPT");
    for command in [
        "SEARCH CHARSET UTF-8 ALL",
        "UID SEARCH RETURN (COUNT) CHARSET UTF-8 ALL",
    ] {
        assert!(a.tagged(&mut world, command).starts_with("BAD"), "{command}");
    }
    a.ok(&mut world, "SEARCH ALL");
    a.ok(&mut world, "SORT (ARRIVAL) UTF-8 ALL");
    a.ok(&mut world, "THREAD REFS UTF-8 ALL");
    let mut b = world.selected(1);
    b.ok(&mut world, "ENABLE IMAP4rev2");
    b.ok(&mut world, "SEARCH CHARSET UTF-8 ALL");
}
