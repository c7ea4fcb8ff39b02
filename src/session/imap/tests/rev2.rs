//! IMAP4rev2 (RFC 9051, appendix E) against IMAP4rev1 in the same account.

use super::world::World;

#[test]
fn rev2_begins_with_enable() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.append(&mut world, "INBOX", "", "Subject: x\r\n\r\nx\r\n");
    a.ok(&mut world, "CREATE INBOX/below");
    let capabilities = a.ok(&mut world, "CAPABILITY");
    assert!(
        capabilities.untagged.contains(" IMAP4rev2 IMAP4rev1 "),
        "{capabilities:?}"
    );
    // RFC 5161 §3.1.
    assert_eq!(
        a.ok(&mut world, "ENABLE imap4rev2").lines(),
        ["* ENABLED IMAP4rev2"]
    );
    // RFC 9051 §6.3.2: no RECENT, no UNSEEN, a LIST.
    let selected = a.ok(&mut world, "SELECT INBOX");
    assert!(selected.has("* LIST (\\HasChildren) \"/\" INBOX"), "{selected:?}");
    assert!(selected.has("* 1 EXISTS"), "{selected:?}");
    for gone in ["RECENT", "[UNSEEN", "\\Recent"] {
        assert!(!selected.untagged.contains(gone), "{selected:?}");
    }
    a.shows_recent = true;
    assert_eq!(
        a.ok(&mut world, "FETCH 1 FLAGS").lines(),
        ["* 1 FETCH (FLAGS ())"]
    );
    // §6.4.4: ESEARCH, whatever was asked.
    let all = a.ok(&mut world, "SEARCH ALL");
    assert!(
        all.untagged.starts_with("* ESEARCH (TAG ") && all.untagged.ends_with(") ALL 1\r\n"),
        "{all:?}"
    );
    let none = a.ok(&mut world, "UID SEARCH SEEN");
    assert!(
        none.untagged.starts_with("* ESEARCH (TAG ") && none.untagged.ends_with(") UID\r\n"),
        "{none:?}"
    );
    // New mail: EXISTS alone.
    let mut b = world.login(1);
    b.append(&mut world, "INBOX", "", "Subject: y\r\n\r\ny\r\n");
    assert_eq!(a.ok(&mut world, "NOOP").lines(), ["* 2 EXISTS"]);
    // The other session speaks rev1 still, and the mail is recent there.
    let selected = b.ok(&mut world, "SELECT INBOX");
    assert!(selected.has("* 2 RECENT"), "{selected:?}");
    assert_eq!(b.ok(&mut world, "SEARCH ALL").lines(), ["* SEARCH 1 2"]);
}

#[test]
fn names_are_utf8_in_rev2_and_modified_utf7_without() {
    let mut world = World::new();
    let mut a = world.login(1);
    let mut b = world.login(1);
    a.ok(&mut world, "ENABLE IMAP4rev2");
    // RFC 9051 §5.1: the ampersand stands for itself.
    a.ok(&mut world, "CREATE \"Entw\u{fc}rfe & mehr\"");
    let seen = a.ok(&mut world, "LIST \"\" Entw*");
    // The world reads Latin-1.
    assert!(
        seen.untagged.contains("\"/\" \"Entw\u{c3}\u{bc}rfe & mehr\"\r\n"),
        "{seen:?}"
    );
    let status = a.ok(&mut world, "STATUS \"Entw\u{fc}rfe & mehr\" (MESSAGES)");
    assert!(
        status
            .untagged
            .starts_with("* STATUS \"Entw\u{c3}\u{bc}rfe & mehr\" ("),
        "{status:?}"
    );
    a.append(
        &mut world,
        "\"Entw\u{fc}rfe & mehr\"",
        "",
        "Subject: x\r\n\r\nx\r\n",
    );
    let seen = b.ok(&mut world, "LIST \"\" Entw*");
    assert!(
        seen.untagged.contains("\"/\" \"Entw&APw-rfe &- mehr\"\r\n"),
        "{seen:?}"
    );
    let status = b.ok(&mut world, "STATUS \"Entw&APw-rfe &- mehr\" (MESSAGES)");
    assert!(status.untagged.contains("(MESSAGES 1)"), "{status:?}");
}
