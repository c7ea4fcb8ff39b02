//! CONDSTORE's and QRESYNC's dialogues (RFC 7162 §3.2), and those of UIDONLY (RFC 9586).

use super::world::{Client, World};

/// INBOX with UIDs 2, 4 and 5 of 6; 2 was flagged after the MODSEQ that is returned with the UIDVALIDITY.
fn mailbox(world: &mut World) -> (Client, u64, String) {
    let mut a = world.selected(1);
    a.fill(world, "INBOX", 6);
    let status = a.ok(world, "STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)").untagged;
    let after = |name: &str| {
        let (_, rest) = status.split_once(name).unwrap();
        rest.trim_start()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    let (validity, mod_seq) = (after("UIDVALIDITY"), after("HIGHESTMODSEQ").parse().unwrap());
    a.ok(world, "UID STORE 2 FLAGS (\\Flagged)");
    a.ok(world, "UID STORE 1,3,6 FLAGS.SILENT (\\Deleted)");
    a.ok(world, "EXPUNGE");
    (a, mod_seq, validity)
}

fn resyncing(world: &mut World) -> Client {
    let mut b = world.login(1);
    assert!(b.ok(world, "ENABLE QRESYNC").has("* ENABLED QRESYNC"));
    b
}

fn vanished(reply: &super::world::Reply) -> Vec<&str> {
    reply
        .lines()
        .into_iter()
        .filter(|line| line.contains("VANISHED"))
        .collect()
}

#[test]
fn select_tells_what_a_client_missed() {
    // RFC 7162 §3.2.5.1, §3.2.10.1
    let mut world = World::new();
    let (mut a, mod_seq, validity) = mailbox(&mut world);
    let mut b = resyncing(&mut world);
    let reply = b.ok(
        &mut world,
        &format!("SELECT INBOX (QRESYNC ({validity} {mod_seq} 1:6))"),
    );
    let lines = reply.lines();
    let at = lines
        .iter()
        .position(|line| *line == "* VANISHED (EARLIER) 1,3,6")
        .unwrap();
    // Counted again for clients that go on with the messages they have kept.
    assert_eq!(lines[at + 1], "* 3 EXISTS");
    assert!(
        lines[at + 2].starts_with("* 1 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ ("),
        "{lines:?}"
    );
    assert_eq!(at + 3, lines.len(), "{lines:?}");
    // What it knew of already it is not told again.
    let status = a.ok(&mut world, "STATUS INBOX (HIGHESTMODSEQ)").untagged;
    let now: String = status.chars().filter(char::is_ascii_digit).collect();
    let reply = b.ok(
        &mut world,
        &format!("SELECT INBOX (QRESYNC ({validity} {now} 1:6))"),
    );
    assert!(
        !reply.untagged.contains("VANISHED") && !reply.untagged.contains("FETCH"),
        "{reply:?}"
    );
    // Only what the client says it knows, §3.2.5.1.
    let reply = b.ok(
        &mut world,
        &format!("SELECT INBOX (QRESYNC ({validity} {mod_seq} 3:5))"),
    );
    assert_eq!(vanished(&reply), ["* VANISHED (EARLIER) 3"]);
    assert!(reply.lines().contains(&"* OK [CLOSED] Previous mailbox closed"));
    assert!(!reply.untagged.contains("FETCH"), "{reply:?}");
    // Everything there ever was.
    let reply = b.ok(
        &mut world,
        &format!("EXAMINE INBOX (QRESYNC ({validity} {mod_seq}))"),
    );
    assert_eq!(vanished(&reply), ["* VANISHED (EARLIER) 1,3,6"]);
    // Another mailbox of the same name: nothing is told.
    let reply = b.ok(&mut world, &format!("SELECT INBOX (QRESYNC (7 {mod_seq} 1:6))"));
    assert!(!reply.untagged.contains("VANISHED") && !reply.untagged.contains("FETCH"));
}

#[test]
fn a_sample_of_numbers_and_uids_narrows_what_is_told() {
    // RFC 7162 §3.2.5.2: message 2 is UID 4 still, so the client knows of expunges up to it.
    let mut world = World::new();
    let (_, mod_seq, validity) = mailbox(&mut world);
    let mut b = resyncing(&mut world);
    let command = format!("SELECT INBOX (QRESYNC ({validity} {mod_seq} 1:6 (1:3 2,4,6)))");
    let reply = b.ok(&mut world, &command);
    assert_eq!(vanished(&reply), ["* VANISHED (EARLIER) 6"]);
    assert!(
        reply.untagged.contains("* 1 FETCH (UID 2 "),
        "flags are told all the same"
    );
}

#[test]
fn qresync_must_be_enabled_first() {
    // RFC 7162 §3.2.3, §3.2.6
    let mut world = World::new();
    let (mut a, _, validity) = mailbox(&mut world);
    let select = format!("SELECT Sent (QRESYNC ({validity} 1))");
    assert!(a.tagged(&mut world, &select).starts_with("BAD"));
    assert!(
        a.tagged(&mut world, "FETCH 1 FLAGS").starts_with("OK"),
        "INBOX is selected still"
    );
    assert!(
        a.tagged(&mut world, "UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)")
            .starts_with("BAD")
    );
}

#[test]
fn uid_fetch_tells_of_expunged_messages_first() {
    // RFC 7162 §3.2.6
    let mut world = World::new();
    let (_, mod_seq, _) = mailbox(&mut world);
    let mut b = resyncing(&mut world);
    b.ok(&mut world, "SELECT INBOX");
    let reply = b.ok(
        &mut world,
        &format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {mod_seq} VANISHED)"),
    );
    let lines = reply.lines();
    assert_eq!(lines[0], "* VANISHED (EARLIER) 1,3,6");
    assert!(
        lines[1].starts_with("* 1 FETCH (UID 2 FLAGS (\\Flagged) MODSEQ ("),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2);
    let reply = b.ok(
        &mut world,
        &format!("UID FETCH 4:5 (FLAGS) (CHANGEDSINCE {mod_seq} VANISHED)"),
    );
    assert_eq!(reply.untagged, "");
}

