//! Dialogues of METADATA (RFC 5464) and LIST-METADATA (RFC 9590).

use super::transcript::play;
use super::world::World;

#[test]
fn entries_are_set_read_and_removed() {
    let mut world = World::new();
    let mut a = world.login(1);
    play(
        &mut world,
        &mut a,
        r##"
        -- §4.3: one entry, several, NIL removes; names have no case (§3.2)
        C: A1 SETMETADATA INBOX (/private/comment "My own comment")
        S: A1 OK SETMETADATA completed
        C: A2 SETMETADATA INBOX (/PRIVATE/Comment "My comment" /shared/comment {3+}
        C: abc /private/vendor/x/colour red)
        S: A2 BAD ~
        C: A3 SETMETADATA INBOX (/PRIVATE/Comment "My comment" /shared/comment {3+}
        C: abc /private/vendor/x/colour "#b71c1c")
        S: A3 OK SETMETADATA completed
        -- §4.2
        C: A4 GETMETADATA "INBOX" /shared/comment
        S: * METADATA INBOX (/shared/comment "abc")
        S: A4 OK GETMETADATA completed
        C: A5 GETMETADATA INBOX (/private/comment /private/vendor/x/colour /private/none)
        S: * METADATA INBOX (/private/comment "My comment" /private/vendor/x/colour "#b71c1c" /private/none NIL)
        S: A5 OK GETMETADATA completed
        C: A6 SETMETADATA INBOX (/shared/comment NIL /private/none NIL)
        S: A6 OK SETMETADATA completed
        C: A7 GETMETADATA INBOX (/shared/comment)
        S: * METADATA INBOX (/shared/comment NIL)
        S: A7 OK GETMETADATA completed
        -- a value may be any octets: NUL comes and goes in a literal8
        C: A8 SETMETADATA INBOX (/private/vendor/x/data ~{2+}
        C: ab)
        S: A8 OK SETMETADATA completed
        C: A9 GETMETADATA nowhere /shared/comment
        S: A9 NO [NONEXISTENT] ~
        C: B1 SETMETADATA nowhere (/shared/comment "x")
        S: B1 NO [NONEXISTENT] ~
        -- §3.2
        C: B2 GETMETADATA INBOX comment
        S: B2 BAD ~
        C: B3 GETMETADATA INBOX /private//comment
        S: B3 BAD ~
        C: B4 GETMETADATA INBOX /private/comment/
        S: B4 BAD ~
        C: B5 GETMETADATA INBOX "/private/*"
        S: B5 BAD ~
        C: B6 SETMETADATA INBOX (/private "x")
        S: B6 BAD ~
        C: B7 SETMETADATA INBOX ()
        S: B7 BAD ~
        "##,
    );
    a.ok(
        &mut world,
        "SETMETADATA INBOX (/private/vendor/x/data ~{3+}\r\na\0b)",
    );
    let value = a.ok(&mut world, "GETMETADATA INBOX /private/vendor/x/data");
    assert_eq!(
        value.untagged,
        "* METADATA INBOX (/private/vendor/x/data ~{3}\r\na\0b)\r\n"
    );
}

