//! One option: what its value may be, what stands for it when the file does not mention it, and how it is written.
//!
//! Not here: which options there are (`options`), what a file says of them (`values`).

use std::fmt;

/// A value as it is kept: checked, sizes in bytes, times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    List(Vec<String>),
}

impl fmt::Display for Value {
    /// As TOML writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => toml_edit::Value::from(text.as_str()).fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::List(list) => {
                let array: toml_edit::Array = list.iter().map(String::as_str).collect();
                array.fmt(f)
            }
        }
    }
}

impl Default {
    /// The value, unless the file has to say it.
    #[must_use]
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Required => None,
            Self::Text(text) => Some(Value::Text(text.to_owned())),
            Self::Flag(flag) => Some(Value::Flag(flag)),
            Self::Number(number) => Some(Value::Number(number)),
            Self::List(list) => Some(Value::List(list.iter().map(|&text| text.to_owned()).collect())),
        }
    }
}

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
