//! Checked values by key: what stands in the file, and the defaults for what does not.

use super::option::{Opt, Reload, Value};
use super::options::{OPTIONS, find};
use crate::base::network::Network;
use crate::model::Domain;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    said: BTreeMap<String, (Value, usize)>,
}

/// What [`Values::changes`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub reload: Reload,
}

impl Values {
    pub(super) fn new(said: BTreeMap<String, (Value, usize)>) -> Self {
        Self { said }
    }

    /// The line an option stands on.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<usize> {
        self.said.get(key).map(|(_, line)| *line)
    }

    /// The value of an option: the file's, or its default.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Value> {
        let said = self.said.get(key).map(|(value, _)| value.clone());
        said.or_else(|| find(key)?.default.value())
    }

    /// What the file says that is not the default.
    pub fn differing(&self) -> impl Iterator<Item = (&str, &Value, &'static Opt)> {
        self.said.iter().filter_map(|(key, (value, _))| {
            let option = find(key)?;
            (option.default.value().as_ref() != Some(value)).then_some((key.as_str(), value, option))
        })
    }

    /// What is different in `after`.
    #[must_use]
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let mut keys: Vec<&String> = self.said.keys().chain(after.said.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        let change = |key: &String| {
            let (before, after) = (self.value(key), after.value(key));
            (before != after).then(|| Change {
                key: key.clone(),
                before,
                after,
                reload: find(key).map_or(Reload::Restart, |option| option.reload),
            })
        };
        keys.into_iter().filter_map(change).collect()
    }

    /// The names that stand for `*` below a table.
    #[must_use]
    pub fn labels(&self, table: &str) -> Vec<String> {
        let prefix = format!("{table}.");
        let label = |key: &String| Some(key.strip_prefix(&prefix)?.split('.').next()?.to_owned());
        let mut labels: Vec<String> = self.said.keys().filter_map(label).collect();
        labels.dedup();
        labels
    }

    /// A text, path or word; empty if it is something else.
    #[must_use]
    pub fn text(&self, key: &str) -> String {
        match self.known(key) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    /// A flag.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.known(key) == Some(Value::Flag(true))
    }

    /// A number, size or time.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        match self.known(key) {
            Some(Value::Number(number)) => number,
            _ => 0,
        }
    }

    /// A number of an option whose range fits.
    #[must_use]
    pub fn count(&self, key: &str) -> u32 {
        u32::try_from(self.number(key)).unwrap_or(u32::MAX)
    }

    /// A domain.
    #[must_use]
    pub fn domain(&self, key: &str) -> Domain {
        let domain = Domain::new(&self.text(key));
        domain.expect("it was checked when the file was read")
    }

    /// Addresses with ports.
    #[must_use]
    pub fn addresses(&self, key: &str) -> Vec<SocketAddr> {
        self.list(key)
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }

    /// Networks.
    #[must_use]
    pub fn networks(&self, key: &str) -> Vec<Network> {
        self.list(key)
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }

    /// Domains.
    #[must_use]
    pub fn domains(&self, key: &str) -> Vec<Domain> {
        self.list(key)
            .iter()
            .filter_map(|text| Domain::new(text).ok())
            .collect()
    }

    /// A list of texts.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.known(key) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    /// Reading what is not declared is a mistake of ours, and a test's matter.
    fn known(&self, key: &str) -> Option<Value> {
        debug_assert!(
            OPTIONS.iter().any(|option| option.matches(key)),
            "{key} is not declared"
        );
        #[cfg(test)]
        super::tests::note_read(key);
        self.value(key)
    }
}
