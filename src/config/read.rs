//! From a file's text to checked values, with every problem of it.

use super::option::{Default, Kind, Opt, Value, parse_bytes, parse_seconds};
use super::options::{OPTIONS, find, is_table};
use super::problem::{Problem, Problems};
use super::values::Values;
use crate::base::network::Network;
use crate::directory::ldap::filter::Filter;
use crate::directory::postgres::query::Query;
use crate::disk::small;
use crate::model::Domain;
use crate::proto::imap::capability;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use toml_edit::{Document, Item, TableLike};

/// Of the file, bytes. A thousand times what a server needs.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Longest text of a value, bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// Entries of a list.
const LIST_MAX: usize = 1_000;

/// Problems that are told of one file.
const PROBLEMS_MAX: usize = 100;

/// How alike a word has to be for "did you mean", of 1.
const LIKENESS_MIN: f64 = 0.75;

/// The same for a table, whose name is short: two letters exchanged in `tls`.
const TABLE_LIKENESS_MIN: f64 = 0.6;

/// What a file says, as far as it can be told, and all its problems. `None`: not enough of it to go on with.
pub type Read = (Option<Values>, Vec<Problem>);

/// Reads the file at `path`.
#[must_use]
pub fn file(path: &Path) -> Read {
    let unreadable = |why: String, hint: &str| {
        let problem = Problem::of(path, None, "the file").found(why);
        (None, vec![problem.expected("a file that can be read", hint)])
    };
    let text = match small::read_stream(path, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => {
            let hint = "`ringpost init DOMAIN` writes one; --config names it";
            return unreadable(error.to_string(), hint);
        }
    };
    match String::from_utf8(text) {
        Ok(text) => read_text(path, &text),
        Err(error) => unreadable(
            format!("not UTF-8 behind octet {}", error.utf8_error().valid_up_to()),
            "",
        ),
    }
}

/// Reads the text of a file at `path`.
///
/// # Errors
/// All its problems.
pub fn text(path: &Path, text: &str) -> Result<Values, Problems> {
    match read_text(path, text) {
        (Some(values), problems) if problems.is_empty() => Ok(values),
        (_, problems) => Err(Problems(problems)),
    }
}

fn read_text(path: &Path, text: &str) -> Read {
    let document = match Document::parse(text.to_owned()) {
        Ok(document) => document,
        Err(error) => {
            let line = error.span().map(|span| line_of(text, span.start));
            let problem = Problem::of(path, line, "TOML").found(error.message().replace('\n', ", "));
            let hint = "the rest of the file is not looked at before that is right; see https://toml.io";
            return (None, vec![problem.expected("lines of key = value", hint)]);
        }
    };
    let mut reading = Reading {
        path,
        text,
        said: BTreeMap::new(),
        problems: Vec::new(),
    };
    reading.table("", document.as_table());
    reading.missing();
    reading.finish()
}

struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    said: BTreeMap<String, (Value, usize)>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn table(&mut self, prefix: &str, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            // A dot inside a name would make it another key.
            let shown = if name.contains('.') {
                format!("\"{name}\"")
            } else {
                name.to_owned()
            };
            let key = if prefix.is_empty() {
                shown
            } else {
                format!("{prefix}.{shown}")
            };
            let span = table
                .key(name)
                .and_then(toml_edit::Key::span)
                .or_else(|| item.span());
            let line = span.map_or(1, |span| line_of(self.text, span.start));
            self.item(&key, line, item);
        }
    }

    fn item(&mut self, key: &str, line: usize, item: &Item) {
        if let Some(option) = find(key) {
            match value(option.kind, item) {
                Ok(value) => {
                    self.said.insert(key.to_owned(), (value, line));
                }
                Err(why) => {
                    self.wrong(key, line, option, item, why);
                    // What was meant is not known; the default, with addresses of its own, was not.
                    if matches!(option.default, Default::List(_)) {
                        self.said.insert(key.to_owned(), (Value::List(Vec::new()), line));
                    }
                }
            }
            return;
        }
        match item.as_table_like() {
            Some(table) if is_table(key) => self.table(key, table),
            None if is_table(key) => self.no_table(key, line, item),
            _ => self.unknown(key, line),
        }
    }

    fn wrong(&mut self, key: &str, line: usize, option: &Opt, item: &Item, why: String) {
        let hint = if why.is_empty() {
            format!("for example {}", option.example())
        } else {
            why
        };
        let found = item
            .as_value()
            .map_or_else(|| "a table".to_owned(), |value| value.to_string());
        let problem = Problem::of(self.path, Some(line), key).found(found);
        self.problems
            .push(problem.expected(&option.kind.expected(), &hint));
    }

    fn no_table(&mut self, key: &str, line: usize, item: &Item) {
        let found = if item.is_array_of_tables() {
            format!("[[{key}]]")
        } else {
            item.to_string()
        };
        let problem = Problem::of(self.path, Some(line), key).found(found);
        self.problems.push(problem.expected(
            "a table",
            &format!("[{key}] on a line of its own, its keys below"),
        ));
    }

    fn unknown(&mut self, key: &str, line: usize) {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        let hint = match alike(key) {
            Some(known) => format!("did you mean {known}?"),
            None if alike_table(key).is_some() => {
                format!("did you mean [{}]?", alike_table(key).unwrap_or_default())
            }
            None if is_table(table) || table.is_empty() => {
                format!(
                    "{} has {}",
                    if table.is_empty() { "the file" } else { table },
                    names_in(table)
                )
            }
            None => "`ringpost config explain` lists all keys".to_owned(),
        };
        let problem = Problem::of(self.path, Some(line), key).found(format!("the unknown key {name}"));
        self.problems.push(problem.expected("a key that there is", &hint));
    }

    fn missing(&mut self) {
        for option in OPTIONS.iter().filter(|option| option.default.value().is_none()) {
            let keys = match option.key.split_once(".*.") {
                None => vec![option.key.to_owned()],
                Some((table, name)) => {
                    let labels = Values::new(self.said.clone()).labels(table);
                    labels
                        .into_iter()
                        .map(|label| format!("{table}.{label}.{name}"))
                        .collect()
                }
            };
            for key in keys {
                let is_told = self.problems.iter().any(|problem| problem.key == key);
                if !self.said.contains_key(&key) && !is_told {
                    // The line of what stands beside it.
                    let table = key.rsplit_once('.').map_or("", |(table, _)| table);
                    let beside = self.said.iter().find(|(other, _)| {
                        other
                            .strip_prefix(table)
                            .is_some_and(|name| name.starts_with('.'))
                    });
                    let line = beside.map(|(_, (_, line))| *line);
                    let problem = Problem::of(self.path, line, &key).found("nothing");
                    let hint = format!("for example {}", option.example());
                    self.problems
                        .push(problem.expected(&option.kind.expected(), &hint));
                }
            }
        }
    }

    fn finish(mut self) -> Read {
        self.problems
            .sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        self.problems.truncate(PROBLEMS_MAX);
        let is_whole = OPTIONS
            .iter()
            .filter(|option| option.default.value().is_none() && !option.is_pattern())
            .all(|option| self.said.contains_key(option.key));
        // Half a pair names nothing that could be looked at.
        for problem in &self.problems {
            if find(&problem.key).is_some_and(Opt::is_pattern) {
                let table = problem.key.rsplit_once('.').map_or("", |(table, _)| table);
                let of_it = |key: &String| key.starts_with(&format!("{table}."));
                self.said.retain(|key, _| !of_it(key));
            }
        }
        (is_whole.then(|| Values::new(self.said)), self.problems)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|octet| **octet == b'\n')
        .count()
        + 1
}

/// The declared key most like this one.
pub fn alike(key: &str) -> Option<&'static str> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |option: &&Opt| {
        // The right name in the wrong table counts as much as the wrong name in the right one.
        let whole = strsim::jaro_winkler(option.key, key);
        let last = strsim::normalized_damerau_levenshtein(&name(option.key), &name(key));
        whole.min(last.max(0.6)).max(last * 0.95)
    };
    let candidates = OPTIONS.iter().filter(|option| !option.is_pattern());
    let best = candidates.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= LIKENESS_MIN).then_some(best.key)
}

/// The table of the file most like this name of one.
fn alike_table(key: &str) -> Option<String> {
    let names = names_in("");
    let likeness = |name: &&str| strsim::normalized_damerau_levenshtein(name, key);
    let best = names
        .split(", ")
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= TABLE_LIKENESS_MIN).then(|| best.to_owned())
}

