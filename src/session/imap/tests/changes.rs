//! What sessions are told of each other's changes.

use super::world::{TestPipe, TestServices, World};

#[test]
fn a_message_is_recent_in_one_session_only() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.shows_recent = true;
    a.fill(&mut world, "INBOX", 2);
    let recent = |reply: super::world::Reply, number: u32| {
        assert!(reply.has(&format!("* {number} RECENT")), "{reply:?}");
    };
    let status = "STATUS INBOX (RECENT)";
    assert!(a.ok(&mut world, status).has("* STATUS INBOX (RECENT 2)"));
    recent(a.ok(&mut world, "EXAMINE INBOX"), 2);
    recent(a.ok(&mut world, "SELECT INBOX"), 2);
    assert!(a.ok(&mut world, status).has("* STATUS INBOX (RECENT 0)"));
    let mut b = world.login(1);
    b.shows_recent = true;
    recent(b.ok(&mut world, "SELECT INBOX"), 0);

    recent(b.append(&mut world, "INBOX", "\\Seen", "Subject: 3\r\n\r\n"), 1);
    recent(a.ok(&mut world, "NOOP"), 2);
    recent(a.append(&mut world, "INBOX", "", "Subject: 4\r\n\r\n"), 3);
    recent(b.ok(&mut world, "NOOP"), 1);
    let flags = ["(\\Recent)", "(\\Recent)", "(\\Seen)", "(\\Recent)"];
    let lines: Vec<_> = (1..)
        .zip(flags)
        .map(|(n, flags)| format!("* {n} FETCH (FLAGS {flags})"))
        .collect();
    assert_eq!(a.ok(&mut world, "FETCH 1:4 FLAGS").lines(), lines);
    for (keys, of_a, of_b) in [
        ("RECENT", " 1 2 4", " 3"),
        ("NEW", " 1 2 4", ""),
        ("OLD", " 3", " 1 2 4"),
    ] {
        for (client, found) in [(&mut a, of_a), (&mut b, of_b)] {
            let search = client.ok(&mut world, &format!("SEARCH {keys}"));
            assert_eq!(search.lines(), [format!("* SEARCH{found}")], "{keys}");
        }
    }
    assert!(
        b.ok(&mut world, "STORE 3 FLAGS ()")
            .has("* 3 FETCH (UID 3 FLAGS (\\Recent))")
    );
    b.ok(&mut world, "STORE 3 FLAGS (\\Deleted)");
    b.ok(&mut world, "EXPUNGE");
    recent(a.append(&mut world, "INBOX", "", "Subject: 5\r\n\r\n"), 4);
    recent(b.ok(&mut world, "NOOP"), 0);

    a.append(&mut world, "Trash", "", "Subject: 6\r\n\r\n");
    let mut world = world.restarted();
    recent(world.login(1).ok(&mut world, "SELECT Trash"), 0);
}

#[test]
fn others_are_told_after_their_next_command() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let mut b = world.selected(1);
    a.fill(&mut world, "INBOX", 3);
    let noop = b.ok(&mut world, "NOOP");
    assert!(noop.has("* 3 EXISTS"), "{noop:?}");

    a.ok(&mut world, "STORE 2 +FLAGS (\\Flagged $Work)");
    let noop = b.ok(&mut world, "NOOP");
    assert!(
        noop.untagged
            .contains("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)")
    );
    assert!(noop.has("* 2 FETCH (UID 2 FLAGS (\\Flagged $Work))"), "{noop:?}");
    assert_eq!(b.ok(&mut world, "NOOP").untagged, "");
    assert_eq!(a.ok(&mut world, "NOOP").untagged, "");
}

