//! The names of an account: of its mailboxes, and of what it is subscribed to.
//!
//! Owns: which of them a name means that is in another Unicode normalization: one program writes `Entwürfe` with one letter,
//! another one with a `u` and a diaeresis, and their user sees the same (RFC 9051 §5.1, RFC 5198 §3).
//! A name is looked up as it is, then in NFC, then among the names here that are in no normal form. What is new is in NFC
//! behind the levels that are here already, and so no two names come to differ in nothing but their normalization. Two that do,
//! of the time before this rule, stay two: each has its own form, and a third form means the one in NFC.
//! Names in ASCII are what they are, and cost no look at any other.
//! Not here: what a name may be (`model::mailbox_name`).

use crate::model::mailbox_name::normalized;
use crate::model::{MailboxName, MailboxNameError};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::successors;
use std::ops::{Bound, Deref};

/// Names with what they stand for. A map to look at; changed by its own methods only.
#[derive(Clone, Debug, PartialEq)]
pub struct Names<V> {
    all: BTreeMap<MailboxName, V>,
    /// Those that are not in NFC, behind what they are in NFC. Empty but in accounts of the time before the rule above.
    denormalized: BTreeSet<(Box<str>, MailboxName)>,
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            denormalized: BTreeSet::new(),
        }
    }
}

impl<V> Deref for Names<V> {
    type Target = BTreeMap<MailboxName, V>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl<V> FromIterator<(MailboxName, V)> for Names<V> {
    fn from_iter<I: IntoIterator<Item = (MailboxName, V)>>(all: I) -> Self {
        let mut names = Self::default();
        for (name, value) in all {
            names.insert(name, value);
        }
        names
    }
}

impl FromIterator<MailboxName> for Names<()> {
    fn from_iter<I: IntoIterator<Item = MailboxName>>(all: I) -> Self {
        all.into_iter().map(|name| (name, ())).collect()
    }
}

impl<V> Names<V> {
    /// Puts a name as it is; what it stood for before.
    pub fn insert(&mut self, name: MailboxName, value: V) -> Option<V> {
        if let Cow::Owned(normal) = name.normalized() {
            self.denormalized.insert((normal.into(), name.clone()));
        }
        self.all.insert(name, value)
    }

    /// Takes exactly this name out.
    pub fn remove(&mut self, name: &MailboxName) -> Option<V> {
        let value = self.all.remove(name)?;
        if let Cow::Owned(normal) = name.normalized() {
            self.denormalized.remove(&(normal.into(), name.clone()));
        }
        Some(value)
    }

    /// What `name` means, as it is called here.
    #[must_use]
    pub fn find(&self, name: &MailboxName) -> Option<(&MailboxName, &V)> {
        self.all.get_key_value(name).or_else(|| {
            let normal = name.normalized();
            let in_nfc = match &normal {
                Cow::Owned(normal) => self.all.get_key_value(normal.as_str()),
                // It was just looked up.
                Cow::Borrowed(_) => None,
            };
            in_nfc.or_else(|| self.all.get_key_value(self.denormalized(&normal)?))
        })
    }

    /// The first of the names that are `normal` in NFC, and are not themselves.
    fn denormalized(&self, normal: &str) -> Option<&MailboxName> {
        if self.denormalized.is_empty() {
            return None;
        }
        let from = (Box::from(normal), MailboxName::least());
        let mut behind = self.denormalized.range((Bound::Included(from), Bound::Unbounded));
        let (other, name) = behind.next()?;
        (**other == *normal).then_some(name)
    }

    /// What something new that is asked for as `name` is called: the longest level above it that is here as it is here, the
    /// rest in NFC.
    ///
    /// # Errors
    /// That name cannot be: in NFC it may be longer.
    pub fn name_of_new(&self, name: &MailboxName) -> Result<MailboxName, MailboxNameError> {
        if name.as_str().is_ascii() && self.denormalized.is_empty() {
            return Ok(name.clone());
        }
        for above in successors(name.parent(), MailboxName::parent) {
            if let Some((here, _)) = self.find(&above) {
                let rest = &name.as_str()[above.as_str().len()..];
                return MailboxName::new(&format!("{here}{}", normalized(rest)));
            }
        }
        MailboxName::new(&name.normalized())
    }

    /// Are all of them in NFC?
    #[must_use]
    pub fn is_normalized(&self) -> bool {
        self.denormalized.is_empty()
    }

    /// Octets of the names that are in no normal form, which are held twice.
    pub(super) fn denormalized_bytes(&self) -> usize {
        let bytes = |(normal, name): &(Box<str>, MailboxName)| normal.len() + name.as_str().len();
        self.denormalized.iter().map(bytes).sum()
    }
}

#[cfg(test)]
impl<V> Names<V> {
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NFC: &str = "Entw\u{fc}rfe";
    const NFD: &str = "Entwu\u{308}rfe";

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text).unwrap()
    }

    fn names(all: &[&str]) -> Names<()> {
        all.iter().map(|text| name(text)).collect()
    }

    fn found(names: &Names<()>, text: &str) -> Option<String> {
        names.find(&name(text)).map(|(name, ())| name.to_string())
    }

    #[test]
    fn a_name_is_found_in_every_normalization() {
        for here in [NFC, NFD] {
            let names = names(&[here, "a"]);
            for wanted in [NFC, NFD] {
                assert_eq!(found(&names, wanted).as_deref(), Some(here));
            }
            assert_eq!(found(&names, "Entwurfe"), None);
            assert_eq!(found(&names, "a").as_deref(), Some("a"));
        }
        // What is in ASCII may be the NFC of something else: the sign for kelvin is a K.
        assert_eq!(found(&names(&["\u{212a}"]), "K").as_deref(), Some("\u{212a}"));
    }

    #[test]
    fn two_names_of_old_stay_two() {
        let mut both = names(&[NFC, NFD]);
        for here in [NFC, NFD] {
            assert_eq!(found(&both, here).as_deref(), Some(here));
        }
        both.remove(&name(NFC));
        assert_eq!(found(&both, NFC).as_deref(), Some(NFD));
        both.remove(&name(NFD));
        assert_eq!(found(&both, NFC), None);
        assert_eq!(both, names(&[]));
        // Marks in another order: a third form means the one in NFC.
        let third = names(&["a\u{301}\u{323}", "\u{1ea1}\u{301}"]);
        assert_eq!(
            found(&third, "a\u{323}\u{301}").as_deref(),
            Some("\u{1ea1}\u{301}")
        );
    }

    #[test]
    fn what_is_new_is_in_nfc_below_what_is_here() {
        let new = |here: &[&str], text: &str| names(here).name_of_new(&name(text)).map(|n| n.to_string());
        let below = |above: &str, rest: &str| Ok(format!("{above}/{rest}"));
        assert_eq!(new(&[], NFD), Ok(NFC.to_owned()));
        assert_eq!(new(&[], "plain"), Ok("plain".to_owned()));
        assert_eq!(new(&[NFD], &format!("{NFC}/{NFD}")), below(NFD, NFC));
        assert_eq!(
            new(&[NFC], &format!("{NFD}/{NFD}/x")),
            below(NFC, &format!("{NFC}/x"))
        );
        assert_eq!(
            new(&[NFD], NFC),
            Ok(NFC.to_owned()),
            "the name itself is no level above"
        );
        // One character of three octets becomes two of three.
        assert_eq!(new(&[], &"\u{958}".repeat(300)), Err(MailboxNameError::TooLong));
    }
}
