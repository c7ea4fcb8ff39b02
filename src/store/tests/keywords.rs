//! Keywords of a mailbox against a naive account that keeps their names with the messages: 64 names at a time, of which those
//! that no message has make room. What would lose a keyword is not done.

use super::world::*;
use crate::model::{AccountId, Flags, Keyword, ModSeq, Quota, Uid};
use crate::proto::imap::types::StoreOperation;
use crate::sim::{Chance, SimDisk};
use crate::store::*;
use smallvec::SmallVec;
use std::collections::BTreeSet;

const ALICE: AccountId = AccountId(1);

/// Mailboxes that take part.
const NAMES: [&str; 2] = ["INBOX", "Trash"];

type Names = BTreeSet<String>;

#[derive(Default)]
struct NaiveMailbox {
    /// The keyword of each place, 64 at most.
    places: Vec<String>,
    messages: Vec<(u32, Names)>,
    /// Of messages that can be brought back.
    graves: Vec<Names>,
    uid_next: u32,
}

impl NaiveMailbox {
    fn is_used(&self, name: &String) -> bool {
        let mut messages = self.messages.iter().map(|(_, names)| names);
        messages.any(|names| names.contains(name)) || self.graves.iter().any(|names| names.contains(name))
    }

    /// Is there a place for all of `wanted` beside what is used?
    fn has_room_for<'a>(&'a self, wanted: impl IntoIterator<Item = &'a String>) -> bool {
        let used = self.messages.iter().map(|(_, names)| names).chain(&self.graves);
        let mut names: BTreeSet<&String> = used.flatten().collect();
        names.extend(wanted);
        names.len() <= 64
    }

    /// Gives `wanted` their places, for which there is room.
    fn keep(&mut self, wanted: &[String]) -> Names {
        let mut kept = Names::new();
        for name in wanted {
            if self.places.contains(name) {
            } else if self.places.len() < 64 {
                self.places.push(name.clone());
            } else {
                let is_free = |old: &String| !self.is_used(old) && !kept.contains(old);
                let place = self.places.iter().position(is_free);
                self.places[place.expect("there is room")] = name.clone();
            }
            kept.insert(name.clone());
        }
        kept
    }

    /// False: not done, something finds no place. So it is with the others.
    fn add(&mut self, wanted: &[String]) -> bool {
        if !self.has_room_for(wanted) {
            return false;
        }
        let kept = self.keep(wanted);
        self.messages.push((self.uid_next, kept));
        self.uid_next += 1;
        true
    }

    fn store(&mut self, uids: &[u32], operation: StoreOperation, wanted: &[String], if_absent: bool) -> bool {
        let goes = |names: &Names| {
            !if_absent
                || (operation != StoreOperation::Replace && !wanted.iter().any(|name| names.contains(name)))
        };
        let of = |(uid, names): &(u32, Names)| uids.contains(uid) && goes(names);
        let places: Vec<usize> = (0..self.messages.len())
            .filter(|at| of(&self.messages[*at]))
            .collect();
        if places.is_empty() || operation == StoreOperation::Remove {
            for at in places {
                self.messages[at].1.retain(|name| !wanted.contains(name));
            }
            return true;
        }
        if !self.has_room_for(wanted) {
            return false;
        }
        let kept = self.keep(wanted);
        for at in places {
            let names = &mut self.messages[at].1;
            if operation == StoreOperation::Replace {
                names.clear();
            }
            names.extend(kept.iter().cloned());
        }
        true
    }
}

