//! A look at a file that a server may have open, of this version or an older one: nothing of it is changed.
//!
//! Invariants: the file and what lies beside it are the same afterwards, whoever looks and whoever has it open; an older file
//! is read as it is.
//! Not here: bringing it to this version (`schema`), which is for whoever serves.

use super::schema::{SchemaError, VERSION};
use super::{Database, FILE_NAME, LOOKUP_TIMEOUT, OpenError, reach};
use crate::model::Domain;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of the file's schema.
    pub version: i64,
    /// Whether its mail is taken here.
    pub has_domain: bool,
}

impl Seen {
    /// The version that `serve` will make of it, if that is another one.
    #[must_use]
    pub fn upgrade(&self) -> Option<i64> {
        (self.version < VERSION).then_some(VERSION)
    }
}

impl Database {
    /// Looks at the directory in `data`, and for `domain` in it.
    ///
    /// # Errors
    /// [`OpenError`]: also for a file of a newer version.
    pub fn look(data: &Path, domain: &Domain) -> Result<Seen, OpenError> {
        let path = data.join(FILE_NAME);
        let seen = look(data, domain);
        seen.map_err(|cause| OpenError { path, cause })
    }

    /// Addresses whose mail can never be delivered, with the reason; some of them where there are many. Nothing is said of an
    /// older file: its aliases are brought to this version first.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn undeliverable(data: &Path) -> Result<Vec<String>, OpenError> {
        let path = data.join(FILE_NAME);
        undeliverable(data).map_err(|cause| OpenError { path, cause })
    }
}

fn undeliverable(data: &Path) -> Result<Vec<String>, SchemaError> {
    let connection = open(data)?;
    connection.busy_timeout(LOOKUP_TIMEOUT)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != VERSION {
        return Ok(Vec::new());
    }
    Ok(reach::undeliverable(&connection)?)
}

fn look(data: &Path, domain: &Domain) -> Result<Seen, SchemaError> {
    let connection = open(data)?;
    connection.busy_timeout(LOOKUP_TIMEOUT)?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > VERSION {
        return Err(SchemaError::Newer { found: version });
    }
    // Version 4 and older had domains as they were typed.
    let spellings = [
        domain.as_str().to_ascii_lowercase(),
        domain.to_unicode().to_lowercase(),
    ];
    let sql = "SELECT 1 FROM domain WHERE name IN (?1, ?2)";
    let has_domain = version > 0 && connection.prepare(sql)?.exists(spellings)?;
    Ok(Seen { version, has_domain })
}

/// Whoever has it open has a WAL, without which SQLite would not see what is new. A file that has none is at rest, and SQLite is
/// told so: it would make a WAL.
fn open(data: &Path) -> rusqlite::Result<Connection> {
    if data.join(format!("{FILE_NAME}-wal")).exists() {
        return Connection::open_with_flags(data.join(FILE_NAME), OpenFlags::SQLITE_OPEN_READ_ONLY);
    }
    open_at_rest(data)
}

/// A file that nobody has open: nothing is written beside it.
pub(super) fn open_at_rest(data: &Path) -> rusqlite::Result<Connection> {
    let path = data.join(FILE_NAME).display().to_string();
    let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    /// Every file with its content and the time of its last change.
    fn files(data: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
        let entries = std::fs::read_dir(data).expect("a directory");
        let file = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let content = std::fs::read(entry.path()).expect("it can be read");
            (name, (content, changed.expect("a time")))
        };
        entries.map(file).collect()
    }

    fn domain(text: &str) -> Domain {
        Domain::new(text).expect("a domain")
    }

    #[test]
    fn an_older_file_is_seen_as_it_is_and_stays_so_beside_whoever_has_it_open() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path();
        let older = Connection::open(data.join(FILE_NAME)).expect("a new file");
        let sql = include_str!("../../../tests/fixtures/directory-v4-international.sql");
        older.execute_batch(sql).expect("an old one");
        older
            .pragma_update(None, "journal_mode", "WAL")
            .expect("it is ours");
        older
            .execute(
                "INSERT INTO domain (name, created_at) VALUES ('late.example', 0), ('öl.example', 0)",
                [],
            )
            .expect("it is written into the WAL");
        let seen = |text: &str| Database::look(data, &domain(text)).expect("it can be read");
        for (text, has_domain) in [
            ("late.example", true),
            ("öl.example", true),
            ("other.example", false),
        ] {
            let expected = Seen {
                version: 4,
                has_domain,
            };
            assert_eq!(seen(text), expected, "{text}");
            assert_eq!(expected.upgrade(), Some(VERSION));
        }
        older
            .execute(
                "INSERT INTO domain (name, created_at) VALUES ('later.example', 0)",
                [],
            )
            .expect("whoever has it open can still write");
        assert!(seen("later.example").has_domain);
        drop(older);
        let before = files(data);
        assert_eq!(before.len(), 1, "{:?}", before.keys());
        assert_eq!(seen("later.example").version, 4);
        assert!(files(data) == before, "at rest nothing is written");
    }

    #[test]
    fn a_newer_file_and_what_is_none_are_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join(FILE_NAME);
        let look = || Database::look(directory.path(), &domain("example.org"));
        std::fs::write(&file, "no database, and long enough to be looked at as one").expect("room");
        assert!(look().is_err());
        std::fs::remove_file(&file).expect("it is there");
        drop(Database::open(directory.path()).expect("a new one"));
        assert_eq!(look().expect("it is good").upgrade(), None);
        let newer = Connection::open(&file).expect("it is there");
        newer
            .pragma_update(None, "user_version", VERSION + 1)
            .expect("it is ours");
        drop(newer);
        let told = look().expect_err("it is newer").to_string();
        assert!(told.contains("use the newer ringpost"), "{told}");
    }
}