#[test]
fn depth_and_size_choose() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(
        &mut world,
        "SETMETADATA INBOX (/private/filters/values/small \"(SMALLER 5000)\" /private/filters/values/boss \
         \"(FROM boss@example.com)\" /private/filters/values/boss/deep \"x\" /private/filters/valuesnot \"y\")",
    );
    play(
        &mut world,
        &mut a,
        r##"
        -- §4.2.2; the options before the mailbox, or behind it
        C: A1 GETMETADATA (DEPTH 1) INBOX (/private/filters/values)
        S: * METADATA INBOX (/private/filters/values NIL /private/filters/values/boss "(FROM boss@example.com)" /private/filters/values/small "(SMALLER 5000)")
        S: A1 OK GETMETADATA completed
        C: A2 GETMETADATA INBOX (DEPTH infinity) /private/filters/values
        S: * METADATA INBOX (/private/filters/values NIL /private/filters/values/boss "(FROM boss@example.com)" /private/filters/values/boss/deep "x" /private/filters/values/small "(SMALLER 5000)")
        S: A2 OK GETMETADATA completed
        C: A3 GETMETADATA (DEPTH 0) INBOX /private/filters/values
        S: * METADATA INBOX (/private/filters/values NIL)
        S: A3 OK GETMETADATA completed
        -- §4.2.1
        C: A4 GETMETADATA (MAXSIZE 15 DEPTH infinity) INBOX /private
        S: * METADATA INBOX (/private/filters/values/boss/deep "x" /private/filters/values/small "(SMALLER 5000)" /private/filters/valuesnot "y")
        S: A4 OK [METADATA LONGENTRIES 23] GETMETADATA completed
        C: A5 GETMETADATA (DEPTH 2) INBOX /private/comment
        S: A5 BAD ~
        C: A6 GETMETADATA (SIZE 1) INBOX /private/comment
        S: A6 BAD ~
        "##,
    );
}

#[test]
fn the_server_has_entries_of_its_own() {
    let mut world = World::new();
    let mut a = world.login(1);
    let mut other = world.login(2);
    play(
        &mut world,
        &mut a,
        r##"
        -- §6.1.2; what everybody sees is the operator's
        C: A1 GETMETADATA "" (/shared/admin /shared/comment)
        S: * METADATA "" (/shared/admin "mailto:postmaster@example.org" /shared/comment NIL)
        S: A1 OK GETMETADATA completed
        C: A2 SETMETADATA "" (/shared/comment "x")
        S: A2 NO [NOPERM] ~
        C: A3 SETMETADATA "" (/private/comment "mine" /shared/admin "x")
        S: A3 NO [NOPERM] ~
        C: A4 SETMETADATA "" (/private/comment "mine")
        S: A4 OK SETMETADATA completed
        C: A5 GETMETADATA "" /private/comment
        S: * METADATA "" (/private/comment "mine")
        S: A5 OK GETMETADATA completed
        "##,
    );
    let nothing = other.ok(&mut world, "GETMETADATA \"\" /private/comment");
    assert!(
        nothing.has("* METADATA \"\" (/private/comment NIL)"),
        "{nothing:?}"
    );
}

#[test]
fn limits_are_answered_by_name() {
    // §4.3
    let mut world = World::new();
    let mut a = world.login(1);
    let value = "x".repeat(16 * 1024 + 1);
    let set =
        |entry: &str, value: &str| format!("SETMETADATA INBOX ({entry} {{{}+}}\r\n{value})", value.len());
    let answer = a.tagged(&mut world, &set("/private/comment", &value));
    assert!(answer.starts_with("NO [METADATA MAXSIZE 16384]"), "{answer}");
    for batch in 0..4 {
        let entries: String = (0..64)
            .map(|n| format!(" /private/vendor/e{batch}-{n} \"x\""))
            .collect();
        a.ok(
            &mut world,
            &format!("SETMETADATA INBOX ({})", entries.trim_start()),
        );
    }
    let answer = a.tagged(&mut world, "SETMETADATA INBOX (/private/comment \"one more\")");
    assert!(answer.starts_with("NO [METADATA TOOMANY]"), "{answer}");
    a.ok(&mut world, "SETMETADATA INBOX (/private/vendor/e0-0 NIL)");
    a.ok(&mut world, "SETMETADATA INBOX (/private/comment \"one more\")");
    let long = &value[1..];
    let answers: Vec<String> = (0..70)
        .map(|n| {
            a.tagged(
                &mut world,
                &set(&format!("/private/vendor/e1-{}", n % 64), long)
                    .replace("INBOX", if n < 64 { "INBOX" } else { "Sent" }),
            )
        })
        .collect();
    assert!(
        answers[0].starts_with("OK") && answers[69].starts_with("NO [OVERQUOTA]"),
        "{answers:?}"
    );
}

