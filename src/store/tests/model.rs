//! A naive mail account in `Vec`s: the oracle of the crash tests.

use super::world::*;
use crate::model::{AccountId, Flags, Keyword, MailboxId, SpecialUse, Uid};
use crate::proto::imap::types::StoreOperation;
use crate::sim::Chance;
use crate::store::*;
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet};

/// The entry that [`Op::Use`] sets along with it.
const COMMENT: &str = "/private/comment";

/// UID, flags, keywords, octets.
pub type ModelMessage = (u32, u8, BTreeSet<String>, Vec<u8>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelMailbox {
    pub uid_next: u32,
    pub messages: Vec<ModelMessage>,
    pub metadata: BTreeMap<String, Vec<u8>>,
    pub special_use: Option<SpecialUse>,
}

/// Mailboxes by name. Empty: the account was never touched.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Model(pub BTreeMap<String, ModelMailbox>);

#[derive(Clone, Debug)]
pub enum Op {
    Deliver(Vec<u8>),
    DeliverLong(Vec<u8>),
    Append(String, Vec<u8>, Flags),
    StoreFlags(String, Vec<u32>, StoreOperation, Flags, Vec<String>),
    Expunge(String, Vec<u32>, bool),
    Transfer(String, Vec<u32>, String, bool),
    Create(String),
    Delete(String),
    Rename(String, String),
    Annotate(String, &'static str, Option<Vec<u8>>),
    /// A special use and a comment that says so, in one change.
    Use(String, SpecialUse),
}

impl Model {
    fn touch(&mut self) {
        if self.0.is_empty() {
            self.create("INBOX");
            for (role, name) in SpecialUse::STANDARD {
                self.create(name);
                self.0.get_mut(name).expect("it was just made").special_use = Some(role);
            }
        }
    }

    fn create(&mut self, name: &str) {
        let mut at = 0;
        while let Some(slash) = name[at..].find('/') {
            at += slash;
            self.create_one(&name[..at]);
            at += 1;
        }
        self.create_one(name);
    }

    fn create_one(&mut self, name: &str) {
        let new = ModelMailbox {
            uid_next: 1,
            messages: Vec::new(),
            metadata: BTreeMap::new(),
            special_use: None,
        };
        self.0.entry(name.to_owned()).or_insert(new);
    }

    fn add(&mut self, mailbox: &str, flags: u8, keywords: BTreeSet<String>, octets: Vec<u8>) {
        let mailbox = self.0.get_mut(mailbox).expect("the script knows its mailboxes");
        mailbox.messages.push((mailbox.uid_next, flags, keywords, octets));
        mailbox.uid_next += 1;
    }

    pub fn apply(&mut self, account: AccountId, op: &Op) {
        self.touch();
        match op {
            Op::Deliver(body) | Op::DeliverLong(body) => {
                let octets = [recipient(account).prefix, body.clone()].concat();
                self.add("INBOX", 0, BTreeSet::new(), octets);
            }
            Op::Append(mailbox, body, flags) => self.add(mailbox, flags.0, BTreeSet::new(), body.clone()),
            Op::StoreFlags(mailbox, uids, operation, flags, keywords) => {
                let mailbox = self.0.get_mut(mailbox).expect("the script knows its mailboxes");
                for message in mailbox.messages.iter_mut().filter(|m| uids.contains(&m.0)) {
                    let named: BTreeSet<String> = keywords.iter().cloned().collect();
                    match operation {
                        StoreOperation::Replace => (message.1, message.2) = (flags.0, named),
                        StoreOperation::Add => {
                            message.1 |= flags.0;
                            message.2.extend(named);
                        }
                        StoreOperation::Remove => {
                            message.1 &= !flags.0;
                            message.2.retain(|k| !named.contains(k));
                        }
                    }
                }
            }
            Op::Expunge(mailbox, uids, only_deleted) => {
                let mailbox = self.0.get_mut(mailbox).expect("the script knows its mailboxes");
                let goes =
                    |m: &ModelMessage| uids.contains(&m.0) && (!only_deleted || m.1 & Flags::DELETED.0 != 0);
                mailbox.messages.retain(|m| !goes(m));
            }
            Op::Transfer(from, uids, to, moves) => self.transfer(from, uids, to, *moves),
            Op::Create(name) => self.create(name),
            Op::Delete(name) => {
                self.0.remove(name);
            }
            Op::Rename(from, to) => self.rename(from, to),
            Op::Annotate(mailbox, entry, value) => {
                let mailbox = self.0.get_mut(mailbox).expect("the script knows its mailboxes");
                mailbox.metadata.remove(*entry);
                mailbox
                    .metadata
                    .extend(value.clone().map(|value| ((*entry).to_owned(), value)));
            }
            Op::Use(name, role) => {
                let holders = self.0.values_mut().filter(|m| m.special_use == Some(*role));
                holders.for_each(|mailbox| mailbox.special_use = None);
                let mailbox = self.0.get_mut(name).expect("the script knows its mailboxes");
                mailbox.special_use = Some(*role);
                mailbox
                    .metadata
                    .insert(COMMENT.to_owned(), role.attribute().into());
            }
        }
    }

    fn transfer(&mut self, from: &str, uids: &[u32], to: &str, moves: bool) {
        let mut uids = uids.to_vec();
        uids.sort_unstable();
        uids.dedup();
        let first = self.0[to].uid_next;
        let source = self.0.get_mut(from).expect("the script knows its mailboxes");
        let mut picked: Vec<ModelMessage> = source
            .messages
            .iter()
            .filter(|m| uids.contains(&m.0))
            .cloned()
            .collect();
        if moves {
            source.messages.retain(|m| !uids.contains(&m.0));
        }
        for message in &mut picked {
            let place = uids
                .iter()
                .position(|uid| *uid == message.0)
                .expect("it was picked");
            message.0 = first + place as u32;
        }
        let target = self.0.get_mut(to).expect("the script knows its mailboxes");
        target.messages.extend(picked);
        target.uid_next = first + uids.len() as u32;
    }

    fn rename(&mut self, from: &str, to: &str) {
        if from == "INBOX" {
            self.create(to);
            let inbox = self.0.get_mut("INBOX").expect("always there");
            let moved = ModelMailbox {
                uid_next: inbox.uid_next,
                messages: std::mem::take(&mut inbox.messages),
                metadata: inbox.metadata.clone(),
                special_use: None,
            };
            self.0.insert(to.to_owned(), moved);
            return;
        }
        if let Some((parent, _)) = to.rsplit_once('/') {
            self.create(parent);
        }
        let below = format!("{from}/");
        let names: Vec<String> = self
            .0
            .keys()
            .filter(|n| *n == from || n.starts_with(&below))
            .cloned()
            .collect();
        for old in names {
            let mailbox = self.0.remove(&old).expect("it was listed");
            self.0.insert(format!("{to}{}", &old[from.len()..]), mailbox);
        }
    }
}

/// Does it to the store; the answer is an acknowledgement.
pub async fn execute(store: &Store<SimEnvironment>, id: AccountId, op: &Op) -> Result<(), StoreError> {
    let _pin = match op {
        Op::Deliver(_) | Op::DeliverLong(_) => None,
        _ => Some(store.load(id).await?),
    };
    let mailbox = |text: &str| -> MailboxId {
        let found = store.account(id, |a| a.names.get(&name(text)).copied()).flatten();
        found.expect("the script knows its mailboxes")
    };
    let uids = |uids: &[u32]| uids.iter().filter_map(|u| Uid::new(*u)).collect::<Vec<_>>();
    let change = match op {
        Op::Deliver(body) => {
            return store
                .deliver(delivery(&[id], memory(body.clone())))
                .await
                .map(|_| ());
        }
        Op::DeliverLong(body) => {
            let mut writer = store.body_writer();
            for piece in body.chunks(1_500) {
                writer.push(Bytes::copy_from_slice(piece)).await?;
            }
            return store
                .deliver(delivery(&[id], writer.finish().await?))
                .await
                .map(|_| ());
        }
        Op::Append(to, body, flags) => Change::Append {
            mailbox: mailbox(to),
            messages: vec![NewMessage {
                flags: *flags,
                keywords: smallvec![],
                internal_date: date(),
                body: memory(body.clone()),
            }],
            quota: crate::model::Quota::NONE,
            replaces: None,
        },
        Op::StoreFlags(of, set, operation, flags, keywords) => Change::StoreFlags {
            mailbox: mailbox(of),
            uids: uids(set),
            operation: *operation,
            flags: *flags,
            keywords: keywords
                .iter()
                .filter_map(|k| Keyword::new(k).ok())
                .collect::<SmallVec<_>>(),
            unchanged_since: None,
        },
        Op::Expunge(of, set, only_deleted) => Change::Expunge {
            mailbox: mailbox(of),
            uids: uids(set),
            only_deleted: *only_deleted,
        },
        Op::Transfer(from, set, to, true) => Change::Move {
            from: mailbox(from),
            uids: uids(set),
            to: mailbox(to),
        },
        Op::Transfer(from, set, to, false) => Change::Copy {
            from: mailbox(from),
            uids: uids(set),
            to: mailbox(to),
            quota: crate::model::Quota::NONE,
        },
        Op::Create(text) => Change::CreateMailbox {
            name: name(text),
            special_use: None,
        },
        Op::Delete(text) => Change::DeleteMailbox { name: name(text) },
        Op::Rename(from, to) => Change::RenameMailbox {
            from: name(from),
            to: name(to),
        },
        Op::Annotate(of, entry, value) => Change::SetMetadata {
            mailbox: Some(mailbox(of)),
            entries: vec![((*entry).to_owned(), value.clone().map(Bytes::from))],
            special_use: None,
        },
        Op::Use(of, role) => Change::SetMetadata {
            mailbox: Some(mailbox(of)),
            entries: vec![(COMMENT.to_owned(), Some(role.attribute().into()))],
            special_use: Some(Some(*role)),
        },
    };
    store.change(id, change).await.map(|_| ())
}

/// The account as a session sees it, every octet read.
pub async fn snapshot(store: &Store<SimEnvironment>, id: AccountId) -> Result<Model, StoreError> {
    let mut model = Model::default();
    let _pin = store.load(id).await?;
    let ids = store.account(id, |a| a.names.clone()).unwrap_or_default();
    for (name, mailbox) in ids.iter().map(|(name, id)| (name.clone(), *id)) {
        let octets = messages(store, id, mailbox).await?;
        let found = store.account(id, |a| {
            let mailbox = &a.mailboxes[&mailbox];
            let message = |(row, (uid, octets)): (&MessageRow, (u32, Vec<u8>))| {
                let keywords = mailbox
                    .keywords_of(row.keywords)
                    .map(|k| k.as_str().to_owned())
                    .collect();
                (uid, row.flags.0, keywords, octets)
            };
            let messages = mailbox.rows.iter().zip(octets).map(message).collect();
            ModelMailbox {
                uid_next: mailbox.uid_next,
                messages,
                metadata: mailbox
                    .metadata
                    .iter()
                    .map(|(name, value)| (name.clone(), value.to_vec()))
                    .collect(),
                special_use: mailbox.special_use,
            }
        });
        model
            .0
            .insert(name.to_string(), found.expect("it was there a moment ago"));
    }
    Ok(model)
}

/// One of each kind of change, and enough mail to roll segments.
pub fn fixed_script(tag: &str) -> Vec<Op> {
    let s = str::to_owned;
    let body = |n: usize| long_text(&format!("{tag}{n}"), 300 + 997 * n % 7_000);
    let mut script: Vec<Op> = (0..3).map(|n| Op::Deliver(body(n))).collect();
    script.extend([
        Op::Create(s("Work/2024")),
        Op::Annotate(s("Work/2024"), "/private/comment", Some(b"of work".to_vec())),
        Op::Annotate(s("INBOX"), "/shared/comment", Some(b"of INBOX".to_vec())),
        Op::Use(s("Work/2024"), SpecialUse::Archive),
        Op::Append(s("Work/2024"), body(3), Flags::SEEN),
        Op::StoreFlags(
            s("INBOX"),
            vec![1, 2],
            StoreOperation::Add,
            Flags::SEEN,
            vec![s("$Work")],
        ),
        Op::DeliverLong(long_text(&format!("{tag}long"), 21_000)),
        Op::Transfer(s("INBOX"), vec![1, 3], s("Work/2024"), true),
        Op::StoreFlags(s("INBOX"), vec![2], StoreOperation::Add, Flags::DELETED, vec![]),
        Op::Transfer(s("INBOX"), vec![2, 4, 77], s("Trash"), false),
        Op::Expunge(s("INBOX"), vec![2, 4], true),
        Op::Rename(s("Work"), s("Play/Old")),
        Op::Deliver(body(4)),
        Op::Rename(s("INBOX"), s("Before")),
        Op::Annotate(s("INBOX"), "/shared/comment", None),
        Op::Annotate(s("Before"), "/private/vendor/x", Some(vec![0, 255, b'x'])),
        Op::Deliver(body(5)),
        Op::StoreFlags(
            s("Before"),
            vec![4, 5],
            StoreOperation::Replace,
            Flags::FLAGGED,
            vec![s("b"), s("c")],
        ),
        Op::Use(s("Junk"), SpecialUse::Trash),
        Op::Delete(s("Trash")),
        Op::Create(s("Trash")),
        Op::Deliver(body(6)),
    ]);
    script
}

/// Changes by chance, all of them possible when they are made.
pub fn random_script(seed: u64, id: AccountId, len: usize) -> Vec<Op> {
    let mut chance = Chance::new(seed);
    let mut model = Model::default();
    let mut script = vec![Op::Deliver(b"first".to_vec())];
    model.apply(id, &script[0]);
    while script.len() < len {
        let names: Vec<String> = model.0.keys().cloned().collect();
        let mut any = || names[chance.below(names.len() as u64) as usize].clone();
        let (one, other) = (any(), any());
        let uid_next = model.0[&one].uid_next;
        let uids: Vec<u32> = (0..chance.below(5))
            .map(|_| 1 + chance.below(uid_next.into()) as u32)
            .collect();
        let body = long_text(&format!("r{}-", script.len()), chance.below(5_000) as usize);
        let flags = Flags(chance.below(32) as u8);
        let op = match chance.below(16) {
            0..4 => Op::Deliver(body),
            4 => Op::DeliverLong([body, vec![b'z'; 9_000]].concat()),
            5..7 => Op::Append(one, body, flags),
            7..10 => {
                let operation = [
                    StoreOperation::Add,
                    StoreOperation::Remove,
                    StoreOperation::Replace,
                ][chance.below(3) as usize];
                Op::StoreFlags(one, uids, operation, flags, vec![format!("k{}", chance.below(9))])
            }
            10 => Op::Expunge(one, uids, chance.below(2) == 0),
            11..13 => Op::Transfer(one, uids, other, chance.below(2) == 0),
            13 => Op::Create(format!("{other}/n{}", script.len())),
            14 if one != "INBOX" => Op::Delete(one),
            15 => Op::Rename(one, format!("new{}", script.len())),
            _ => continue,
        };
        model.apply(id, &op);
        script.push(op);
    }
    script
}
