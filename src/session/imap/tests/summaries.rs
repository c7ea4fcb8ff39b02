//! What lists of messages are made of is answered after a restart without opening a message, octet for octet as before.

use super::super::Services;
use super::world::{Client, World};
use crate::mailbox::summarize::{WHOLE_BYTES_MAX, make_fresh};
use futures::FutureExt;
use std::time::Duration;

const MESSAGES: usize = 60;

const ASKED: [&str; 9] = [
    "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)",
    "FETCH 1:* BODYSTRUCTURE",
    "FETCH 1:* BODY",
    "FETCH 1:* PREVIEW",
    "FETCH 1:* (EMAILID THREADID)",
    "FETCH 1:* BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References In-Reply-To Content-Type List-Id X-Absent)]",
    "FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (Subject)] ENVELOPE BODYSTRUCTURE PREVIEW)",
    "SORT (SUBJECT FROM DATE) UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
];

fn message(number: usize) -> String {
    let answered = number / 2;
    format!(
        "Received: from a by b; Mon, 1 Jan 2024 10:00:00 +0000\r\nFrom: =?utf-8?q?=C3=84nne?= <sender{}@example.net>\r\n\
         To: a@example.org, \"B, C\" <b@example.org>\r\nSubject: Re: letter {} with \"quotes\"\r\nDate: Wed, {:02} Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <{number}@example.net>\r\nReferences: <{answered}@example.net>\r\nX-Present: yes\r\n\
         Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nWords of letter {number}\r\n\
         --x\r\nContent-Type: image/png; name=p.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n--x--\r\n",
        number % 7,
        number % 5,
        number % 28 + 1
    )
}

fn filled() -> (World, Client) {
    let mut world = World::new();
    let mut client = world.selected(1);
    for number in 0..MESSAGES {
        client.append(&mut world, "INBOX", "", &message(number));
    }
    client.ok(&mut world, "NOOP");
    (world, client)
}

fn ask_all(world: &mut World, client: &mut Client) -> Vec<String> {
    let asked = ASKED.iter();
    asked.map(|ask| client.ok(world, ask).untagged).collect()
}

/// A turn of making summaries of new mail.
fn make_ahead(world: &World, time: Duration) {
    let services = &*world.services;
    let making = make_fresh(services.store(), services, time);
    making.now_or_never().expect("nothing is read from the disk");
}

fn made_ahead(world: &World) -> u64 {
    world.services.store().meters().summaries_ahead.value()
}

fn opened(world: &World) -> u64 {
    world.services.store().meters().messages_opened.value()
}

#[test]
fn after_a_restart_no_message_is_opened_for_what_was_asked_before() {
    let (mut world, mut client) = filled();
    let before = ask_all(&mut world, &mut client);
    assert!(opened(&world) >= MESSAGES as u64);
    assert!(
        before[0].contains("\"Re: letter 3 with \\\"quotes\\\"\""),
        "{}",
        before[0]
    );
    assert!(
        before[3].contains("PREVIEW \"Words of letter 7\""),
        "{}",
        before[3]
    );

    let mut world = world.restarted();
    let mut client = world.selected(1);
    let after = ask_all(&mut world, &mut client);
    for ((ask, before), after) in ASKED.iter().zip(&before).zip(&after) {
        assert_eq!(before, after, "{ask}");
    }
    assert_eq!(opened(&world), 0);

    // Fields that were not asked for, and one that is not kept.
    let present = client.ok(
        &mut world,
        "FETCH 1:* BODY.PEEK[HEADER.FIELDS (Reply-To Sender X-Other)]",
    );
    assert!(present.untagged.contains("{2}\r\n\r\n"), "{}", present.untagged);
    assert_eq!(opened(&world), 0);
    let kept_not = client.ok(&mut world, "FETCH 5 BODY.PEEK[HEADER.FIELDS (X-Present)]");
    assert!(
        kept_not.untagged.contains("X-Present: yes"),
        "{}",
        kept_not.untagged
    );
    assert_eq!(opened(&world), 1);
}

#[test]
fn new_mail_is_summarised_before_anybody_asks_and_what_is_said_is_what_the_messages_say() {
    let (mut world, mut client) = filled();
    let expected = ask_all(&mut world, &mut client);

    let (world, _) = filled();
    make_ahead(&world, Duration::MAX);
    assert_eq!(made_ahead(&world), MESSAGES as u64);
    assert!(!world.services.store().has_fresh());
    let mut world = world.restarted();
    let mut client = world.selected(1);
    for (ask, expected) in ASKED.iter().zip(&expected) {
        // BODY is asked by those that know nothing newer.
        if *ask != "FETCH 1:* BODY" {
            assert_eq!(*expected, client.ok(&mut world, ask).untagged, "{ask}");
        }
    }
    assert_eq!(opened(&world), 0);
    assert!(
        !world.services.store().has_fresh(),
        "what was there at a start is not new"
    );
}

#[test]
fn a_turn_ends_when_its_time_is_spent_and_what_was_listed_meanwhile_is_not_made_again() {
    let (mut world, mut client) = filled();
    world.services.look.set(Duration::from_micros(100));
    make_ahead(&world, Duration::from_millis(1));
    let made = made_ahead(&world);
    assert!((1..20).contains(&made), "{made}");
    assert!(world.services.store().has_fresh());
    world.services.look.set(Duration::ZERO);
    client.ok(
        &mut world,
        "FETCH 1:* (ENVELOPE BODY.PEEK[HEADER.FIELDS (Subject)])",
    );
    assert_eq!(opened(&world), MESSAGES as u64);
    make_ahead(&world, Duration::MAX);
    assert_eq!(made_ahead(&world), made);
}