#[test]
fn entries_go_with_their_mailbox() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE old");
    a.ok(&mut world, "SETMETADATA old (/shared/comment \"of old\")");
    a.ok(&mut world, "SETMETADATA INBOX (/shared/comment \"of INBOX\")");
    a.ok(&mut world, "SETMETADATA \"\" (/private/comment \"mine\")");
    a.ok(&mut world, "RENAME old new");
    a.ok(&mut world, "RENAME INBOX before");
    a.ok(&mut world, "SETMETADATA Sent (/shared/comment \"gone\")");
    a.ok(&mut world, "DELETE Sent");
    a.ok(&mut world, "CREATE Sent");
    let check = |world: &mut World| {
        let mut client = world.login(1);
        for (name, value) in [
            ("new", "\"of old\""),
            ("INBOX", "\"of INBOX\""),
            ("before", "\"of INBOX\""),
            ("Sent", "NIL"),
        ] {
            let got = client.ok(world, &format!("GETMETADATA {name} /shared/comment"));
            let line = format!("* METADATA {name} (/shared/comment {value})");
            assert!(got.has(&line), "{got:?}");
        }
        assert!(
            client
                .ok(world, "GETMETADATA \"\" /private/comment")
                .has("* METADATA \"\" (/private/comment \"mine\")")
        );
    };
    check(&mut world);
    let mut world = world.restarted();
    check(&mut world);
}

#[test]
fn list_gives_metadata_with_each_mailbox() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE bar/below");
    a.ok(
        &mut world,
        "SETMETADATA INBOX (/shared/vendor/x/color \"#b71c1c\")",
    );
    a.ok(&mut world, "SETMETADATA bar (/shared/comment \"a long comment\")");
    play(
        &mut world,
        &mut a,
        r##"
        -- RFC 9590 §3
        C: A1 LIST "" (INBOX bar) RETURN (METADATA ("/shared/vendor/x/color"))
        S: * LIST (\HasNoChildren) "/" INBOX
        S: * METADATA INBOX (/shared/vendor/x/color "#b71c1c")
        S: * LIST (\HasChildren) "/" bar
        S: * METADATA bar (/shared/vendor/x/color NIL)
        S: A1 OK LIST completed
        C: A2 LIST "" bar* RETURN (CHILDREN METADATA (MAXSIZE 5) /shared/comment STATUS (MESSAGES))
        S: * LIST (\HasChildren) "/" bar
        S: * STATUS bar (MESSAGES 0)
        S: * LIST (\HasNoChildren) "/" bar/below
        S: * STATUS bar/below (MESSAGES 0)
        S: * METADATA bar/below (/shared/comment NIL)
        S: A2 OK [METADATA LONGENTRIES 14] LIST completed
        C: A3 LIST "" * RETURN (METADATA)
        S: A3 BAD ~
        "##,
    );
}

#[test]
fn changes_are_told_to_whoever_asked_by_notify() {
    // RFC 5465 §5.6, §5.7; RFC 5464 §4.4.2
    let mut world = World::new();
    let (mut a, mut b) = (world.login(1), world.login(1));
    a.ok(
        &mut world,
        "NOTIFY SET (mailboxes INBOX (MailboxMetadataChange)) (personal (ServerMetadataChange))",
    );
    b.ok(
        &mut world,
        "SETMETADATA INBOX (/private/comment \"x\" /shared/comment NIL)",
    );
    b.ok(&mut world, "SETMETADATA Sent (/private/comment \"x\")");
    b.ok(&mut world, "SETMETADATA \"\" (/private/comment \"x\")");
    world.run();
    assert_eq!(
        a.read(),
        "* METADATA INBOX /private/comment /shared/comment\r\n* METADATA \"\" /private/comment\r\n"
    );
    // What the client does itself it knows (§5).
    assert_eq!(
        a.ok(&mut world, "SETMETADATA INBOX (/private/comment \"y\")")
            .untagged,
        ""
    );
}