#[test]
fn vanished_takes_the_place_of_expunge() {
    // RFC 7162 §3.2.7, §3.2.9, §3.2.10.2
    let mut world = World::new();
    let (mut a, _, _) = mailbox(&mut world);
    let mut b = resyncing(&mut world);
    b.ok(&mut world, "SELECT INBOX");
    a.ok(&mut world, "UID STORE 4 +FLAGS (\\Deleted)");
    a.ok(&mut world, "UID EXPUNGE 4");
    // Not while numbers must keep their meaning, not even earlier.
    let reply = b.ok(&mut world, "UID SEARCH 1:3");
    assert!(!reply.untagged.contains("VANISHED"), "{reply:?}");
    let reply = b.ok(&mut world, "UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)");
    assert_eq!(vanished(&reply), ["* VANISHED (EARLIER) 1,3,6", "* VANISHED 4"]);
    b.ok(&mut world, "UID STORE 2,5 FLAGS.SILENT (\\Deleted)");
    let reply = b.ok(&mut world, "EXPUNGE");
    assert_eq!(reply.untagged, "* VANISHED 2,5\r\n");
    let status = b.ok(&mut world, "STATUS INBOX (HIGHESTMODSEQ)").untagged;
    let highest: String = status.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(
        reply.tagged,
        format!("OK [HIGHESTMODSEQ {highest}] EXPUNGE completed")
    );
    // Nothing expunged, nothing said (§3.2.7); CLOSE never says it (§3.2.8).
    assert_eq!(b.tagged(&mut world, "EXPUNGE"), "OK EXPUNGE completed");
    b.append(&mut world, "INBOX", "\\Deleted", "Subject: x\r\n\r\n");
    assert_eq!(b.tagged(&mut world, "CLOSE"), "OK CLOSE completed");
}

#[test]
fn a_fetch_that_sets_seen_has_uid_and_mod_seq() {
    // RFC 7162 §3.2.4
    let mut world = World::new();
    let (_, _, _) = mailbox(&mut world);
    let mut b = resyncing(&mut world);
    b.ok(&mut world, "SELECT INBOX");
    let reply = b.ok(&mut world, "FETCH 2 BODY[TEXT]");
    assert!(
        reply
            .untagged
            .starts_with("* 2 FETCH (FLAGS (\\Seen) UID 4 MODSEQ ("),
        "{reply:?}"
    );
}

