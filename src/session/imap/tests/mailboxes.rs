//! SELECT, LIST and the commands on mailboxes.

use super::world::{Client, World};
use crate::model::Quota;

#[test]
fn select_announces_the_mailbox() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.append(&mut world, "INBOX", "\\Seen", "Subject: 1\r\n\r\n");
    a.append(&mut world, "INBOX", "$Work", "Subject: 2\r\n\r\n");
    let select = a.ok(&mut world, "SELECT INBOX");
    assert!(select.tagged.starts_with("OK [READ-WRITE]"));
    assert!(select.has("* 2 EXISTS") && select.has("* 2 RECENT"), "{select:?}");
    assert!(select.has("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)"));
    for code in [
        "[PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work \\*)]",
        "[UNSEEN 2]",
        "[UIDNEXT 3]",
        "[UIDVALIDITY ",
        "[HIGHESTMODSEQ ",
        "[MAILBOXID (M1)]",
    ] {
        assert!(select.untagged.contains(code), "{code} in {select:?}");
    }
    let examine = a.ok(&mut world, "EXAMINE INBOX");
    assert!(examine.lines()[0].starts_with("* OK [CLOSED]"));
    assert!(examine.tagged.starts_with("OK [READ-ONLY]"));
    assert!(examine.untagged.contains("[PERMANENTFLAGS ()]"));
    for refused in ["STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "MOVE 1 Trash"] {
        assert!(
            a.tagged(&mut world, refused).starts_with("NO [READ-ONLY]"),
            "{refused}"
        );
    }
    assert!(
        a.tagged(&mut world, "SELECT nowhere")
            .starts_with("NO [NONEXISTENT]")
    );
    assert!(
        a.tagged(&mut world, "FETCH 1 FLAGS").starts_with("BAD"),
        "no mailbox is selected any more"
    );
}

#[test]
fn close_expunges_silently_and_unselect_does_not() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    a.ok(&mut world, "STORE 1 +FLAGS (\\Deleted)");
    a.ok(&mut world, "UNSELECT");
    assert!(
        a.ok(&mut world, "STATUS INBOX (MESSAGES)")
            .has("* STATUS INBOX (MESSAGES 2)")
    );
    a.ok(&mut world, "EXAMINE INBOX");
    a.ok(&mut world, "CLOSE");
    assert!(
        a.ok(&mut world, "STATUS INBOX (MESSAGES)")
            .has("* STATUS INBOX (MESSAGES 2)")
    );
    a.ok(&mut world, "SELECT INBOX");
    assert_eq!(a.ok(&mut world, "CLOSE").untagged, "");
    assert!(
        a.ok(&mut world, "STATUS INBOX (MESSAGES)")
            .has("* STATUS INBOX (MESSAGES 1)")
    );
}

#[test]
fn list_shows_what_there_is() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE a/b/c");
    let delimiter = a.ok(&mut world, "LIST \"\" \"\"");
    assert_eq!(delimiter.lines(), ["* LIST (\\Noselect) \"/\" \"\""]);
    let list = a.ok(&mut world, "LIST \"\" *");
    assert!(list.has("* LIST (\\HasNoChildren) \"/\" INBOX"), "{list:?}");
    assert!(list.has("* LIST (\\HasNoChildren \\Sent) \"/\" Sent"), "{list:?}");
    assert!(list.has("* LIST (\\HasChildren) \"/\" a"), "{list:?}");
    assert_eq!(
        a.ok(&mut world, "LIST a/ %").lines(),
        ["* LIST (\\HasChildren) \"/\" a/b"]
    );
    let status = a.ok(
        &mut world,
        "LIST \"\" inbox RETURN (STATUS (MESSAGES UIDNEXT) SUBSCRIBED)",
    );
    assert_eq!(
        status.lines(),
        [
            "* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX",
            "* STATUS INBOX (MESSAGES 0 UIDNEXT 1)"
        ]
    );
}

