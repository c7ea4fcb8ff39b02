//! LIST and LSUB on the durable state (RFC 9051 §6.3.9, RFC 3501 §6.3.9, RFC 5258, RFC 6154).
//!
//! Owns: which names a LIST shows and with which attributes.
//! Invariants: names are keys of the account, so nothing outside of it can be shown; a name is shown once however many
//! patterns match it; names come in octet order.
//! A level that exists only as the parent of a mailbox or of a subscription is shown as `\NonExistent` where a pattern
//! matches it (RFC 5258 §3).
//! Limits: [`LIST_SLICE_NAMES`] names are looked at between breaths; patterns are bounded in `pattern`.
//! Not here: STATUS return items (`status`), the wire (`session::imap`).

use super::pattern::Pattern;
use crate::model::{MailboxId, MailboxName, SpecialUse};
use crate::proto::imap::types::List;
use crate::store::AccountState;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Names matched before other tasks get a turn: below a millisecond even for the longest patterns and names.
pub const LIST_SLICE_NAMES: usize = 32;

/// One line of LIST or LSUB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    pub name: MailboxName,
    /// `None`: no such mailbox, only something below it or a subscription.
    pub mailbox: Option<MailboxId>,
    pub has_children: bool,
    pub is_subscribed: bool,
    pub special_use: Option<SpecialUse>,
    /// RFC 5258 §4: something subscribed lies below and is not shown itself.
    pub child_is_subscribed: bool,
    /// LSUB only: not subscribed itself, but something below it is (RFC 3501 §6.3.9).
    pub is_placeholder: bool,
}

/// A LIST in progress: [`ListQuery::next_slice`] until it returns `false`.
#[derive(Debug)]
pub struct ListQuery {
    patterns: Vec<Pattern>,
    selection: Selection,
    recursive_match: bool,
    /// What LIST's selection chose, by name; made once, on the first slice.
    candidates: Option<Vec<MailboxName>>,
    at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selection {
    Existing,
    Subscribed,
    SpecialUse,
    SubscribedSpecialUse,
    Lsub,
}

impl ListEntry {
    /// The line of one name, whether there is such a mailbox or not.
    #[must_use]
    pub fn of(account: &AccountState, name: &MailboxName) -> Self {
        let mailbox = account.names.get(name).copied();
        let state = mailbox.and_then(|id| account.mailboxes.get(&id));
        Self {
            mailbox,
            has_children: has_children(&account.names, name),
            is_subscribed: account.subscriptions.contains(name),
            special_use: state.and_then(|state| state.special_use),
            child_is_subscribed: false,
            is_placeholder: false,
            name: name.clone(),
        }
    }
}

impl ListQuery {
    /// LIST.
    #[must_use]
    pub fn list(list: &List) -> Self {
        let selection = match (list.select_subscribed, list.select_special_use) {
            (false, false) => Selection::Existing,
            (true, false) => Selection::Subscribed,
            (false, true) => Selection::SpecialUse,
            (true, true) => Selection::SubscribedSpecialUse,
        };
        let patterns = list.patterns.iter();
        Self {
            patterns: patterns.map(|p| Pattern::new(&list.reference, p)).collect(),
            selection,
            recursive_match: list.recursive_match,
            candidates: None,
            at: 0,
        }
    }

    /// LSUB.
    #[must_use]
    pub fn lsub(reference: &str, pattern: &str) -> Self {
        Self {
            patterns: vec![Pattern::new(reference, pattern)],
            selection: Selection::Lsub,
            recursive_match: false,
            candidates: None,
            at: 0,
        }
    }

