//! MESSAGELIMIT's dialogues (RFC 9738), with a limit of three.

use super::transcript::play;
use super::world::{Client, World};
use crate::proto::imap::Config;
use std::num::NonZeroU32;
use std::sync::Arc;

fn limited() -> (World, Client) {
    let mut world = World::new();
    *world.services.config.borrow_mut() = Arc::new(Config {
        message_limit: NonZeroU32::new(3),
        ..Config::default()
    });
    let mut client = world.selected(1);
    client.fill(&mut world, "INBOX", 8);
    (world, client)
}

#[test]
fn the_limit_is_announced_with_its_number() {
    let (mut world, _) = limited();
    let mut a = world.connect();
    let capabilities = a.ok(&mut world, "CAPABILITY").untagged;
    assert!(
        !capabilities.contains("MESSAGELIMIT"),
        "before login: {capabilities}"
    );
    assert!(
        a.ok(&mut world, "LOGIN 1 secret")
            .tagged
            .contains(" MESSAGELIMIT=3 ")
    );
    *world.services.config.borrow_mut() = Arc::default();
    let mut b = world.connect();
    assert!(!b.ok(&mut world, "LOGIN 1 secret").tagged.contains("MESSAGELIMIT"));
}

#[test]
fn fetch_and_search_end_with_the_lowest_uid_they_got_to() {
    let (mut world, mut a) = limited();
    a.ok(&mut world, "STORE 2 +FLAGS.SILENT (\\Deleted)");
    a.ok(&mut world, "EXPUNGE");
    play(
        &mut world,
        &mut a,
        r#"
        -- §3.1
        C: A1 UID FETCH 1:* (UID)
        S: * 7 FETCH (UID 8)
        S: * 6 FETCH (UID 7)
        S: * 5 FETCH (UID 6)
        S: A1 OK [MESSAGELIMIT 3 6] FETCH completed
        C: A2 UID FETCH 1:5 (UID)
        S: * 4 FETCH (UID 5)
        S: * 3 FETCH (UID 4)
        S: * 2 FETCH (UID 3)
        S: A2 OK [MESSAGELIMIT 3 3] FETCH completed
        C: A3 FETCH 1 BODY.PEEK[TEXT]
        S: * 1 FETCH (UID 1 BODY[TEXT] {8}
        S: body 1
        S: )
        S: A3 OK FETCH completed
        C: C1 UID FETCH 1,4:5,7:8 BINARY.SIZE[1]
        S: * 7 FETCH (UID 8 BINARY.SIZE[1] 8)
        S: * 6 FETCH (UID 7 BINARY.SIZE[1] 8)
        S: * 4 FETCH (UID 5 BINARY.SIZE[1] 8)
        S: C1 OK [MESSAGELIMIT 3 5] FETCH completed
        C: A4 UID SEARCH ALL
        S: * SEARCH 6 7 8
        S: A4 OK [MESSAGELIMIT 3 6] SEARCH completed
        C: A5 UID SEARCH RETURN (ALL COUNT MIN) UID 1:5
        S: * ESEARCH (TAG "A5") UID MIN 3 COUNT 3 ALL 3:5
        S: A5 OK [MESSAGELIMIT 3 3] SEARCH completed
        C: A6 UID SEARCH UID 1:2
        S: * SEARCH 1
        S: A6 OK SEARCH completed
        -- UIDAFTER and UIDBEFORE, which never wrap around to the last message as UID n:* does
        C: B3 UID SEARCH UIDBEFORE 6 NOT UIDBEFORE 4
        S: * SEARCH 4 5
        S: B3 OK SEARCH completed
        C: B4 UID SEARCH UIDAFTER 7
        S: * SEARCH 8
        S: B4 OK SEARCH completed
        C: B5 UID SEARCH UIDAFTER 8
        S: * SEARCH
        S: B5 OK SEARCH completed
        C: B6 UID SEARCH UIDAFTER *
        S: B6 BAD ~
        C: B7 UID SEARCH UIDBEFORE 0
        S: B7 BAD ~
        -- what names no messages has no limit
        C: A7 SEARCH RETURN (COUNT MIN MAX) ALL
        S: * ESEARCH (TAG "A7") MIN 1 MAX 7 COUNT 7
        S: A7 OK SEARCH completed
        -- §4: with PARTIAL a client chooses itself
        C: A8 UID FETCH 1:* (UID) (PARTIAL 1:2)
        S: * 1 FETCH (UID 1)
        S: * 2 FETCH (UID 3)
        S: A8 OK FETCH completed
        C: A9 UID FETCH 1:* (UID) (PARTIAL 1:4)
        S: A9 NO [MESSAGELIMIT 3] ~
        C: B1 UID SEARCH RETURN (PARTIAL 1:3) ALL
        S: * ESEARCH (TAG "B1") UID PARTIAL (1:3 1,3:4)
        S: B1 OK SEARCH completed
        C: B2 UID SEARCH RETURN (PARTIAL 1:4) ALL
        S: B2 NO [MESSAGELIMIT 3] ~
        "#,
    );
}

