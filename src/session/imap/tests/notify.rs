//! NOTIFY's dialogues (RFC 5465).

use super::transcript::play;
use super::world::{Client, World};

/// What came without being asked for.
fn told(world: &mut World, client: &mut Client) -> Vec<String> {
    world.run();
    let text = client.read();
    text.split("\r\n")
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

const ALL_OF_SELECTED: &str = "NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))";

#[test]
fn the_selected_mailbox_is_told_of_at_once_and_without_idle() {
    // §3.1, §5.1–5.3
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.selected(1));
    a.ok(&mut world, ALL_OF_SELECTED);
    b.fill(&mut world, "INBOX", 2);
    assert_eq!(told(&mut world, &mut a)[..2], ["* 1 EXISTS", "* 1 RECENT"]);
    b.ok(&mut world, "STORE 1 +FLAGS (\\Deleted)");
    assert_eq!(told(&mut world, &mut a), ["* 1 FETCH (UID 1 FLAGS (\\Deleted))"]);
    b.ok(&mut world, "EXPUNGE");
    assert_eq!(told(&mut world, &mut a), ["* 1 EXPUNGE"]);
    // In the middle of a command nothing is told.
    a.send("x NO");
    b.fill(&mut world, "INBOX", 1);
    assert_eq!(told(&mut world, &mut a), Vec::<String>::new());
    a.send("OP\r\n");
    assert!(told(&mut world, &mut a).contains(&"* 2 EXISTS".to_owned()));
}

#[test]
fn selected_delayed_keeps_numbers_until_a_command() {
    // §6.1.2
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.selected(1));
    b.fill(&mut world, "INBOX", 3);
    a.ok(
        &mut world,
        "NOTIFY SET (selected-delayed (MessageNew MessageExpunge))",
    );
    b.ok(&mut world, "NOOP");
    b.ok(&mut world, "STORE 1 +FLAGS (\\Deleted)");
    b.ok(&mut world, "EXPUNGE");
    b.fill(&mut world, "INBOX", 1);
    assert_eq!(told(&mut world, &mut a)[0], "* 4 EXISTS");
    assert!(a.ok(&mut world, "NOOP").has("* 1 EXPUNGE"));
}

#[test]
fn new_messages_come_with_the_items_asked_for() {
    // §5.2; nothing is marked as read by it, and what the client appended itself is not sent back.
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.selected(1));
    let items = "(UID BODY[HEADER.FIELDS (SUBJECT)])";
    a.ok(
        &mut world,
        &format!("NOTIFY SET (selected (MessageNew {items} MessageExpunge))"),
    );
    b.append(&mut world, "INBOX", "", "Subject: hello\r\n\r\nx\r\n");
    let lines = told(&mut world, &mut a);
    assert_eq!(lines[0], "* 1 EXISTS");
    assert!(
        lines[2].starts_with("* 1 FETCH (UID 1 BODY[HEADER.FIELDS (SUBJECT)] {18}"),
        "{lines:?}"
    );
    assert_eq!(lines[3..], ["Subject: hello", ")"]);
    let reply = a.append(&mut world, "INBOX", "", "Subject: mine\r\n\r\nx\r\n");
    assert!(
        reply.has("* 2 EXISTS") && !reply.untagged.contains("FETCH"),
        "{reply:?}"
    );
    assert!(a.ok(&mut world, "SEARCH UNSEEN").has("* SEARCH 1 2"));
}

#[test]
fn new_messages_come_with_their_modseq_once_condstore_is_enabled() {
    // RFC 7162 §3.2: in every FETCH that was not asked for.
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.selected(1));
    a.ok(&mut world, "ENABLE CONDSTORE");
    for (items, shown) in [
        ("(UID)", "UID 1 MODSEQ (1)"),
        ("(UID MODSEQ)", "UID 2 MODSEQ (2)"),
    ] {
        let groups = format!("(selected (MessageNew {items} MessageExpunge))");
        a.ok(&mut world, &format!("NOTIFY SET {groups}"));
        b.fill(&mut world, "INBOX", 1);
        let lines = told(&mut world, &mut a);
        assert!(lines[2].ends_with(&format!("FETCH ({shown})")), "{lines:?}");
    }
}