#[test]
fn expunge_is_not_told_during_fetch_store_and_search_by_number() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 3);
    let mut b = world.selected(1);
    a.ok(&mut world, "STORE 2 +FLAGS.SILENT (\\Deleted)");
    assert!(a.ok(&mut world, "EXPUNGE").has("* 2 EXPUNGE"));

    let fetch = b.command(&mut world, "FETCH 1:3 FLAGS");
    assert!(fetch.tagged.starts_with("OK [EXPUNGEISSUED]"), "{fetch:?}");
    assert_eq!(fetch.lines(), ["* 1 FETCH (FLAGS ())", "* 3 FETCH (FLAGS ())"]);
    for (command, end) in [
        ("FETCH 2 FLAGS", "NO [EXPUNGEISSUED]"),
        ("FETCH 2 BODY.PEEK[]", "NO [EXPUNGEISSUED]"),
        ("FETCH 2:3 BODY.PEEK[]", "OK [EXPUNGEISSUED]"),
        ("STORE 2 +FLAGS (\\Seen)", "NO [EXPUNGEISSUED]"),
        ("STORE 2 +FLAGS.SILENT (\\Seen)", "OK [EXPUNGEISSUED]"),
        ("STORE 2:3 +FLAGS.SILENT (\\Seen)", "OK [EXPUNGEISSUED]"),
        ("STORE 1:2 +FLAGS (\\Seen)", "OK [EXPUNGEISSUED]"),
    ] {
        let tagged = b.tagged(&mut world, command);
        assert!(tagged.starts_with(end), "{command}: {tagged}");
    }
    let search = b.command(&mut world, "SEARCH ALL");
    assert!(search.tagged.starts_with("OK [EXPUNGEISSUED]"), "{search:?}");
    assert_eq!(search.lines(), ["* SEARCH 1 3"]);
    assert!(
        b.tagged(&mut world, "COPY 1:3 Trash")
            .starts_with("NO [EXPUNGEISSUED]")
    );
    assert_eq!(
        b.ok(&mut world, "FETCH 1:2 UID").lines(),
        ["* 1 FETCH (UID 1)", "* 2 FETCH (UID 3)"]
    );
}

#[test]
fn uid_commands_do_tell_expunge_and_pass_over_missing_messages() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 3);
    let mut b = world.selected(1);
    a.ok(&mut world, "STORE 1:2 +FLAGS (\\Deleted)");
    a.ok(&mut world, "UID EXPUNGE 1");
    let fetch = b.ok(&mut world, "UID FETCH 1:* FLAGS");
    assert_eq!(
        fetch.lines(),
        [
            "* 2 FETCH (UID 2 FLAGS (\\Deleted))",
            "* 3 FETCH (UID 3 FLAGS ())",
            "* 1 EXPUNGE",
            "* 1 FETCH (UID 2 FLAGS (\\Deleted))",
        ]
    );
    assert!(b.ok(&mut world, "UID FETCH 77 FLAGS").untagged.is_empty());
}

#[test]
fn idle_pushes_at_once_and_ends_with_done() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let mut b = world.selected(1);
    b.send("i IDLE\r\n");
    world.run();
    assert!(b.read().starts_with("+ "));
    a.fill(&mut world, "INBOX", 1);
    assert_eq!(b.read(), "* 1 EXISTS\r\n* 1 RECENT\r\n");
    a.ok(&mut world, "NOOP");
    a.ok(&mut world, "STORE 1 FLAGS (\\Deleted)");
    assert_eq!(b.read(), "* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n");
    a.ok(&mut world, "EXPUNGE");
    assert_eq!(b.read(), "* 1 EXPUNGE\r\n");
    b.send("DONE\r\n");
    world.run();
    assert_eq!(b.read(), "i OK IDLE completed\r\n");
}

#[test]
fn silent_store_is_silent_unless_others_changed_the_message_too() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 1);
    let mut b = world.selected(1);
    assert_eq!(a.ok(&mut world, "STORE 1 +FLAGS.SILENT (\\Seen)").untagged, "");
    let store = b.ok(&mut world, "STORE 1 +FLAGS.SILENT (\\Flagged)");
    assert_eq!(store.lines(), ["* 1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))"]);
}

#[test]
fn a_conditional_store_names_what_was_modified() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    let fetch = a.ok(&mut world, "FETCH 1 MODSEQ");
    let mod_seq = fetch.untagged.split(['(', ')']).nth(2).unwrap().to_owned();
    let mut b = world.selected(1);
    b.ok(&mut world, "STORE 1 +FLAGS (\\Seen)");
    let store = a.command(
        &mut world,
        &format!("STORE 1 (UNCHANGEDSINCE {mod_seq}) +FLAGS.SILENT (\\Flagged)"),
    );
    assert!(store.tagged.starts_with("OK [MODIFIED 1]"), "{store:?}");
    assert!(
        store
            .untagged
            .contains("* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ ("),
        "{store:?}"
    );
    let changed = a.ok(&mut world, &format!("FETCH 1:2 FLAGS (CHANGEDSINCE {mod_seq})"));
    assert_eq!(changed.lines().len(), 2, "{changed:?}");
}

