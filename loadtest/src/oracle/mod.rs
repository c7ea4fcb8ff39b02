//! Judges what was read back against what was acknowledged and against what was shown before.
//!
//! The rules (for every account and message of the journal):
//! - acknowledged: there exactly once, byte for byte, in the mailbox where it was last moved to; expunged or deleted:
//!   not at all;
//! - not acknowledged: there once or not at all, never in part or changed; once seen it stays;
//! - nothing is there that was never sent; nobody has what was sent to others;
//! - a message keeps its UID in a mailbox and its UIDL, no UID names two messages, UIDVALIDITY stays, and UIDNEXT and
//!   HIGHESTMODSEQ never fall below what anybody was shown;
//! - flags and keywords are those acknowledged last, or those asked for since; the same for mailboxes made and deleted.
//!
//! Mail that the journal's runs did not send (it has no id of ours) is counted, not judged.
//! Not here: how possibilities are kept (`belief`).

pub mod belief;

use crate::journal::Entry;
use crate::message::MessageId;
use belief::{AccountBelief, Belief, Flags, Open, Place, Told};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One message as read back.
pub struct Seen {
    pub uid: u32,
    pub flags: Flags,
    /// Its id and the digest of its body, if it is one of ours.
    pub identity: Option<(MessageId, [u8; 32])>,
}

/// One mailbox as read back.
#[derive(Default)]
pub struct MailboxSeen {
    pub uid_validity: u32,
    pub uid_next: u32,
    /// 0 if the server does not say.
    pub highest_mod_seq: u64,
    pub messages: Vec<Seen>,
}

/// One account as read back.
#[derive(Default)]
pub struct AccountSeen {
    /// Those that may hold mail.
    pub mailboxes: BTreeMap<String, MailboxSeen>,
    /// Every mailbox there is.
    pub names: BTreeSet<String>,
}

/// What is wrong, one line each, and what was looked at.
#[derive(Default, Debug)]
pub struct Findings {
    pub faults: Vec<String>,
    pub acknowledged: u64,
    pub unacknowledged_present: u64,
    pub foreign: u64,
    /// Of the faults, how many may yet mend: a message to several recipients is acknowledged once it is durable in one
    /// place, and one of its recipients may be served after a restart only.
    pub on_its_way: u64,
}

/// What is known, over all rounds.
#[derive(Default)]
pub struct Oracle {
    entries: HashMap<MessageId, Entry>,
    by_account: BTreeMap<String, Vec<MessageId>>,
    beliefs: HashMap<String, AccountBelief>,
    changes: u64,
    /// Acknowledged by stores that are gone.
    counted: usize,
}

impl Oracle {
    pub fn new(entries: HashMap<MessageId, Entry>) -> Oracle {
        let mut oracle = Oracle::default();
        oracle.add(entries);
        oracle
    }

    /// Takes in what was sent since.
    pub fn add(&mut self, entries: HashMap<MessageId, Entry>) {
        for (id, entry) in entries {
            for recipient in &entry.recipients {
                self.by_account.entry(recipient.clone()).or_default().push(id);
            }
            self.entries.insert(id, entry);
        }
    }

    /// How many were acknowledged, ever.
    pub fn acknowledged(&self) -> usize {
        let entries = self.entries.values();
        self.counted + entries.filter(|entry| entry.is_acknowledged).count()
    }

    /// Counts messages and changes that another oracle judged to the end.
    pub fn count(&mut self, (acknowledged, changes): (usize, u64)) {
        self.counted += acknowledged;
        self.changes += changes;
    }

    /// How many were sent, ever.
    pub fn sent(&self) -> usize {
        self.entries.len()
    }

    /// How many acknowledged changes of flags, places and mailboxes there were, ever.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Every account that mail was sent to.
    pub fn accounts(&self) -> Vec<String> {
        self.by_account.keys().cloned().collect()
    }

    /// Remembers what `account`'s client was told, after the journal it wrote was taken in.
    pub fn tell(&mut self, account: &str, told: Vec<Told>, findings: &mut Findings) {
        let mut asked = Vec::new();
        for told in told {
            match told {
                Told::Asked(changes) => {
                    let beliefs = self.beliefs.entry(account.to_owned()).or_default();
                    for change in &changes {
                        beliefs.widen(change);
                    }
                    asked = changes;
                }
                Told::Done => {
                    let beliefs = self.beliefs.entry(account.to_owned()).or_default();
                    for change in asked.drain(..) {
                        self.changes += 1;
                        beliefs.settle(change);
                    }
                }
                Told::Fault(fault) => findings.faults.push(format!("{account}: {fault}")),
                shown => self.tell_shown(account, shown, findings),
            }
        }
    }