#[test]
fn what_is_said_of_a_mailbox_raises_its_highestmodseq() {
    // RFC 7162 §3.2
    let mut world = World::new();
    let mut a = world.login(1);
    a.fill(&mut world, "INBOX", 1);
    a.ok(&mut world, "ENABLE QRESYNC");
    a.ok(&mut world, "SELECT INBOX");
    let mut b = world.login(1);
    play(
        &mut world,
        &mut b,
        "C: b1 STATUS INBOX (HIGHESTMODSEQ)
         S: * STATUS INBOX (HIGHESTMODSEQ 1)
         S: b1 OK ~
         C: b2 SETMETADATA INBOX (/private/comment \"x\")
         S: b2 OK ~
         C: b3 STATUS INBOX (HIGHESTMODSEQ)
         S: * STATUS INBOX (HIGHESTMODSEQ 2)
         S: b3 OK ~
         -- the server's own belongs to no mailbox
         C: b4 SETMETADATA \"\" (/private/comment \"x\")
         S: b4 OK ~
         C: b5 STATUS INBOX (HIGHESTMODSEQ)
         S: * STATUS INBOX (HIGHESTMODSEQ 2)
         S: b5 OK ~",
    );
    // A client that has it open has missed nothing.
    play(
        &mut world,
        &mut a,
        "C: a1 STORE 1 +FLAGS.SILENT (\\Seen)
         S: * 1 FETCH (UID 1 MODSEQ (3))
         S: a1 OK STORE completed",
    );
}

#[test]
fn special_use_is_an_entry_of_its_mailbox() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "CREATE SavedDrafts");
    play(
        &mut world,
        &mut a,
        r#"
        -- RFC 6154 §5.4, with the names of a new account
        C: t1 LIST (SPECIAL-USE) "" (S% D%)
        S: * LIST (\HasNoChildren \Drafts) "/" Drafts
        S: * LIST (\HasNoChildren \Sent) "/" Sent
        S: t1 OK LIST completed
        C: t2 GETMETADATA "Drafts" /private/specialuse
        S: * METADATA Drafts (/private/specialuse "\\Drafts")
        S: t2 OK GETMETADATA completed
        C: t3 SETMETADATA "SavedDrafts" (/private/specialuse "\\Drafts")
        S: * METADATA Drafts (/private/specialuse NIL)
        S: t3 OK SETMETADATA completed
        C: t4 SETMETADATA "Sent" (/private/specialuse NIL)
        S: t4 OK SETMETADATA completed
        C: t5 LIST (SPECIAL-USE) "" (S% D%)
        S: * LIST (\HasNoChildren \Drafts) "/" SavedDrafts
        S: t5 OK LIST completed
        -- §4: what CREATE does not take, SETMETADATA does not take either, and nothing else of it (RFC 5464 §4.3)
        C: u1 SETMETADATA Sent (/private/comment "x" /private/specialuse "\\All")
        S: u1 NO [USEATTR] ~
        C: u2 SETMETADATA Sent (/private/specialuse "\\Sent \\Junk")
        S: u2 NO [USEATTR] ~
        C: u3 SETMETADATA Sent (/private/specialuse "")
        S: u3 NO [USEATTR] ~
        C: u4 SETMETADATA INBOX (/private/specialuse "\\Sent")
        S: u4 NO [USEATTR] ~
        C: u5 GETMETADATA Sent (/private/comment /private/specialuse)
        S: * METADATA Sent (/private/comment NIL /private/specialuse NIL)
        S: u5 OK GETMETADATA completed
        C: u6 SETMETADATA INBOX (/private/specialuse NIL)
        S: u6 OK SETMETADATA completed
        C: u7 SETMETADATA Sent (/PRIVATE/SpecialUse "\\sent" /private/comment "x")
        S: u7 OK SETMETADATA completed
        C: u8 GETMETADATA (DEPTH infinity) Sent /private
        S: * METADATA Sent (/private/comment "x" /private/specialuse "\\Sent")
        S: u8 OK GETMETADATA completed
        -- RFC 9590
        C: u9 LIST "" (Sent Trash) RETURN (METADATA (/private/specialuse))
        S: * LIST (\HasNoChildren \Sent) "/" Sent
        S: * METADATA Sent (/private/specialuse "\\Sent")
        S: * LIST (\HasNoChildren \Trash) "/" Trash
        S: * METADATA Trash (/private/specialuse "\\Trash")
        S: u9 OK LIST completed
        -- RFC 6154 §3: CREATE moves it likewise
        C: v1 CREATE Bin (USE (\Trash))
        S: v1 OK [MAILBOXID ~] CREATE completed
        C: v2 LIST (SPECIAL-USE) "" (Bin Trash)
        S: * LIST (\HasNoChildren \Trash) "/" Bin
        S: v2 OK LIST completed
        C: v3 GETMETADATA Bin /private/specialuse
        S: * METADATA Bin (/private/specialuse "\\Trash")
        S: v3 OK GETMETADATA completed
        C: v4 CREATE Everything (USE (\All))
        S: v4 NO [USEATTR] ~
        "#,
    );
    // It lasts, in the log and in a checkpoint.
    for _ in 0..2 {
        world = world.restarted();
        let uses = world.login(1).ok(&mut world, "LIST (SPECIAL-USE) \"\" *");
        let names: Vec<&str> = uses
            .lines()
            .iter()
            .filter_map(|line| line.split(' ').next_back())
            .collect();
        assert_eq!(names, ["Archive", "Bin", "Junk", "SavedDrafts", "Sent"]);
    }
}

