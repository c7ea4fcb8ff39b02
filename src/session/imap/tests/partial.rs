//! PARTIAL's dialogues (RFC 9394).

use super::transcript::play;
use super::world::World;

#[test]
fn a_part_of_a_search_result_is_counted_from_either_end() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 9);
    a.ok(&mut world, "STORE 3 +FLAGS (\\Flagged)");
    play(
        &mut world,
        &mut a,
        r#"
        -- §3.1
        C: A01 UID SEARCH RETURN (PARTIAL 1:3) UNFLAGGED
        S: * ESEARCH (TAG "A01") UID PARTIAL (1:3 1:2,4)
        S: A01 OK SEARCH completed
        C: A02 UID SEARCH RETURN (PARTIAL -1:-3) UNFLAGGED
        S: * ESEARCH (TAG "A02") UID PARTIAL (-1:-3 7:9)
        S: A02 OK SEARCH completed
        -- the two ends in either order
        C: A03 SEARCH RETURN (PARTIAL 8:6) UNFLAGGED
        S: * ESEARCH (TAG "A03") PARTIAL (6:8 7:9)
        S: A03 OK SEARCH completed
        C: A04 SEARCH RETURN (PARTIAL -3:-1) UNFLAGGED
        S: * ESEARCH (TAG "A04") PARTIAL (-1:-3 7:9)
        S: A04 OK SEARCH completed
        -- beyond the result
        C: A05 SEARCH RETURN (PARTIAL 9:12) UNFLAGGED
        S: * ESEARCH (TAG "A05") PARTIAL (9:12 NIL)
        S: A05 OK SEARCH completed
        C: A06 SEARCH RETURN (COUNT PARTIAL 1:1) ALL
        S: * ESEARCH (TAG "A06") COUNT 9 PARTIAL (1:1 1)
        S: A06 OK SEARCH completed
        -- of a sorted result (RFC 5267 §4.4)
        C: A07 SORT RETURN (PARTIAL 1:2) (REVERSE SIZE REVERSE SUBJECT) UTF-8 ALL
        S: * ESEARCH (TAG "A07") PARTIAL (1:2 9,8)
        S: A07 OK SORT completed
        -- §3.1: not with ALL, and once only
        C: A08 SEARCH RETURN (PARTIAL 1:2 ALL) ALL
        S: A08 BAD ~
        C: A09 SEARCH RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL
        S: A09 BAD ~
        C: A10 SEARCH RETURN (PARTIAL 1:-2) ALL
        S: A10 BAD ~
        C: A11 SEARCH RETURN (PARTIAL 0:2) ALL
        S: A11 BAD ~
        C: A12 SEARCH RETURN (PARTIAL 1:*) ALL
        S: A12 BAD ~
        "#,
    );
}

#[test]
fn what_is_saved_of_a_part() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 9);
    // §3.2, table 1: the part; with MIN and MAX these too; with COUNT everything found.
    for (options, saved) in [
        ("PARTIAL -1:-2", "8 9"),
        ("PARTIAL 4:5 MIN", "1 4 5"),
        ("PARTIAL 4:5 MAX", "4 5 9"),
        ("MIN PARTIAL 4:5 MAX", "1 4 5 9"),
        ("COUNT PARTIAL 4:5", "1 2 3 4 5 6 7 8 9"),
        ("MIN COUNT PARTIAL 4:5", "1 2 3 4 5 6 7 8 9"),
        ("PARTIAL 1:2 MIN", "1 2"),
    ] {
        a.ok(&mut world, &format!("SEARCH RETURN (SAVE {options}) ALL"));
        let found = a.ok(&mut world, "SEARCH $");
        assert_eq!(found.lines(), [format!("* SEARCH {saved}")], "{options}");
    }
}

#[test]
fn a_part_of_a_fetch_is_counted_from_either_end() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 9);
    a.ok(&mut world, "STORE 3,5 +FLAGS.SILENT (\\Deleted)");
    a.ok(&mut world, "EXPUNGE");
    play(
        &mut world,
        &mut a,
        r#"
        -- §3.3
        C: A01 UID FETCH 2:8 (FLAGS) (PARTIAL -1:-2)
        S: * 5 FETCH (UID 7 FLAGS ())
        S: * 6 FETCH (UID 8 FLAGS ())
        S: A01 OK FETCH completed
        C: A02 UID FETCH 1:* (UID) (PARTIAL 2:3)
        S: * 2 FETCH (UID 2)
        S: * 3 FETCH (UID 4)
        S: A02 OK FETCH completed
        C: A03 UID FETCH 8,1:2,7 UID (PARTIAL 4:2)
        S: * 2 FETCH (UID 2)
        S: * 5 FETCH (UID 7)
        S: * 6 FETCH (UID 8)
        S: A03 OK FETCH completed
        C: A04 UID FETCH 1:* (UID) (PARTIAL 8:9)
        S: A04 OK FETCH completed
        -- with contents, and by number
        C: A05 FETCH 1:4 (BODY.PEEK[TEXT]) (PARTIAL -1:-1)
        S: * 4 FETCH (UID 6 BODY[TEXT] {8}
        S: body 6
        S: )
        S: A05 OK FETCH completed
        C: A06 UID FETCH 1:* UID (PARTIAL 1:2 PARTIAL 1:2)
        S: A06 BAD ~
        C: A07 UID FETCH 1:* UID (PARTIAL 1)
        S: A07 BAD ~
        C: A08 UID FETCH 1:* UID (PARTIAL 1:*)
        S: A08 BAD ~
        "#,
    );
}

#[test]
fn a_part_of_what_changed() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.ok(&mut world, "ENABLE QRESYNC");
    a.fill(&mut world, "INBOX", 6);
    let highest = |reply: &super::world::Reply| {
        let (_, rest) = reply.tagged.split_once("HIGHESTMODSEQ ").unwrap();
        rest.split(']').next().unwrap().parse::<u64>().unwrap()
    };
    a.ok(&mut world, "STORE 6 +FLAGS.SILENT (\\Deleted)");
    let since = highest(&a.ok(&mut world, "EXPUNGE"));
    a.ok(&mut world, "STORE 2,4:5 +FLAGS.SILENT (\\Seen \\Deleted)");
    a.ok(&mut world, "UID EXPUNGE 4");
    // §3.4: first the part, and of that what CHANGEDSINCE lets through; VANISHED is told whole.
    let first = format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {since} PARTIAL 1:1)");
    assert_eq!(a.ok(&mut world, &first).untagged, "");
    let changed = format!("UID FETCH 1:* (FLAGS) (PARTIAL -1:-1 CHANGEDSINCE {since} VANISHED)");
    let reply = a.ok(&mut world, &changed);
    let lines = reply.lines();
    assert_eq!(lines[0], "* VANISHED (EARLIER) 4");
    assert!(
        lines.len() == 2 && lines[1].starts_with("* 4 FETCH (UID 5 FLAGS (\\Deleted \\Seen) MODSEQ ("),
        "{lines:?}"
    );
    // What another session expunges counts no more, though it has its number here still.
    let mut b = world.selected(1);
    b.ok(&mut world, "UID EXPUNGE 5");
    let fetched = a.ok(&mut world, "FETCH 1:* UID (PARTIAL -1:-1)");
    assert_eq!(fetched.lines(), ["* 3 FETCH (UID 3)"]);
}