#[test]
fn uid_only_neither_takes_nor_gives_numbers() {
    // RFC 9586 §3
    let mut world = World::new();
    let (mut a, mod_seq, validity) = mailbox(&mut world);
    let mut b = world.login(1);
    assert!(
        b.ok(&mut world, "ENABLE UIDONLY QRESYNC")
            .has("* ENABLED UIDONLY QRESYNC")
    );
    let select = b.ok(
        &mut world,
        &format!("SELECT INBOX (QRESYNC ({validity} {mod_seq}))"),
    );
    assert!(!select.untagged.contains("UNSEEN"), "{select:?}");
    assert!(
        select
            .untagged
            .contains("* 2 UIDFETCH (FLAGS (\\Flagged) MODSEQ ("),
        "{select:?}"
    );
    for command in [
        "FETCH 1 FLAGS",
        "STORE 1 FLAGS ()",
        "COPY 1 Sent",
        "MOVE 1 Sent",
        "SEARCH ALL",
        "UID SEARCH OR 1 NOT 2",
        "SELECT INBOX (QRESYNC (7 7 1:3 (1 1)))",
    ] {
        let answer = b.tagged(&mut world, command);
        assert!(answer.starts_with("BAD [UIDREQUIRED]"), "{command}: {answer}");
    }
    assert!(b.ok(&mut world, "UID SEARCH UID 2:4").has("* SEARCH 2 4"));
    let fetched = b.ok(&mut world, "UID FETCH 2:4 (RFC822.SIZE)");
    assert_eq!(
        fetched.lines(),
        ["* 2 UIDFETCH (RFC822.SIZE 22)", "* 4 UIDFETCH (RFC822.SIZE 22)"]
    );
    assert!(
        b.ok(&mut world, "UID STORE 4 FLAGS ($x)")
            .untagged
            .contains("* 4 UIDFETCH (FLAGS ($x) MODSEQ (")
    );
    a.ok(&mut world, "UID STORE 5 FLAGS (\\Deleted)");
    assert!(
        b.ok(&mut world, "NOOP")
            .untagged
            .starts_with("* 5 UIDFETCH (FLAGS (\\Deleted)")
    );
    a.ok(&mut world, "EXPUNGE");
    assert_eq!(b.ok(&mut world, "NOOP").untagged, "* VANISHED 5\r\n");
}

/// The number behind the first `name` of a text.
fn number_after(text: &str, name: &str) -> u64 {
    let (_, rest) = text.split_once(name).unwrap();
    let rest = rest.trim_start_matches([' ', '(']);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}

