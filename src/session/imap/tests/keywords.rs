//! Keywords: as many as there is room for, room made by those that no message has, and STOREs on a condition.

use super::transcript::play;
use super::world::World;
use crate::model::{AccountId, Flags, Keyword, Uid};
use crate::proto::imap::types::StoreOperation;
use crate::session::imap::Services;
use crate::store::{Change, INBOX_ID};

/// All 64 keywords that there is room for.
fn all() -> String {
    (0..64)
        .map(|number| format!("k{number:02}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_keyword_that_no_message_has_makes_room_for_another() {
    // RFC 9051 §7.1: PERMANENTFLAGS
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.selected(1));
    a.fill(&mut world, "INBOX", 2);
    b.ok(&mut world, "NOOP");
    a.ok(&mut world, &format!("STORE 1 FLAGS.SILENT ({})", all()));
    a.ok(&mut world, "STORE 1 -FLAGS.SILENT (k07)");
    b.ok(&mut world, "NOOP");
    let names = all().replace("k07", "NewOne");
    let flags = format!("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft {names})");
    let stored = a.ok(&mut world, "STORE 2 +FLAGS (NewOne)");
    assert!(stored.has(&flags), "{stored:?}");
    assert!(stored.has("* 2 FETCH (UID 2 FLAGS (NewOne))"), "{stored:?}");
    // Who has it open hears of the name before it sees the keyword.
    let told = b.ok(&mut world, "NOOP");
    let place = |line: &str| told.lines().iter().position(|told| *told == line);
    assert!(
        place(&flags).is_some() && place(&flags) < place("* 2 FETCH (UID 2 FLAGS (NewOne))"),
        "{told:?}"
    );
    assert_eq!(b.ok(&mut world, "SEARCH KEYWORD NewOne").lines(), ["* SEARCH 2"]);
    assert_eq!(b.ok(&mut world, "SEARCH KEYWORD k07").lines(), ["* SEARCH"]);
    let mut world = world.restarted();
    let mut a = world.selected(1);
    let fetched = a.ok(&mut world, "FETCH 2 FLAGS");
    assert!(fetched.has("* 2 FETCH (FLAGS (NewOne))"), "{fetched:?}");
}

#[test]
fn what_would_lose_a_keyword_in_a_full_mailbox_is_refused_whole() {
    // RFC 9051 §7.1, PERMANENTFLAGS: no \* where no keyword can be made.
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    a.ok(&mut world, &format!("STORE 1 FLAGS.SILENT ({})", all()));
    let selected = a.ok(&mut world, "SELECT INBOX");
    assert!(!selected.untagged.contains("\\*)"), "{selected:?}");
    play(
        &mut world,
        &mut a,
        "C: a1 STORE 2 +FLAGS (another)
         S: a1 NO [LIMIT] Limit reached: 64 keywords of a mailbox
         C: a2 STORE 2 +FLAGS.SILENT (\\Seen k01 another)
         S: a2 NO [LIMIT] ~
         C: a3 STORE 1:2 FLAGS (another \\Answered)
         S: a3 NO [LIMIT] ~
         C: a4 APPEND INBOX (\\Flagged another) {3+}
         C: abc
         S: a4 NO [LIMIT] ~
         C: a5 APPEND INBOX (k01) {3+}
         C: abc (another) {3+}
         C: abc
         S: a5 NO [LIMIT] ~
         C: a6 REPLACE 2 INBOX (another) {3+}
         C: abc
         S: a6 NO [LIMIT] ~
         C: a7 APPEND INBOX (another) CATENATE (TEXT {3+}
         C: abc)
         S: a7 NO [LIMIT] ~
         -- Nothing has been done
         C: a8 FETCH 2:* (UID FLAGS)
         S: * 2 FETCH (UID 2 FLAGS ())
         S: a8 OK ~
         -- What is known has its place
         C: a9 STORE 2 FLAGS (k01 K02)
         S: * 2 FETCH (UID 2 FLAGS (k01 k02))
         S: a9 OK ~",
    );
    a.append(&mut world, "Drafts", "tagged k02", "abc");
    a.append(&mut world, "Drafts", "k02", "abc");
    a.ok(&mut world, "SELECT Drafts");
    play(
        &mut world,
        &mut a,
        "C: b1 UID COPY 1:2 INBOX
         S: b1 NO [LIMIT] ~
         C: b2 UID MOVE 1:2 INBOX
         S: b2 NO [LIMIT] ~
         C: b3 FETCH 1:* (UID FLAGS)
         S: * 1 FETCH (UID 1 FLAGS (tagged k02))
         S: * 2 FETCH (UID 2 FLAGS (k02))
         S: b3 OK ~
         C: b4 UID MOVE 2 INBOX
         S: * OK [COPYUID ~
         S: * 2 EXPUNGE
         S: b4 OK ~",
    );
    a.ok(&mut world, "SELECT INBOX");
    let fetched = a.ok(&mut world, "FETCH 3:* FLAGS");
    assert_eq!(fetched.lines(), ["* 3 FETCH (FLAGS (k02))"]);
    // Room is announced again when there is some.
    a.ok(&mut world, "STORE 1 -FLAGS.SILENT (k62 k63)");
    assert!(a.ok(&mut world, "SELECT INBOX").untagged.contains("\\*)"));
    // For two, not for three; and they are there whole.
    let refused = a.tagged(&mut world, "STORE 2 +FLAGS (n1 n2 n3)");
    assert!(refused.starts_with("NO [LIMIT]"), "{refused}");
    a.ok(&mut world, "STORE 2 +FLAGS (n1 n2)");
    let selected = a.ok(&mut world, "SELECT INBOX");
    assert!(!selected.untagged.contains("\\*)"), "{selected:?}");
}

#[test]
fn an_expunged_message_comes_back_with_the_keywords_it_had() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    a.ok(&mut world, &format!("STORE 1 FLAGS.SILENT (\\Deleted {})", all()));
    a.ok(&mut world, "EXPUNGE");
    // It may be brought back: its keywords are in use.
    let refused = a.tagged(&mut world, "STORE 1 +FLAGS (another)");
    assert!(refused.starts_with("NO [LIMIT]"), "{refused}");
    // What was moved away is where it was moved to.
    a.append(&mut world, "Drafts", &all(), "abc");
    a.ok(&mut world, "SELECT Drafts");
    a.ok(&mut world, "MOVE 1 Trash");
    a.append(&mut world, "Drafts", "another", "abc");
    assert!(
        a.ok(&mut world, "FETCH 1 FLAGS")
            .has("* 1 FETCH (FLAGS (another))")
    );
}

#[test]
fn unchangedsince_0_sets_what_is_not_there_yet() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    play(
        &mut world,
        &mut a,
        "-- RFC 7162 §3.1.3: 0 fails if the flag is there, and system flags always are
         C: a1 STORE 2 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($MDNSent)
         S: * OK [HIGHESTMODSEQ 2] Highest
         S: * 2 FETCH (UID 2 MODSEQ (3))
         S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $MDNSent)
         S: * OK [PERMANENTFLAGS ~] ~
         S: a1 OK STORE completed
         C: a2 STORE 1:2 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($MDNSent)
         S: * 1 FETCH (UID 1 MODSEQ (4))
         S: a2 OK [MODIFIED 2] ~
         C: a3 STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT (\\Flagged $Other)
         S: a3 OK [MODIFIED 1] ~
         C: a4 STORE 1 (UNCHANGEDSINCE 0) FLAGS.SILENT ($Other)
         S: a4 OK [MODIFIED 1] ~
         -- RFC 7162 §3.1.3: what fails sets nothing, and makes no keyword
         C: a5 STORE 1 (UNCHANGEDSINCE 2) +FLAGS.SILENT ($Other)
         S: a5 OK [MODIFIED 1] ~
         C: a6 STORE 1 (UNCHANGEDSINCE 4) +FLAGS ($Other)
         S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $MDNSent $Other)
         S: * OK [PERMANENTFLAGS ~] ~
         S: * 1 FETCH (UID 1 FLAGS ($MDNSent $Other) MODSEQ (8))
         S: a6 OK STORE completed",
    );
}