#[test]
fn other_mailboxes_are_told_of_by_status() {
    // §3.1, §5.1–5.3
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.login(1));
    b.fill(&mut world, "Sent", 1);
    let groups = "(selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge FlagChange))";
    let reply = a.ok(&mut world, &format!("NOTIFY SET STATUS {groups}"));
    let lines = reply.lines();
    assert_eq!(lines.len(), 5, "all but INBOX: {lines:?}");
    assert!(
        lines.iter().any(
            |line| line.starts_with("* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ")
                && line.contains(" UNSEEN 1 HIGHESTMODSEQ ")
        ),
        "{lines:?}"
    );
    b.fill(&mut world, "Sent", 1);
    let lines = told(&mut world, &mut a);
    assert!(
        lines[0].starts_with("* STATUS Sent (MESSAGES 2 UIDNEXT 3 UIDVALIDITY "),
        "{lines:?}"
    );
    assert!(
        lines.len() == 1 && !lines[0].contains("HIGHESTMODSEQ"),
        "{lines:?}"
    );
    a.ok(&mut world, "ENABLE CONDSTORE");
    b.ok(&mut world, "SELECT Sent");
    b.ok(&mut world, "STORE 1 FLAGS (\\Seen \\Deleted)");
    let lines = told(&mut world, &mut a);
    assert!(
        lines.len() == 1 && lines[0].starts_with("* STATUS Sent (UIDVALIDITY "),
        "{lines:?}"
    );
    assert!(lines[0].contains(" UNSEEN 1 HIGHESTMODSEQ "), "{lines:?}");
    b.ok(&mut world, "EXPUNGE");
    assert!(told(&mut world, &mut a)[0].starts_with("* STATUS Sent (MESSAGES 1 "));
    // What the client does itself it knows (§5).
    a.append(&mut world, "Drafts", "", "Subject: x\r\n\r\n");
    a.ok(&mut world, "NOOP");
    let reply = a.append(&mut world, "INBOX", "", "Subject: x\r\n\r\n");
    assert!(!reply.untagged.contains("STATUS"), "{reply:?}");
    let reply = a.ok(&mut world, "COPY 1 Archive");
    assert!(!reply.untagged.contains("STATUS"), "{reply:?}");
}

#[test]
fn each_event_of_another_mailbox_is_told_of_alone() {
    // As imaptest asks; RFC 5465 §3.1 has the items. Of the selected mailbox §5 wants them together.
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.login(1));
    b.fill(&mut world, "Sent", 1);
    b.ok(&mut world, "SELECT Sent");
    for (events, items) in [
        ("MessageExpunge", "MESSAGES 1 "),
        ("MessageNew", "MESSAGES 1 UIDNEXT 2 UIDVALIDITY "),
        ("FlagChange", "UIDVALIDITY "),
    ] {
        let reply = a.ok(
            &mut world,
            &format!("NOTIFY SET STATUS (mailboxes Sent ({events}))"),
        );
        let lines = reply.lines();
        assert!(
            lines.len() == 1 && lines[0].starts_with(&format!("* STATUS Sent ({items}")),
            "{events}: {lines:?}"
        );
        assert_eq!(
            lines[0].contains("HIGHESTMODSEQ"),
            events == "FlagChange",
            "{lines:?}"
        );
        let tagged = a.tagged(&mut world, &format!("NOTIFY SET (selected ({events}))"));
        assert!(tagged.starts_with("BAD"), "{tagged}");
    }
    let mut told_of = |world: &mut World, events: &str| {
        a.ok(world, &format!("NOTIFY SET (mailboxes Sent ({events}))"));
        let mut seen = Vec::new();
        for command in [
            "APPEND Sent {14+}\r\nSubject: x\r\n\r\n",
            "STORE 1 FLAGS (\\Deleted)",
            "EXPUNGE",
        ] {
            b.ok(world, command);
            let lines = told(world, &mut a);
            assert!(lines.len() <= 1, "{lines:?}");
            seen.extend(
                lines
                    .first()
                    .map(|_| command.split(' ').next().unwrap().to_owned()),
            );
        }
        seen
    };
    assert_eq!(told_of(&mut world, "MessageNew"), ["APPEND"]);
    assert_eq!(told_of(&mut world, "MessageExpunge"), ["EXPUNGE"]);
    assert_eq!(told_of(&mut world, "FlagChange"), ["STORE"]);
    assert_eq!(
        told_of(&mut world, "FlagChange MessageExpunge"),
        ["STORE", "EXPUNGE"]
    );
}