#[test]
fn subscriptions_outlive_mailboxes() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE old/one");
    a.ok(&mut world, "SUBSCRIBE old/one");
    a.ok(&mut world, "DELETE old/one");
    a.ok(&mut world, "DELETE old");
    assert_eq!(
        a.ok(&mut world, "LSUB \"\" old/*").lines(),
        ["* LSUB (\\HasNoChildren) \"/\" old/one"]
    );
    assert!(
        a.ok(&mut world, "LSUB \"\" %")
            .untagged
            .contains("* LSUB (\\Noselect \\HasNoChildren) \"/\" old\r\n")
    );
    let list = a.ok(&mut world, "LIST (SUBSCRIBED) \"\" old*");
    assert_eq!(
        list.lines(),
        ["* LIST (\\NonExistent \\HasNoChildren \\Subscribed) \"/\" old/one"]
    );
    let list = a.ok(&mut world, "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" old");
    assert!(
        list.untagged.contains("old (\"CHILDINFO\" (\"SUBSCRIBED\"))"),
        "{list:?}"
    );
    a.ok(&mut world, "UNSUBSCRIBE old/one");
    assert_eq!(a.ok(&mut world, "LSUB \"\" old/*").untagged, "");
}

#[test]
fn refusals_carry_their_codes() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE a/b");
    for (command, answer) in [
        ("CREATE a", "NO [ALREADYEXISTS]"),
        ("CREATE INBOX", "NO [ALREADYEXISTS]"),
        ("DELETE INBOX", "NO [CANNOT]"),
        ("DELETE a", "NO [HASCHILDREN]"),
        ("DELETE nowhere", "NO [NONEXISTENT]"),
        ("RENAME nowhere x", "NO [NONEXISTENT]"),
        ("RENAME a INBOX", "NO [ALREADYEXISTS]"),
        ("STATUS nowhere (MESSAGES)", "NO [NONEXISTENT]"),
        ("APPEND nowhere {3+}\r\nabc", "NO [TRYCREATE]"),
        ("GETQUOTA other", "NO [NONEXISTENT]"),
    ] {
        let tagged = a.tagged(&mut world, command);
        assert!(tagged.starts_with(answer), "{command}: {tagged}");
    }
}

#[test]
fn rename_moves_children_and_empties_inbox() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    let renamed = a.ok(&mut world, "RENAME INBOX saved");
    assert_eq!(renamed.lines(), ["* 2 EXPUNGE", "* 1 EXPUNGE"]);
    assert!(
        a.ok(&mut world, "STATUS saved (MESSAGES)")
            .has("* STATUS saved (MESSAGES 2)")
    );
    a.ok(&mut world, "CREATE saved/below");
    a.ok(&mut world, "RENAME saved kept");
    assert!(
        a.ok(&mut world, "LIST \"\" kept*")
            .untagged
            .contains("kept/below")
    );
}

#[test]
fn inbox_cannot_be_deleted_whatever_is_below_it() {
    // RFC 9051 §6.3.5
    let mut world = World::new();
    let mut a = world.login(1);
    for _ in 0..2 {
        assert_eq!(
            a.tagged(&mut world, "DELETE Inbox"),
            "NO [CANNOT] INBOX cannot be deleted"
        );
        a.tagged(&mut world, "CREATE INBOX/below");
    }
}

#[test]
fn quota_is_shown_and_kept() {
    let mut world = World::new();
    let mut a = world.selected(3);
    let root = a.ok(&mut world, "GETQUOTAROOT INBOX");
    assert_eq!(
        root.lines(),
        [
            "* QUOTAROOT INBOX \"\"",
            "* QUOTA \"\" (STORAGE 0 0 MAILBOX 6 4096)"
        ]
    );
    // RFC 9208 §4.1.2: the mailbox need not be there.
    let root = a.ok(&mut world, "GETQUOTAROOT to/come");
    assert_eq!(root.lines()[0], "* QUOTAROOT to/come \"\"");
    assert_eq!(root.lines().len(), 2);
    let message = format!("Subject: big\r\n\r\n{}", "x".repeat(700));
    a.append(&mut world, "INBOX", "", &message);
    let again = format!("APPEND INBOX {{{}+}}\r\n{message}", message.len());
    assert!(a.tagged(&mut world, &again).starts_with("NO [OVERQUOTA]"));
    assert!(a.tagged(&mut world, "COPY 1 Trash").starts_with("NO [OVERQUOTA]"));
    a.ok(&mut world, "MOVE 1 Trash");
}

