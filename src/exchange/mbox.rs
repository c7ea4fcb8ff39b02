//! One mbox file a mailbox, with the header fields in which mail programs keep UIDs and flags.
//!
//! Each message is a `From ` line; fields of ours, in this order: `X-IMAPbase` (UIDVALIDITY, last UID, keywords; first
//! message only), `X-UIDL` (where it is not our own), `X-UID`, `Status`, `X-Status`, `X-Keywords`, `X-Internal-Date`, `Content-Length`; then its octets, in which
//! each line that begins with `From `, behind any number of `>`, has one more `>`; then an empty line.
//! A mailbox without messages has one that says so, as Dovecot's and UW's programs leave it, with `X-IMAP` for `X-IMAPbase`.
//! Reading takes these fields off where they stand first; a message without `Content-Length` among them ends before the
//! next `From ` line.
//! Standards: RFC 4155, mboxrd's quoting.

use super::{
    FiledMessage, MailboxHead, PassedOver, Sink, Source, at, check_size, invalid, named_places, names,
};
use crate::base::clock::UnixMillis;
use crate::model::{Flags, UidValidity};
use crate::proto::imap::types::InternalDate;
use memchr::memmem;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What the message in an empty mailbox is known by.
const PLACEHOLDER: &str = "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA";
const X_STATUS: [(char, Flags); 4] = [
    ('A', Flags::ANSWERED),
    ('F', Flags::FLAGGED),
    ('T', Flags::DRAFT),
    ('D', Flags::DELETED),
];

/// Writes mbox files.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    open: Option<(MailboxHead, BufWriter<File>, bool)>,
}

impl Writer {
    /// Into `root`, a directory that is there and empty.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            open: None,
        }
    }
}

impl Sink for Writer {
    fn begin_mailbox(&mut self, head: &MailboxHead) -> io::Result<()> {
        let name = names::mbox_file(&head.name);
        let file = BufWriter::new(File::create_new(self.root.join(name))?);
        self.open = Some((head.clone(), file, true));
        Ok(())
    }

    fn message(&mut self, message: &FiledMessage) -> io::Result<()> {
        let Some((head, file, is_first)) = &mut self.open else {
            return Err(invalid("a message without a mailbox"));
        };
        let uid = message.uid.ok_or_else(|| invalid("a message without a UID"))?;
        write!(file, "{}", from_line(message.internal_date))?;
        if std::mem::take(is_first) {
            write!(file, "X-IMAPbase: {}\r\n", base(head))?;
        }
        let seen = if message.flags.contains(Flags::SEEN) {
            "R"
        } else {
            ""
        };
        let letters = X_STATUS.iter().filter(|(_, flag)| message.flags.contains(*flag));
        let letters: String = letters.map(|(letter, _)| *letter).collect();
        if let Some(uidl) = &message.uidl {
            write!(file, "X-UIDL: {uidl}\r\n")?;
        }
        let quoted = quote(&message.octets);
        let InternalDate { at, zone_minutes } = message.internal_date;
        write!(
            file,
            "X-UID: {uid}\r\nStatus: {seen}O\r\nX-Status: {letters}\r\nX-Keywords: {}\r\nX-Internal-Date: {} {}\r\nContent-Length: {}\r\n",
            message.keywords.join(" "),
            at.0,
            zone_minutes,
            quoted.len()
        )?;
        file.write_all(&quoted)?;
        file.write_all(b"\r\n")
    }

    fn end_mailbox(&mut self) -> io::Result<()> {
        let Some((head, mut file, is_empty)) = self.open.take() else {
            return Err(invalid("no mailbox to end"));
        };
        if is_empty {
            let from = from_line(InternalDate {
                at: UnixMillis(0),
                zone_minutes: 0,
            });
            write!(file, "{from}{PLACEHOLDER}\r\nX-IMAP: {}\r\n\r\n\r\n", base(&head))?;
        }
        file.flush()?;
        file.get_ref().sync_all()?;
        File::open(&self.root)?.sync_all()
    }
}

