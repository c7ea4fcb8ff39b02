//! What the declarations say, for people: the commented file, one option explained, what differs.

use super::option::{Kind, Opt, Reload, Value, show_bytes};
use super::options::OPTIONS;
use super::values::Values;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Width of comments in the commented file.
const COLUMNS: usize = 110;

/// The commented file: every option with its meaning, those of `said` with their values, the others commented out with
/// their defaults.
#[must_use]
pub fn sample(said: &BTreeMap<&str, Value>) -> String {
    let mut text = String::from(
        "# Ringpost's configuration. Every option is here; those with a # before them have their default.\n\
         # After a change: `ringpost check`, then `ringpost reload`. `ringpost config explain KEY` says more about one.\n",
    );
    let mut table = "";
    for option in OPTIONS {
        let (of, name) = split(option.key);
        if of != table {
            table = of;
            let label = if of.contains('*') { "# " } else { "" };
            let _ = write!(text, "\n{label}[{}]\n", of.replace('*', "NAME"));
        }
        for line in wrapped(&facts(option), COLUMNS) {
            let _ = writeln!(text, "# {line}");
        }
        match said.get(option.key) {
            Some(value) => {
                let _ = writeln!(text, "{name} = {value}");
            }
            None => {
                let default = option.default.value();
                let shown = default.map_or_else(|| option.example(), |value| value.to_string());
                let _ = writeln!(text, "# {name} = {shown}");
            }
        }
    }
    text
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// The meaning and the range in one paragraph.
fn facts(option: &Opt) -> String {
    let range = match option.kind {
        Kind::Number { .. } | Kind::Bytes { .. } | Kind::Seconds { .. } | Kind::Word(_) => {
            format!(" ({}.)", capital(&option.kind.expected()))
        }
        _ => String::new(),
    };
    format!("{}{range}", option.doc)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + chars.as_str()
    })
}

fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the beginning");
        if !line.is_empty() && line.len() + 1 + word.len() > columns {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

/// All that is declared of one option.
#[must_use]
pub fn explain(option: &Opt) -> String {
    let mut text = format!("{}\n", option.key);
    for line in wrapped(option.doc, COLUMNS - 2) {
        let _ = writeln!(text, "  {line}");
    }
    let default = match option.default.value() {
        None => "none: the file has to say it".to_owned(),
        Some(Value::Number(bytes)) if matches!(option.kind, Kind::Bytes { .. }) => {
            format!("{bytes} ({})", show_bytes(bytes))
        }
        Some(value) => value.to_string(),
    };
    let reload = match option.reload {
        Reload::Live => "is taken by `ringpost reload`",
        Reload::Restart => "is taken at the next start",
    };
    let _ = writeln!(text, "  value    {}", option.kind.expected());
    let _ = writeln!(text, "  default  {default}");
    let _ = writeln!(text, "  example  {} = {}", split(option.key).1, option.example());
    let _ = writeln!(text, "  change   {reload}");
    text
}

/// What a file says that is not the default, a line each.
#[must_use]
pub fn diff(values: &Values) -> String {
    let mut text = String::new();
    for (key, value, option) in values.differing() {
        let default = option.default.value();
        let default = default.map_or_else(|| "none".to_owned(), |value| value.to_string());
        let _ = writeln!(text, "{key} = {value}  # default: {default}");
    }
    text
}
