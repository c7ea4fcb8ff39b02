//! Maildir++ with Dovecot's files for what names of files cannot say.
//!
//! A message is a file in `cur`, its flags the letters behind `:2,`, its INTERNALDATE the time of its last change.
//! `dovecot-uidlist` says UIDVALIDITY, UIDNEXT, and of each UID the file and the UIDL; `dovecot-keywords` which keywords
//! the letters `a` to `z` mean. A keyword beyond the 26th has no letter: it is in the file's own list, `ringpost-keywords`.
//! Failure: a list that says a UID twice, or one that is none, is refused by its line; a name in the list without its file is passed over (another program deleted it); a file without a UID comes
//! last and gets a new one.
//! Standards: cr.yp.to/proto/maildir.html, Maildir++, Dovecot's format 3 of the list.

use super::{
    FiledMessage, MAILDIR_FLAGS, MailboxHead, PassedOver, Sink, Source, at, check_size, invalid,
    named_places, names,
};
use crate::base::clock::UnixMillis;
use crate::model::{Flags, UidValidity};
use crate::proto::imap::types::InternalDate;
use crate::store::UID_MAX;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const UIDLIST: &str = "dovecot-uidlist";
const KEYWORDS: &str = "dovecot-keywords";
const MORE_KEYWORDS: &str = "ringpost-keywords";
/// Letters that a name has for keywords.
const LETTERS: usize = 26;

/// Writes a Maildir.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    place: PathBuf,
    head: Option<MailboxHead>,
    list: Vec<u8>,
    more_keywords: Vec<u8>,
}

impl Writer {
    /// Into `root`, a directory that is there and empty.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            place: root.to_owned(),
            head: None,
            list: Vec::new(),
            more_keywords: Vec::new(),
        }
    }
}

impl Sink for Writer {
    fn begin_mailbox(&mut self, head: &MailboxHead) -> io::Result<()> {
        let name = names::directory(&head.name);
        self.place = self.root.join(name);
        for directory in ["cur", "new", "tmp"] {
            fs::create_dir_all(self.place.join(directory))?;
        }
        if self.place != self.root {
            // Tells a Maildir++ folder from a Maildir.
            File::create(self.place.join("maildirfolder"))?;
        }
        let validity = head.uid_validity.map_or(1, |validity| validity.0);
        self.list = format!("3 V{validity} N{}\n", head.uid_next).into_bytes();
        self.more_keywords.clear();
        self.head = Some(head.clone());
        Ok(())
    }

    fn message(&mut self, message: &FiledMessage) -> io::Result<()> {
        let head = self
            .head
            .as_ref()
            .ok_or_else(|| invalid("a message without a mailbox"))?;
        let validity = head.uid_validity.map_or(1, |validity| validity.0);
        let uid = message.uid.ok_or_else(|| invalid("a message without a UID"))?;
        let seconds = message.internal_date.at.seconds();
        let base = format!("{seconds}.R{uid}V{validity}.ringpost,S={}", message.octets.len());
        let mut letters: String = MAILDIR_FLAGS
            .iter()
            .filter(|(_, flag)| message.flags.contains(*flag))
            .map(|(letter, _)| *letter)
            .collect();
        let mut places: Vec<usize> = message
            .keywords
            .iter()
            .filter_map(|keyword| head.keywords.iter().position(|known| known == keyword))
            .collect();
        places.sort_unstable();
        letters.extend(
            places
                .iter()
                .filter(|place| **place < LETTERS)
                .map(|place| letter(*place)),
        );
        for place in places.iter().filter(|place| **place >= LETTERS) {
            let line = format!("{uid} {}\n", head.keywords[*place]);
            self.more_keywords.extend_from_slice(line.as_bytes());
        }
        let path = self.place.join("cur").join(format!("{base}:2,{letters}"));
        let mut file = File::create_new(path)?;
        file.write_all(&message.octets)?;
        file.set_modified(system_time(message.internal_date.at))?;
        file.sync_all()?;
        let own = || format!("{validity}.{uid}");
        let uidl = message.uidl.clone().unwrap_or_else(own);
        writeln!(self.list, "{uid} P{uidl} :{base}")
    }

