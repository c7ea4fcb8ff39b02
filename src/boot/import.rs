//! Accounts of another server, from its file: all problems at once, by line.
//!
//! Passwd-file, as Dovecot has it: `user:hash:uid:gid:name:home:shell:extra fields`. The hash without `{SCHEME}` is crypt's.
//! Of the extra fields the quota is taken (`userdb_quota_rule=*:storage=5G`), the others are for a file system that is not
//! here. CSV: a head with `address` and any of the columns below; passwords in plain text are hashed on all cores, when
//! nothing is wrong with the file.

use super::BootError;
use super::console::ProgressLine;
use super::passwords::{Password, hash_all};
use crate::auth::scheme;
use crate::cli::manage::ImportFormat;
use crate::config::option::parse_bytes;
use crate::directory::orders::{AccountSettings, Hash, NewAccount};
use crate::disk::small;
use crate::model::{AddrSpec, Domain};
use std::collections::HashMap;
use std::path::Path;

/// Of a file, bytes: a million accounts have some 200 MB.
const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Problems told of one file.
const PROBLEMS_MAX: usize = 50;

/// Columns of a CSV file.
const COLUMNS: [&str; 8] = [
    "address",
    "password",
    "hash",
    "name",
    "quota",
    "protocols",
    "forward",
    "enabled",
];

/// An account, and its password where that is not hashed yet.
type Entry = (NewAccount, Option<String>);

/// Reads `file`; names without a domain get `domain`. `keeps_scram`: whether a domain wants verifiers beside hashes.
///
/// # Errors
/// [`BootError::Admin`] with all that is wrong with it.
pub fn read(
    file: &Path,
    format: ImportFormat,
    domain: Option<&str>,
    keeps_scram: impl Fn(&Domain) -> bool,
) -> Result<Vec<NewAccount>, BootError> {
    let unreadable = |why: String| BootError::Admin(format!("{}: {why}", file.display()));
    let text = small::read_stream(file, BYTES_MAX).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|octet| **octet == b'\n').count() + 1;
        unreadable(format!("line {line} is not UTF-8"))
    })?;
    if format == ImportFormat::Passwd && has_csv_head(&text) {
        return Err(unreadable(
            "this is CSV by its first line, nothing was imported: say --format csv".to_owned(),
        ));
    }
    let (entries, mut problems) = match format {
        ImportFormat::Passwd => passwd(&text, domain),
        ImportFormat::Csv => csv(&text, domain),
    };
    if problems.is_empty() {
        return with_hashes(entries, keeps_scram);
    }
    let count = problems.len();
    problems.truncate(PROBLEMS_MAX);
    let name = file.display();
    let lines: Vec<String> = problems
        .iter()
        .map(|(line, why)| format!("{name}:{line}: {why}"))
        .collect();
    Err(BootError::Admin(format!(
        "{count} problems, nothing was imported:\n{}",
        lines.join("\n")
    )))
}

/// A line of a passwd-file has a colon behind its name, the head of a CSV file the columns' names.
fn has_csv_head(text: &str) -> bool {
    let head = text
        .trim_start_matches('\u{feff}')
        .lines()
        .next()
        .unwrap_or_default();
    let mut columns = head
        .split([',', ';', '\t'])
        .map(|column| column.trim().trim_matches('"'));
    !head.contains(':') && columns.any(|column| column.eq_ignore_ascii_case("address"))
}

/// Hashes what is in plain text.
fn with_hashes(
    entries: Vec<Entry>,
    keeps_scram: impl Fn(&Domain) -> bool,
) -> Result<Vec<NewAccount>, BootError> {
    let (mut accounts, mut places, mut passwords) =
        (Vec::with_capacity(entries.len()), Vec::new(), Vec::new());
    for (account, password) in entries {
        if let Some(text) = password {
            // What is no address is refused with everything else, by the directory.
            let address = AddrSpec::parse(&account.address);
            places.push(accounts.len());
            passwords.push(Password {
                text,
                keeps_scram: address.is_ok_and(|address| keeps_scram(&address.domain)),
            });
        }
        accounts.push(account);
    }
    let mut line = ProgressLine::new("hashing");
    let total = passwords.len();
    let hashed = hash_all(&passwords, |done| {
        line.tell_count(done, &format!("of {total} passwords"))
    })?;
    for (at, hashes) in places.into_iter().zip(hashed) {
        accounts[at].hashes = hashes;
    }
    Ok(accounts)
}

