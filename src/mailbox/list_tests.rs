use super::*;
use crate::model::mailbox_name::{MAILBOX_DEPTH_MAX, MAILBOX_NAME_BYTES_MAX};
use crate::model::{AccountId, ModSeq, UidValidity};
use crate::store::MailboxState;
use proptest::collection::btree_set;
use proptest::prelude::*;

fn name(text: &str) -> MailboxName {
    MailboxName::new(text).unwrap()
}

/// An account with these mailboxes and subscriptions only.
fn account(mailboxes: &[&str], subscriptions: &[&str]) -> AccountState {
    let mut account = AccountState::new(AccountId(1), 1);
    account.names.clear();
    account.mailboxes.clear();
    for (index, text) in mailboxes.iter().enumerate() {
        let id = MailboxId(u32::try_from(index).unwrap());
        account.names.insert(name(text), id);
        account.mailboxes.insert(
            id,
            MailboxState {
                id,
                name: name(text),
                uid_validity: UidValidity(1),
                uid_next: 1,
                special_use: (*text == "Sent").then_some(SpecialUse::Sent),
                rows: Vec::new(),
                keywords: Vec::new(),
                highest_mod_seq: ModSeq(0),
                graves: Vec::new(),
                graves_from: ModSeq(0),
                changes: Default::default(),
                recent_from: Default::default(),
                metadata: Default::default(),
            },
        );
    }
    account.subscriptions = subscriptions.iter().map(|n| name(n)).collect();
    account
}

fn run(account: &AccountState, mut query: ListQuery) -> Vec<ListEntry> {
    let mut entries = Vec::new();
    loop {
        match query.next_slice(account, &mut entries) {
            Progress::More => {}
            Progress::Done => return entries,
            Progress::Spent => panic!("too much work"),
        }
    }
}

fn names(entries: &[ListEntry]) -> Vec<&str> {
    entries.iter().map(|e| e.name.as_str()).collect()
}

fn list(patterns: &[&str]) -> List {
    List {
        patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
        ..List::default()
    }
}

#[test]
fn names_are_listed_once_in_order_with_children_shown() {
    let account = account(&["INBOX", "a", "a!", "a/b", "Sent"], &[]);
    let entries = run(&account, ListQuery::list(&list(&["*", "a%"])));
    assert_eq!(names(&entries), ["INBOX", "Sent", "a", "a!", "a/b"]);
    let parents: Vec<bool> = entries.iter().map(|e| e.has_children).collect();
    assert_eq!(parents, [false, false, true, false, false]);
    assert_eq!(entries[1].special_use, Some(SpecialUse::Sent));
}

#[test]
fn a_level_without_a_mailbox_is_shown_when_nothing_below_it_matches() {
    let account = account(&["x/y/z"], &[]);
    let entries = run(&account, ListQuery::list(&list(&["%"])));
    assert_eq!(names(&entries), ["x"]);
    assert_eq!(entries[0].mailbox, None);
    assert_eq!(names(&run(&account, ListQuery::list(&list(&["*"])))), ["x/y/z"]);
}

#[test]
fn subscriptions_are_listed_though_the_mailbox_is_gone() {
    let account = account(&["INBOX"], &["INBOX", "old/one"]);
    let subscribed = List {
        select_subscribed: true,
        ..list(&["*"])
    };
    let entries = run(&account, ListQuery::list(&subscribed));
    assert_eq!(names(&entries), ["INBOX", "old/one"]);
    assert_eq!(entries[1].mailbox, None);

    let recursive = List {
        recursive_match: true,
        patterns: ["%".to_owned()].into_iter().collect(),
        ..subscribed
    };
    let entries = run(&account, ListQuery::list(&recursive));
    assert_eq!(names(&entries), ["INBOX", "old"]);
    assert!(entries[1].child_is_subscribed && !entries[0].child_is_subscribed);
}

#[test]
fn lsub_shows_a_placeholder_for_the_level_above_a_subscription() {
    let account = account(&["a", "a/b"], &["a/b"]);
    let entries = run(&account, ListQuery::lsub("", "%"));
    assert_eq!(names(&entries), ["a"]);
    assert!(entries[0].is_placeholder);
    assert_eq!(names(&run(&account, ListQuery::lsub("", "*"))), ["a/b"]);
    assert_eq!(names(&run(&account, ListQuery::lsub("a/", "%"))), ["a/b"]);
}

#[test]
fn a_list_longer_than_a_slice_is_whole() {
    let many: Vec<String> = (0..100).map(|n| format!("box{n:03}")).collect();
    let refs: Vec<&str> = many.iter().map(String::as_str).collect();
    let account = account(&refs, &[]);
    assert_eq!(names(&run(&account, ListQuery::list(&list(&["*"])))), refs);
}