/// The `From ` line's date is in UTC, as asctime writes it.
fn from_line(date: InternalDate) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let timestamp = jiff::Timestamp::from_second(date.at.seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let utc = timestamp.to_zoned(jiff::tz::TimeZone::UTC);
    let day = DAYS[date.at.seconds().div_euclid(86_400).rem_euclid(7) as usize];
    format!(
        "From MAILER-DAEMON {day} {} {:2} {:02}:{:02}:{:02} {:04}\r\n",
        MONTHS[usize::from(utc.month().unsigned_abs()) - 1],
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second(),
        utc.year()
    )
}

fn base(head: &MailboxHead) -> String {
    let validity = head.uid_validity.map_or(1, |validity| validity.0);
    let mut text = format!("{validity} {:010}", head.uid_next.saturating_sub(1));
    for keyword in &head.keywords {
        text.push(' ');
        text.push_str(keyword);
    }
    text
}

/// Does a line begin like `From `, but for `>`s?
fn looks_like_from(line: &[u8]) -> bool {
    let start = line.iter().position(|byte| *byte != b'>').unwrap_or(line.len());
    line[start..].starts_with(b"From ")
}

fn quote(octets: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(octets.len());
    for line in octets.split_inclusive(|byte| *byte == b'\n') {
        if looks_like_from(line) {
            quoted.push(b'>');
        }
        quoted.extend_from_slice(line);
    }
    quoted
}

fn unquote(quoted: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(quoted.len());
    for line in quoted.split_inclusive(|byte| *byte == b'\n') {
        let is_quoted = line.first() == Some(&b'>') && looks_like_from(line);
        octets.extend_from_slice(if is_quoted { &line[1..] } else { line });
    }
    octets
}

/// Reads mbox files.
#[derive(Debug)]
pub struct Reader {
    root: PathBuf,
}

impl Reader {
    /// Every `*.mbox` in `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }
}

impl Source for Reader {
    fn mailboxes(&self) -> io::Result<Vec<(MailboxHead, PathBuf)>> {
        let mut found = Vec::new();
        for (name, place) in named_places(&self.root, names::mailbox_of_mbox)? {
            found.push((read_head(&name, &fs::read(&place).map_err(at(&place))?), place));
        }
        if found.is_empty() {
            return Err(invalid(format!("{} has no *.mbox", self.root.display())));
        }
        Ok(found)
    }

    fn messages(
        &self,
        place: &Path,
        _passed_over: &mut PassedOver,
        each: &mut dyn FnMut(FiledMessage) -> io::Result<()>,
    ) -> io::Result<()> {
        // LIMITATION: the whole file is in memory, as a mailbox of that form was made to be read.
        let text = fs::read(place).map_err(at(place))?;
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (message, behind) = read_message(rest)
                .ok_or_else(|| invalid(format!("{}: no From line where one must be", place.display())))?;
            rest = behind;
            if let Some(message) = message {
                let place = || format!("{}: at octet {}", place.display(), text.len() - rest.len());
                check_size(message.octets.len() as u64, place)?;
                each(message)?;
            }
        }
        Ok(())
    }
}

fn line_end(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1)
}

/// The fields of ours that a message begins with.
#[derive(Default)]
struct Fields {
    base: Option<String>,
    uid: Option<u32>,
    uidl: Option<String>,
    flags: Flags,
    keywords: Vec<String>,
    date: Option<InternalDate>,
    length: Option<usize>,
    is_placeholder: bool,
}

impl Fields {
    /// Takes them off `text`. Gives where what follows begins.
    fn read(text: &[u8]) -> (Self, usize) {
        let mut fields = Self::default();
        let mut at = 0;
        while at < text.len() {
            let end = at + line_end(&text[at..]);
            let line = String::from_utf8_lossy(&text[at..end]);
            // Content-Length is the last that we write: what stands behind it is the message's own.
            if fields.length.is_some() || !fields.take(line.trim_end()) {
                break;
            }
            at = end;
        }
        (fields, at)
    }

