use super::*;
use crate::model::{AccountId, ModSeq, UidValidity};
use crate::store::MailboxState;

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
    while query.next_slice(account, &mut entries) {}
    entries
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