fn transfer(mailboxes: &mut [NaiveMailbox; 2], from: usize, uids: &[u32], moves: bool) -> bool {
    let to = 1 - from;
    let picked: Vec<(u32, Names)> = mailboxes[from]
        .messages
        .iter()
        .filter(|(uid, _)| uids.contains(uid))
        .cloned()
        .collect();
    if !mailboxes[to].has_room_for(picked.iter().flat_map(|(_, names)| names)) {
        return false;
    }
    if moves {
        mailboxes[from].messages.retain(|(uid, _)| !uids.contains(uid));
    }
    let first = mailboxes[to].uid_next;
    for (uid, names) in picked {
        let in_order: Vec<String> = mailboxes[from]
            .places
            .iter()
            .filter(|name| names.contains(*name))
            .cloned()
            .collect();
        let place = uids.iter().position(|of| *of == uid).expect("it was picked");
        let kept = mailboxes[to].keep(&in_order);
        mailboxes[to].messages.push((first + place as u32, kept));
    }
    mailboxes[to].uid_next = first + uids.len() as u32;
    true
}

fn keywords(names: &[String]) -> SmallVec<[Keyword; 2]> {
    names
        .iter()
        .map(|name| Keyword::new(name).expect("an atom"))
        .collect()
}

fn mailbox(store: &Store<SimEnvironment>, of: usize) -> crate::model::MailboxId {
    let id = store.account(ALICE, |account| account.names[&name(NAMES[of])]);
    id.expect("it is there")
}

fn append(store: &Store<SimEnvironment>, of: usize, names: &[String]) -> Change {
    Change::Append {
        mailbox: mailbox(store, of),
        messages: vec![NewMessage {
            flags: Flags::default(),
            keywords: keywords(names),
            internal_date: date(),
            body: memory("x"),
        }],
        quota: Quota::NONE,
        replaces: None,
    }
}

fn check(world: &World, naive: &[NaiveMailbox; 2]) {
    let store = world.of(ALICE);
    for (of, naive) in naive.iter().enumerate() {
        let seen = store.account(ALICE, |account| {
            let state = account.mailbox_named(&name(NAMES[of])).expect("it is there");
            let named = |row: &MessageRow| {
                let names = state.keywords_of(row.keywords).map(|k| k.as_str().to_owned());
                (row.uid.value(), names.collect::<Names>())
            };
            (
                state.rows.iter().map(named).collect::<Vec<_>>(),
                state.takes_new_keyword(),
            )
        });
        let (messages, takes_new) = seen.expect("it is there");
        assert_eq!(messages, naive.messages, "of {}", NAMES[of]);
        let has_room = naive.places.len() < 64 || naive.places.iter().any(|name| !naive.is_used(name));
        assert_eq!(takes_new, has_room);
    }
}

fn open(disk: &SimDisk) -> World {
    World::open(disk, 1, small_options())
        .expect("it opens")
        .load_all()
}

