//! What SEARCH grew: FUZZY (RFC 6203), INPROGRESS (RFC 9585); and PREVIEW (RFC 8970).

use super::world::World;
use std::time::Duration;

/// The lines of a reply with the tag of ESEARCH left out.
fn lines(untagged: &str) -> Vec<String> {
    let lines = untagged.split("\r\n").filter(|line| !line.is_empty());
    lines
        .map(|line| match line.split_once(") ") {
            Some((head, rest)) if head.starts_with("* ESEARCH (TAG ") => format!("* ESEARCH {rest}"),
            _ => line.to_owned(),
        })
        .collect()
}

#[test]
fn a_number_beyond_the_mailbox_finds_nothing() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    assert_eq!(a.ok(&mut world, "SEARCH 1000").lines(), ["* SEARCH"]);
    assert_eq!(a.ok(&mut world, "SEARCH 2,1000").lines(), ["* SEARCH 2"]);
    assert_eq!(a.ok(&mut world, "SEARCH NOT 1000").lines(), ["* SEARCH 1 2"]);
}

#[test]
fn what_nearly_matches_is_found_and_scored() {
    let mut world = World::new();
    let mut a = world.selected(1);
    for subject in ["cooked apple", "apples, cooked", "cooking an apple pie", "pears"] {
        a.append(
            &mut world,
            "INBOX",
            "",
            &format!("Subject: {subject}\r\n\r\nx\r\n"),
        );
    }
    for (command, line) in [
        ("SEARCH SUBJECT \"cooked apple\"", "* SEARCH 1"),
        ("SEARCH FUZZY SUBJECT \"cooked apple\"", "* SEARCH 1 2 3"),
        // RFC 6203 §4.
        (
            "SEARCH RETURN (ALL RELEVANCY) FUZZY SUBJECT \"cooked apple\"",
            "* ESEARCH ALL 1:3 RELEVANCY (100 70 40)",
        ),
        // §5
        (
            "SORT (RELEVANCY) UTF-8 FUZZY SUBJECT \"apples cooked\"",
            "* SORT 2 1 3",
        ),
        (
            "SORT (REVERSE RELEVANCY) UTF-8 FUZZY SUBJECT \"cooked apple\"",
            "* SORT 3 2 1",
        ),
    ] {
        let reply = a.ok(&mut world, command);
        assert_eq!(lines(&reply.untagged), [line], "{command}");
    }
    for bad in ["SEARCH RETURN (RELEVANCY) ALL", "SORT (RELEVANCY) UTF-8 ALL"] {
        assert!(a.tagged(&mut world, bad).starts_with("BAD"), "{bad}");
    }
}

#[test]
fn a_long_search_tells_how_far_it_is() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 100);
    // A row of steps takes long, by waiting and not by computing: time goes on between two looks at the clock.
    let quick = a.ok(&mut world, "SEARCH BODY nothing");
    assert_eq!(quick.lines(), ["* SEARCH"]);
    world.services.look.set(Duration::from_millis(5));
    world.services.wait_of_breath.set(Duration::from_secs(11));
    let slow = a.ok(&mut world, "SEARCH BODY nothing");
    assert!(
        slow.untagged.contains("* OK [INPROGRESS (\"") && slow.untagged.contains(" 100)] Searching\r\n"),
        "{slow:?}"
    );
    assert!(slow.has("* SEARCH"), "{slow:?}");
}

#[test]
fn a_preview_is_the_first_words() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.append(
        &mut world,
        "INBOX",
        "",
        "Subject: x\r\n\r\n> old\r\nHello\r\n there.\r\n",
    );
    a.append(&mut world, "INBOX", "", "Subject: nothing\r\n\r\n");
    let long = format!("Subject: long\r\n\r\nFirst words.\r\n{}", "x".repeat(70_000));
    a.append(&mut world, "INBOX", "", &long);
    // RFC 8970 §3.1 and §6: quoted text, an empty preview, a lazy NIL.
    let all = a.ok(&mut world, "UID FETCH 1:3 (PREVIEW (LAZY))");
    assert_eq!(
        all.lines(),
        [
            "* 1 FETCH (UID 1 PREVIEW \"Hello there.\")",
            "* 2 FETCH (UID 2 PREVIEW \"\")",
            "* 3 FETCH (UID 3 PREVIEW NIL)",
        ]
    );
    let one = a.ok(&mut world, "FETCH 3 PREVIEW");
    assert_eq!(one.lines(), ["* 3 FETCH (UID 3 PREVIEW \"First words.\")"]);
    let seen = a.ok(&mut world, "FETCH 1 (FLAGS PREVIEW)");
    assert!(seen.untagged.contains("FLAGS ()"), "{seen:?}");
}