#[test]
fn of_two_conditional_stores_at_the_same_moment_one_is_told() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 1);
    let fetch = a.ok(&mut world, "FETCH 1 MODSEQ");
    let mod_seq = fetch.untagged.rsplit(['(', ')']).nth(2).unwrap().to_owned();
    let mut b = world.selected(1);
    let store = format!("x STORE 1 (UNCHANGEDSINCE {mod_seq}) FLAGS.SILENT ($Lock)\r\n");
    a.send(&store);
    b.send(&store);
    world.run();
    let both = [a.read(), b.read()];
    let told = both.iter().filter(|answer| answer.contains("x OK [MODIFIED 1]"));
    assert_eq!(told.count(), 1, "{both:?}");
}

#[test]
fn the_command_that_enables_condstore_tells_how_far_the_client_is() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 1);
    let select = a.ok(&mut world, "SELECT INBOX");
    let highest = select
        .lines()
        .into_iter()
        .find(|line| line.starts_with("* OK [HIGHESTMODSEQ "))
        .unwrap()
        .to_owned();
    for command in [
        "FETCH 1 MODSEQ",
        "FETCH 1 FLAGS (CHANGEDSINCE 1)",
        "STORE 1 (UNCHANGEDSINCE 1) +FLAGS ()",
        "SEARCH MODSEQ 1",
        "STATUS INBOX (HIGHESTMODSEQ)",
        "LIST \"\" INBOX RETURN (STATUS (HIGHESTMODSEQ))",
        "ENABLE CONDSTORE",
    ] {
        let mut b = world.selected(1);
        assert!(b.ok(&mut world, command).has(&highest), "{command}");
        assert!(!b.ok(&mut world, command).has(&highest), "{command}");
    }
}

#[test]
fn a_session_whose_mailbox_is_deleted_is_told_and_ended() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE box");
    a.append(&mut world, "box", "", "Subject: x\r\n\r\n");
    let mut b = world.login(1);
    b.ok(&mut world, "SELECT box");
    let mut idler = world.login(1);
    idler.ok(&mut world, "SELECT box");
    idler.send("i IDLE\r\n");
    world.run();
    idler.read();
    a.ok(&mut world, "DELETE box");
    let fetch = b.command(&mut world, "FETCH 1 FLAGS");
    assert!(fetch.tagged.starts_with("NO [NONEXISTENT]"), "{fetch:?}");
    assert!(fetch.tagged.contains("* BYE") && b.is_closed(), "{fetch:?}");
    assert!(idler.read().starts_with("* BYE") && idler.is_closed());
}

#[test]
fn what_was_done_is_said_to_be_done_though_the_mailbox_is_deleted() {
    // RFC 9051 §7.1: NO says that the operation failed; §6.1.2: NOOP has no NO.
    for (command, did) in [
        ("CREATE new", "OK [MAILBOXID "),
        ("SUBSCRIBE other", "OK SUBSCRIBE"),
        ("RENAME other another", "OK RENAME"),
        ("DELETE other", "OK DELETE"),
        ("SETMETADATA other (/private/comment \"x\")", "OK SETMETADATA"),
        ("ENABLE CONDSTORE", "OK ENABLE"),
        ("STATUS other (MESSAGES)", "OK STATUS"),
        ("NOOP", "OK NOOP"),
        ("CHECK", "OK CHECK"),
        ("DELETE nowhere", "NO [NONEXISTENT]"),
    ] {
        let mut world = World::new();
        let (mut a, mut b) = (world.login(1), world.login(1));
        for name in ["box", "other"] {
            a.ok(&mut world, &format!("CREATE {name}"));
        }
        b.ok(&mut world, "SELECT box");
        a.ok(&mut world, "DELETE box");
        let tagged = b.tagged(&mut world, command);
        assert!(tagged.starts_with(did), "{command}: {tagged}");
        assert!(tagged.ends_with("\r\n* BYE The selected mailbox was deleted") && b.is_closed());
    }
}

