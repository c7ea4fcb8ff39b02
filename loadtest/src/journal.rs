//! What was sent and what was acknowledged, kept outside the server under test: the oracle's half of every crash test.
//!
//! One line an event, fields parted by tabs:
//! ```text
//! S  id  recipients (comma)  octets  sha256  µs since the run began     about to send
//! A  id  µs since the run began  the server's reply                     acknowledged
//! R  id  µs since the run began  the server's reply                     refused
//! ```
//! An id with an S alone was cut off: it may be there once or not at all, like one that was refused.
//! Failure: a generator that dies may lose its last lines; only the server is ever killed here.

use crate::message::MessageId;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::Instant;

/// Lines are written to the file in blocks of about this size, and each block in one call, so that the threads of a
/// run, which append to one file, never mix within a line.
const BLOCK_BYTES: usize = 64 * 1024;

/// One thread's end of a journal.
pub struct Journal {
    file: File,
    block: Vec<u8>,
    began: Instant,
}

impl Journal {
    /// Opens `path` for appending: a journal may span several runs.
    pub fn append(path: &Path, began: Instant) -> io::Result<Journal> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Journal {
            file,
            block: Vec::with_capacity(BLOCK_BYTES * 2),
            began,
        })
    }

    pub fn sending(
        &mut self,
        id: MessageId,
        recipients: &str,
        octets: usize,
        digest: &[u8; 32],
        now: Instant,
    ) {
        self.begin(b'S', id);
        let micros = self.micros(now);
        let _ = writeln!(
            self.block,
            "\t{recipients}\t{octets}\t{}\t{micros}",
            hexadecimal(digest)
        );
        self.flush_full();
    }

    pub fn answered(&mut self, id: MessageId, is_acknowledged: bool, reply: &[u8], now: Instant) {
        self.begin(if is_acknowledged { b'A' } else { b'R' }, id);
        let micros = self.micros(now);
        let _ = write!(self.block, "\t{micros}\t");
        self.block
            .extend(reply.iter().filter(|byte| !byte.is_ascii_control()));
        self.block.push(b'\n');
        self.flush_full();
    }

    pub fn close(mut self) -> io::Result<()> {
        self.file.write_all(&self.block)
    }

    fn begin(&mut self, kind: u8, id: MessageId) {
        self.block.extend_from_slice(&[kind, b'\t']);
        self.block.extend_from_slice(&id.to_text());
    }

    fn micros(&self, now: Instant) -> u128 {
        now.saturating_duration_since(self.began).as_micros()
    }

    fn flush_full(&mut self) {
        if self.block.len() < BLOCK_BYTES {
            return;
        }
        if let Err(error) = self.file.write_all(&self.block) {
            // A journal with holes proves nothing.
            eprintln!("loadtest: the journal cannot be written: {error}");
            std::process::exit(2);
        }
        self.block.clear();
    }
}

/// What is known of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub recipients: Vec<String>,
    pub digest: [u8; 32],
    pub is_acknowledged: bool,
}

/// Reads a journal back.
pub fn read(path: &Path) -> io::Result<HashMap<MessageId, Entry>> {
    let mut entries: HashMap<MessageId, Entry> = HashMap::new();
    for (number, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = line?;
        if read_line(&line, &mut entries).is_none() {
            let message = format!("{}:{}: not a journal line: {line}", path.display(), number + 1);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
    Ok(entries)
}

fn read_line(line: &str, entries: &mut HashMap<MessageId, Entry>) -> Option<()> {
    let mut fields = line.split('\t');
    let kind = fields.next()?;
    let id = MessageId::from_text(fields.next()?.as_bytes())?;
    match kind {
        "S" => {
            let recipients = fields.next()?.split(',').map(str::to_owned).collect();
            let digest = from_hexadecimal(fields.nth(1)?)?;
            entries.insert(
                id,
                Entry {
                    recipients,
                    digest,
                    is_acknowledged: false,
                },
            );
        }
        "A" => entries.get_mut(&id)?.is_acknowledged = true,
        "R" => {}
        _ => return None,
    }
    Some(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)] as char,
                DIGITS[usize::from(byte & 15)] as char,
            ]
        })
        .collect()
}

fn from_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_journalled_is_read_back() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("journal");
        let now = Instant::now();
        let id = |counter| MessageId { run: 7, counter };
        let mut journal = Journal::append(&path, now)?;
        for counter in 0..3 {
            journal.sending(
                id(counter),
                "a@example.org,b@example.org",
                10,
                &[counter as u8; 32],
                now,
            );
        }
        journal.answered(id(0), true, b"250 2.0.0 done\r", now);
        journal.answered(id(1), false, b"451 4.3.0 later", now);
        journal.close()?;
        let entries = read(&path)?;
        assert_eq!(entries.len(), 3);
        assert!(entries[&id(0)].is_acknowledged);
        assert!(!entries[&id(1)].is_acknowledged && !entries[&id(2)].is_acknowledged);
        assert_eq!(entries[&id(2)].digest, [2; 32]);
        assert_eq!(entries[&id(2)].recipients, ["a@example.org", "b@example.org"]);
        Ok(())
    }
}
