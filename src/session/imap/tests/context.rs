//! Dialogues of CONTEXT=SEARCH and CONTEXT=SORT (RFC 5267).

use super::transcript::play;
use super::world::World;

#[test]
fn a_result_is_kept_up_to_date() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 5);
    play(
        &mut world,
        &mut a,
        r#"
        -- §4.3: with UPDATE alone nothing but the correlator is answered
        C: A1 SEARCH RETURN (UPDATE) SEEN
        S: * ESEARCH (TAG "A1")
        S: A1 OK SEARCH completed
        -- §4.3.2: the own changes count too
        C: A2 STORE 1,2,4 +FLAGS.SILENT (\Seen)
        S: * ESEARCH (TAG "A1") ADDTO (0 1:2,4)
        S: A2 OK STORE completed
        C: A3 STORE 1:2 -FLAGS.SILENT (\Seen)
        S: * ESEARCH (TAG "A1") REMOVEFROM (0 1:2)
        S: A3 OK STORE completed
        -- what does not change the result is not told
        C: A4 STORE 1,4 +FLAGS.SILENT (\Flagged)
        S: A4 OK STORE completed
        -- before the EXPUNGE, by the number until then
        C: A5 STORE 3:5 +FLAGS.SILENT (\Deleted)
        S: A5 OK STORE completed
        C: A6 EXPUNGE
        S: * ESEARCH (TAG "A1") REMOVEFROM (0 4)
        S: * 5 EXPUNGE
        S: * 4 EXPUNGE
        S: * 3 EXPUNGE
        S: A6 OK EXPUNGE completed
        -- behind the EXISTS, by the number from then on
        C: A7 APPEND INBOX (\Seen) {14+}
        C: Subject: x
        C:
        C:
        S: * 3 EXISTS
        S: * 3 RECENT
        S: * ESEARCH (TAG "A1") ADDTO (0 3)
        S: A7 OK ~
        -- §4.3.5
        C: A8 CANCELUPDATE "A1"
        S: A8 OK CANCELUPDATE completed
        C: A9 STORE 1 +FLAGS.SILENT (\Seen)
        S: A9 OK STORE completed
        C: B1 CANCELUPDATE "A1"
        S: B1 BAD ~
        C: B2 CANCELUPDATE
        S: B2 BAD ~
        "#,
    );
}

#[test]
fn several_results_by_uid_and_by_number_hear_of_others() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 6);
    a.ok(&mut world, "STORE 1 +FLAGS.SILENT (\\Deleted)");
    a.ok(&mut world, "EXPUNGE");
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 UID SEARCH RETURN (ALL UPDATE CONTEXT) OR SEEN SUBJECT 3
        S: * ESEARCH (TAG "A1") UID ALL 3
        S: A1 OK SEARCH completed
        C: A2 SEARCH RETURN (COUNT UPDATE) UNFLAGGED 2:4
        S: * ESEARCH (TAG "A2") COUNT 3
        S: A2 OK SEARCH completed
        -- §4.3.1: a tag stands for one result
        C: A1 SEARCH RETURN (UPDATE) ALL
        S: A1 BAD ~
        "#,
    );
    let mut b = world.selected(1);
    b.ok(&mut world, "STORE 1:5 +FLAGS (\\Seen \\Flagged)");
    b.ok(&mut world, "UID STORE 4 FLAGS (\\Deleted)");
    b.ok(&mut world, "EXPUNGE");
    play(
        &mut world,
        &mut a,
        r#"
        -- numbers in the criteria mean the messages they meant; numbers stay until EXPUNGE may be told
        C: A3 FETCH 1 UID
        S: * 1 FETCH (UID 2)
        S: * 1 FETCH (UID 2 FLAGS (\Flagged \Seen))
        S: * 2 FETCH (UID 3 FLAGS (\Flagged \Seen))
        S: * 4 FETCH (UID 5 FLAGS (\Flagged \Seen))
        S: * 5 FETCH (UID 6 FLAGS (\Flagged \Seen))
        S: * ESEARCH (TAG "A1") UID ADDTO (0 2,5:6)
        S: * ESEARCH (TAG "A2") REMOVEFROM (0 2:4)
        S: A3 OK FETCH completed
        C: A4 NOOP
        S: * 3 EXPUNGE
        S: A4 OK NOOP completed
        C: A5 STORE 3 -FLAGS.SILENT (\Flagged)
        S: * ESEARCH (TAG "A2") ADDTO (0 3)
        S: A5 OK STORE completed
        C: A6 CANCELUPDATE "A2" "A1"
        S: A6 OK CANCELUPDATE completed
        "#,
    );
}