#[test]
fn names_and_subscriptions_are_told_of_by_list() {
    // §5.4, §5.5
    let mut world = World::new();
    let (mut a, mut b) = (world.login(1), world.login(1));
    a.ok(
        &mut world,
        "NOTIFY SET (personal (MailboxName SubscriptionChange))",
    );
    b.ok(&mut world, "CREATE new/child");
    assert_eq!(
        told(&mut world, &mut a),
        [
            "* LIST (\\HasChildren) \"/\" new",
            "* LIST (\\HasNoChildren) \"/\" new/child",
            "* LIST (\\HasChildren) \"/\" new",
        ]
    );
    b.ok(&mut world, "RENAME new/child other");
    assert_eq!(
        told(&mut world, &mut a),
        ["* LIST (\\HasNoChildren) \"/\" other (\"OLDNAME\" (new/child))"]
    );
    b.ok(&mut world, "SUBSCRIBE other");
    assert_eq!(
        told(&mut world, &mut a),
        ["* LIST (\\HasNoChildren \\Subscribed) \"/\" other"]
    );
    b.ok(&mut world, "UNSUBSCRIBE other");
    assert_eq!(told(&mut world, &mut a), ["* LIST (\\HasNoChildren) \"/\" other"]);
    b.ok(&mut world, "DELETE other");
    assert_eq!(
        told(&mut world, &mut a),
        ["* LIST (\\NonExistent \\HasNoChildren) \"/\" other"]
    );
    // INBOX stays: the mailbox that has its messages now is new (RFC 9051 §6.3.6).
    b.append(&mut world, "INBOX", "", "Subject: x\r\n\r\n");
    b.ok(&mut world, "RENAME INBOX new/kept");
    assert_eq!(
        told(&mut world, &mut a),
        [
            "* LIST (\\HasNoChildren) \"/\" new/kept",
            "* LIST (\\HasChildren) \"/\" new",
        ]
    );
    assert_eq!(a.ok(&mut world, "RENAME INBOX mine").untagged, "");
    assert_eq!(a.ok(&mut world, "DELETE mine").untagged, "");
    // What the client does itself it knows (§5).
    assert_eq!(a.ok(&mut world, "CREATE mine").untagged, "");
    assert_eq!(a.ok(&mut world, "SUBSCRIBE mine").untagged, "");
    assert_eq!(a.ok(&mut world, "RENAME mine ours").untagged, "");
    assert_eq!(a.ok(&mut world, "DELETE ours").untagged, "");
}

#[test]
fn groups_name_mailboxes() {
    // §6.4–6.6
    let mut world = World::new();
    let (mut a, mut b) = (world.login(1), world.login(1));
    b.ok(&mut world, "CREATE tree/leaf");
    b.ok(&mut world, "CREATE lone");
    b.ok(&mut world, "UNSUBSCRIBE Junk");
    let new = "(MessageNew MessageExpunge)";
    let mut watched = |world: &mut World, filter: &str| {
        a.ok(world, &format!("NOTIFY SET ({filter} {new})"));
        let mut seen = Vec::new();
        for name in ["INBOX", "tree", "tree/leaf", "lone", "Junk"] {
            b.append(world, name, "", "Subject: x\r\n\r\n");
            let lines = told(world, &mut a);
            assert!(lines.len() <= 1 && lines.iter().all(|line| line.contains(&format!("STATUS {name} "))));
            if !lines.is_empty() {
                seen.push(name);
            }
        }
        seen
    };
    assert_eq!(watched(&mut world, "subtree tree"), ["tree", "tree/leaf"]);
    assert_eq!(
        watched(&mut world, "mailboxes (tree lone nothing)"),
        ["tree", "lone"]
    );
    assert_eq!(watched(&mut world, "subscribed"), ["INBOX"]);
    assert_eq!(
        watched(&mut world, "inboxes"),
        ["INBOX", "tree", "tree/leaf", "lone", "Junk"]
    );
    assert_eq!(watched(&mut world, "selected"), Vec::<&str>::new());
}