#[test]
fn a_client_leaves_a_deleted_mailbox_without_being_sent_away() {
    // RFC 9051 §6.4.1, §6.4.2: neither has a NO. Also when it was noticed at the end of APPEND, which has no BYE.
    for leave in ["CLOSE", "UNSELECT", "SELECT INBOX"] {
        for append in [false, true] {
            let mut world = World::new();
            let (mut a, mut b) = (world.login(1), world.login(1));
            a.ok(&mut world, "CREATE box");
            b.ok(&mut world, "SELECT box");
            a.ok(&mut world, "DELETE box");
            if append {
                b.append(&mut world, "INBOX", "", "Subject: x\r\n\r\n");
            }
            b.ok(&mut world, leave);
            b.ok(&mut world, "LIST \"\" *");
            b.ok(&mut world, "SELECT INBOX");
            b.ok(&mut world, "UNSELECT");
            b.ok(&mut world, "NOOP");
            assert!(!b.is_closed());
        }
    }
}

#[test]
fn a_session_may_delete_the_mailbox_it_has_selected() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE box");
    a.ok(&mut world, "SELECT box");
    a.ok(&mut world, "DELETE box");
    assert!(a.tagged(&mut world, "FETCH 1 FLAGS").starts_with("BAD"));
    a.ok(&mut world, "SELECT INBOX");
}

#[test]
fn move_tells_copyuid_before_expunge() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 3);
    let moved = a.ok(&mut world, "MOVE 1,3 Archive");
    let lines = moved.lines();
    assert!(
        lines[0].starts_with("* OK [COPYUID ") && lines[0].contains(" 1,3 1:2]"),
        "{moved:?}"
    );
    assert_eq!(lines[1..], ["* 3 EXPUNGE", "* 1 EXPUNGE"]);
    let copied = a.ok(&mut world, "COPY 1 Archive");
    assert!(copied.tagged.contains(" 2 3]"), "{copied:?}");
    assert!(
        a.tagged(&mut world, "COPY 1 nowhere")
            .starts_with("NO [TRYCREATE]")
    );
    a.ok(&mut world, "SELECT Archive");
    let subjects = a.ok(&mut world, "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]");
    let order: Vec<_> = subjects
        .lines()
        .into_iter()
        .filter(|l| l.starts_with("Subject"))
        .collect();
    assert_eq!(order, ["Subject: 1", "Subject: 3", "Subject: 2"]);
}

#[test]
fn a_shutdown_says_bye_to_those_who_wait() {
    let mut world = World::new();
    let mut a = world.selected(1);
    world.services.shutdown.begin();
    world.run();
    assert!(a.read().starts_with("* BYE") && a.is_closed());
}

#[test]
fn a_login_on_another_core_moves_with_what_was_pipelined_behind_it() {
    use crate::model::AccountId;
    use crate::runtime::Core;
    let other = (1..).find(|id| AccountId(*id).partition().core(2) == 1).unwrap();
    let mut world = World::on_core(Core { id: 0, count: 2 });
    let mut a = world.connect();
    a.send(format!("a LOGIN {other} secret\r\nb SELECT INBOX\r\nc NO"));
    world.run();
    a.send("OP\r\n");
    world.run();
    let all = a.read();
    assert!(all.starts_with("a OK "), "{all}");
    assert!(
        all.contains("\r\nb OK [READ-WRITE]") && all.ends_with("c OK NOOP completed\r\n"),
        "{all}"
    );
    a.hang_up();
    world.run();
    assert!(a.is_closed());
}

#[test]
fn a_message_on_its_way_is_kept_over_a_shutdown() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.send("a APPEND INBOX {14+}\r\nSubject");
    world.run();
    world.services.shutdown.begin();
    world.run();
    assert_eq!(a.read(), "");
    a.send(": x\r\n\r\n\r\n");
    world.run();
    let all = a.read();
    assert!(
        all.contains("* 1 EXISTS") && all.contains("a OK [APPENDUID ") && all.contains("* BYE"),
        "{all}"
    );
    assert!(a.is_closed());
}

