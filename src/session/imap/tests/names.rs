//! Names of mailboxes in other Unicode normalizations than here (RFC 9051 §5.1, §6.3.9.7; RFC 5198 §3).
//!
//! In modified UTF-7 `Entw&APw-rfe` is in NFC, `Entwu&Awg-rfe` the same in NFD.

use super::transcript::play;
use super::world::{Client, World};
use crate::model::{AccountId, MailboxId, MailboxName, UidValidity};
use crate::session::imap::Services;
use crate::store::{AccountImage, AccountState, MailboxImage, Restorer};

/// What the server sends is read as Latin-1.
fn play_utf8(world: &mut World, client: &mut Client, dialogue: &str) {
    let as_read = |line: &str| line.bytes().map(char::from).collect::<String>();
    let lines = dialogue.lines().map(str::trim_start).map(|line| {
        if line.starts_with("S:") {
            as_read(line)
        } else {
            line.to_owned()
        }
    });
    play(world, client, &lines.collect::<Vec<_>>().join("\n"));
}

/// `{c}` and `{d}` in a dialogue are the same name in NFC and in NFD.
fn forms(dialogue: &str) -> String {
    dialogue
        .replace("{c}", "Entw\u{fc}rfe")
        .replace("{d}", "Entwu\u{308}rfe")
}