type Read = (Vec<Entry>, Vec<(u64, String)>);

fn collect(entries: impl Iterator<Item = (u64, Result<Entry, String>)>) -> Read {
    let (mut good, mut problems) = Read::default();
    for (line, entry) in entries {
        match entry {
            Ok(entry) => good.push(entry),
            Err(why) => problems.push((line, why)),
        }
    }
    (good, problems)
}

fn passwd(text: &str, domain: Option<&str>) -> Read {
    let lines = text.lines().enumerate();
    let entries = lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            (
                at as u64 + 1,
                passwd_line(line, domain).map(|account| (account, None)),
            )
        });
    collect(entries)
}

fn passwd_line(line: &str, domain: Option<&str>) -> Result<NewAccount, String> {
    let mut fields = line.splitn(8, ':');
    let user = fields.next().unwrap_or_default();
    let hash = fields.next().ok_or("a user, a colon and a hash are wanted")?;
    let (_uid, _gid) = (fields.next(), fields.next());
    let name = fields.next().unwrap_or_default();
    let (_home, _shell) = (fields.next(), fields.next());
    let mut set = AccountSettings::default();
    if !name.is_empty() {
        set.name = Some(name.to_owned());
    }
    for field in fields.next().unwrap_or_default().split_whitespace() {
        if let Some(rule) = field.strip_prefix("userdb_quota_rule=") {
            let size = rule.split_once("storage=").map(|(_, size)| size);
            set.quota_bytes = Some(
                size.and_then(parse_bytes)
                    .ok_or_else(|| format!("{field} is no quota"))?,
            );
        }
    }
    Ok(NewAccount {
        address: with_domain(user, domain)?,
        hashes: known_hash(hash)?,
        set,
        id: None,
    })
}

fn with_domain(user: &str, domain: Option<&str>) -> Result<String, String> {
    match domain {
        _ if user.contains('@') => Ok(user.to_owned()),
        Some(domain) if !user.is_empty() => Ok(format!("{user}@{domain}")),
        _ => Err(format!("{user:?} has no domain (--domain gives one to all)")),
    }
}

fn known_hash(text: &str) -> Result<Vec<Hash>, String> {
    if text.is_empty() || text.starts_with(['!', '*']) {
        return Ok(Vec::new());
    }
    let hash = if text.starts_with('{') {
        text.to_owned()
    } else {
        format!("{{CRYPT}}{text}")
    };
    if !scheme::is_known(&hash) {
        let shown: String = hash.chars().take_while(|c| *c != '}').collect();
        return Err(format!(
            "hashes of {shown}}} are not known ({} are)",
            scheme::NAMES.join(", ")
        ));
    }
    Ok(vec![Hash(hash)])
}

fn csv(text: &str, domain: Option<&str>) -> Read {
    let mut reader = ::csv::ReaderBuilder::new()
        .trim(::csv::Trim::All)
        .from_reader(text.as_bytes());
    let head = match reader.headers() {
        Ok(head) => head.clone(),
        Err(error) => return (Vec::new(), vec![(1, error.to_string())]),
    };
    let unknown: Vec<&str> = head.iter().filter(|name| !COLUMNS.contains(name)).collect();
    if !unknown.is_empty() || !head.iter().any(|name| name == "address") {
        let why = format!("the head has address, and any of {}", COLUMNS[1..].join(", "));
        return (
            Vec::new(),
            vec![(1, format!("{why}; not {}", unknown.join(", ")))],
        );
    }
    let entries = reader.records().map(|record| match record {
        Ok(record) => {
            let line = record.position().map_or(0, ::csv::Position::line);
            let fields = head
                .iter()
                .zip(record.iter())
                .filter(|(_, value)| !value.is_empty());
            (line, csv_line(&fields.collect(), domain))
        }
        Err(error) => (
            error.position().map_or(0, ::csv::Position::line),
            Err(error.to_string()),
        ),
    });
    collect(entries)
}

