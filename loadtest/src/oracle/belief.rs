//! What may be true of one message or mailbox: what was acknowledged last, and what was asked for since and not answered.
//!
//! Whoever asks for a change *widens* the belief; its acknowledgement *settles* it; a refusal or a cut connection leaves
//! both possible until the server is seen to have settled it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::message::MessageId;

pub type Flags = BTreeSet<String>;

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    In(String),
    Nowhere,
}

/// The possible values of something, the last certain one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open<T>(Vec<T>);

impl<T: PartialEq + Clone> Open<T> {
    pub fn sure(value: T) -> Open<T> {
        Open(vec![value])
    }

    pub fn allows(&self, value: &T) -> bool {
        self.0.contains(value)
    }

    /// The last value that was certain.
    pub fn last_sure(&self) -> &T {
        &self.0[0]
    }

    pub fn is_certain(&self) -> bool {
        self.0.len() == 1
    }

    pub fn widen(&mut self, value: T) {
        if !self.allows(&value) {
            self.0.push(value);
        }
    }

    pub fn settle(&mut self, value: T) {
        self.0 = vec![value];
    }
}

/// One message of one account.
#[derive(Clone, Debug)]
pub struct Belief {
    pub place: Open<Place>,
    pub flags: Open<Flags>,
}

/// A change that a client asks for.
#[derive(Clone, Debug)]
pub enum Change {
    /// The flags become these.
    Flags(MessageId, Flags),
    /// Moved or expunged.
    Place(MessageId, Place),
    /// A mailbox is made or removed.
    Mailbox { name: String, exists: bool },
}

/// What happened to a client, in order.
#[derive(Clone, Debug)]
pub enum Told {
    /// The server showed this message.
    Message {
        id: MessageId,
        mailbox: String,
        uid: u32,
        flags: Flags,
    },
    /// The server showed this unique-id over POP3.
    UniqueId { id: MessageId, unique_id: String },
    /// The server showed a UIDNEXT or HIGHESTMODSEQ of this mailbox.
    Head {
        mailbox: String,
        uid_next: u32,
        highest_mod_seq: u64,
    },
    /// About to ask for all of these at once.
    Asked(Vec<Change>),
    /// What was asked for last is acknowledged.
    Done,
    /// Something that is wrong whatever else is true.
    Fault(String),
}

/// What a mailbox's counters were shown to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    pub uid_validity: u32,
    pub uid_next: u32,
    pub highest_mod_seq: u64,
}

/// Everything known of one account beside what was sent to it.
#[derive(Default)]
pub struct AccountBelief {
    pub messages: HashMap<MessageId, Belief>,
    /// By mailbox and message.
    pub uids: HashMap<(String, MessageId), u32>,
    /// By mailbox and UID: a UID names one message for ever.
    pub named: HashMap<(String, u32), MessageId>,
    pub unique_ids: HashMap<MessageId, String>,
    pub heads: BTreeMap<String, Head>,
    /// Mailboxes that clients made.
    pub mailboxes: BTreeMap<String, Open<bool>>,
}

impl AccountBelief {
    pub fn message(&mut self, id: MessageId) -> &mut Belief {
        self.messages.entry(id).or_insert_with(|| Belief {
            place: Open::sure(Place::In("INBOX".to_owned())),
            flags: Open::sure(Flags::new()),
        })
    }

    pub fn widen(&mut self, change: &Change) {
        match change {
            Change::Flags(id, flags) => self.message(*id).flags.widen(flags.clone()),
            Change::Place(id, place) => self.message(*id).place.widen(place.clone()),
            Change::Mailbox { name, exists } => {
                let belief = self.mailboxes.entry(name.clone());
                belief.or_insert_with(|| Open::sure(false)).widen(*exists);
            }
        }
    }

    pub fn settle(&mut self, change: Change) {
        match change {
            Change::Flags(id, flags) => self.message(id).flags.settle(flags),
            Change::Place(id, place) => self.message(id).place.settle(place),
            Change::Mailbox { name, exists } => {
                self.mailboxes.insert(name, Open::sure(exists));
            }
        }
    }

    /// A message was shown under this UID. Returns what is wrong with that.
    pub fn show_uid(&mut self, mailbox: &str, id: MessageId, uid: u32) -> Option<String> {
        let before = self.uids.insert((mailbox.to_owned(), id), uid);
        if let Some(before) = before
            && before != uid
        {
            return Some(format!("had UID {before} in {mailbox}, has {uid}"));
        }
        let named = self.named.insert((mailbox.to_owned(), uid), id);
        if named.is_some_and(|other| other != id) {
            return Some(format!("has UID {uid} in {mailbox}, which named another message"));
        }
        let head = self.heads.entry(mailbox.to_owned()).or_default();
        head.uid_next = head.uid_next.max(uid + 1);
        None
    }

    pub fn show_unique_id(&mut self, id: MessageId, unique_id: &str) -> Option<String> {
        let before = self.unique_ids.insert(id, unique_id.to_owned())?;
        (before != unique_id).then(|| format!("had UIDL {before}, has {unique_id}"))
    }
}