#[test]
fn keywords_are_those_of_a_naive_mailbox_also_after_restarts() {
    let mut refused = [0; 3];
    for seed in 0..5 {
        let mut chance = Chance::new(seed);
        let disk = SimDisk::new(seed);
        let mut world = open(&disk);
        world
            .run(world.of(ALICE).ensure_account(ALICE))
            .expect("it commits");
        let mut naive: [NaiveMailbox; 2] = std::array::from_fn(|_| NaiveMailbox {
            uid_next: 1,
            ..NaiveMailbox::default()
        });
        let mut world = World::load_all(world);
        for step in 0..130 {
            let store = world.of(ALICE);
            let of = chance.below(2) as usize;
            let mut names: Vec<String> = (0..chance.below(12))
                .map(|_| format!("k{}", chance.below(110)))
                .collect();
            names.sort_unstable();
            names.dedup();
            let mut uids: Vec<u32> = (0..1 + chance.below(3))
                .map(|_| 1 + chance.below(naive[of].uid_next.into()) as u32)
                .collect();
            uids.sort_unstable();
            uids.dedup();
            let set: Vec<Uid> = uids.iter().filter_map(|uid| Uid::new(*uid)).collect();
            let (kind, is_done, change) = match chance.below(12) {
                0..3 => (0, naive[of].add(&names), append(&store, of, &names)),
                3..8 => {
                    let operation = [
                        StoreOperation::Add,
                        StoreOperation::Remove,
                        StoreOperation::Replace,
                    ][chance.below(3) as usize];
                    let if_absent = chance.below(4) == 0;
                    let change = Change::StoreFlags {
                        mailbox: mailbox(&store, of),
                        uids: set,
                        operation,
                        flags: Flags::default(),
                        keywords: keywords(&names),
                        unchanged_since: if_absent.then_some(ModSeq(0)),
                    };
                    let is_done = naive[of].store(&uids, operation, &names, if_absent);
                    (1, is_done, change)
                }
                8 => {
                    let naive = &mut naive[of];
                    let gone = naive.messages.extract_if(.., |(uid, _)| uids.contains(uid));
                    naive.graves.extend(gone.map(|(_, names)| names));
                    let change = Change::Expunge {
                        mailbox: mailbox(&store, of),
                        uids: set,
                        only_deleted: false,
                    };
                    (2, true, change)
                }
                9..11 => {
                    let moves = chance.below(2) == 0;
                    let is_done = transfer(&mut naive, of, &uids, moves);
                    let (from, to) = (mailbox(&store, of), mailbox(&store, 1 - of));
                    let change = if moves {
                        Change::Move { from, uids: set, to }
                    } else {
                        let quota = Quota::NONE;
                        Change::Copy {
                            from,
                            uids: set,
                            to,
                            quota,
                        }
                    };
                    (2, is_done, change)
                }
                _ => {
                    drop(store);
                    world.close();
                    if step % 2 == 0 {
                        remove_checkpoints(&disk);
                    }
                    compare_with_the_log(&disk, 1).expect("checkpoint and log agree");
                    world = open(&disk);
                    check(&world, &naive);
                    continue;
                }
            };
            let done = world.run(store.change(ALICE, change));
            assert_eq!(done.is_ok(), is_done, "{done:?}");
            if let Err(error) = done {
                assert_eq!(error, StoreError::Limit("64 keywords of a mailbox"));
                refused[kind] += 1;
            }
            check(&world, &naive);
        }
        world.close();
    }
    assert!(
        refused.iter().all(|count| *count > 5),
        "the mailboxes were full: {refused:?}"
    );
}

fn numbered(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|number| format!("k{number:02}")).collect()
}

#[test]
fn of_changes_at_once_none_takes_the_place_that_another_needs() {
    let mut world = open(&SimDisk::new(9));
    world
        .run(world.of(ALICE).ensure_account(ALICE))
        .expect("it commits");
    let mut world = world.load_all();
    let store = world.of(ALICE);
    let kept = |store: &Store<SimEnvironment>, of: usize| -> Vec<usize> {
        let rows = |account: &AccountState| -> Vec<usize> {
            let mailbox = account.mailbox_named(&name(NAMES[of])).expect("it is there");
            let rows = mailbox.rows.iter();
            rows.map(|row| mailbox.keywords_of(row.keywords).count())
                .collect()
        };
        store.account(ALICE, rows).expect("it is there")
    };
    let mut all = |changes: Vec<Change>| -> Vec<bool> {
        let changes = changes.into_iter().map(|change| store.change(ALICE, change));
        let done = world.run(futures::future::join_all(changes));
        done.iter().map(Result::is_ok).collect()
    };
    // Room for two more: the first takes one, the second wants two.
    all(vec![append(&store, 0, &numbered(0, 62))]);
    let two = [numbered(70, 71), numbered(71, 73)].map(|names| append(&store, 0, &names));
    assert_eq!(all(two.to_vec()), [true, false]);
    // One of them both name: it needs one place.
    let same = [numbered(80, 81), numbered(80, 81)].map(|names| append(&store, 0, &names));
    assert_eq!(all(same.to_vec()), [true, true]);
    assert_eq!(kept(&store, 0), [62, 1, 1, 1]);
    // What is copied may get a keyword before it is: Trash has room for what it has now, and not for that.
    let trash = mailbox(&store, 1);
    all(vec![append(&store, 1, &numbered(0, 63))]);
    let stored = Change::StoreFlags {
        mailbox: INBOX_ID,
        uids: vec![Uid::new(2).expect("above 0")],
        operation: StoreOperation::Add,
        flags: Flags::default(),
        keywords: keywords(&numbered(80, 81)),
        unchanged_since: None,
    };
    let moved = Change::Move {
        from: INBOX_ID,
        uids: vec![Uid::new(2).expect("above 0")],
        to: trash,
    };
    assert_eq!(all(vec![stored, moved.clone()]), [true, false]);
    assert_eq!(all(vec![moved]), [false]);
    assert_eq!((kept(&store, 0), kept(&store, 1)), (vec![62, 2, 1, 1], vec![63]));
}