#[test]
fn changes_are_made_in_part_or_refused_whole() {
    let (mut world, mut a) = limited();
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 UID STORE 1:6 +FLAGS (\Deleted)
        S: * 6 FETCH (UID 6 FLAGS (\Deleted))
        S: * 5 FETCH (UID 5 FLAGS (\Deleted))
        S: * 4 FETCH (UID 4 FLAGS (\Deleted))
        S: A1 OK [MESSAGELIMIT 3 4] STORE completed in part
        C: A2 UID STORE 1:3 +FLAGS.SILENT (\Deleted)
        S: A2 OK STORE completed
        C: A3 UID STORE 1:6 (UNCHANGEDSINCE 1) +FLAGS (\Seen)
        S: A3 NO [MESSAGELIMIT 3] ~
        -- COPY is whole or not at all
        C: A4 UID COPY 1:8 Archive
        S: A4 NO [MESSAGELIMIT 3 6] ~
        C: A5 UID COPY 6:8 Archive
        S: A5 OK [COPYUID ~ 6:8 1:3] COPY completed
        C: A6 UID MOVE 1:8 Trash
        S: * OK [COPYUID ~ 6:8 1:3] Moved
        S: * 8 EXPUNGE
        S: * 7 EXPUNGE
        S: * 6 EXPUNGE
        S: A6 OK [MESSAGELIMIT 3 6] MOVE completed
        C: A7 UID EXPUNGE 1:*
        S: * 5 EXPUNGE
        S: * 4 EXPUNGE
        S: * 3 EXPUNGE
        S: A7 OK [MESSAGELIMIT 3 3] EXPUNGE completed
        C: A8 APPEND Drafts {12+}
        C: Subject: x
        C:  {12+}
        C: Subject: y
        C:  {12+}
        C: Subject: z
        C:
        S: A8 OK [APPENDUID ~ 1:3] APPEND completed
        C: A9 APPEND Drafts {12+}
        C: Subject: x
        C:  {12+}
        C: Subject: y
        C:  {12+}
        C: Subject: z
        C:  {12+}
        C: Subject: w
        C:
        S: A9 NO [MESSAGELIMIT 3] Too many messages in one APPEND
        C: B1 STATUS Drafts (MESSAGES)
        S: * STATUS Drafts (MESSAGES 3)
        S: B1 OK STATUS completed
        "#,
    );
    a.fill(&mut world, "INBOX", 4);
    a.ok(&mut world, "STORE 1:3 +FLAGS.SILENT (\\Deleted)");
    a.ok(&mut world, "STORE 4:6 +FLAGS.SILENT (\\Deleted)");
    // EXPUNGE names no messages.
    assert_eq!(a.ok(&mut world, "EXPUNGE").lines().len(), 6);
}

#[test]
fn expunges_by_others_are_told_beside_the_limit() {
    // RFC 9738 §3.1: EXPUNGEISSUED in the tagged OK, MESSAGELIMIT in an untagged NO.
    let (mut world, mut a) = limited();
    let mut b = world.selected(1);
    b.ok(&mut world, "UID STORE 8 +FLAGS.SILENT (\\Deleted)");
    b.ok(&mut world, "EXPUNGE");
    for (command, word, first) in [
        ("FETCH 1:8 (UID)", "FETCH", "* 7 FETCH (UID 7)"),
        ("FETCH 1:8 (UID) (PARTIAL -1:-1)", "", "* 7 FETCH (UID 7)"),
        ("SEARCH ALL", "SEARCH", "* SEARCH 5 6 7"),
        ("STORE 1:8 FLAGS ($x)", "STORE", "* FLAGS ("),
    ] {
        let reply = a.ok(&mut world, command);
        let lines = reply.lines();
        assert!(lines[0].starts_with(first), "{command}: {lines:?}");
        let limit = lines.iter().find(|line| line.starts_with("* NO "));
        let wanted = "* NO [MESSAGELIMIT 3 5] ";
        assert_eq!(
            limit.is_some_and(|line| line.starts_with(wanted)),
            !word.is_empty(),
            "{command}: {lines:?}"
        );
        assert!(
            reply.tagged.starts_with("OK [EXPUNGEISSUED] "),
            "{command}: {reply:?}"
        );
    }
}

#[test]
fn a_search_that_is_refused_saves_nothing() {
    // RFC 5182 §2.1
    let (mut world, mut a) = limited();
    a.ok(&mut world, "SEARCH RETURN (SAVE MIN) ALL");
    assert_eq!(a.ok(&mut world, "SEARCH $").lines(), ["* SEARCH 1"]);
    let refused = a.tagged(&mut world, "SEARCH RETURN (SAVE PARTIAL 1:4) ALL");
    assert!(refused.starts_with("NO [MESSAGELIMIT 3]"), "{refused}");
    assert_eq!(a.ok(&mut world, "SEARCH $").lines(), ["* SEARCH"]);
}

#[test]
fn a_resynchronising_client_hears_how_far_it_is() {
    let (mut world, mut a) = limited();
    a.ok(&mut world, "ENABLE QRESYNC");
    let moved = a.ok(&mut world, "UID MOVE 1:* Trash");
    let lines = moved.lines();
    assert_eq!(lines[1], "* VANISHED 6:8");
    assert!(lines[2].starts_with("* OK [HIGHESTMODSEQ "), "{lines:?}");
    assert!(moved.tagged.starts_with("OK [MESSAGELIMIT 3 6]"), "{moved:?}");
}