#[test]
fn notify_none_makes_a_snapshot_until_it_is_asked_about() {
    // §3.1, §5
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.selected(1));
    b.fill(&mut world, "INBOX", 2);
    assert!(a.ok(&mut world, "NOTIFY NONE").has("* 2 EXISTS"));
    b.ok(&mut world, "NOOP");
    b.ok(&mut world, "STORE 1 FLAGS (\\Deleted)");
    b.ok(&mut world, "EXPUNGE");
    assert_eq!(a.ok(&mut world, "UID SEARCH ALL").untagged, "* SEARCH 2\r\n");
    assert_eq!(a.ok(&mut world, "FETCH 2 UID").untagged, "* 2 FETCH (UID 2)\r\n");
    assert_eq!(told(&mut world, &mut a), Vec::<String>::new());
    assert_eq!(a.ok(&mut world, "NOOP").untagged, "* 1 EXPUNGE\r\n");
}

#[test]
fn idle_tells_what_notify_asked_for() {
    // §4
    let mut world = World::new();
    let (mut a, mut b) = (world.selected(1), world.selected(1));
    a.ok(
        &mut world,
        "NOTIFY SET (mailboxes Sent (MessageNew MessageExpunge))",
    );
    a.send("i IDLE\r\n");
    assert_eq!(told(&mut world, &mut a), ["+ idling"]);
    b.fill(&mut world, "INBOX", 1);
    assert_eq!(told(&mut world, &mut a), Vec::<String>::new());
    b.fill(&mut world, "Sent", 1);
    assert_eq!(told(&mut world, &mut a).len(), 1);
    a.send("DONE\r\n");
    assert_eq!(told(&mut world, &mut a), ["i OK IDLE completed"]);
}

#[test]
fn events_that_are_not_known_are_refused_by_name() {
    // §3.1
    let mut world = World::new();
    let mut a = world.login(1);
    for events in ["(AnnotationChange MessageNew MessageExpunge)", "(X-Other)"] {
        let answer = a.tagged(&mut world, &format!("NOTIFY SET (personal {events})"));
        assert!(
            answer.starts_with("NO [BADEVENT (MessageNew MessageExpunge FlagChange "),
            "{answer}"
        );
    }
}

#[test]
fn a_session_that_falls_behind_is_told_so_once() {
    // §5.8
    let mut world = World::new();
    let (mut a, b) = (world.login(1), world.login(1));
    a.ok(&mut world, "NOTIFY SET (personal (SubscriptionChange))");
    a.send("x NO");
    world.run();
    for number in 0..1_100 {
        b.send(format!("s SUBSCRIBE n{number}\r\n"));
    }
    world.run();
    a.send("OP\r\n");
    let lines = told(&mut world, &mut a);
    assert!(lines[0].starts_with("* OK [NOTIFICATIONOVERFLOW] "), "{lines:?}");
    assert!(lines.len() == 2 && lines[1].starts_with("x OK"), "{lines:?}");
    b.send("s SUBSCRIBE another\r\n");
    assert_eq!(told(&mut world, &mut a), Vec::<String>::new());
}