#[test]
fn a_change_of_special_use_is_told_to_whoever_asked() {
    // RFC 5465 §5.6
    let mut world = World::new();
    let (mut a, mut b) = (world.login(1), world.login(1));
    a.ok(&mut world, "NOTIFY SET (personal (MailboxMetadataChange))");
    b.ok(
        &mut world,
        "SETMETADATA Archive (/private/specialuse \"\\\\Trash\")",
    );
    world.run();
    assert_eq!(
        a.read(),
        "* METADATA Archive /private/specialuse\r\n* METADATA Trash /private/specialuse\r\n"
    );
    // What it does itself it hears as the answer.
    assert_eq!(
        a.ok(
            &mut world,
            "SETMETADATA Trash (/private/specialuse \"\\\\Trash\")"
        )
        .untagged,
        "* METADATA Archive (/private/specialuse NIL)\r\n"
    );
}

#[test]
fn a_value_that_is_no_literal_here_is_too_long_as_well() {
    // RFC 5464 §4.3: MAXSIZE, however long it is; §4.2.1: LONGENTRIES, and nothing of what is too long.
    let mut world = World::new();
    let mut a = world.login(1);
    play(
        &mut world,
        &mut a,
        r#"
        C: a1 SETMETADATA INBOX (/private/comment {1000000}
        S: a1 NO [METADATA MAXSIZE 16384] ~
        C: a2 SETMETADATA INBOX (/private/comment ~{70000}
        S: a2 NO [METADATA MAXSIZE 16384] ~
        C: a3 GETMETADATA {70000}
        S: a3 NO [TOOBIG] ~
        C: a4 SETMETADATA INBOX (/private/comment "a comment" /shared/comment "another one")
        S: a4 OK SETMETADATA completed
        C: a5 GETMETADATA INBOX (MAXSIZE 8) (/private/comment /shared/comment)
        S: a5 OK [METADATA LONGENTRIES 11] GETMETADATA completed
        C: a6 GETMETADATA INBOX (MAXSIZE 11) (/private/comment /shared/comment)
        S: * METADATA INBOX (/private/comment "a comment" /shared/comment "another one")
        S: a6 OK GETMETADATA completed
        "#,
    );
}