    fn tell_shown(&mut self, account: &str, told: Told, findings: &mut Findings) {
        let beliefs = self.beliefs.entry(account.to_owned()).or_default();
        match told {
            Told::Message {
                id,
                mailbox,
                uid,
                flags,
            } => {
                if let Some(wrong) = beliefs.show_uid(&mailbox, id, uid) {
                    findings.fault(account, id, &wrong);
                }
                // What was asked for and refused may yet turn out to be done, at a start: only that settles it.
                let belief = beliefs.message(id);
                let place = Place::In(mailbox);
                if !belief.place.allows(&place) || !belief.flags.allows(&flags) {
                    let what = format!("was shown in {place:?} with {flags:?}, believed was {belief:?}");
                    findings.fault(account, id, &what);
                }
            }
            Told::UniqueId { id, unique_id } => {
                if !beliefs.message(id).place.allows(&Place::In("INBOX".to_owned())) {
                    findings.fault(
                        account,
                        id,
                        "is in the maildrop, and was acknowledged to be elsewhere",
                    );
                }
                if let Some(wrong) = beliefs.show_unique_id(id, &unique_id) {
                    findings.fault(account, id, &wrong);
                }
            }
            Told::Head {
                mailbox,
                uid_next,
                highest_mod_seq,
            } => {
                let head = beliefs.heads.entry(mailbox).or_default();
                head.uid_next = head.uid_next.max(uid_next);
                head.highest_mod_seq = head.highest_mod_seq.max(highest_mod_seq);
            }
            Told::Asked(_) | Told::Done | Told::Fault(_) => unreachable!("not something shown"),
        }
    }

    /// Judges one account, and takes what is there for certain from now on.
    pub fn judge(&mut self, account: &str, seen: &AccountSeen, findings: &mut Findings) {
        let mut present: HashMap<MessageId, Vec<(&str, &Seen)>> = HashMap::new();
        for (name, mailbox) in &seen.mailboxes {
            self.judge_head(account, name, mailbox, findings);
            for message in &mailbox.messages {
                match message.identity {
                    None => findings.foreign += 1,
                    Some((id, _)) => present.entry(id).or_default().push((name, message)),
                }
            }
        }
        for id in present.keys().filter(|id| !self.entries.contains_key(id)) {
            findings.fault(account, *id, "was never sent");
        }
        let all = self.by_account.get(account).cloned().unwrap_or_default();
        for id in &all {
            let copies = present.remove(id).unwrap_or_default();
            self.judge_message(account, *id, &copies, findings);
        }
        for id in present.keys().filter(|id| self.entries.contains_key(id)) {
            findings.fault(account, *id, "was sent to somebody else");
        }
        self.judge_mailboxes(account, &seen.names, findings);
    }

    fn judge_message(
        &mut self,
        account: &str,
        id: MessageId,
        copies: &[(&str, &Seen)],
        findings: &mut Findings,
    ) {
        let entry = &self.entries[&id];
        let beliefs = self.beliefs.entry(account.to_owned()).or_default();
        let was_known = beliefs.messages.contains_key(&id);
        let mut belief = beliefs.message(id).clone();
        if !was_known && !entry.is_acknowledged {
            belief.place.widen(Place::Nowhere);
        }
        let is_gone = *belief.place.last_sure() == Place::Nowhere;
        findings.acknowledged += u64::from(entry.is_acknowledged && !is_gone);
        match copies {
            [] if !belief.place.allows(&Place::Nowhere) => {
                findings.on_its_way += u64::from(entry.recipients.len() > 1 && !was_known);
                findings.fault(account, id, "LOST: it was acknowledged");
            }
            [] if was_known => belief.place.settle(Place::Nowhere),
            [] => {}
            [(mailbox, seen)] => {
                findings.unacknowledged_present += u64::from(!entry.is_acknowledged);
                if seen.identity.is_none_or(|(_, digest)| digest != entry.digest) {
                    findings.fault(account, id, "is damaged");
                }
                judge_place(account, id, mailbox, &mut belief, findings);
                judge_flags(account, id, &seen.flags, &mut belief, findings);
                if let Some(wrong) = beliefs.show_uid(mailbox, id, seen.uid) {
                    findings.fault(account, id, &wrong);
                }
            }
            several => findings.fault(account, id, &format!("is there {} times", several.len())),
        }
        // One that was never acknowledged, told or seen may still come: a recipient may be served late.
        if was_known || !copies.is_empty() {
            beliefs.messages.insert(id, belief);
        } else {
            beliefs.messages.remove(&id);
        }
    }

    /// Everything now in this mailbox has been expunged, acknowledged.
    pub fn expunged(&mut self, account: &str, mailbox: &MailboxSeen) {
        let beliefs = self.beliefs.entry(account.to_owned()).or_default();
        for (id, _) in mailbox.messages.iter().filter_map(|seen| seen.identity) {
            self.changes += 1;
            beliefs.message(id).place.settle(Place::Nowhere);
        }
    }

