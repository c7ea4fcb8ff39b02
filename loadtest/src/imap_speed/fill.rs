//! The mailboxes that are measured: `small`, `large` and `many` of user 1, filled by APPENDs of many messages each, with messages for other
//! accounts in between so that one mailbox does not lie in one piece.

use super::wire::Wire;
use super::{Options, Server};
use std::io;

/// Mailboxes of user 1.
pub const SMALL: &str = "small";
pub const LARGE: &str = "large";
pub const MANY: &str = "many";

/// Octets of the messages in each.
pub const SMALL_BYTES: usize = 4_096;
pub const LARGE_BYTES: usize = 51_200;
pub const MANY_BYTES: usize = 700;

/// Messages of one APPEND: what every server takes (Ringpost 32).
const BATCH: usize = 25;

/// Fills what is measured.
pub fn fill(server: &Server, options: &Options) -> io::Result<()> {
    let mut wire = Wire::log_in(server.address, &options.login(1), &options.password)?;
    let mut others = (0..options.fillers)
        .map(|n| Wire::log_in(server.address, &options.login(n + 2), &options.password))
        .collect::<io::Result<Vec<_>>>()?;
    let mut turn = 0;
    let mailboxes = [
        (SMALL, options.small, SMALL_BYTES),
        (LARGE, options.large, LARGE_BYTES),
        (MANY, options.many, MANY_BYTES),
    ];
    for (mailbox, count, bytes) in mailboxes {
        eprintln!(
            "{}: filling {mailbox} with {count} messages of {bytes} octets",
            server.name
        );
        // An earlier run may have made it.
        let _ = wire.command(&format!("DELETE {mailbox}"));
        wire.command(&format!("CREATE {mailbox}"))?;
        for start in (0..count).step_by(BATCH) {
            let end = count.min(start + BATCH);
            let messages: Vec<Vec<u8>> = (start..end).map(|n| message(n, bytes)).collect();
            wire.append_all(mailbox, &messages)?;
            if !others.is_empty() {
                let at = turn % others.len();
                others[at].append_all("INBOX", &[message(turn, SMALL_BYTES)])?;
                turn += 1;
            }
        }
    }
    Ok(())
}

const WORDS: [&str; 16] = [
    "meeting", "tomorrow", "regards", "invoice", "the", "please", "attached", "project", "and", "schedule",
    "of", "review", "budget", "to", "delivery", "question",
];

/// A plain letter of about this many octets, another one for every number.
pub fn message(number: usize, bytes: usize) -> Vec<u8> {
    let mut text = format!(
        "From: Sender {number} <sender{}@example.net>\r\nTo: User One <user1@example.org>\r\nCc: list{}@example.com\r\n\
         Subject: Letter {number} about {}\r\nDate: Wed, {:02} Nov 2026 10:{:02}:{:02} +0000\r\n\
         Message-ID: <{number}.{bytes}@example.net>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        number % 97,
        number % 13,
        WORDS[number % WORDS.len()],
        number % 28 + 1,
        number / 60 % 60,
        number % 60,
    );
    let mut word = number;
    let mut column = 0;
    while text.len() + 10 < bytes {
        let next = WORDS[word % WORDS.len()];
        text.push_str(next);
        column += next.len() + 1;
        word = word
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407)
            >> 3;
        if column > 66 {
            text.push_str("\r\n");
            column = 0;
        } else {
            text.push(' ');
        }
    }
    text.push_str("\r\n");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_and_are_about_as_long_as_asked() {
        for bytes in [MANY_BYTES, SMALL_BYTES, LARGE_BYTES] {
            let (one, two) = (message(1, bytes), message(2, bytes));
            assert_ne!(one, two);
            assert!(one.len().abs_diff(bytes) < 32, "{} for {bytes}", one.len());
            assert!(
                one.ends_with(b"\r\n") && !one.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
            );
        }
    }
}
