//! LIST and LSUB on the durable state (RFC 9051 §6.3.9, RFC 3501 §6.3.9, RFC 5258, RFC 6154).
//!
//! Owns: which names a LIST shows and with which attributes.
//! Invariants: names are keys of the account, so nothing outside of it can be shown; a name is shown once however many
//! patterns match it; names come in octet order.
//! A level that exists only as the parent of a mailbox or of a subscription is shown as `\NonExistent` where a pattern
//! matches it (RFC 5258 §3).
//! Patterns and names are compared in NFC, names are shown as they are here (`store::names`).
//! Every name is matched once, whatever lies above and below it: the work is names × patterns, never names × names.
//! Limits: a slice ends after [`LIST_SLICE_STEPS`] of matching or [`LIST_SLICE_NAMES`] lines, so that others get their
//! turn; a LIST ends at [`LIST_STEPS_MAX`]; [`LEVELS_MAX`] levels that are no mailboxes; patterns are bounded in `pattern`.
//! Not here: STATUS return items (`status`), the wire (`session::imap`).

use super::pattern::Pattern;
use crate::model::{MailboxId, MailboxName, SpecialUse};
use crate::proto::imap::types::List;
use crate::store::AccountState;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};

/// Lines made before other tasks get a turn.
pub const LIST_SLICE_NAMES: usize = 32;

/// Steps of matching before other tasks get a turn, about a nanosecond each; the last name may go beyond it.
pub const LIST_SLICE_STEPS: u64 = 500_000;

/// Steps of one LIST: about a second. Ten thousand mailboxes with names of 100 octets take a million for each pattern.
pub const LIST_STEPS_MAX: u64 = 1_000_000_000;

/// Levels shown that exist only as parents. 100 of them may stand above one name, so that an account's names alone would
/// allow hundreds of megabytes; the levels beyond are not shown.
pub const LEVELS_MAX: usize = 8_192;

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
    /// Made once, on the first slice.
    names: Option<Names>,
    at: usize,
    steps: u64,
}

/// How a LIST goes on after a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
    /// [`LIST_STEPS_MAX`] is reached: the patterns are too many or too long for that many names.
    Spent,
}

#[derive(Debug)]
struct Names {
    /// What LIST's selection chose, with the levels above.
    candidates: Column,
    /// Empty unless it matters what is subscribed below a name.
    subscriptions: Column,
}