    /// The unique-ids that POP3 shows.
    pub fn judge_unique_ids(
        &mut self,
        account: &str,
        shown: &[(MessageId, String)],
        findings: &mut Findings,
    ) {
        let beliefs = self.beliefs.entry(account.to_owned()).or_default();
        for (id, unique_id) in shown {
            if let Some(wrong) = beliefs.show_unique_id(*id, unique_id) {
                findings.fault(account, *id, &wrong);
            }
        }
    }

    fn judge_head(&mut self, account: &str, name: &str, mailbox: &MailboxSeen, findings: &mut Findings) {
        let beliefs = self.beliefs.entry(account.to_owned()).or_default();
        let head = beliefs.heads.entry(name.to_owned()).or_default();
        let mut fault = |what: &str, before: u64, now: u64| {
            findings
                .faults
                .push(format!("{account}: {what} of {name} was {before}, is {now}"));
        };
        if head.uid_validity != 0 && head.uid_validity != mailbox.uid_validity {
            fault(
                "UIDVALIDITY",
                head.uid_validity.into(),
                mailbox.uid_validity.into(),
            );
        }
        if head.uid_next > mailbox.uid_next {
            fault("UIDNEXT", head.uid_next.into(), mailbox.uid_next.into());
        }
        if head.highest_mod_seq > mailbox.highest_mod_seq {
            fault("HIGHESTMODSEQ", head.highest_mod_seq, mailbox.highest_mod_seq);
        }
        head.uid_validity = mailbox.uid_validity;
        head.uid_next = head.uid_next.max(mailbox.uid_next);
        head.highest_mod_seq = head.highest_mod_seq.max(mailbox.highest_mod_seq);
        let mut last = 0;
        for seen in &mailbox.messages {
            if seen.uid <= last || seen.uid >= mailbox.uid_next {
                findings
                    .faults
                    .push(format!("{account}: UID {} in {name} is out of order", seen.uid));
            }
            last = seen.uid;
        }
    }

    fn judge_mailboxes(&mut self, account: &str, names: &BTreeSet<String>, findings: &mut Findings) {
        let beliefs = self.beliefs.entry(account.to_owned()).or_default();
        for (name, exists) in &mut beliefs.mailboxes {
            let is_there = names.contains(name);
            if !exists.allows(&is_there) {
                let what = if is_there { "came back" } else { "is gone" };
                findings.faults.push(format!("{account}: mailbox {name} {what}"));
            }
            exists.settle(is_there);
        }
    }
}

fn judge_place(account: &str, id: MessageId, mailbox: &str, belief: &mut Belief, findings: &mut Findings) {
    let place = Place::In(mailbox.to_owned());
    if !belief.place.allows(&place) {
        let what = match belief.place.last_sure() {
            Place::Nowhere => "came back after it was expunged".to_owned(),
            Place::In(other) => format!("is in {mailbox}, was acknowledged in {other}"),
        };
        findings.fault(account, id, &what);
    }
    belief.place.settle(place);
}

fn judge_flags(account: &str, id: MessageId, flags: &Flags, belief: &mut Belief, findings: &mut Findings) {
    if !belief.flags.allows(flags) {
        let certain = if belief.flags.is_certain() {
            ""
        } else {
            " or as asked since"
        };
        let what = format!(
            "has flags {flags:?}, acknowledged were {:?}{certain}",
            belief.flags.last_sure()
        );
        findings.fault(account, id, &what);
    }
    belief.flags = Open::sure(flags.clone());
}

impl Findings {
    fn fault(&mut self, account: &str, id: MessageId, what: &str) {
        let id = id.to_text();
        self.faults.push(format!(
            "{account}: message {} {what}",
            String::from_utf8_lossy(&id)
        ));
    }

    /// Adds what another look found.
    pub fn add(&mut self, other: Findings) {
        self.faults.extend(other.faults);
        self.acknowledged = other.acknowledged;
        self.unacknowledged_present = other.unacknowledged_present;
        self.foreign = other.foreign;
        self.on_its_way += other.on_its_way;
    }

    /// Whether waiting may mend every fault.
    pub fn may_mend(&self) -> bool {
        !self.faults.is_empty() && self.on_its_way == self.faults.len() as u64
    }

    /// Prints the faults (the first fifty) and a summary; true if there are none.
    pub fn print(&self) -> bool {
        for fault in self.faults.iter().take(50) {
            println!("FAULT {fault}");
        }
        if self.faults.len() > 50 {
            println!("… and {} more", self.faults.len() - 50);
        }
        println!(
            "acknowledged {}  unacknowledged but there {}  other mail {}  faults {}",
            self.acknowledged,
            self.unacknowledged_present,
            self.foreign,
            self.faults.len()
        );
        self.faults.is_empty()
    }
}

#[cfg(test)]
mod tests;