#[test]
fn a_quota_of_messages_is_shown_and_kept() {
    let mut world = World::new();
    let mut a = world.selected(30);
    let quota =
        |a: &mut Client, world: &mut World| a.ok(world, "GETQUOTA \"\"").untagged.trim_end().to_owned();
    assert_eq!(
        quota(&mut a, &mut world),
        "* QUOTA \"\" (MESSAGE 0 2 MAILBOX 6 4096)"
    );
    let message = "Subject: small\r\n\r\nx";
    for _ in 0..2 {
        a.append(&mut world, "INBOX", "", message);
    }
    assert_eq!(
        quota(&mut a, &mut world),
        "* QUOTA \"\" (MESSAGE 2 2 MAILBOX 6 4096)"
    );
    let again = format!("APPEND INBOX {{{}+}}\r\n{message}", message.len());
    assert!(a.tagged(&mut world, &again).starts_with("NO [OVERQUOTA]"));
    assert!(a.tagged(&mut world, "COPY 1 Trash").starts_with("NO [OVERQUOTA]"));
    a.ok(&mut world, "MOVE 1 Trash");
    a.ok(&mut world, "STORE 1 +FLAGS.SILENT (\\Deleted)");
    a.ok(&mut world, "EXPUNGE");
    a.append(&mut world, "INBOX", "", message);
}

#[test]
fn namespace_enable_and_status_answer() {
    let mut world = World::new();
    let mut a = world.login(1);
    assert_eq!(
        a.ok(&mut world, "NAMESPACE").lines(),
        ["* NAMESPACE ((\"\" \"/\")) NIL NIL"]
    );
    assert_eq!(
        a.ok(&mut world, "ENABLE CONDSTORE X-NEW").lines(),
        ["* ENABLED CONDSTORE"]
    );
    a.append(&mut world, "INBOX", "\\Deleted", "Subject: x\r\n\r\n");
    let status = a.ok(
        &mut world,
        "STATUS INBOX (MESSAGES RECENT UNSEEN DELETED SIZE UIDNEXT)",
    );
    assert_eq!(
        status.lines(),
        ["* STATUS INBOX (MESSAGES 1 RECENT 1 UNSEEN 1 DELETED 1 SIZE 14 UIDNEXT 2)"]
    );
}

#[test]
fn a_pattern_need_not_be_a_name() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE R&-D");
    for command in [
        "LIST \"\" \"R&D\"",
        "LIST \"\" \"R&-D\"",
        "LIST \"R&\" \"D\"",
        "LIST \"\" (none \"%&%\")",
    ] {
        let list = a.ok(&mut world, command);
        assert_eq!(
            list.lines(),
            ["* LIST (\\HasNoChildren) \"/\" \"R&-D\""],
            "{command}"
        );
    }
    for command in [
        "LIST \"\" \"!#$&'+,-.0:;<=>?@^_`|[}%*\"",
        "LSUB \"\" \"&AGE*\"",
        "LIST \"\" \"&\"",
    ] {
        assert_eq!(a.ok(&mut world, command).untagged, "", "{command}");
    }
    assert!(a.tagged(&mut world, "CREATE \"R&D\"").starts_with("NO [CANNOT]"));
}