fn csv_line(fields: &HashMap<&str, &str>, domain: Option<&str>) -> Result<Entry, String> {
    let text = |name: &str| fields.get(name).map(|&value| value.to_owned());
    let hashes = match (fields.get("password"), fields.get("hash")) {
        (Some(_), Some(_)) => return Err("a password or a hash, not both".to_owned()),
        (Some(password), None) => {
            scheme::check_new(password)?;
            Vec::new()
        }
        (None, hash) => known_hash(hash.copied().unwrap_or_default())?,
    };
    let flag = |name: &str| match fields.get(name).copied() {
        None => Ok(None),
        Some("true" | "yes" | "1") => Ok(Some(true)),
        Some("false" | "no" | "0") => Ok(Some(false)),
        Some(other) => Err(format!("{name} is true or false, not {other}")),
    };
    let quota = match fields.get("quota") {
        None => None,
        Some(size) => Some(parse_bytes(size).ok_or_else(|| format!("{size} is no size"))?),
    };
    let account = NewAccount {
        address: with_domain(fields.get("address").copied().unwrap_or_default(), domain)?,
        hashes,
        set: AccountSettings {
            name: text("name"),
            quota_bytes: quota,
            protocols: text("protocols"),
            forward: fields
                .get("forward")
                .map(|list| list.split_whitespace().map(str::to_owned).collect()),
            is_enabled: flag("enabled")?,
            ..AccountSettings::default()
        },
        id: None,
    };
    Ok((account, text("password")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_file_comes_over_with_hashes_names_and_quotas() {
        let text = "# users\n\
            alice@example.org:{SHA.HEX}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4:5000:5000:Alice A.:/home/a::userdb_quota_rule=*:storage=5G userdb_mail=x\n\
            bob:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA:::::\n\n\
            locked@example.org:!:::::\n";
        let (entries, problems) = passwd(text, Some("example.org"));
        assert_eq!(problems, []);
        let accounts: Vec<NewAccount> = entries.into_iter().map(|(account, _)| account).collect();
        assert_eq!(accounts[0].set.name.as_deref(), Some("Alice A."));
        assert_eq!(accounts[0].set.quota_bytes, Some(5 << 30));
        assert_eq!(
            accounts[0].hashes[0].0,
            "{SHA.HEX}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4"
        );
        assert_eq!(
            (accounts[1].address.as_str(), accounts[1].hashes[0].0.as_str()),
            (
                "bob@example.org",
                "{CRYPT}$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA"
            )
        );
        assert!(accounts[2].hashes.is_empty());
    }

    #[test]
    fn a_csv_file_is_known_by_its_head() {
        for csv in ["address,password\nx", "\u{feff}Name;\"Address\"\r\n", "address"] {
            assert!(has_csv_head(csv), "{csv}");
        }
        for other in ["", "address:{PLAIN}x,address", "# address list\nx", "bob:x:y"] {
            assert!(!has_csv_head(other), "{other}");
        }
    }

    #[test]
    fn every_bad_line_is_told() {
        let (_, problems) = passwd(
            "x\nbob:{ROT13}x\nc:\nd@e.f:{PLAIN}x::::::userdb_quota_rule=*:storage=much\n",
            None,
        );
        let lines: Vec<u64> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4], "{problems:?}");
    }

    #[test]
    fn csv_has_a_head_and_its_columns() {
        let text = "address,password,quota,forward,enabled\n\
            a@example.org,\"correct, horse\",1G,\"b@example.org c@example.org\",no\nb@example.org,,,,\n";
        let (entries, problems) = csv(text, None);
        assert_eq!(problems, []);
        let accounts = with_hashes(entries, |domain| domain.as_str() == "example.org").expect("good ones");
        assert_eq!(accounts[0].set.forward.as_ref().map(Vec::len), Some(2));
        assert_eq!(accounts[0].set.is_enabled, Some(false));
        assert!(accounts[0].hashes[0].0.starts_with("{ARGON2ID}"));
        assert!(
            accounts[0].hashes[1].0.starts_with("{SCRAM-"),
            "its domain keeps them"
        );
        let short = csv(
            "address,password\na@b.c,short\nd@e.f,\"long enough\"\ng@h.i,x\n",
            None,
        );
        assert_eq!(short.1.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4]);
        assert!(accounts[1].hashes.is_empty());
        assert_eq!(csv("user,password\n", None).1.len(), 1);
        assert_eq!(csv("address,quota\na@b.c,x\nd@e.f,1,2\n", None).1.len(), 2);
    }
}
