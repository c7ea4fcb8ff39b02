//! Mail that is read ahead of a FETCH: whatever is in memory and in whatever order it is asked for, each message is answered
//! as it is, and the disk is asked for many at a time.

use super::super::Services;
use super::world::{Client, World};
use crate::proto::imap::Config;
use std::num::NonZeroU32;
use std::sync::Arc;

const MESSAGES: usize = 300;
const LIMIT: u32 = 250;

/// Most are short, some longer than what is read ahead whole, a few longer than a chunk.
fn message(number: usize) -> String {
    let lines = match number {
        n if n % 97 == 0 => 3_000,
        n if n % 31 == 0 => 1_000,
        n => n * 7 % 120,
    };
    let line = format!("{number:06} of the lines of its letter\r\n");
    format!("Subject: {number}\r\n\r\n{}", line.repeat(lines))
}

fn answer(number: usize) -> String {
    let text = message(number);
    format!(
        "* {number} FETCH (UID {number} BODY[] {{{}}}\r\n{text})\r\n",
        text.len()
    )
}

/// Nothing of the mail is in memory.
fn filled() -> (World, Client) {
    let mut world = World::new();
    let mut client = world.selected(1);
    for number in 1..=MESSAGES {
        client.append(&mut world, "INBOX", "", &message(number));
    }
    let mut world = world.restarted();
    let client = world.selected(1);
    (world, client)
}

fn assert_few_reads(world: &World, before: u64) {
    let operations = world.disk.operations() - before;
    assert!(
        operations < MESSAGES as u64 / 4,
        "{operations} operations for {MESSAGES} messages"
    );
}

#[test]
fn all_messages_come_in_order_with_few_reads() {
    let (mut world, mut client) = filled();
    let before = world.disk.operations();
    let fetched = client.ok(&mut world, "FETCH 1:* (UID BODY.PEEK[])");
    let expected: String = (1..=MESSAGES).map(answer).collect();
    assert!(fetched.untagged == expected, "another text");
    assert_few_reads(&world, before);
}

#[test]
fn the_highest_first_are_read_ahead_as_well() {
    let (mut world, mut client) = filled();
    *world.services.config.borrow_mut() = Arc::new(Config {
        message_limit: NonZeroU32::new(LIMIT),
        ..Config::default()
    });
    let before = world.disk.operations();
    let fetched = client.ok(&mut world, "UID FETCH 1:* BODY.PEEK[]");
    let lowest = MESSAGES - LIMIT as usize + 1;
    let expected: String = (lowest..=MESSAGES).rev().map(answer).collect();
    assert!(fetched.untagged == expected, "another text");
    assert_few_reads(&world, before);
}

#[test]
fn what_is_known_of_some_is_not_read_and_the_others_are() {
    let (mut world, mut client) = filled();
    client.ok(&mut world, "FETCH 40:90,200:300 ENVELOPE");
    client.ok(&mut world, "STORE 50,60:65,299 +FLAGS.SILENT (\\Deleted)");
    let opened = world.services.store().meters().messages_opened.value();
    let envelopes = client.ok(&mut world, "FETCH 1:* ENVELOPE");
    let now = world.services.store().meters().messages_opened.value();
    assert_eq!(now - opened, 39 + 109, "only what was not listed before");
    for number in 1..=MESSAGES {
        let subject = format!("* {number} FETCH (UID {number} ENVELOPE (NIL \"{number}\" ");
        assert!(envelopes.untagged.contains(&subject), "{number}");
    }
    client.ok(&mut world, "EXPUNGE");
    let left = (1..=MESSAGES).filter(|n| ![50, 60, 61, 62, 63, 64, 65, 299].contains(n));
    let expected: Vec<String> = left
        .zip(1..)
        .map(|(uid, number)| answer(uid).replacen(&format!("* {uid} "), &format!("* {number} "), 1))
        .collect();
    let fetched = client.ok(&mut world, "FETCH 1:* (UID BODY.PEEK[])");
    assert!(fetched.untagged == expected.concat(), "another text");
}