#[test]
fn an_idle_session_is_small() {
    let mut world = World::new();
    world.connect();
    let driver = size_of::<crate::session::imap::driver::Driver<TestPipe, TestServices>>();
    assert!(
        driver + world.session_bytes <= 3 * 1024,
        "{driver} + {}",
        world.session_bytes
    );
}

#[test]
fn a_mailbox_with_all_its_keywords_offers_no_more() {
    // RFC 9051 §7.1, PERMANENTFLAGS
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 1);
    let named = |range: std::ops::Range<u32>| range.map(|n| format!("k{n}")).collect::<Vec<_>>().join(" ");
    let permanent = |reply: &super::world::Reply| {
        let lines = reply.lines();
        let line = lines.iter().find(|line| line.contains("[PERMANENTFLAGS "));
        line.unwrap().to_string()
    };
    let most = a.ok(&mut world, &format!("STORE 1 FLAGS ({})", named(0..63)));
    assert!(permanent(&most).contains(" k62 \\*)]"), "{most:?}");
    let all = a.ok(&mut world, "STORE 1 +FLAGS (k63)");
    assert!(permanent(&all).contains(" k62 k63)]"), "{all:?}");
    assert!(
        a.tagged(&mut world, "STORE 1 +FLAGS (k64)")
            .starts_with("NO [LIMIT]")
    );
    let selected = a.ok(&mut world, "SELECT INBOX");
    assert!(permanent(&selected).contains(" k62 k63)]"), "{selected:?}");
}

#[test]
fn only_keywords_that_come_along_count_in_the_target() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 3);
    a.fill(&mut world, "Trash", 1);
    let named = |letter: char| {
        (0..40)
            .map(|n| format!("{letter}{n}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    a.ok(&mut world, &format!("STORE 1 FLAGS ({})", named('i')));
    a.ok(&mut world, "SELECT Trash");
    a.ok(&mut world, &format!("STORE 1 FLAGS ({})", named('t')));
    a.ok(&mut world, "SELECT INBOX");
    // Both mailboxes know more than one may, but these messages have none of them, or few.
    a.ok(&mut world, "STORE 2 FLAGS (i7)");
    a.ok(&mut world, "COPY 2:3 Trash");
    a.ok(&mut world, "MOVE 3 Trash");
    // All of the 40 come along or the message does not; the mailbox has i7 already, and room for 23 more.
    let refused = a.tagged(&mut world, "COPY 1 Trash");
    assert!(refused.starts_with("NO [LIMIT]"), "{refused}");
    let names: Vec<String> = (0..24).map(|n| format!("i{n}")).collect();
    a.ok(&mut world, &format!("STORE 1 FLAGS ({})", names.join(" ")));
    a.ok(&mut world, "COPY 1 Trash");
    a.ok(&mut world, "SELECT Trash");
    let full = a.ok(&mut world, "FETCH 5 FLAGS").untagged;
    assert_eq!(full.matches('i').count(), 24, "{full}");
    let copies = a.ok(&mut world, "FETCH 2:4 FLAGS");
    assert_eq!(
        copies.lines(),
        [
            "* 2 FETCH (FLAGS (i7))",
            "* 3 FETCH (FLAGS ())",
            "* 4 FETCH (FLAGS ())"
        ]
    );
}

#[test]
fn of_two_sessions_that_replace_a_message_one_does() {
    // RFC 8508 §3.2: NO if the message cannot be removed; §3.4: one action.
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.selected(1));
    a.fill(&mut world, "INBOX", 1);
    b.ok(&mut world, "NOOP");
    for client in [&mut a, &mut b] {
        client.send("r UID REPLACE 1 INBOX (\\Draft) {3}\r\n");
        world.run();
        assert!(client.read().starts_with("+ "));
    }
    a.send("abc\r\n");
    world.run();
    assert!(a.read().contains("r OK "));
    b.send("abd\r\n");
    world.run();
    let told = b.read();
    assert!(
        told.contains("r NO [NONEXISTENT] ") && !told.contains("APPENDUID"),
        "{told}"
    );
    let status = b.ok(&mut world, "STATUS INBOX (MESSAGES)");
    assert!(status.has("* STATUS INBOX (MESSAGES 1)"), "{status:?}");
}