#[test]
fn flags_that_are_not_wanted_now_are_told_when_they_are_asked_for() {
    // RFC 5465 §3.1: NOTIFY tells what has accumulated; RFC 7162 §3.2: a client that resynchronises loses no change.
    let mut world = World::new();
    let mut a = world.login(1);
    a.fill(&mut world, "INBOX", 4);
    a.ok(&mut world, "ENABLE QRESYNC");
    a.ok(&mut world, "SELECT INBOX");
    let mut b = world.selected(1);
    a.ok(&mut world, "NOTIFY SET (SELECTED (MessageNew MessageExpunge))");
    b.ok(&mut world, "STORE 3 +FLAGS.SILENT (\\Flagged)");
    assert_eq!(told(&mut world, &mut a), Vec::<String>::new());
    play(
        &mut world,
        &mut a,
        "-- RFC 7162 §3.1.3, §3.2.5.1: the client has a MODSEQ above a change that it has not heard of
         C: a1 STORE 4 +FLAGS.SILENT (\\Seen)
         S: * 4 FETCH (UID 4 MODSEQ (6))
         S: * OK [HIGHESTMODSEQ 4] Highest
         S: a1 OK STORE completed
         -- RFC 5465 §3.1
         C: a2 NOTIFY SET (SELECTED (MessageNew MessageExpunge FlagChange))
         S: * 3 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ (5))
         S: * OK [HIGHESTMODSEQ 6] Highest
         S: a2 OK NOTIFY completed
         C: a3 NOOP
         S: a3 OK NOOP completed",
    );
    // And of a client that leaves before: what it was told last is below the change.
    a.ok(&mut world, "NOTIFY SET (SELECTED (MessageNew MessageExpunge))");
    b.ok(&mut world, "STORE 2 +FLAGS.SILENT (\\Answered)");
    play(
        &mut world,
        &mut a,
        "C: a4 NOOP
         S: * 2 FETCH (UID 2 FLAGS (\\Answered) MODSEQ (7))
         S: a4 OK NOOP completed",
    );
}

#[test]
fn without_a_group_for_it_the_selected_mailbox_is_told_of_when_asked() {
    // RFC 5465 §3.1: the same as SELECTED NONE; §5: a snapshot. §6: other specifiers do not mean the selected mailbox.
    for groups in [
        "(personal (MessageNew MessageExpunge FlagChange MailboxName))",
        "(selected NONE) (personal (MessageNew MessageExpunge FlagChange MailboxName))",
    ] {
        let mut world = World::new();
        let (mut a, mut b) = (world.selected(1), world.selected(1));
        b.fill(&mut world, "INBOX", 3);
        // What has accumulated, at once.
        let notify = a.ok(&mut world, &format!("NOTIFY SET {groups}"));
        assert!(notify.has("* 3 EXISTS"), "{notify:?}");
        b.ok(&mut world, "STORE 1 FLAGS (\\Deleted)");
        b.ok(&mut world, "EXPUNGE");
        b.ok(&mut world, "STORE 1 +FLAGS (\\Flagged)");
        b.fill(&mut world, "INBOX", 1);
        assert_eq!(told(&mut world, &mut a), Vec::<String>::new(), "{groups}");
        play(
            &mut world,
            &mut a,
            r#"
            C: a1 UID SEARCH ALL
            S: * SEARCH 2 3
            S: a1 OK ~
            C: a2 STORE 3 +FLAGS (\Seen)
            S: * 3 FETCH (UID 3 FLAGS (\Seen))
            S: a2 OK STORE completed
            C: a3 APPEND INBOX {3+}
            C: a:b
            S: a3 OK [APPENDUID ~ 5] APPEND completed
            C: a4 UID FETCH 4:5 (FLAGS)
            S: a4 OK FETCH completed
            -- §4: IDLE too
            C: a5 IDLE
            S: + idling
            C: DONE
            S: a5 OK IDLE completed
            C: a6 NOOP
            S: * 1 EXPUNGE
            S: * 4 EXISTS
            S: * 1 RECENT
            S: * 1 FETCH (UID 2 FLAGS (\Flagged))
            S: * 2 FETCH (UID 3 FLAGS (\Seen))
            S: a6 OK NOOP completed
            -- what a command does by number, it tells
            C: a7 STORE 1 +FLAGS.SILENT (\Deleted)
            S: a7 OK STORE completed
            C: a8 EXPUNGE
            S: * 1 EXPUNGE
            S: a8 OK EXPUNGE completed
            "#,
        );
        b.ok(&mut world, "CREATE new");
        assert_eq!(told(&mut world, &mut a), ["* LIST (\\HasNoChildren) \"/\" new"]);
    }
}