/// Names in octet order, and which of them match, as far as that is known.
#[derive(Debug, Default)]
struct Column {
    names: Vec<MailboxName>,
    /// How many of the names before each place match; one more than were looked at.
    matching_before: Vec<usize>,
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
            is_subscribed: account.is_subscribed(name),
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
            names: None,
            at: 0,
            steps: 0,
        }
    }

    /// LSUB.
    #[must_use]
    pub fn lsub(reference: &str, pattern: &str) -> Self {
        Self {
            patterns: vec![Pattern::new(reference, pattern)],
            selection: Selection::Lsub,
            recursive_match: false,
            names: None,
            at: 0,
            steps: 0,
        }
    }

    /// Matches more names, or adds the entries of the next ones.
    pub fn next_slice(&mut self, account: &AccountState, entries: &mut Vec<ListEntry>) -> Progress {
        let mut names = self.names.take().unwrap_or_else(|| self.names_of(account));
        let progress = if self.match_slice(&mut names) {
            self.entries_slice(account, &names, entries)
        } else if self.steps > LIST_STEPS_MAX {
            Progress::Spent
        } else {
            Progress::More
        };
        self.names = Some(names);
        progress
    }

    fn names_of(&self, account: &AccountState) -> Names {
        let is_asked_below = self.recursive_match || self.selection == Selection::Lsub;
        let subscriptions = if is_asked_below {
            subscribed(account)
        } else {
            BTreeSet::new()
        };
        Names {
            candidates: Column::new(candidates(account, self.selection)),
            subscriptions: Column::new(subscriptions.into_iter().map(Cow::into_owned).collect()),
        }
    }

    /// True when all names are matched.
    fn match_slice(&mut self, names: &mut Names) -> bool {
        let end = self.steps + LIST_SLICE_STEPS;
        for column in [&mut names.candidates, &mut names.subscriptions] {
            while let Some(name) = column.next_unknown() {
                if self.steps >= end {
                    return false;
                }
                let is_match = matches_any(&self.patterns, name, &mut self.steps);
                column.put(is_match);
            }
        }
        true
    }

    fn entries_slice(
        &mut self,
        account: &AccountState,
        names: &Names,
        entries: &mut Vec<ListEntry>,
    ) -> Progress {
        let count = names.candidates.names.len();
        let end = count.min(self.at + LIST_SLICE_NAMES);
        entries.extend((self.at..end).filter_map(|at| self.entry(account, names, at)));
        self.at = end;
        if end < count {
            Progress::More
        } else {
            Progress::Done
        }
    }

    fn entry(&self, account: &AccountState, names: &Names, at: usize) -> Option<ListEntry> {
        if !names.candidates.is_match(at) {
            return None;
        }
        let name = &names.candidates.names[at];
        let mailbox = account.names.get(name).copied();
        let special_use = mailbox
            .and_then(|id| account.mailboxes.get(&id))
            .and_then(|m| m.special_use);
        let is_subscribed = account.is_subscribed(name);
        let child_is_subscribed = names.subscriptions.has_other_below(name);
        let is_selected = match self.selection {
            // A parent that is no mailbox is shown only when nothing below it is.
            Selection::Existing => mailbox.is_some() || !names.candidates.has_match_below(name),
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
}

fn matches_any(patterns: &[Pattern], name: &MailboxName, steps: &mut u64) -> bool {
    patterns.iter().any(|pattern| {
        *steps += pattern.steps(name);
        pattern.matches(name)
    })
}

impl Column {
    fn new(names: Vec<MailboxName>) -> Self {
        let mut matching_before = Vec::with_capacity(names.len() + 1);
        matching_before.push(0);
        Self {
            names,
            matching_before,
        }
    }

    /// The next name of which it is not known whether it matches.
    fn next_unknown(&self) -> Option<&MailboxName> {
        self.names.get(self.matching_before.len() - 1)
    }

    /// Whether [`Self::next_unknown`] does.
    fn put(&mut self, is_match: bool) {
        let before = self.matching_before.last().copied().unwrap_or_default();
        self.matching_before.push(before + usize::from(is_match));
    }

    fn is_match(&self, at: usize) -> bool {
        self.matching_before[at] != self.matching_before[at + 1]
    }

    /// Where the names below `name` are.
    fn below(&self, name: &MailboxName) -> Range<usize> {
        let Some(first) = first_below(name) else {
            return 0..0;
        };
        let start = self.names.partition_point(|other| *other < first);
        let count = self.names[start..].partition_point(|other| other.is_below(name));
        start..start + count
    }

    fn matching_in(&self, range: &Range<usize>) -> usize {
        self.matching_before[range.end] - self.matching_before[range.start]
    }

    fn has_match_below(&self, name: &MailboxName) -> bool {
        self.matching_in(&self.below(name)) > 0
    }

    /// Is there a name below that does not match?
    fn has_other_below(&self, name: &MailboxName) -> bool {
        let below = self.below(name);
        self.matching_in(&below) < below.len()
    }
}

/// Every name that may be shown, parents included, ascending.
fn candidates(account: &AccountState, selection: Selection) -> Vec<MailboxName> {
    let names: BTreeSet<Cow<'_, MailboxName>> = match selection {
        Selection::Existing | Selection::SpecialUse => account.names.keys().map(Cow::Borrowed).collect(),
        _ => subscribed(account),
    };
    let mut levels = BTreeSet::new();
    for name in &names {
        let mut parent = name.parent();
        while let Some(level) = parent
            && levels.len() < LEVELS_MAX
            && !names.contains(&level)
        {
            parent = level.parent();
            if !levels.insert(level) {
                break;
            }
        }
    }
    levels.extend(names.into_iter().map(Cow::into_owned));
    levels.into_iter().collect()
}

/// What is subscribed to, in whatever Unicode normalization, as the mailbox is called, or would be.
fn subscribed(account: &AccountState) -> BTreeSet<Cow<'_, MailboxName>> {
    let names = &account.names;
    let called = |name| match names.find(name) {
        Some((name, _)) => Cow::Borrowed(name),
        None => names.name_of_new(name).map_or(Cow::Borrowed(name), Cow::Owned),
    };
    account.subscriptions.keys().map(called).collect()
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

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
