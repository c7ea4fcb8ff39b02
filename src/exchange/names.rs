//! Names of mailboxes as names of files: Maildir++ directories and mbox files.
//!
//! Invariants: two mailboxes never have the same file name; INBOX is the root of a Maildir.
//! Standards: Maildir++ (`.` between levels), modified UTF-7 (RFC 3501 §5.1.3) for what is not ASCII. A dot or slash
//! that is part of a level is written in modified UTF-7, too, which Dovecot reads as what it is.

use crate::proto::imap::utf7;
use aws_lc_rs::digest::{SHA256, digest};

/// Longer names do not fit a file system: see [`directory`].
const FILE_NAME_BYTES_MAX: usize = 200;
/// Of a digest that stands for the end of a long name: two of an account's mailboxes do not meet in it by chance.
const DIGEST_BYTES: usize = 10;

/// `.Work.2024` for `Work/2024`; an empty text for INBOX. A name too long for a file keeps its beginning and ends in a part
/// of its SHA-256: the sidecar says what it was.
#[must_use]
pub fn directory(mailbox: &str) -> String {
    if mailbox.eq_ignore_ascii_case("INBOX") {
        return String::new();
    }
    let levels = mailbox.split('/').map(level);
    let name: String = levels.flat_map(|level| [".".to_owned(), level]).collect();
    if name.len() <= FILE_NAME_BYTES_MAX {
        return name;
    }
    let end = digest(&SHA256, mailbox.as_bytes());
    let mut kept = FILE_NAME_BYTES_MAX - 2 * DIGEST_BYTES - 2;
    while !name.is_char_boundary(kept) {
        kept -= 1;
    }
    // Neither half a level of modified UTF-7 nor a dot at its end.
    let beginning = name[..kept].trim_end_matches('.');
    let beginning = match beginning.rfind('&') {
        Some(open) if !beginning[open..].contains('-') => &beginning[..open],
        _ => beginning,
    };
    let end: String = end.as_ref()[..DIGEST_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(".{}-{end}", beginning.trim_matches('.'))
}

fn level(level: &str) -> String {
    let mut name = String::new();
    for (index, part) in level.split('.').enumerate() {
        if index > 0 {
            // A dot in modified UTF-7.
            name.push_str("&AC4-");
        }
        let mut encoded = Vec::new();
        utf7::encode(part, &mut encoded);
        name.push_str(&String::from_utf8_lossy(&encoded));
    }
    name
}

/// The mailbox of a directory in a Maildir++; `None`: it is not one.
#[must_use]
pub fn mailbox(directory: &str) -> Option<String> {
    let levels: Vec<String> = directory.strip_prefix('.')?.split('.').map(decode).collect();
    let is_name = levels
        .iter()
        .all(|level| !level.is_empty() && !level.contains('/'));
    is_name.then(|| levels.join("/"))
}

fn decode(level: &str) -> String {
    // A dot is ASCII, which our own decoder rightly refuses in its encoded form.
    let parts = level
        .split("&AC4-")
        .map(|part| utf7::decode(part.as_bytes()).unwrap_or_else(|_| part.to_owned()));
    parts.collect::<Vec<_>>().join(".")
}

/// `INBOX.mbox`, `Work.2024.mbox`.
#[must_use]
pub fn mbox_file(mailbox: &str) -> String {
    let name = directory(mailbox);
    let name = name.strip_prefix('.').unwrap_or("INBOX");
    format!("{name}.mbox")
}

/// The mailbox of such a file.
#[must_use]
pub fn mailbox_of_mbox(file: &str) -> Option<String> {
    let name = file.strip_suffix(".mbox")?;
    if name == "INBOX" {
        return Some(name.to_owned());
    }
    mailbox(&format!(".{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for name in [
            "INBOX",
            "Work",
            "Work/2024",
            "a.b/c",
            "Entwürfe/Übrig",
            "A&B",
            "x.",
            "&",
            "日本語",
        ] {
            let directory = directory(name);
            assert!(!directory.contains('/'), "{directory}");
            if name != "INBOX" {
                assert_eq!(mailbox(&directory).as_deref(), Some(name), "{directory}");
            }
            let file = mbox_file(name);
            assert_eq!(mailbox_of_mbox(&file).as_deref(), Some(name), "{file}");
        }
    }

    #[test]
    fn long_names_fit_and_differ() {
        for long in [
            "x".repeat(300),
            "ä".repeat(150),
            "x/".repeat(120) + "x",
            "ä/".repeat(90) + "ä",
        ] {
            let (one, other) = (directory(&long), directory(&format!("{long}y")));
            assert!(one.len() <= FILE_NAME_BYTES_MAX, "{one}");
            assert_ne!(one, other);
            assert!(mailbox(&one).is_some(), "{one}");
            assert!(mailbox_of_mbox(&mbox_file(&long)).is_some());
        }
    }

    #[test]
    fn foreign_directories_are_none() {
        assert_eq!(mailbox("cur"), None);
        assert_eq!(mailbox(".a..b"), None);
    }
}
