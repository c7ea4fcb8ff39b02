//! Judges what was read back against what was acknowledged and against what was shown before.
//!
//! The rules (for every account and message of the journal):
//! - acknowledged: there exactly once, byte for byte; unless it was expunged, then not at all;
//! - not acknowledged: there once or not at all, never in part or changed;
//! - nothing is there that was never sent; nobody has what was sent to others;
//! - a message keeps its UID as long as UIDVALIDITY stays, UIDVALIDITY stays, and UIDNEXT never falls;
//! - an acknowledged flag is there.
//!
//! Mail that the journal's runs did not send (it has no id of ours) is counted, not judged.

use crate::journal::Entry;
use crate::message::MessageId;
use std::collections::{BTreeMap, HashMap, HashSet};

/// One message as read back.
pub struct Seen {
    pub uid: u32,
    pub is_flagged: bool,
    /// Its id and the digest of its body, if it is one of ours.
    pub identity: Option<(MessageId, [u8; 32])>,
}

/// What a client was told of a message it appended.
pub struct Told {
    pub id: MessageId,
    pub uid: u32,
    /// Its \Flagged was acknowledged.
    pub is_flagged: bool,
}

/// One mailbox as read back.
#[derive(Default)]
pub struct MailboxSeen {
    pub uid_validity: u32,
    pub uid_next: u32,
    pub messages: Vec<Seen>,
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
    /// Who has an acknowledged \Flagged.
    flagged: HashSet<(String, MessageId)>,
    expunged: HashSet<(String, MessageId)>,
    uids: HashMap<(String, MessageId), u32>,
    heads: HashMap<String, (u32, u32)>,
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
        self.entries
            .values()
            .filter(|entry| entry.is_acknowledged)
            .count()
    }

    /// How many were sent, ever.
    pub fn sent(&self) -> usize {
        self.entries.len()
    }

    /// Every account that mail was sent to.
    pub fn accounts(&self) -> Vec<String> {
        self.by_account.keys().cloned().collect()
    }

    /// Remembers what `account`'s client was told.
    pub fn tell(&mut self, account: &str, told: &[Told]) {
        for told in told {
            let key = (account.to_owned(), told.id);
            if told.is_flagged {
                self.flagged.insert(key.clone());
            }
            self.uids.insert(key, told.uid);
        }
    }

    /// Judges one account's mailbox, and remembers its UIDs for the next time.
    pub fn judge(&mut self, account: &str, mailbox: &MailboxSeen, findings: &mut Findings) {
        let mut present: HashMap<MessageId, u32> = HashMap::new();
        for (id, _) in mailbox.messages.iter().filter_map(|seen| seen.identity) {
            *present.entry(id).or_default() += 1;
        }
        self.judge_presence(account, &present, findings);
        self.judge_head(account, mailbox, findings);
        for seen in &mailbox.messages {
            match seen.identity {
                None => findings.foreign += 1,
                // Of two copies neither has "the" UID.
                Some((id, _)) if present[&id] > 1 => {}
                Some((id, digest)) => self.judge_message(account, seen, id, digest, findings),
            }
        }
    }

    fn judge_presence(&self, account: &str, present: &HashMap<MessageId, u32>, findings: &mut Findings) {
        for id in self.by_account.get(account).into_iter().flatten() {
            let is_acknowledged = self.entries[id].is_acknowledged;
            let is_expunged = self.expunged.contains(&(account.to_owned(), *id));
            let count = present.get(id).copied().unwrap_or(0);
            findings.acknowledged += u64::from(is_acknowledged && !is_expunged);
            match (is_expunged, is_acknowledged, count) {
                (true, _, 0) | (false, true, 1) | (false, false, 0) => {}
                (true, _, _) => findings.fault(account, *id, "came back after it was expunged"),
                (false, true, 0) => {
                    findings.on_its_way += u64::from(self.entries[id].recipients.len() > 1);
                    findings.fault(account, *id, "LOST: it was acknowledged");
                }
                (false, false, 1) => findings.unacknowledged_present += 1,
                _ => findings.fault(account, *id, &format!("is there {count} times")),
            }
        }
    }

    /// Everything now in the mailbox has been expunged, acknowledged.
    pub fn expunged(&mut self, account: &str, mailbox: &MailboxSeen) {
        let ids = mailbox.messages.iter().filter_map(|seen| seen.identity);
        self.expunged.extend(ids.map(|(id, _)| (account.to_owned(), id)));
    }

    fn judge_head(&mut self, account: &str, mailbox: &MailboxSeen, findings: &mut Findings) {
        let now = (mailbox.uid_validity, mailbox.uid_next);
        if let Some((validity, next)) = self.heads.insert(account.to_owned(), now) {
            if validity != now.0 {
                findings
                    .faults
                    .push(format!("{account}: UIDVALIDITY was {validity}, is {}", now.0));
            }
            if next > now.1 {
                findings
                    .faults
                    .push(format!("{account}: UIDNEXT fell from {next} to {}", now.1));
            }
        }
        let mut last = 0;
        for seen in &mailbox.messages {
            if seen.uid <= last || seen.uid >= mailbox.uid_next {
                findings
                    .faults
                    .push(format!("{account}: UID {} is out of order", seen.uid));
            }
            last = seen.uid;
        }
    }

    fn judge_message(
        &mut self,
        account: &str,
        seen: &Seen,
        id: MessageId,
        digest: [u8; 32],
        findings: &mut Findings,
    ) {
        let Some(entry) = self.entries.get(&id) else {
            return findings.fault(account, id, "was never sent");
        };
        if !entry.recipients.iter().any(|recipient| recipient == account) {
            findings.fault(account, id, "was sent to somebody else");
        }
        if entry.digest != digest {
            findings.fault(account, id, "is damaged");
        }
        let key = (account.to_owned(), id);
        if self.flagged.contains(&key) && !seen.is_flagged {
            findings.fault(account, id, "lost its acknowledged flag");
        }
        if let Some(uid) = self.uids.insert(key, seen.uid)
            && uid != seen.uid
        {
            findings.fault(account, id, &format!("had UID {uid}, has {}", seen.uid));
        }
    }
}