    /// Adds the entries of the next [`LIST_SLICE_NAMES`] names; `false` when there are no more names.
    pub fn next_slice(&mut self, account: &AccountState, entries: &mut Vec<ListEntry>) -> bool {
        let mut candidates = self
            .candidates
            .take()
            .unwrap_or_else(|| candidates(account, self.selection));
        let end = candidates.len().min(self.at + LIST_SLICE_NAMES);
        for name in &candidates[self.at..end] {
            if let Some(entry) = self.entry(account, name, &candidates) {
                entries.push(entry);
            }
        }
        self.at = end;
        let is_more = end < candidates.len();
        if is_more {
            self.candidates = Some(std::mem::take(&mut candidates));
        }
        is_more
    }

    fn entry(
        &self,
        account: &AccountState,
        name: &MailboxName,
        candidates: &[MailboxName],
    ) -> Option<ListEntry> {
        if !self.is_match(name) {
            return None;
        }
        let mailbox = account.names.get(name).copied();
        let special_use = mailbox
            .and_then(|id| account.mailboxes.get(&id))
            .and_then(|m| m.special_use);
        let is_subscribed = account.subscriptions.contains(name);
        let child_is_subscribed = (self.recursive_match || self.selection == Selection::Lsub)
            && below(&account.subscriptions, name).any(|child| !self.is_match(child));
        let is_selected = match self.selection {
            // A parent that is no mailbox is shown only when nothing below it is.
            Selection::Existing => {
                mailbox.is_some() || !below_in(candidates, name).any(|child| self.is_match(child))
            }
            Selection::Subscribed => is_subscribed,
            Selection::SpecialUse => special_use.is_some(),
            Selection::SubscribedSpecialUse => is_subscribed && special_use.is_some(),
            Selection::Lsub => is_subscribed || child_is_subscribed,
        };
        let is_parent_of_selected = self.recursive_match && child_is_subscribed;
        if !is_selected && !is_parent_of_selected {
            return None;
        }
        Some(ListEntry {
            mailbox,
            has_children: has_children(&account.names, name),
            is_subscribed,
            special_use,
            child_is_subscribed: self.recursive_match && child_is_subscribed,
            is_placeholder: !is_subscribed,
            name: name.clone(),
        })
    }

    fn is_match(&self, name: &MailboxName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

/// Every name that may be shown, parents included, ascending.
fn candidates(account: &AccountState, selection: Selection) -> Vec<MailboxName> {
    let mut names = BTreeSet::new();
    let mut add = |name: &MailboxName| {
        let mut parent = name.parent();
        if !names.insert(name.clone()) {
            return;
        }
        while let Some(name) = parent {
            parent = name.parent();
            if !names.insert(name) {
                break;
            }
        }
    };
    if matches!(selection, Selection::Existing | Selection::SpecialUse) {
        account.names.keys().for_each(&mut add);
    } else {
        account.subscriptions.iter().for_each(&mut add);
    }
    names.into_iter().collect()
}

/// Space is the least character a name can have, so this is the least name below `name`, if names that long exist.
fn first_below(name: &MailboxName) -> Option<MailboxName> {
    MailboxName::new(&format!("{name}/ ")).ok()
}

fn has_children(names: &BTreeMap<MailboxName, MailboxId>, name: &MailboxName) -> bool {
    let Some(first) = first_below(name) else {
        return false;
    };
    let mut from = names.range((Bound::Included(first), Bound::Unbounded));
    from.next().is_some_and(|(next, _)| next.is_below(name))
}

fn below<'a>(
    names: &'a BTreeSet<MailboxName>,
    name: &'a MailboxName,
) -> impl Iterator<Item = &'a MailboxName> {
    let from = first_below(name).map(|first| names.range((Bound::Included(first), Bound::Unbounded)));
    from.into_iter()
        .flatten()
        .take_while(move |next| next.is_below(name))
}

fn below_in<'a>(names: &'a [MailboxName], name: &'a MailboxName) -> impl Iterator<Item = &'a MailboxName> {
    let from = first_below(name).map(|first| &names[names.partition_point(|n| *n < first)..]);
    from.into_iter()
        .flatten()
        .take_while(move |next| next.is_below(name))
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