    /// False: it is none of ours.
    fn take(&mut self, line: &str) -> bool {
        if line == PLACEHOLDER {
            self.is_placeholder = true;
            return true;
        }
        let Some((name, value)) = line.split_once(':') else {
            return false;
        };
        let value = value.trim();
        match name {
            "X-IMAPbase" | "X-IMAP" => self.base = Some(value.to_owned()),
            "X-UID" => self.uid = value.parse().ok(),
            "X-UIDL" => self.uidl = Some(value.to_owned()),
            "Status" if value.contains('R') => self.flags = self.flags.with(Flags::SEEN),
            "Status" => {}
            "X-Status" => {
                let known = X_STATUS.iter().filter(|(letter, _)| value.contains(*letter));
                self.flags = known.fold(self.flags, |flags, (_, flag)| flags.with(*flag));
            }
            "X-Keywords" => self.keywords = value.split_whitespace().map(str::to_owned).collect(),
            "X-Internal-Date" => self.date = date(value),
            "Content-Length" => self.length = value.parse().ok(),
            _ => return false,
        }
        true
    }
}

fn date(value: &str) -> Option<InternalDate> {
    let (at, zone) = value.split_once(' ')?;
    Some(InternalDate {
        at: UnixMillis(at.parse().ok()?),
        zone_minutes: zone.parse().ok()?,
    })
}

/// The first message, unless it only holds a mailbox's data, and what lies behind it.
fn read_message(text: &[u8]) -> Option<(Option<FiledMessage>, &[u8])> {
    if !text.starts_with(b"From ") {
        return None;
    }
    let text = &text[line_end(text)..];
    let (fields, start) = Fields::read(text);
    let text = &text[start..];
    let end = match fields.length {
        Some(length) if length <= text.len() => length,
        _ => end_of_message(text),
    };
    let quoted = &text[..end];
    let behind = &text[end..];
    let behind = behind
        .strip_prefix(b"\r\n")
        .or_else(|| behind.strip_prefix(b"\n"))
        .unwrap_or(behind);
    if fields.is_placeholder {
        return Some((None, behind));
    }
    let octets = unquote(quoted);
    let message = FiledMessage {
        uid: fields.uid,
        uidl: fields.uidl.or_else(|| uidl_in_header(&octets)),
        flags: fields.flags,
        keywords: fields.keywords,
        internal_date: fields.date.unwrap_or(InternalDate {
            at: UnixMillis(0),
            zone_minutes: 0,
        }),
        octets,
    };
    Some((Some(message), behind))
}

/// Other programs write the field anywhere in the header; there it is the message's own and stays.
fn uidl_in_header(octets: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"X-UIDL:";
    let mut lines = octets.split(|octet| *octet == b'\n');
    let header = lines
        .by_ref()
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut header = header.take_while(|line| !line.is_empty());
    let line = header.find(|line| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })?;
    Some(String::from_utf8_lossy(&line[NAME.len()..]).trim().to_owned())
}

/// Where the empty line before the next `From ` line begins, or the text ends.
fn end_of_message(text: &[u8]) -> usize {
    for at in memmem::find_iter(text, b"\nFrom ") {
        let before = &text[..=at];
        if before.ends_with(b"\n\r\n") {
            return at - 1;
        }
        if before.ends_with(b"\n\n") {
            return at;
        }
    }
    let trimmed = text.strip_suffix(b"\r\n").or_else(|| text.strip_suffix(b"\n"));
    trimmed.filter(|text| text.ends_with(b"\n")).unwrap_or(text).len()
}

fn read_head(name: &str, text: &[u8]) -> MailboxHead {
    let start = line_end(text);
    let (fields, _) = Fields::read(&text[start..]);
    let base = fields.base.unwrap_or_default();
    let mut words = base.split_whitespace();
    let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
    let uid_validity = number().filter(|validity| *validity > 0).map(UidValidity);
    MailboxHead {
        name: name.to_owned(),
        uid_validity,
        uid_next: number().unwrap_or(0).saturating_add(1),
        keywords: words.map(str::to_owned).collect(),
    }
}
