//! THREAD over the wire (RFC 5256 §3 and §4), I18NLEVEL=1 (RFC 5255 §4).

use super::world::World;

#[test]
fn threads_by_number_and_by_uid() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let letters = [
        "Message-ID: <1@x>\r\nSubject: apples\r\nDate: Mon, 5 Jan 2026 10:00:00 +0000\r\n\r\none\r\n",
        "Message-ID: <2@x>\r\nSubject: pears\r\nDate: Mon, 5 Jan 2026 11:00:00 +0000\r\n\r\ntwo\r\n",
        "Message-ID: <3@x>\r\nSubject: Re: apples\r\nReferences: <1@x>\r\nDate: Mon, 5 Jan 2026 12:00:00 +0000\r\n\r\nthree\r\n",
        "Message-ID: <4@x>\r\nSubject: Re: apples\r\nIn-Reply-To: <1@x>\r\nDate: Mon, 5 Jan 2026 13:00:00 +0000\r\n\r\nfour\r\n",
    ];
    for letter in letters {
        a.append(&mut world, "INBOX", "", letter);
    }
    a.ok(&mut world, "STORE 2 +FLAGS (\\Deleted)");
    a.ok(&mut world, "EXPUNGE");
    for (command, line) in [
        ("THREAD REFERENCES UTF-8 ALL", "* THREAD (1 (2)(3))"),
        ("UID THREAD REFERENCES UTF-8 ALL", "* THREAD (1 (3)(4))"),
        ("UID THREAD REFS US-ASCII ALL", "* THREAD (1 (3)(4))"),
        ("THREAD ORDEREDSUBJECT UTF-8 ALL", "* THREAD (1 (2)(3))"),
        ("THREAD REFERENCES UTF-8 TEXT three", "* THREAD (2)"),
        ("THREAD REFERENCES UTF-8 TEXT nothing", "* THREAD"),
    ] {
        let reply = a.ok(&mut world, command);
        assert_eq!(reply.lines(), [line], "{command}");
    }
    assert!(a.tagged(&mut world, "THREAD JWZ UTF-8 ALL").starts_with("BAD"));
    assert!(
        a.tagged(&mut world, "THREAD REFS KLINGON ALL")
            .starts_with("NO [BADCHARSET")
    );
}

#[test]
fn letters_are_compared_without_case_and_however_they_are_composed() {
    let mut world = World::new();
    let mut a = world.selected(1);
    for subject in [
        "=?utf-8?q?=C3=89t=C3=A9?=",
        "=?utf-8?q?e=CC=81TE=CC=81?=",
        "zoo",
        "eta",
    ] {
        a.append(
            &mut world,
            "INBOX",
            "",
            &format!("Subject: {subject}\r\n\r\nx\r\n"),
        );
    }
    let found = a.ok(&mut world, "SEARCH CHARSET UTF-8 SUBJECT {5+}\r\n\u{e9}T\u{e9}");
    assert_eq!(found.lines(), ["* SEARCH 1 2"]);
    let sorted = a.ok(&mut world, "SORT (SUBJECT) UTF-8 ALL");
    assert_eq!(sorted.lines(), ["* SORT 4 1 2 3"]);
    let threads = a.ok(&mut world, "THREAD ORDEREDSUBJECT UTF-8 ALL");
    assert_eq!(threads.lines(), ["* THREAD (1 2)(3)(4)"]);
}