/// The names that a table has.
fn names_in(table: &str) -> String {
    let prefix = if table.is_empty() {
        String::new()
    } else {
        format!("{table}.")
    };
    let name = |option: &Opt| Some(option.key.strip_prefix(&prefix)?.split('.').next()?.to_owned());
    let mut names: Vec<String> = OPTIONS.iter().filter_map(name).collect();
    names.dedup();
    names.join(", ")
}

/// The checked value; an error says what is wrong beyond "not of this kind", if anything.
fn value(kind: Kind, item: &Item) -> Result<Value, String> {
    match kind {
        Kind::Flag => item.as_bool().map(Value::Flag).ok_or_else(String::new),
        Kind::Number { min, max } => number(item.as_integer(), min, max),
        Kind::Bytes { min, max } => match item.as_str() {
            Some(text) => ranged(parse_bytes(text), min, max),
            None => number(item.as_integer(), min, max),
        },
        Kind::Seconds { min, max } => match item.as_str() {
            Some(text) => ranged(parse_seconds(text), min, max),
            None => number(item.as_integer(), min, max),
        },
        Kind::Word(words) => {
            let word = item.as_str().ok_or_else(String::new)?;
            let is_known = words.contains(&word);
            is_known.then(|| Value::Text(word.to_owned())).ok_or_else(|| {
                let best = words
                    .iter()
                    .max_by(|a, b| strsim::jaro(a, word).total_cmp(&strsim::jaro(b, word)));
                format!("did you mean {:?}?", best.copied().unwrap_or_default())
            })
        }
        Kind::Domain => {
            let text = plain_text(item)?;
            is_name(&text)
                .then_some(Value::Text(text))
                .ok_or_else(String::new)
        }
        Kind::Path => {
            let text = plain_text(item)?;
            (!text.is_empty())
                .then_some(Value::Text(text))
                .ok_or_else(String::new)
        }
        Kind::Text => plain_text(item).map(Value::Text),
        Kind::Addresses => list(item, |text| text.parse::<SocketAddr>().is_ok()),
        Kind::Networks => list(item, |text| text.parse::<Network>().is_ok()),
        Kind::Capabilities => list(item, capability::is_known),
        Kind::Domains => list(item, is_name),
        Kind::Query(parameters) => checked_text(item, |text| Query::parse(text, parameters).map(|_| ())),
        Kind::Filter(placeholders) => {
            checked_text(item, |text| Filter::parse(text, placeholders).map(|_| ()))
        }
    }
}

fn number(found: Option<i64>, min: u64, max: u64) -> Result<Value, String> {
    ranged(found.and_then(|number| u64::try_from(number).ok()), min, max)
}

fn ranged(found: Option<u64>, min: u64, max: u64) -> Result<Value, String> {
    let is_good = |number: &u64| (min..=max).contains(number);
    found.filter(is_good).map(Value::Number).ok_or_else(String::new)
}

fn plain_text(item: &Item) -> Result<String, String> {
    let text = item.as_str().ok_or_else(String::new)?;
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err("it is too long, or has control characters in it".to_owned());
    }
    Ok(text.to_owned())
}

fn is_name(text: &str) -> bool {
    Domain::new(text).is_ok_and(|domain| !domain.as_str().starts_with('['))
}

/// A text of several lines, empty or good.
fn checked_text(item: &Item, check: impl Fn(&str) -> Result<(), String>) -> Result<Value, String> {
    let text = item.as_str().ok_or_else(String::new)?;
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        return Err(format!("up to {TEXT_BYTES_MAX} octets"));
    }
    if !text.trim().is_empty() {
        check(text)?;
    }
    Ok(Value::Text(text.to_owned()))
}

fn list(item: &Item, is_good: impl Fn(&str) -> bool) -> Result<Value, String> {
    let array = item.as_array().ok_or_else(String::new)?;
    if array.len() > LIST_MAX {
        return Err(format!("up to {LIST_MAX} entries"));
    }
    let mut texts = Vec::with_capacity(array.len());
    for entry in array {
        match entry.as_str() {
            Some(text) if is_good(text) => texts.push(text.to_owned()),
            _ => return Err(format!("{} is none", entry.to_string().trim())),
        }
    }
    Ok(Value::List(texts))
}