#[test]
fn of_a_long_message_only_what_its_header_says_is_made_ahead() {
    let (mut world, mut client) = filled();
    let length = usize::try_from(WHOLE_BYTES_MAX).expect("it is in memory");
    let long = format!("Subject: long\r\n\r\n{}", "filler\r\n".repeat(length / 8 + 1));
    client.append(&mut world, "INBOX", "", &long);
    make_ahead(&world, Duration::MAX);
    assert_eq!(made_ahead(&world), MESSAGES as u64 + 1);
    let mut world = world.restarted();
    let mut client = world.selected(1);
    let last = MESSAGES + 1;
    let envelope = client.ok(&mut world, &format!("FETCH {last} (ENVELOPE)"));
    assert!(envelope.untagged.contains("\"long\""), "{}", envelope.untagged);
    assert_eq!(opened(&world), 0);
    let preview = client.ok(&mut world, &format!("FETCH {last} (PREVIEW)"));
    assert!(
        preview.untagged.contains("\"filler filler"),
        "{}",
        preview.untagged
    );
    assert_eq!(opened(&world), 1);
}

const SEARCHES: [&str; 12] = [
    "SEARCH FROM sender3",
    "SEARCH FROM \"\u{c4}nne\"",
    "SEARCH OR TO \"b, c\" CC nobody SUBJECT \"letter 4\"",
    "SEARCH NOT SUBJECT \"letter 1\"",
    "SEARCH SENTSINCE 10-Nov-2026 SENTBEFORE 20-Nov-2026",
    "SEARCH SENTON 3-Nov-2026",
    "SEARCH HEADER Message-ID \"<7@\"",
    "SEARCH HEADER X-Absent \"\"",
    "SEARCH NOT HEADER X-Absent \"\" HEADER References \"<2@\"",
    "SEARCH BCC x",
    "SEARCH FLAGGED FROM sender1",
    "UID SEARCH FROM sender0 LARGER 10",
];

#[test]
fn searches_of_kept_fields_open_no_message_and_find_what_the_messages_say() {
    let (mut world, mut client) = filled();
    let search = |world: &mut World, client: &mut Client| -> Vec<String> {
        let all = SEARCHES.iter();
        all.map(|search| client.ok(world, search).untagged).collect()
    };
    let of_messages = search(&mut world, &mut client);
    assert!(of_messages[0].contains("SEARCH 4 11 18"), "{}", of_messages[0]);
    assert!(
        of_messages[7].trim_end().ends_with("SEARCH"),
        "{}",
        of_messages[7]
    );
    // What was opened once is not opened again, not after a restart either.
    assert_eq!(opened(&world), MESSAGES as u64);
    let mut world = world.restarted();
    let mut client = world.selected(1);
    assert_eq!(search(&mut world, &mut client), of_messages);
    assert_eq!(opened(&world), 0);

    // One that is there and not kept, and what only bodies say.
    let present = client.ok(&mut world, "SEARCH FROM sender3 HEADER X-Present yes");
    assert_eq!(present.untagged, of_messages[0]);
    let text = client.ok(&mut world, "SEARCH FROM sender3 TEXT \"letter 3\"");
    assert!(text.untagged.contains("SEARCH 4 "), "{}", text.untagged);
    assert!(opened(&world) > 0);
}

#[test]
fn copies_are_known_and_what_is_wrong_on_disk_is_answered_from_the_message() {
    let (mut world, mut client) = filled();
    let before = ask_all(&mut world, &mut client);
    client.ok(&mut world, "CREATE copies");
    client.ok(&mut world, "COPY 1:* copies");
    let mut world = world.restarted();
    let mut client = world.login(1);
    client.ok(&mut world, "EXAMINE copies");
    let bodies = client.ok(&mut world, "FETCH 1:* BODYSTRUCTURE").untagged;
    assert_eq!(bodies, before[1]);
    assert_eq!(opened(&world), 0);

    let world = world.restarted();
    let names = world.disk.names();
    let files = names.iter().filter(|(name, _)| name.ends_with(".sum"));
    for (name, bytes) in files {
        for byte in (0..*bytes).step_by(700) {
            world.disk.flip_bit(name, byte, 2);
        }
    }
    let mut world = world.restarted();
    let mut client = world.selected(1);
    let after = ask_all(&mut world, &mut client);
    assert_eq!(before, after);
    assert!(opened(&world) > 0);
}

#[test]
fn a_lazy_preview_is_there_once_somebody_waited_for_it() {
    let (mut world, mut client) = filled();
    let long = format!(
        "Subject: long\r\n\r\nFirst words\r\n{}",
        "filler\r\n".repeat(12_000)
    );
    for _ in 0..MESSAGES {
        client.append(&mut world, "INBOX", "", &long);
    }
    let last = 2 * MESSAGES;
    let lazy = |world: &mut World, client: &mut Client| {
        client.ok(world, &format!("FETCH {last} PREVIEW (LAZY)")).untagged
    };
    assert!(lazy(&mut world, &mut client).contains("PREVIEW NIL"));
    assert!(lazy(&mut world, &mut client).contains("PREVIEW NIL"));
    let eager = client.ok(&mut world, "FETCH 1:* PREVIEW").untagged;
    assert!(eager.contains("PREVIEW \"First words filler"), "{eager}");
    assert!(lazy(&mut world, &mut client).contains("PREVIEW \"First words filler"));
    let mut world = world.restarted();
    let mut client = world.selected(1);
    assert!(lazy(&mut world, &mut client).contains("PREVIEW \"First words filler"));
    assert_eq!(opened(&world), 0);
}