#[test]
fn a_sorted_result_says_where() {
    let mut world = World::new();
    let mut a = world.selected(1);
    for subject in ["d", "b", "f", "a"] {
        a.append(&mut world, "INBOX", "", &format!("Subject: {subject}\r\n\r\n"));
    }
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 SORT RETURN (ALL UPDATE) (SUBJECT) UTF-8 UNDELETED
        S: * ESEARCH (TAG "A1") ALL 4,2,1,3
        S: A1 OK SORT completed
        -- §4.3.2: places in the order of the result, each after those before it
        C: A2 STORE 1,4 +FLAGS.SILENT (\Deleted)
        S: * ESEARCH (TAG "A1") REMOVEFROM (1 4 2 1)
        S: A2 OK STORE completed
        C: A3 STORE 1,4 -FLAGS.SILENT (\Deleted)
        S: * ESEARCH (TAG "A1") ADDTO (1 4 3 1)
        S: A3 OK STORE completed
        C: A4 STORE 1:2 +FLAGS.SILENT (\Deleted)
        S: * ESEARCH (TAG "A1") REMOVEFROM (2 2,1)
        S: A4 OK STORE completed
        C: A5 EXPUNGE
        S: * 2 EXPUNGE
        S: * 1 EXPUNGE
        S: A5 OK EXPUNGE completed
        C: A6 APPEND INBOX {14+}
        C: Subject: c
        C:
        C:
        S: * 3 EXISTS
        S: * 3 RECENT
        S: * ESEARCH (TAG "A1") ADDTO (2 3)
        S: A6 OK ~
        C: A7 STORE 1:3 +FLAGS.SILENT (\Deleted)
        S: * ESEARCH (TAG "A1") REMOVEFROM (1 2:3,1)
        S: A7 OK STORE completed
        "#,
    );
}

#[test]
fn updates_come_in_idle_and_end_with_the_selection() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let mut b = world.login(1);
    a.ok(&mut world, "UID SEARCH RETURN (UPDATE) UNSEEN");
    a.send("i IDLE\r\n");
    world.run();
    assert_eq!(a.read(), "+ idling\r\n");
    b.fill(&mut world, "INBOX", 1);
    world.run();
    let told = a.read();
    assert!(
        told.starts_with("* 1 EXISTS\r\n") && told.ends_with("(TAG \"t3\") UID ADDTO (0 1)\r\n"),
        "{told}"
    );
    a.send("DONE\r\n");
    world.run();
    a.read();
    a.ok(&mut world, "SELECT INBOX");
    assert_eq!(a.ok(&mut world, "STORE 1 +FLAGS.SILENT (\\Seen)").untagged, "");
}

#[test]
fn what_cannot_be_kept_up_to_date_is_said() {
    // §4.3.1
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 1);
    for _ in 0..16 {
        let reply = a.ok(&mut world, "SEARCH RETURN (UPDATE) ALL");
        assert!(!reply.untagged.contains("NOUPDATE"));
    }
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 SEARCH RETURN (UPDATE COUNT) ALL
        S: * NO [NOUPDATE "A1"] Too many searches are updated already
        S: * ESEARCH (TAG "A1") COUNT 1
        S: A1 OK SEARCH completed
        "#,
    );
    a.ok(&mut world, "SELECT INBOX");
    play(
        &mut world,
        &mut a,
        r#"
        C: A2 SORT RETURN (UPDATE COUNT) (RELEVANCY) UTF-8 FUZZY SUBJECT 1
        S: * NO [NOUPDATE "A2"] An order by relevancy is not updated
        S: * ESEARCH (TAG "A2") COUNT 1
        S: A2 OK SORT completed
        "#,
    );
}

#[test]
fn new_members_come_with_what_was_asked_for() {
    // RFC 5465 §7
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 SEARCH RETURN (COUNT UPDATE (UID BODY[HEADER.FIELDS (SUBJECT)])) UNFLAGGED SUBJECT x
        S: * ESEARCH (TAG "A1") COUNT 0
        S: A1 OK SEARCH completed
        C: A2 UID SORT RETURN (UPDATE(RFC822.SIZE) COUNT) (SUBJECT) UTF-8 SEEN
        S: * ESEARCH (TAG "A2") UID COUNT 0
        S: A2 OK SORT completed
        C: A3 SEARCH RETURN (UPDATE (RFC822)) ALL
        S: A3 BAD ~
        C: A4 SEARCH RETURN (UPDATE ()) ALL
        S: A4 BAD ~
        "#,
    );
    let mut b = world.selected(1);
    b.append(&mut world, "INBOX", "", "Subject: xy\r\n\r\n");
    b.append(&mut world, "INBOX", "\\Flagged", "Subject: x\r\n\r\n");
    b.append(&mut world, "INBOX", "\\Seen", "Subject: z\r\n\r\n");
    play(
        &mut world,
        &mut a,
        r#"
        -- EXISTS first, then FETCH, then ESEARCH
        C: A5 NOOP
        S: * 5 EXISTS
        S: * 2 RECENT
        S: * 3 FETCH (UID 3 BODY[HEADER.FIELDS (SUBJECT)] {15}
        S: Subject: xy
        S:
        S: )
        S: * ESEARCH (TAG "A1") ADDTO (0 3)
        S: * 5 FETCH (UID 5 RFC822.SIZE 14)
        S: * ESEARCH (TAG "A2") UID ADDTO (1 5)
        S: A5 OK NOOP completed
        -- not of what its flags bring in
        C: A6 STORE 4 -FLAGS.SILENT (\Flagged)
        S: * ESEARCH (TAG "A1") ADDTO (0 4)
        S: A6 OK STORE completed
        -- nor of what this session brought
        C: A7 APPEND INBOX {14+}
        C: Subject: x
        C:
        C:
        S: * 6 EXISTS
        S: * 3 RECENT
        S: * ESEARCH (TAG "A1") ADDTO (0 6)
        S: A7 OK ~
        "#,
    );
    b.ok(&mut world, "NOOP");
    assert!(
        b.ok(&mut world, "SEARCH UNSEEN").has("* SEARCH 1 2 3 4 6"),
        "nothing was read by it"
    );
}
