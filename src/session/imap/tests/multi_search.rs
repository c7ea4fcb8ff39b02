//! MULTISEARCH's dialogues (RFC 7377).

use super::transcript::play;
use super::world::{Client, World};

fn filled(world: &mut World) -> Client {
    let mut a = world.login(1);
    for (name, subjects) in [
        ("INBOX", &["red apple", "green pear"][..]),
        ("Archive", &["red pear"]),
        ("fruit", &["green apple"]),
        ("fruit/red", &["red cherry", "red berry"]),
        ("fruit/red/dark", &["red plum"]),
    ] {
        if name.starts_with("fruit") {
            a.command(world, &format!("CREATE {name}"));
        }
        for subject in subjects {
            a.append(world, name, "", &format!("Subject: {subject}\r\n\r\nx\r\n"));
        }
    }
    a.ok(world, "UNSUBSCRIBE Archive");
    a
}

#[test]
fn each_mailbox_with_matches_answers_for_itself() {
    let mut world = World::new();
    let mut a = filled(&mut world);
    play(
        &mut world,
        &mut a,
        r#"
        -- §2.1: TAG, MAILBOX and UIDVALIDITY; always UIDs; nothing of those without a match
        C: A1 ESEARCH IN (personal) SUBJECT red
        S: * ESEARCH (TAG "A1" MAILBOX Archive UIDVALIDITY ~) UID ALL 1
        S: * ESEARCH (TAG "A1" MAILBOX INBOX UIDVALIDITY ~) UID ALL 1
        S: * ESEARCH (TAG "A1" MAILBOX fruit/red UIDVALIDITY ~) UID ALL 1:2
        S: * ESEARCH (TAG "A1" MAILBOX fruit/red/dark UIDVALIDITY ~) UID ALL 1
        S: A1 OK ESEARCH completed
        -- §2.2: the sources
        C: A2 ESEARCH IN (subtree-one fruit) RETURN (COUNT MAX) SUBJECT red
        S: * ESEARCH (TAG "A2" MAILBOX fruit/red UIDVALIDITY ~) UID MAX 2 COUNT 2
        S: A2 OK ESEARCH completed
        C: A3 ESEARCH IN (subtree fruit mailboxes (INBOX fruit nowhere)) RETURN (COUNT) ALL
        S: * ESEARCH (TAG "A3" MAILBOX INBOX UIDVALIDITY ~) UID COUNT 2
        S: * ESEARCH (TAG "A3" MAILBOX fruit UIDVALIDITY ~) UID COUNT 1
        S: * ESEARCH (TAG "A3" MAILBOX fruit/red UIDVALIDITY ~) UID COUNT 2
        S: * ESEARCH (TAG "A3" MAILBOX fruit/red/dark UIDVALIDITY ~) UID COUNT 1
        S: A3 OK ESEARCH completed
        C: A4 ESEARCH IN (subscribed) RETURN (PARTIAL -1:-1) SUBJECT red
        S: * ESEARCH (TAG "A4" MAILBOX INBOX UIDVALIDITY ~) UID PARTIAL (-1:-1 1)
        S: A4 OK ESEARCH completed
        C: A5 ESEARCH IN (inboxes) CHARSET KLINGON SUBJECT red
        S: A5 NO [BADCHARSET ~
        C: A6 ESEARCH IN (mailboxes nowhere) ALL
        S: A6 OK ESEARCH completed
        -- §2.2: nothing is selected
        C: A7 ESEARCH IN (selected) ALL
        S: A7 BAD ~
        C: A8 ESEARCH ALL
        S: A8 BAD ~
        C: B4 ESEARCH IN (personal) RETURN (UPDATE) ALL
        S: B4 BAD ~
        -- what makes sense in the selected mailbox only
        C: A9 ESEARCH IN (personal) 1:2
        S: A9 BAD ~
        C: B1 ESEARCH IN (personal) RETURN (SAVE) ALL
        S: B1 BAD ~
        C: B2 ESEARCH IN (selected-delayed) ALL
        S: B2 BAD ~
        C: B3 ESEARCH IN () ALL
        S: B3 BAD ~
        "#,
    );
}

#[test]
fn the_selected_mailbox_is_searched_as_the_session_sees_it() {
    let mut world = World::new();
    let mut a = filled(&mut world);
    a.ok(&mut world, "SELECT INBOX");
    let mut b = world.login(1);
    b.append(&mut world, "INBOX", "", "Subject: red melon\r\n\r\n");
    play(
        &mut world,
        &mut a,
        r#"
        -- what it was not told of yet it does not search; its end tells
        C: A1 ESEARCH SUBJECT red
        S: * ESEARCH (TAG "A1" MAILBOX INBOX UIDVALIDITY ~) UID ALL 1
        S: * 3 EXISTS
        S: * 3 RECENT
        S: A1 OK ESEARCH completed
        C: A2 ESEARCH IN (selected) RETURN (SAVE COUNT) 2:3
        S: * ESEARCH (TAG "A2" MAILBOX INBOX UIDVALIDITY ~) UID COUNT 2
        S: A2 OK ESEARCH completed
        C: A3 SEARCH $
        S: * SEARCH 2 3
        S: A3 OK SEARCH completed
        C: A4 ESEARCH IN (selected mailboxes INBOX) RETURN (COUNT) UNSEEN
        S: * ESEARCH (TAG "A4" MAILBOX INBOX UIDVALIDITY ~) UID COUNT 3
        S: A4 OK ESEARCH completed
        -- §2.1: UPDATE is of the selected mailbox, which this does not search
        C: A5 ESEARCH IN (subtree fruit) RETURN (UPDATE COUNT) SUBJECT cherry
        S: * NO [NOUPDATE "A5"] Only the selected mailbox's result is updated
        S: * ESEARCH (TAG "A5" MAILBOX fruit/red UIDVALIDITY ~) UID COUNT 1
        S: A5 OK ESEARCH completed
        -- the mailbox is still selected
        C: A6 FETCH 3 UID
        S: * 3 FETCH (UID 3)
        S: A6 OK FETCH completed
        "#,
    );
    // RFC 7162 §3.1.5, in each of the mailboxes; only the selected one tells how far the client is.
    let found = a.ok(&mut world, "ESEARCH IN (mailboxes (INBOX Archive)) MODSEQ 1");
    let lines = found.lines();
    assert!(lines[0].starts_with("* OK [HIGHESTMODSEQ "), "{lines:?}");
    assert!(
        lines[1].contains("MAILBOX Archive ") && lines[1].contains(" UID ALL 1 MODSEQ "),
        "{lines:?}"
    );
    assert!(
        lines.len() == 3 && lines[2].contains(" UID ALL 1:3 MODSEQ "),
        "{lines:?}"
    );
}

#[test]
fn update_is_of_the_selected_mailbox() {
    // §2.1; RFC 5267 §4.3
    let mut world = World::new();
    let mut a = filled(&mut world);
    a.ok(&mut world, "SELECT INBOX");
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 ESEARCH IN (personal) RETURN (UPDATE COUNT) SUBJECT red
        S: * ESEARCH (TAG "A1" MAILBOX Archive UIDVALIDITY ~) UID COUNT 1
        S: * ESEARCH (TAG "A1" MAILBOX INBOX UIDVALIDITY ~) UID COUNT 1
        S: * ESEARCH (TAG "A1" MAILBOX fruit/red UIDVALIDITY ~) UID COUNT 2
        S: * ESEARCH (TAG "A1" MAILBOX fruit/red/dark UIDVALIDITY ~) UID COUNT 1
        S: A1 OK ESEARCH completed
        -- with UPDATE alone the selected mailbox's answer is that there is one
        C: A2 ESEARCH IN (selected subtree fruit) RETURN (UPDATE) SUBJECT green
        S: * ESEARCH (TAG "A2" MAILBOX INBOX UIDVALIDITY ~) UID
        S: * ESEARCH (TAG "A2" MAILBOX fruit UIDVALIDITY ~) UID ALL 1
        S: A2 OK ESEARCH completed
        C: A2 ESEARCH RETURN (UPDATE) ALL
        S: A2 BAD ~
        "#,
    );
    let mut b = world.login(1);
    b.append(&mut world, "INBOX", "", "Subject: red melon\r\n\r\n");
    b.append(&mut world, "Archive", "", "Subject: red melon\r\n\r\n");
    play(
        &mut world,
        &mut a,
        r#"
        C: A3 NOOP
        S: * 3 EXISTS
        S: * 3 RECENT
        S: * ESEARCH (TAG "A1" MAILBOX INBOX UIDVALIDITY ~) UID ADDTO (0 3)
        S: A3 OK NOOP completed
        C: A4 STORE 2 +FLAGS.SILENT (\Deleted)
        S: A4 OK ~
        C: A5 EXPUNGE
        S: * ESEARCH (TAG "A2" MAILBOX INBOX UIDVALIDITY ~) UID REMOVEFROM (0 2)
        S: * 2 EXPUNGE
        S: A5 OK ~
        C: A6 CANCELUPDATE "A1" "A2"
        S: A6 OK ~
        "#,
    );
}

#[test]
fn fuzzy_results_are_scored_in_each_mailbox() {
    let mut world = World::new();
    let mut a = filled(&mut world);
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 ESEARCH IN (subtree fruit) RETURN (RELEVANCY ALL) FUZZY SUBJECT apples
        S: * ESEARCH (TAG "A1" MAILBOX fruit UIDVALIDITY ~) UID ALL 1 RELEVANCY (~)
        S: A1 OK ESEARCH completed
        "#,
    );
}