#[test]
fn an_empty_mailbox_has_no_sequence_numbers() {
    let mut world = World::new();
    let mut a = world.selected(1);
    for command in [
        "FETCH * FLAGS",
        "FETCH 1 FLAGS",
        "FETCH 1:9 FLAGS",
        "STORE 1,1:* +FLAGS (\\Seen)",
        "COPY * Trash",
    ] {
        assert!(a.tagged(&mut world, command).starts_with("BAD"), "{command}");
    }
    for command in [
        "FETCH 1:* FLAGS",
        "STORE 1:* +FLAGS (\\Seen)",
        "MOVE 1:* Trash",
        "UID FETCH 1:* FLAGS",
        "UID STORE * +FLAGS (\\Seen)",
        "UID COPY 1:* Trash",
        "SEARCH *",
        "SEARCH OR 1:* SEEN",
        "SEARCH UID *",
        "SEARCH ALL",
    ] {
        a.ok(&mut world, command);
    }
    a.ok(&mut world, "SEARCH RETURN (SAVE) ALL");
    assert_eq!(a.ok(&mut world, "FETCH $ FLAGS").untagged, "");
}

/// RFC 9208 §4.1.3.
#[test]
fn setquota_sets_all_limits_and_shows_them() {
    let mut world = World::new();
    let mut a = world.selected(3);
    let set = a.ok(&mut world, "SETQUOTA \"\" (STORAGE 512 message 9)");
    assert_eq!(
        set.lines(),
        ["* QUOTA \"\" (STORAGE 0 512 MESSAGE 0 9 MAILBOX 6 4096)"]
    );
    let kept = Quota {
        bytes: Some(512 * 1024),
        messages: Some(9),
    };
    assert_eq!(*world.services.quotas_set.borrow(), [kept]);
    // The new limit counts at once: the old one had no room for this.
    a.append(&mut world, "INBOX", "", &"x".repeat(2_000));
    // What is not named is lifted, what is shown may be sent back.
    let set = a.ok(&mut world, "SETQUOTA \"\" (MAILBOX 4096)");
    assert_eq!(set.lines(), ["* QUOTA \"\" (MAILBOX 6 4096)"]);
    assert_eq!(world.services.quotas_set.borrow()[1], Quota::NONE);
}

#[test]
fn setquota_is_refused_without_the_right_and_for_what_cannot_be() {
    let mut world = World::new();
    for (account, command, answer) in [
        (1, "SETQUOTA \"\" (STORAGE 512)", "NO [NOPERM]"),
        (4, "SETQUOTA \"\" (STORAGE 512)", "NO [CANNOT]"),
        (5, "SETQUOTA \"\" (STORAGE 512)", "NO [UNAVAILABLE]"),
        (3, "SETQUOTA other (STORAGE 512)", "NO [NONEXISTENT]"),
        (3, "SETQUOTA \"\" (MAILBOX 7)", "NO [CANNOT]"),
        (3, "SETQUOTA \"\" (ANNOTATION-STORAGE 7)", "NO [CANNOT]"),
        (3, "SETQUOTA \"\" (STORAGE 0)", "NO [CANNOT]"),
        (3, "SETQUOTA \"\" (STORAGE 9223372036854775807)", "NO [CANNOT]"),
        (3, "SETQUOTA \"\" (STORAGE 9223372036854775808)", "BAD"),
        (3, "SETQUOTA \"\" (STORAGE 1 STORAGE 2)", "BAD"),
        (3, "SETQUOTA \"\" STORAGE 1", "BAD"),
        (3, "SETQUOTA \"\" (STORAGE)", "BAD"),
        (3, "SETQUOTA \"\"", "BAD"),
    ] {
        let mut a = world.selected(account);
        let tagged = a.tagged(&mut world, command);
        assert!(tagged.starts_with(answer), "{command}: {tagged}");
    }
    assert!(world.services.quotas_set.borrow().is_empty());
}

/// RFC 9208 §3.1.1: QUOTASET says that SETQUOTA works.
#[test]
fn quotaset_is_announced_where_limits_can_be_set() {
    let mut world = World::new();
    let announces = |world: &mut World| {
        let mut a = world.selected(1);
        a.ok(world, "CAPABILITY")
            .untagged
            .split_whitespace()
            .any(|word| word == "QUOTASET")
    };
    assert!(!announces(&mut world));
    world
        .services
        .config
        .replace(std::sync::Arc::new(crate::proto::imap::Config {
            is_quota_settable: true,
            ..crate::proto::imap::Config::default()
        }));
    assert!(announces(&mut world));
}
