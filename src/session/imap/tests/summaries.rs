//! What lists of messages are made of is answered after a restart without opening a message, octet for octet as before.

use super::world::{Client, World};

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

fn opened(world: &World) -> u64 {
    use super::super::Services;
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