#[test]
fn of_changes_at_once_that_take_the_same_message_away_one_replaces_it() {
    // RFC 8508 §3.4: one action.
    let mut world = open(&SimDisk::new(7));
    let store = world.of(ALICE);
    let replacing = |uid: u32| {
        let Change::Append {
            mailbox,
            messages,
            quota,
            ..
        } = append(&store, 0, &[])
        else {
            unreachable!("it is one");
        };
        let replaces = Uid::new(uid).map(|uid| (mailbox, uid));
        Change::Append {
            mailbox,
            messages,
            quota,
            replaces,
        }
    };
    world
        .run(store.deliver(delivery(&[ALICE], memory("one"))))
        .expect("it commits");
    let two = [replacing(1), replacing(1)].map(|change| store.change(ALICE, change));
    let done = world.run(futures::future::join_all(two));
    assert!(
        done[0].is_ok() && matches!(done[1], Err(StoreError::NoSuchMessage)),
        "{done:?}"
    );
    let again = world.run(store.change(ALICE, replacing(1)));
    assert!(matches!(again, Err(StoreError::NoSuchMessage)), "{again:?}");
    // UID 2 now; whatever may take it away is on its way.
    let expunge = Change::Expunge {
        mailbox: INBOX_ID,
        uids: vec![Uid::new(2).expect("above 0")],
        only_deleted: false,
    };
    let both = [expunge, replacing(2)].map(|change| store.change(ALICE, change));
    let done = world.run(futures::future::join_all(both));
    assert!(
        done[0].is_ok() && matches!(done[1], Err(StoreError::NoSuchMessage)),
        "{done:?}"
    );
    let left = store.account(ALICE, |account| account.mailboxes[&INBOX_ID].rows.len());
    assert_eq!(left, Some(0));
    // The account goes on as before.
    world
        .run(store.deliver(delivery(&[ALICE], memory("two"))))
        .expect("it commits");
    world.run(store.change(ALICE, replacing(3))).expect("it is there");
    let left = store.account(ALICE, |account| account.mailboxes[&INBOX_ID].rows.len());
    assert_eq!(left, Some(1));
}

#[test]
fn metadata_of_a_mailbox_raises_its_modseq_also_after_a_restart() {
    let disk = SimDisk::new(8);
    let mut world = open(&disk);
    world
        .run(world.of(ALICE).ensure_account(ALICE))
        .expect("it commits");
    let mut world = world.load_all();
    let store = world.of(ALICE);
    let set = |mailbox| Change::SetMetadata {
        mailbox,
        entries: vec![("/private/comment".to_owned(), Some("x".into()))],
        special_use: None,
    };
    let of_inbox = |store: &Store<SimEnvironment>| {
        let highest = store.account(ALICE, |account| account.mailboxes[&INBOX_ID].highest_mod_seq.0);
        highest.expect("it is there")
    };
    let before = of_inbox(&store);
    world
        .run(store.change(ALICE, set(Some(INBOX_ID))))
        .expect("it commits");
    let after = of_inbox(&store);
    assert!(after > before);
    world.run(store.change(ALICE, set(None))).expect("it commits");
    assert_eq!((of_inbox(&store), mod_seq(&store, ALICE)), (after, after));
    drop(store);
    world.close();
    remove_checkpoints(&disk);
    assert_eq!(of_inbox(&open(&disk).of(ALICE)), after);
}