    fn end_mailbox(&mut self) -> io::Result<()> {
        let head = self.head.as_ref().ok_or_else(|| invalid("no mailbox to end"))?;
        let known = head.keywords.iter().take(LETTERS).enumerate();
        let keywords: String = known
            .map(|(place, keyword)| format!("{place} {keyword}\n"))
            .collect();
        write_synced(&self.place.join(KEYWORDS), keywords.as_bytes())?;
        write_synced(&self.place.join(UIDLIST), &self.list)?;
        if !self.more_keywords.is_empty() {
            write_synced(&self.place.join(MORE_KEYWORDS), &self.more_keywords)?;
        }
        File::open(self.place.join("cur"))?.sync_all()?;
        File::open(&self.place)?.sync_all()
    }
}

fn letter(place: usize) -> char {
    char::from(b'a' + place as u8)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn system_time(at: UnixMillis) -> SystemTime {
    let distance = Duration::from_millis(at.0.unsigned_abs());
    let time = if at.0 < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// Reads a Maildir.
#[derive(Debug)]
pub struct Reader {
    root: PathBuf,
}

impl Reader {
    /// From `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }
}

impl Source for Reader {
    fn mailboxes(&self) -> io::Result<Vec<(MailboxHead, PathBuf)>> {
        check_maildir(&self.root)?;
        let mut found = vec![(read_head("INBOX", &self.root)?, self.root.clone())];
        for (name, place) in named_places(&self.root, names::mailbox)? {
            if HALVES.iter().any(|half| place.join(half).is_dir()) {
                check_maildir(&place)?;
                found.push((read_head(&name, &place)?, place));
            }
        }
        Ok(found)
    }

    fn messages(
        &self,
        place: &Path,
        passed_over: &mut PassedOver,
        each: &mut dyn FnMut(FiledMessage) -> io::Result<()>,
    ) -> io::Result<()> {
        let list = List::read(place)?;
        let letters = read_keywords(place)?;
        let more = read_more_keywords(place)?;
        let mut files: BTreeMap<(u32, String), PathBuf> = BTreeMap::new();
        let mut given = HashSet::new();
        for half in HALVES {
            let half = place.join(half);
            for entry in fs::read_dir(&half).map_err(at(&half))? {
                let entry = entry.map_err(at(&half))?;
                // One that is not UTF-8 has no UID in a list.
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') {
                    continue;
                }
                let kind = entry.file_type().map_err(at(&entry.path()))?;
                if !kind.is_file() {
                    passed_over.push(&entry.path(), kind_of(kind));
                    continue;
                }
                let base = name.split(":2,").next().unwrap_or(&name);
                // A name that is there twice (in cur and in new, or with other flags) has its UID once.
                let uid = list.uids.get(base).copied().filter(|uid| given.insert(*uid));
                let uid = uid.unwrap_or(u32::MAX);
                files.insert((uid, name), entry.path());
            }
        }
        for ((uid, name), path) in files {
            let uid = (uid != u32::MAX).then_some(uid);
            let info = name.split_once(":2,").map_or("", |(_, info)| info);
            let uidl = uid.and_then(|uid| list.uidls.get(&uid).cloned());
            let mut keywords: Vec<String> = info
                .chars()
                .filter_map(|letter| letters.get(&letter).cloned())
                .collect();
            keywords.extend(uid.and_then(|uid| more.get(&uid)).into_iter().flatten().cloned());
            let of = |letter| MAILDIR_FLAGS.iter().find(|(known, _)| *known == letter);
            let flags = info
                .chars()
                .filter_map(of)
                .fold(Flags::default(), |flags, (_, flag)| flags.with(*flag));
            let (internal_date, octets) = match read_file(&path)? {
                Ok(read) => read,
                Err(why) => {
                    passed_over.push(&path, why);
                    continue;
                }
            };
            each(FiledMessage {
                uid,
                uidl,
                flags,
                keywords,
                internal_date,
                octets,
            })?;
        }
        Ok(())
    }
}

/// What `dovecot-uidlist` says.
#[derive(Default)]
struct List {
    uid_validity: Option<UidValidity>,
    uid_next: u32,
    uids: HashMap<String, u32>,
    /// Of those that have one of their own.
    uidls: HashMap<u32, String>,
}

impl List {
    fn read(place: &Path) -> io::Result<Self> {
        let mut list = Self {
            uid_next: 1,
            ..Self::default()
        };
        let path = place.join(UIDLIST);
        let Some(text) = read_if_there(&path)? else {
            return Ok(list);
        };
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let field = |key| {
            head.split(' ')
                .find_map(|field| field.strip_prefix(key)?.parse::<u32>().ok())
        };
        if !head.starts_with("3 ") {
            return Err(invalid(format!("{}:1: this is not of format 3", path.display())));
        }
        list.uid_validity = field('V').filter(|validity| *validity > 0).map(UidValidity);
        list.uid_next = field('N').unwrap_or(1);
        let mut lines_of = HashMap::new();
        for (line, number) in lines.zip(2..) {
            let (Some((uid, _)), Some((fields, file))) = (line.split_once(' '), line.split_once(" :")) else {
                continue;
            };
            let base = file.split(":2,").next().unwrap_or(file);
            if let Ok(uid) = uid.parse::<u32>() {
                let refuse =
                    |why: &str| Err(invalid(format!("{}:{number}: UID {uid} {why}", path.display())));
                if uid == 0 || uid > UID_MAX {
                    return refuse(&format!("is none: they are from 1 to {UID_MAX}"));
                }
                if let Some(before) = lines_of.insert(uid, number) {
                    return refuse(&format!("is in line {before}, too"));
                }
                list.uid_next = list.uid_next.max(uid.saturating_add(1));
                list.uids.insert(base.to_owned(), uid);
                let uidl = fields
                    .split(' ')
                    .skip(1)
                    .find_map(|field| field.strip_prefix('P'));
                list.uidls.extend(uidl.map(|uidl| (uid, uidl.to_owned())));
            }
        }
        Ok(list)
    }
}

fn read_head(name: &str, place: &Path) -> io::Result<MailboxHead> {
    let list = List::read(place)?;
    Ok(MailboxHead {
        name: name.to_owned(),
        uid_validity: list.uid_validity,
        uid_next: list.uid_next,
        keywords: Vec::new(),
    })
}

fn read_keywords(place: &Path) -> io::Result<HashMap<char, String>> {
    let text = read_if_there(&place.join(KEYWORDS))?.unwrap_or_default();
    let line = |line: &str| {
        let (place, keyword) = line.split_once(' ')?;
        let place = place.parse::<usize>().ok().filter(|place| *place < LETTERS)?;
        Some((letter(place), keyword.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

fn read_more_keywords(place: &Path) -> io::Result<HashMap<u32, Vec<String>>> {
    let mut found: HashMap<u32, Vec<String>> = HashMap::new();
    for line in read_if_there(&place.join(MORE_KEYWORDS))?
        .unwrap_or_default()
        .lines()
    {
        if let Some((uid, keyword)) = line.split_once(' ')
            && let Ok(uid) = uid.parse()
        {
            found.entry(uid).or_default().push(keyword.to_owned());
        }
    }
    Ok(found)
}

fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    }
}

/// Where messages lie.
const HALVES: [&str; 2] = ["cur", "new"];

fn check_maildir(place: &Path) -> io::Result<()> {
    let missing = HALVES.iter().find(|half| !place.join(half).is_dir());
    missing.map_or(Ok(()), |half| {
        let place = place.display();
        Err(invalid(format!(
            "{place} is no Maildir: it has no directory {half} (one without messages is empty)"
        )))
    })
}

fn kind_of(kind: fs::FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else {
        "neither a file nor a directory"
    }
}

/// The inner error: it cannot be read, others may be.
fn read_file(path: &Path) -> io::Result<io::Result<(InternalDate, Vec<u8>)>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(why) => return Ok(Err(why)),
    };
    check_size(metadata.len(), || path.display().to_string())?;
    Ok(date_of(&metadata).and_then(|date| Ok((date, fs::read(path)?))))
}

fn date_of(metadata: &fs::Metadata) -> io::Result<InternalDate> {
    let modified = metadata.modified()?;
    let milliseconds = match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    Ok(InternalDate {
        at: UnixMillis(milliseconds),
        zone_minutes: 0,
    })
}