#[test]
fn one_mailbox_has_one_name_in_every_normalization() {
    let mut world = World::new();
    let mut a = world.login(1);
    play(
        &mut world,
        &mut a,
        r#"
        -- RFC 9051 §6.3.4: made in NFC, and once; IMAP4rev1 hears nothing of it
        C: A1 CREATE Entwu&Awg-rfe
        S: A1 OK [MAILBOXID ~] CREATE completed
        C: A2 CREATE Entw&APw-rfe
        S: A2 NO [ALREADYEXISTS] ~
        C: A3 CREATE Entwu&Awg-rfe
        S: A3 NO [ALREADYEXISTS] ~
        C: A4 CREATE Entwu&Awg-rfe/u&Awg-
        S: A4 OK [MAILBOXID ~] CREATE completed
        -- §6.3.9: patterns and names are compared in NFC
        C: A5 LIST "" Entwu&Awg-*
        S: * LIST (\HasChildren) "/" "Entw&APw-rfe"
        S: * LIST (\HasNoChildren) "/" "Entw&APw-rfe/&APw-"
        S: A5 OK LIST completed
        C: A6 LIST Entw&APw-rfe/ u&Awg-
        S: * LIST (\HasNoChildren) "/" "Entw&APw-rfe/&APw-"
        S: A6 OK LIST completed
        C: A7 LIST "" Entwu%
        S: A7 OK LIST completed
        -- a response that is asked for by name has the name that was asked for
        C: A8 STATUS Entwu&Awg-rfe (MESSAGES)
        S: * STATUS "Entwu&Awg-rfe" (MESSAGES 0)
        S: A8 OK STATUS completed
        C: A9 SETMETADATA Entwu&Awg-rfe (/private/comment "x")
        S: A9 OK SETMETADATA completed
        C: B1 GETMETADATA Entw&APw-rfe /private/comment
        S: * METADATA "Entw&APw-rfe" (/private/comment "x")
        S: B1 OK GETMETADATA completed
        C: B2 GETQUOTAROOT Entwu&Awg-rfe
        S: * QUOTAROOT "Entwu&Awg-rfe" ""
        S: * QUOTA ~
        S: B2 OK GETQUOTAROOT completed
        -- every command finds it
        C: B3 APPEND Entwu&Awg-rfe {3+}
        C: a:b
        S: B3 OK [APPENDUID ~ 1] APPEND completed
        C: B4 SELECT Entwu&Awg-rfe
        S: * FLAGS ~
        S: * OK [PERMANENTFLAGS ~
        S: * 1 EXISTS
        S: * 1 RECENT
        S: * OK [UNSEEN 1] ~
        S: * OK [UIDVALIDITY ~
        S: * OK [UIDNEXT 2] ~
        S: * OK [HIGHESTMODSEQ ~
        S: * OK [MAILBOXID ~
        S: B4 OK [READ-WRITE] SELECT completed
        C: B5 COPY 1 Entwu&Awg-rfe/u&Awg-
        S: B5 OK [COPYUID ~ 1 1] COPY completed
        C: B6 MOVE 1 Entw&APw-rfe/u&Awg-
        S: * OK [COPYUID ~ 1 2] Moved
        S: * 1 EXPUNGE
        S: B6 OK MOVE completed
        C: B7 ESEARCH IN (mailboxes Entwu&Awg-rfe/u&Awg-) RETURN (COUNT) ALL
        S: * ESEARCH (TAG "B7" MAILBOX "Entw&APw-rfe/&APw-" UIDVALIDITY ~) UID COUNT 2
        S: B7 OK ESEARCH completed
        C: B8 UNSUBSCRIBE Entwu&Awg-rfe
        S: B8 OK UNSUBSCRIBE completed
        C: B9 SUBSCRIBE Entwu&Awg-rfe/u&Awg-
        S: B9 OK SUBSCRIBE completed
        C: C1 LSUB "" *rfe/u&Awg-
        S: * LSUB (\HasNoChildren) "/" "Entw&APw-rfe/&APw-"
        S: C1 OK LSUB completed
        C: C2 RENAME Entwu&Awg-rfe/u&Awg- o&Awg-
        S: C2 OK RENAME completed
        C: C3 RENAME &APY- o&Awg-
        S: C3 NO [ALREADYEXISTS] ~
        C: C4 DELETE o&Awg-
        S: C4 OK DELETE completed
        C: C5 STATUS &APY- (MESSAGES)
        S: C5 NO [NONEXISTENT] ~
        "#,
    );
}

#[test]
fn imap4rev2_hears_of_another_form_as_of_an_old_name() {
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "ENABLE IMAP4rev2");
    play_utf8(
        &mut world,
        &mut a,
        &forms(
            r#"
            -- RFC 9051 §6.3.4
            C: A1 CREATE "{d}"
            S: * LIST (\HasNoChildren) "/" "{c}" ("OLDNAME" ("{d}"))
            S: A1 OK [MAILBOXID ~] CREATE completed
            C: A2 CREATE plain
            S: A2 OK [MAILBOXID ~] CREATE completed
            -- §6.3.12
            C: A3 APPEND "{d}" {3+}
            C: a:b
            S: * LIST (\HasNoChildren) "/" "{c}" ("OLDNAME" ("{d}"))
            S: A3 OK [APPENDUID ~ 1] APPEND completed
            -- §6.3.2, §6.3.3
            C: A4 EXAMINE "{d}"
            S: * FLAGS ~
            S: * OK [PERMANENTFLAGS ~
            S: * 1 EXISTS
            S: * OK [UIDVALIDITY ~
            S: * OK [UIDNEXT 2] ~
            S: * OK [HIGHESTMODSEQ ~
            S: * OK [MAILBOXID ~
            S: * LIST (\HasNoChildren) "/" "{c}" ("OLDNAME" ("{d}"))
            S: A4 OK [READ-ONLY] EXAMINE completed
            -- §6.3.9.7 leaves the others to the server
            C: A5 STATUS "{d}" (MESSAGES)
            S: * LIST (\HasNoChildren) "/" "{c}" ("OLDNAME" ("{d}"))
            S: * STATUS "{c}" (MESSAGES 1)
            S: A5 OK STATUS completed
            C: A6 STATUS "{c}" (MESSAGES)
            S: * STATUS "{c}" (MESSAGES 1)
            S: A6 OK STATUS completed
            C: A7 SUBSCRIBE "{d}"
            S: * LIST (\HasNoChildren \Subscribed) "/" "{c}" ("OLDNAME" ("{d}"))
            S: A7 OK SUBSCRIBE completed
            C: A8 GETMETADATA "{d}" /private/comment
            S: * LIST (\HasNoChildren \Subscribed) "/" "{c}" ("OLDNAME" ("{d}"))
            S: * METADATA "{c}" (/private/comment NIL)
            S: A8 OK GETMETADATA completed
            -- §6.3.6: the old name as it was given, the new one as it is
            C: A9 RENAME "{d}" "{d}/x"
            S: A9 NO [CANNOT] ~
            C: B1 RENAME "{c}" "plain/{d}"
            S: * LIST (\HasNoChildren) "/" "plain/{c}" ("OLDNAME" ("{c}"))
            S: B1 OK RENAME completed
            C: B2 RENAME "plain/{c}" plain/other
            S: B2 OK RENAME completed
            C: B3 RENAME plain/other "{c}"
            S: B3 OK RENAME completed
            -- §6.3.5
            C: B4 UNSUBSCRIBE "{d}"
            S: * LIST (\HasNoChildren) "/" "{c}" ("OLDNAME" ("{d}"))
            S: B4 OK UNSUBSCRIBE completed
            C: B5 UNSELECT
            S: B5 OK UNSELECT completed
            C: B6 DELETE "{d}"
            S: * LIST (\NonExistent \HasNoChildren) "/" "{c}" ("OLDNAME" ("{d}"))
            S: B6 OK DELETE completed
            -- §6.3.6: INBOX stays, it is no old name
            C: B7 RENAME INBOX "{d}"
            S: * LIST (\HasNoChildren) "/" "{c}" ("OLDNAME" ("{d}"))
            S: B7 OK RENAME completed
            "#,
        ),
    );
}

#[test]
fn notify_means_a_mailbox_in_every_normalization() {
    // RFC 5465 §6.5, §6.6
    let mut world = World::new();
    let (mut a, mut b) = (world.login(1), world.login(1));
    a.ok(
        &mut world,
        "NOTIFY SET (subtree Entwu&Awg-rfe (MessageNew MessageExpunge MailboxName))",
    );
    b.ok(&mut world, "CREATE Entwu&Awg-rfe");
    b.append(&mut world, "Entw&APw-rfe", "", "a: b\r\n\r\n");
    world.run();
    let told = a.read();
    assert!(
        told.starts_with("* LIST (\\HasNoChildren) \"/\" \"Entw&APw-rfe\"\r\n"),
        "{told}"
    );
    assert!(told.contains("* STATUS \"Entw&APw-rfe\" (MESSAGES 1"), "{told}");
    // What it does itself, it is not told (§5).
    for own in [
        "CREATE Entwu&Awg-rfe/u&Awg-",
        "RENAME Entw&APw-rfe/u&Awg- Entwu&Awg-rfe/o&Awg-",
        "SETMETADATA Entwu&Awg-rfe/o&Awg- (/private/comment \"x\")",
        "DELETE Entwu&Awg-rfe/o&Awg-",
    ] {
        assert_eq!(a.ok(&mut world, own).untagged, "", "{own}");
    }
}

/// A world whose account 1 has these mailboxes too, as they are, and is subscribed to these names.
fn world_of_old(mailboxes: &[&str], subscriptions: &[&str]) -> World {
    let name = |text: &&str| MailboxName::new(&forms(text)).unwrap();
    let mut image = AccountImage::of(&AccountState::new(AccountId(1), 1));
    let inbox = image.mailboxes[0].clone();
    let of_old = (20..).zip(mailboxes.iter().map(name));
    image.mailboxes.extend(of_old.map(|(number, name)| MailboxImage {
        id: MailboxId(number),
        name,
        uid_validity: UidValidity(number),
        ..inbox.clone()
    }));
    image.subscriptions.extend(subscriptions.iter().map(name));
    let mut world = World::new();
    let mut restorer = Restorer::new(world.services.store().clone());
    world.wait(async {
        restorer.begin_account(&image).await.unwrap();
        restorer.end_account(&image).await.unwrap();
    });
    world
}

#[test]
fn a_name_of_old_is_found_shown_and_built_upon_as_it_is() {
    let mut world = world_of_old(&["{d}"], &["{c}", "{c}/gone"]);
    let mut a = world.login(1);
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 LIST "" Entw&APw-rfe
        S: * LIST (\HasNoChildren) "/" "Entwu&Awg-rfe"
        S: A1 OK LIST completed
        C: A2 LIST (SUBSCRIBED) "" Entw*
        S: * LIST (\HasNoChildren \Subscribed) "/" "Entwu&Awg-rfe"
        S: * LIST (\NonExistent \HasNoChildren \Subscribed) "/" "Entwu&Awg-rfe/gone"
        S: A2 OK LIST completed
        C: A3 CREATE Entw&APw-rfe
        S: A3 NO [ALREADYEXISTS] ~
        C: A4 CREATE Entw&APw-rfe/u&Awg-
        S: A4 OK ~
        C: A5 LIST "" Entw*
        S: * LIST (\HasChildren) "/" "Entwu&Awg-rfe"
        S: * LIST (\HasNoChildren) "/" "Entwu&Awg-rfe/&APw-"
        S: A5 OK LIST completed
        C: A6 UNSUBSCRIBE Entwu&Awg-rfe
        S: A6 OK UNSUBSCRIBE completed
        C: A7 LIST "" Entw&APw-rfe RETURN (SUBSCRIBED)
        S: * LIST (\HasChildren) "/" "Entwu&Awg-rfe"
        S: A7 OK LIST completed
        C: A8 SUBSCRIBE Entw&APw-rfe
        S: A8 OK SUBSCRIBE completed
        -- it can be called by the other name
        C: A9 RENAME Entwu&Awg-rfe Entw&APw-rfe
        S: A9 OK RENAME completed
        C: B1 LIST "" Entw*
        S: * LIST (\HasChildren) "/" "Entw&APw-rfe"
        S: * LIST (\HasNoChildren) "/" "Entw&APw-rfe/&APw-"
        S: B1 OK LIST completed
        "#,
    );
    let mut world = world.restarted();
    let mut a = world.login(1);
    a.ok(&mut world, "STATUS Entwu&Awg-rfe (MESSAGES)");
}

#[test]
fn two_names_of_old_that_look_the_same_stay_two() {
    let mut world = world_of_old(&["{d}", "{c}"], &[]);
    let mut a = world.login(1);
    a.append(&mut world, "Entwu&Awg-rfe", "", "a: b\r\n\r\n");
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 LIST "" Entw* RETURN (STATUS (MESSAGES))
        S: * LIST (\HasNoChildren) "/" "Entwu&Awg-rfe"
        S: * STATUS "Entwu&Awg-rfe" (MESSAGES 1)
        S: * LIST (\HasNoChildren) "/" "Entw&APw-rfe"
        S: * STATUS "Entw&APw-rfe" (MESSAGES 0)
        S: A1 OK LIST completed
        C: A2 RENAME Entwu&Awg-rfe Entw&APw-rfe
        S: A2 NO [ALREADYEXISTS] ~
        C: A3 RENAME Entwu&Awg-rfe other
        S: A3 OK RENAME completed
        C: A4 STATUS other (MESSAGES)
        S: * STATUS other (MESSAGES 1)
        S: A4 OK STATUS completed
        "#,
    );
}