#[test]
fn no_mod_seq_hides_an_expunge_that_was_held_back() {
    // RFC 7162 §3.2.5: the client goes on from the highest MODSEQ it was shown, or from HIGHESTMODSEQ where it is told one.
    let mut world = World::new();
    let (mut a, _, validity) = mailbox(&mut world);
    for command in [
        "FETCH 1 FLAGS",
        "STORE 1 +FLAGS ($x)",
        "STORE 1 +FLAGS.SILENT ($y)",
        "FETCH 1 BODY[]",
    ] {
        let (mut b, mut kept) = (resyncing(&mut world), 0);
        for line in b.ok(&mut world, "SELECT INBOX").lines() {
            if line.contains("HIGHESTMODSEQ") {
                kept = number_after(line, "HIGHESTMODSEQ");
            }
        }
        a.append(&mut world, "INBOX", "", "Subject: x\r\n\r\n");
        b.ok(&mut world, "NOOP");
        let uids = a.ok(&mut world, "UID SEARCH ALL").untagged;
        let last = uids.trim_end().rsplit(' ').next().unwrap().to_owned();
        a.ok(&mut world, &format!("UID STORE {last} +FLAGS (\\Deleted)"));
        b.ok(&mut world, "NOOP");
        a.ok(&mut world, &format!("UID EXPUNGE {last}"));
        // By others or by itself: its MODSEQ is above that of the expunge.
        a.ok(&mut world, &format!("UID STORE 2 FLAGS.SILENT ($u{last})"));
        let reply = b.ok(&mut world, command);
        assert!(vanished(&reply).is_empty(), "{reply:?}");
        for line in reply.lines() {
            match line {
                line if line.contains("HIGHESTMODSEQ") => kept = number_after(line, "HIGHESTMODSEQ"),
                line if line.contains("MODSEQ (") => kept = kept.max(number_after(line, "MODSEQ")),
                _ => {}
            }
        }
        // The connection breaks; the client comes back with what it has.
        let mut c = resyncing(&mut world);
        let reply = c.ok(&mut world, &format!("SELECT INBOX (QRESYNC ({validity} {kept}))"));
        assert_eq!(
            vanished(&reply),
            [format!("* VANISHED (EARLIER) {last}")],
            "{command}"
        );
        // It stays: told of the expunge, it is told as well how far it is now, once.
        let status = a.ok(&mut world, "STATUS INBOX (HIGHESTMODSEQ)").untagged;
        let now = number_after(&status, "HIGHESTMODSEQ");
        assert_eq!(
            b.ok(&mut world, "NOOP").lines(),
            [
                format!("* VANISHED {last}"),
                format!("* OK [HIGHESTMODSEQ {now}] Highest")
            ],
            "{command}"
        );
        let after = b.ok(&mut world, "FETCH 1 (FLAGS MODSEQ)");
        assert!(!after.untagged.contains("HIGHESTMODSEQ"), "{after:?}");
    }
}

#[test]
fn select_tells_one_state_whatever_changes_meanwhile() {
    let mut world = World::new();
    let (mut a, mod_seq, validity) = mailbox(&mut world);
    a.ok(&mut world, "UID STORE 5 FLAGS (\\Deleted)");
    let mut b = resyncing(&mut world);
    // Others get many turns between VANISHED and FETCH: the session has begun its own turn with LIST.
    world.services.look.set(std::time::Duration::from_secs(1));
    world.services.turns_of_breath.set(1_000);
    b.send(format!(
        "w LIST \"\" INBOX\r\nx SELECT INBOX (QRESYNC ({validity} {mod_seq}))\r\n"
    ));
    let append = "e3 APPEND INBOX {12+}\r\nSubject: x\r\n\r\n";
    a.send(format!(
        "e1 UID EXPUNGE 5\r\ne2 UID STORE 4 FLAGS ($meanwhile)\r\n{append}"
    ));
    world.run();
    world.services.turns_of_breath.set(0);
    world.services.look.set(std::time::Duration::ZERO);
    assert!(a.read().contains("\r\ne3 OK"));
    let select = b.read();
    let (state, rest) = select.split_once("* VANISHED (EARLIER) 1,3,6\r\n").unwrap();
    let told = number_after(state, "HIGHESTMODSEQ");
    let now = number_after(
        &a.ok(&mut world, "STATUS INBOX (HIGHESTMODSEQ)").untagged,
        "HIGHESTMODSEQ",
    );
    assert!(told < now, "nothing happened meanwhile: {select}");
    assert!(
        state.contains("* 3 EXISTS\r\n") && rest.starts_with("* 3 EXISTS\r\n"),
        "{select}"
    );
    assert!(
        !rest.contains("VANISHED") && rest.matches("EXISTS").count() == 1,
        "{select}"
    );
    // A MODSEQ of this moment was shown, so the client is told to stay where the state was.
    assert!(
        rest.contains("$meanwhile"),
        "the change came too late to be shown: {select}"
    );
    let end = format!("* OK [HIGHESTMODSEQ {told}] Highest\r\nx OK [READ-WRITE] SELECT completed\r\n");
    assert!(rest.ends_with(&end), "{select}");
    let noop = b.ok(&mut world, "NOOP").untagged;
    assert!(noop.starts_with("* VANISHED 5\r\n* 3 EXISTS\r\n"), "{noop}");
    assert!(
        noop.ends_with(&format!("* OK [HIGHESTMODSEQ {now}] Highest\r\n")),
        "{noop}"
    );
}