/// Names of the greatest length, all below one that is no mailbox, as are the 98 levels between.
fn deep_names(count: usize) -> Vec<String> {
    let levels = "a/".repeat(MAILBOX_DEPTH_MAX - 1);
    (0..count)
        .map(|n| {
            format!(
                "{levels}{n:x>width$}",
                width = MAILBOX_NAME_BYTES_MAX - levels.len()
            )
        })
        .collect()
}

/// As many as are allowed, as long as a command may be; only the last one matches.
fn hard_patterns() -> Vec<String> {
    let mut patterns = vec![format!("*{}y", "x*".repeat(490)); 63];
    patterns.push("*".to_owned());
    patterns
}

#[test]
fn hard_patterns_and_many_levels_are_work_for_each_name_once_and_in_slices() {
    let names = deep_names(24);
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let account = account(&refs, &refs);
    let list = List {
        patterns: hard_patterns().into_iter().collect(),
        ..List::default()
    };
    let recursive = List {
        select_subscribed: true,
        recursive_match: true,
        ..list.clone()
    };
    for list in [list, recursive] {
        let mut query = ListQuery::list(&list);
        let for_a_name: u64 = query
            .patterns
            .iter()
            .map(|pattern| pattern.steps(&name(&names[0])))
            .sum();
        let mut entries = Vec::new();
        let mut before = 0;
        while query.next_slice(&account, &mut entries) == Progress::More {
            assert!(query.steps - before < LIST_SLICE_STEPS + for_a_name);
            before = query.steps;
        }
        assert_eq!(entries.len(), names.len());
        let looked_at = 2 * names.len() + MAILBOX_DEPTH_MAX;
        assert!(query.steps <= looked_at as u64 * for_a_name, "{}", query.steps);
    }
}

#[test]
fn a_list_that_takes_too_long_ends() {
    let names = deep_names(10);
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let account = account(&refs, &[]);
    let mut query = ListQuery::list(&List {
        patterns: hard_patterns().into_iter().collect(),
        ..List::default()
    });
    query.steps = LIST_STEPS_MAX;
    let mut entries = Vec::new();
    assert_eq!(query.next_slice(&account, &mut entries), Progress::Spent);
    assert!(entries.is_empty());
}

#[test]
fn levels_that_are_no_mailboxes_are_bounded() {
    let levels = "/a".repeat(MAILBOX_DEPTH_MAX - 1);
    let names: Vec<String> = (0..1_000).map(|n| format!("{n}{levels}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let account = account(&refs, &[]);
    let found = candidates(&account, Selection::Existing);
    assert_eq!(found.len(), LEVELS_MAX + names.len());
    assert!(found.is_sorted());
}

/// RFC 5258 as it reads: every name against every other.
fn naive(account: &AccountState, list: &List) -> Vec<(String, bool)> {
    let patterns: Vec<Pattern> = list.patterns.iter().map(|p| Pattern::new("", p)).collect();
    let is_match = |name: &MailboxName| patterns.iter().any(|pattern| pattern.matches(name));
    let chosen: Vec<&MailboxName> = if list.select_subscribed {
        account.subscriptions.keys().collect()
    } else {
        account.names.keys().collect()
    };
    let mut all: BTreeSet<MailboxName> = chosen.iter().map(|name| (*name).clone()).collect();
    for name in chosen {
        all.extend(std::iter::successors(name.parent(), MailboxName::parent));
    }
    let mut shown = Vec::new();
    for name in all.iter().filter(|name| is_match(name)) {
        let has_other = account
            .subscriptions
            .keys()
            .any(|child| child.is_below(name) && !is_match(child));
        let is_selected = if list.select_subscribed {
            account.is_subscribed(name)
        } else {
            account.names.contains_key(name)
                || !all.iter().any(|child| child.is_below(name) && is_match(child))
        };
        let has_other = list.recursive_match && has_other;
        if is_selected || has_other {
            shown.push((name.as_str().to_owned(), has_other));
        }
    }
    shown
}

proptest! {
    #[test]
    fn a_list_is_what_the_rfc_says(
        mailboxes in btree_set("[a!]{1,2}(/[ab]{1}){0,3}", 0..12),
        subscriptions in btree_set("[a!]{1,2}(/[ab]{1}){0,3}", 0..12),
        patterns in prop::collection::vec("[ab%*/]{1,4}", 1..4),
        select_subscribed: bool,
        recursive_match: bool,
    ) {
        let mailboxes: Vec<&str> = mailboxes.iter().map(String::as_str).collect();
        let subscriptions: Vec<&str> = subscriptions.iter().map(String::as_str).collect();
        let account = account(&mailboxes, &subscriptions);
        let list = List {
            patterns: patterns.into_iter().collect(),
            select_subscribed,
            recursive_match: recursive_match && select_subscribed,
            ..List::default()
        };
        let found: Vec<(String, bool)> = run(&account, ListQuery::list(&list))
            .into_iter()
            .map(|entry| (entry.name.as_str().to_owned(), entry.child_is_subscribed))
            .collect();
        prop_assert_eq!(found, naive(&account, &list));
    }
}