#[test]
fn a_keyword_is_an_atom() {
    // RFC 9051 §9: flag-keyword, atom-specials; resp-specials is `]`.
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 1);
    play(
        &mut world,
        &mut a,
        r#"
        C: a1 STORE 1 +FLAGS ([x])
        S: a1 BAD Expected a keyword
        C: a2 STORE 1 FLAGS x]
        S: a2 BAD Expected a keyword
        C: a3 SEARCH KEYWORD [x]
        S: a3 BAD Expected a keyword
        C: a4 SEARCH UNKEYWORD ]
        S: a4 BAD Expected a keyword
        C: a5 APPEND INBOX (x]) {3+}
        C: a:b
        S: a5 BAD ~
        C: a6 STORE 1 +FLAGS ([x $y/z=!)
        S: * FLAGS ~
        S: * OK [PERMANENTFLAGS ~
        S: * 1 FETCH (UID 1 FLAGS ([x $y/z=!))
        S: a6 OK STORE completed
        C: a7 SEARCH KEYWORD [X
        S: * SEARCH 1
        S: a7 OK SEARCH completed
        "#,
    );
}

#[test]
fn a_keyword_of_old_that_is_no_atom_stays_readable() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.fill(&mut world, "INBOX", 1);
    let of_old = Change::StoreFlags {
        mailbox: INBOX_ID,
        uids: vec![Uid::new(1).unwrap()],
        operation: StoreOperation::Add,
        flags: Flags::default(),
        keywords: [Keyword::of_old("[x]").unwrap()].into_iter().collect(),
        unchanged_since: None,
    };
    let store = world.services.store().clone();
    world.wait(store.change(AccountId(1), of_old)).unwrap();
    let shown = a.ok(&mut world, "SELECT INBOX");
    assert!(shown.untagged.contains("\\Draft [x])"), "{shown:?}");
    let mut world = world.restarted();
    let mut a = world.selected(1);
    assert!(a.ok(&mut world, "FETCH 1 FLAGS").has("* 1 FETCH (FLAGS ([x]))"));
    a.ok(&mut world, "STORE 1 FLAGS (\\Seen)");
    assert!(
        a.ok(&mut world, "FETCH 1 FLAGS")
            .has("* 1 FETCH (FLAGS (\\Seen))")
    );
}
