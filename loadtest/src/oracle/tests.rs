//! What the oracle accepts, and that it finds every kind of fault.

use super::belief::Change;
use super::*;

const ACCOUNT: &str = "user1@example.org";

/// UID, counter of the id, and the byte its digest is made of.
type Row = (u32, u64, u8);

fn id(counter: u64) -> MessageId {
    MessageId { run: 1, counter }
}

fn oracle() -> Oracle {
    let entry = |is_acknowledged| Entry {
        recipients: vec![ACCOUNT.to_owned()],
        digest: [7; 32],
        is_acknowledged,
    };
    Oracle::new(HashMap::from([(id(1), entry(true)), (id(2), entry(false))]))
}

fn mailbox(messages: &[Row]) -> MailboxSeen {
    let messages = messages.iter().map(|(uid, counter, byte)| Seen {
        uid: *uid,
        flags: Flags::new(),
        identity: Some((id(*counter), [*byte; 32])),
    });
    MailboxSeen {
        uid_validity: 9,
        uid_next: 10,
        highest_mod_seq: 5,
        messages: messages.collect(),
    }
}

fn account(inbox: MailboxSeen, archive: MailboxSeen) -> AccountSeen {
    AccountSeen {
        mailboxes: BTreeMap::from([("INBOX".to_owned(), inbox), ("Archive".to_owned(), archive)]),
        names: BTreeSet::from(["INBOX".to_owned(), "Archive".to_owned()]),
    }
}

fn judge(oracle: &mut Oracle, seen: &AccountSeen) -> Vec<String> {
    let mut findings = Findings::default();
    oracle.judge(ACCOUNT, seen, &mut findings);
    findings.faults
}

fn faults(oracle: &mut Oracle, messages: &[Row]) -> Vec<String> {
    judge(oracle, &account(mailbox(messages), mailbox(&[])))
}

fn tell(oracle: &mut Oracle, told: Vec<Told>) {
    let mut findings = Findings::default();
    oracle.tell(ACCOUNT, told, &mut findings);
    assert!(findings.faults.is_empty(), "{findings:?}");
}