impl Findings {
    fn fault(&mut self, account: &str, id: MessageId, what: &str) {
        let id = id.to_text();
        self.faults.push(format!(
            "{account}: message {} {what}",
            String::from_utf8_lossy(&id)
        ));
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
mod tests {
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
            is_flagged: false,
            identity: Some((id(*counter), [*byte; 32])),
        });
        MailboxSeen {
            uid_validity: 9,
            uid_next: 10,
            messages: messages.collect(),
        }
    }

    fn faults(oracle: &mut Oracle, messages: &[Row]) -> Vec<String> {
        let mut findings = Findings::default();
        oracle.judge(ACCOUNT, &mailbox(messages), &mut findings);
        findings.faults
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
            Oracle::new(HashMap::from([(id(1), entry)])).judge(ACCOUNT, &mailbox(&[]), &mut findings);
            assert_eq!(findings.may_mend(), may_mend);
        }
    }

    #[test]
    fn uids_flags_and_expunges_hold_over_a_restart() {
        let mut oracle = oracle();
        assert!(faults(&mut oracle, &[(1, 1, 7)]).is_empty());
        assert!(faults(&mut oracle, &[(2, 1, 7)])[0].contains("had UID 1"));
        oracle.flagged.insert((ACCOUNT.to_owned(), id(1)));
        assert!(faults(&mut oracle, &[(2, 1, 7)])[0].contains("flag"));
        oracle.expunged(ACCOUNT, &mailbox(&[(2, 1, 7)]));
        assert!(faults(&mut oracle, &[]).is_empty());
    }
}
