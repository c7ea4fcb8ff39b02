//! The declaration of every option. To add one: a line in `options_server`, `options_acme` or
//! `options_directory`, and a field of `Config` that reads it; a test sees to it that
//! nothing declared is unread and nothing read is undeclared.

use super::options_acme::ACME;
use super::options_directory::DIRECTORY;
use super::options_server::SERVER;
use super::values::Value;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A host or domain name.
    Domain,
    /// A path; relative ones are below the directory of the file.
    Path,
    /// Any text of up to 255 octets.
    Text,
    /// true or false.
    Flag,
    Number {
        min: u64,
        max: u64,
    },
    /// A number, or a text such as "25 MiB".
    Bytes {
        min: u64,
        max: u64,
    },
    /// Seconds, or a text such as "10 min".
    Seconds {
        min: u64,
        max: u64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of `address:port`.
    Addresses,
    /// A list of addresses or networks.
    Networks,
    /// A list of IMAP's capabilities.
    Capabilities,
    /// A list of host or domain names.
    Domains,
    /// SQL with these parameters, or nothing.
    Query(&'static [&'static str]),
    /// An LDAP filter with these placeholders, or nothing.
    Filter(&'static [&'static str]),
}

/// What stands for an option that the file does not mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// The file has to say it.
    Required,
    Text(&'static str),
    Flag(bool),
    Number(u64),
    List(&'static [&'static str]),
}

/// When a changed value is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// By SIGHUP and `ringpost reload`.
    Live,
    /// At the next start.
    Restart,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Tables and name with dots between; `*` stands for any name.
    pub key: &'static str,
    pub kind: Kind,
    pub default: Default,
    pub reload: Reload,
    /// What it does, when to change it and what that costs. Sentences.
    pub doc: &'static str,
    /// A value as TOML writes it; empty: what `kind` and `default` make of it.
    example: &'static str,
}

pub(super) const MIB: u64 = 1024 * 1024;

pub(super) const fn opt(
    key: &'static str,
    kind: Kind,
    default: Default,
    reload: Reload,
    doc: &'static str,
) -> Opt {
    Opt {
        key,
        kind,
        default,
        reload,
        doc,
        example: "",
    }
}

/// One line a mail is too much for a log that nobody asked for.
pub const LOG_FILTER: &str = "info,mail=off";

/// Loopback, the private networks of RFC 1918, unique local (RFC 4193) and link-local addresses.
pub const METRICS_FROM: &[&str] = &[
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// All of them, in the order of the sample file; those of one table together.
pub const OPTIONS: &[Opt] = &joined::<{ OURS.len() + DIRECTORY.len() }>(OURS, DIRECTORY);

const OURS: &[Opt] = &joined::<{ SERVER.len() + ACME.len() }>(SERVER, ACME);

const fn joined<const N: usize>(first: &[Opt], then: &[Opt]) -> [Opt; N] {
    let mut all = [first[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() {
            first[at]
        } else {
            then[at - first.len()]
        };
        at += 1;
    }
    all
}

/// The option at a key of a file.
#[must_use]
pub fn find(key: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.matches(key))
}

impl Opt {
    /// The same, with an example of its own.
    pub(super) const fn like(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    /// How a value is written.
    #[must_use]
    pub fn example(&self) -> String {
        if !self.example.is_empty() {
            return self.example.to_owned();
        }
        match (self.kind, self.default.value()) {
            (Kind::Word(words), Some(default)) => {
                let other = words
                    .iter()
                    .rfind(|word| default != Value::Text((**word).to_owned()));
                format!("\"{}\"", other.copied().unwrap_or_default())
            }
            (Kind::Flag, Some(default)) => (default != Value::Flag(true)).to_string(),
            (Kind::Addresses, Some(default)) => default.to_string(),
            _ => self.kind.example().to_owned(),
        }
    }

    /// Whether a key of a file is this option.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        let mut wanted = self.key.split('.');
        let mut parts = key.split('.');
        loop {
            match (wanted.next(), parts.next()) {
                (None, None) => return true,
                (Some("*"), Some(part)) if !part.is_empty() => {}
                (Some(wanted), Some(part)) if wanted == part => {}
                _ => return false,
            }
        }
    }

    /// Whether it stands for any number of keys.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.key.contains('*')
    }
}

/// Whether `key` is a table that has options in it.
#[must_use]
pub fn is_table(key: &str) -> bool {
    let depth = key.split('.').count();
    OPTIONS.iter().any(|option| {
        let parts: Vec<&str> = option.key.split('.').collect();
        parts.len() > depth
            && parts
                .iter()
                .zip(key.split('.'))
                .all(|(wanted, part)| *wanted == "*" || *wanted == part)
    })
}

impl Kind {
    /// What a value has to be, for people.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::Domain => "a host or domain name in quotes".to_owned(),
            Self::Path => "a path in quotes".to_owned(),
            Self::Text => "a text in quotes".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Bytes { min, max } => {
                format!("a size from {} to {}", show_bytes(min), show_bytes(max))
            }
            Self::Seconds { min, max } => format!("a time from {min} to {max} seconds"),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Addresses => "a list of addresses with ports".to_owned(),
            Self::Networks => "a list of addresses or networks".to_owned(),
            Self::Capabilities => "a list of capabilities that IMAP has here".to_owned(),
            Self::Domains => "a list of host or domain names".to_owned(),
            Self::Query(names) => format!("a SELECT in quotes with {}", named(names, ":", "")),
            Self::Filter(names) => format!("an LDAP filter in quotes with {}", named(names, "{", "}")),
        }
    }

    /// How one is written, if nothing better is known.
    #[must_use]
    fn example(self) -> &'static str {
        match self {
            Self::Domain => "\"mail.example.com\"",
            Self::Path => "\"/var/lib/ringpost\"",
            Self::Text => "\"text\"",
            Self::Flag => "true",
            Self::Number { .. } => "4",
            Self::Bytes { .. } => "\"25 MiB\"",
            Self::Seconds { .. } => "\"10 min\"",
            // Each has one of its own, see [`Opt::example`].
            Self::Word(_) => "\"\"",
            Self::Addresses => "[]",
            Self::Networks => "[\"192.0.2.0/24\", \"2001:db8::/32\"]",
            Self::Capabilities => "[\"QRESYNC\", \"AUTH=LOGIN\"]",
            Self::Domains => "[\"example.com\", \"example.net\"]",
            Self::Query(_) => "\"SELECT … WHERE address = :address\"",
            Self::Filter(_) => "\"(mail={address})\"",
        }
    }
}

fn named(names: &[&str], before: &str, behind: &str) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("{before}{name}{behind}"))
        .collect();
    names.join(", ")
}

/// A size as people write it.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1024 * MIB), ("MiB", MIB), ("KiB", 1024)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{} {unit}", bytes / factor);
        }
    }
    format!("{bytes} bytes")
}

/// A size as people write it: `25 MiB`, `25M`, `26214400`. Decimal and binary prefixes mean the binary ones, as quotas do
/// everywhere else.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => 1024 * MIB,
        "t" | "tb" | "tib" => 1024 * 1024 * MIB,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A time in seconds as people write it: `90`, `10 min`, `2 h`, `7 d`.
#[must_use]
pub fn parse_seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        _ => return None,
    };
    number.checked_mul(factor)
}