fn flags(names: &[&str]) -> Flags {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_was_acknowledged_is_enough_and_what_was_not_may_be_there() {
    assert!(faults(&mut oracle(), &[(1, 1, 7)]).is_empty());
    assert!(faults(&mut oracle(), &[(1, 1, 7), (2, 2, 7)]).is_empty());
}

#[test]
fn every_kind_of_fault_is_found() {
    let cases: [(&[Row], &str); 6] = [
        (&[], "LOST"),
        (&[(1, 1, 7), (2, 1, 7)], "2 times"),
        (&[(1, 1, 8)], "damaged"),
        (&[(1, 1, 7), (2, 2, 8)], "damaged"),
        (&[(1, 1, 7), (2, 3, 7)], "never sent"),
        (&[(2, 1, 7), (1, 2, 7)], "out of order"),
    ];
    for (messages, wanted) in cases {
        let faults = faults(&mut oracle(), messages);
        assert!(
            faults.iter().any(|fault| fault.contains(wanted)),
            "{wanted}: {faults:?}"
        );
    }
}

#[test]
fn only_what_several_were_sent_may_come_late() {
    let both = vec![ACCOUNT.to_owned(), "user2@example.org".to_owned()];
    for (recipients, may_mend) in [(both, true), (vec![ACCOUNT.to_owned()], false)] {
        let entry = Entry {
            recipients,
            digest: [7; 32],
            is_acknowledged: true,
        };
        let mut findings = Findings::default();
        let seen = account(mailbox(&[]), mailbox(&[]));
        Oracle::new(HashMap::from([(id(1), entry)])).judge(ACCOUNT, &seen, &mut findings);
        assert_eq!(findings.may_mend(), may_mend);
    }
}

#[test]
fn what_was_seen_once_stays_though_it_was_never_acknowledged() {
    let mut oracle = oracle();
    assert!(faults(&mut oracle, &[(1, 1, 7), (2, 2, 7)]).is_empty());
    assert!(faults(&mut oracle, &[(1, 1, 7)])[0].contains("LOST"));
}

#[test]
fn uids_and_expunges_hold_over_a_restart() {
    let mut oracle = oracle();
    assert!(faults(&mut oracle, &[(1, 1, 7)]).is_empty());
    assert!(faults(&mut oracle, &[(2, 1, 7)])[0].contains("had UID 1"));
    oracle.expunged(ACCOUNT, &mailbox(&[(2, 1, 7)]));
    assert!(faults(&mut oracle, &[]).is_empty());
    assert!(faults(&mut oracle, &[(2, 1, 7)])[0].contains("came back"));
}

#[test]
fn a_uid_that_named_another_message_is_a_fault() {
    let mut oracle = oracle();
    assert!(faults(&mut oracle, &[(1, 1, 7), (2, 2, 7)]).is_empty());
    oracle.expunged(ACCOUNT, &mailbox(&[(2, 2, 7)]));
    let entry = Entry {
        recipients: vec![ACCOUNT.to_owned()],
        digest: [7; 32],
        is_acknowledged: true,
    };
    oracle.add(HashMap::from([(id(3), entry)]));
    let found = faults(&mut oracle, &[(1, 1, 7), (2, 3, 7)]);
    assert!(found[0].contains("named another"), "{found:?}");
}

#[test]
fn acknowledged_flags_hold_and_unanswered_ones_may() {
    let flag = |names: &[&str]| Told::Asked(vec![Change::Flags(id(1), flags(names))]);
    let seen = |names: &[&str]| {
        let mut inbox = mailbox(&[(1, 1, 7)]);
        inbox.messages[0].flags = flags(names);
        account(inbox, mailbox(&[]))
    };
    for now in [&["\\Flagged"][..], &["\\Flagged", "\\Seen"]] {
        let mut oracle = oracle();
        tell(
            &mut oracle,
            vec![flag(&["\\Flagged"]), Told::Done, flag(&["\\Flagged", "\\Seen"])],
        );
        assert!(judge(&mut oracle, &seen(now)).is_empty());
        assert!(judge(&mut oracle, &seen(&[]))[0].contains("has flags"));
    }
}

#[test]
fn a_move_is_whole_and_an_acknowledged_one_holds() {
    let moved = || Told::Asked(vec![Change::Place(id(1), Place::In("Archive".to_owned()))]);
    let here = || account(mailbox(&[(1, 1, 7)]), mailbox(&[]));
    let there = || account(mailbox(&[]), mailbox(&[(1, 1, 7)]));
    for seen in [here(), there()] {
        let mut oracle = oracle();
        tell(&mut oracle, vec![moved()]);
        assert!(judge(&mut oracle, &seen).is_empty());
        assert!(!judge(&mut oracle, &account(mailbox(&[]), mailbox(&[]))).is_empty());
    }
    let mut oracle = oracle();
    tell(&mut oracle, vec![moved(), Told::Done]);
    let both = account(mailbox(&[(1, 1, 7)]), mailbox(&[(1, 1, 7)]));
    assert!(judge(&mut oracle, &both)[0].contains("2 times"));
    assert!(judge(&mut oracle, &here())[0].contains("was acknowledged in Archive"));
}

#[test]
fn heads_mailboxes_and_unique_ids_never_go_back() {
    let mut oracle = oracle();
    let made = Change::Mailbox {
        name: "made".to_owned(),
        exists: true,
    };
    tell(
        &mut oracle,
        vec![
            Told::Asked(vec![made]),
            Told::Done,
            Told::Head {
                mailbox: "INBOX".to_owned(),
                uid_next: 11,
                highest_mod_seq: 6,
            },
        ],
    );
    let found = faults(&mut oracle, &[(1, 1, 7)]).join("\n");
    for wanted in ["UIDNEXT", "HIGHESTMODSEQ", "mailbox made is gone"] {
        assert!(found.contains(wanted), "{found}");
    }
    let mut findings = Findings::default();
    oracle.judge_unique_ids(ACCOUNT, &[(id(1), "a".to_owned())], &mut findings);
    assert!(findings.faults.is_empty());
    oracle.judge_unique_ids(ACCOUNT, &[(id(1), "b".to_owned())], &mut findings);
    assert!(findings.faults[0].contains("UIDL"));
}

#[test]
fn a_refused_expunge_may_be_shown_undone_and_yet_turn_out_to_be_done() {
    let mut oracle = oracle();
    let shown = Told::UniqueId {
        id: id(1),
        unique_id: "a".to_owned(),
    };
    let gone = Told::Asked(vec![Change::Place(id(1), Place::Nowhere)]);
    tell(&mut oracle, vec![shown.clone(), gone, shown]);
    assert!(faults(&mut oracle, &[]).is_empty());
    assert!(faults(&mut oracle, &[(1, 1, 7)])[0].contains("came back"));
}
