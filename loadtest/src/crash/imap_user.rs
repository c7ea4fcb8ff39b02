//! An IMAP user at work: appends, flags, moves, expunges, makes and removes mailboxes, and looks at what came, at random.
//!
//! Everything he asks for is told before it is asked, and again when it is acknowledged; what he is shown is told too.

use super::context::{Context, PASSWORD};
use crate::client::{Imap, Response};
use crate::journal::Journal;
use crate::message::{MESSAGE_BYTES_MIN, MessageId, Template, identify_header};
use crate::oracle::belief::{Change, Flags, Place, Told};
use crate::random::{self, Random};
use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

const INBOX: &str = "INBOX";
/// Where he moves things.
pub const ARCHIVE: &str = "Archive";
const FLAGS: [&str; 5] = ["\\Flagged", "\\Seen", "\\Answered", "$Forwarded", "Work"];
/// Messages that one command names at most.
const TOGETHER_MAX: u64 = 4;
/// He looks at this many new messages at once, so that a flood of mail does not keep him from working.
const LOOK_MAX: u32 = 40;

/// A message in INBOX as he knows it.
struct Row {
    id: MessageId,
    flags: Flags,
}

pub struct ImapUser {
    account: String,
    template: Template,
    run: u64,
    counter: u64,
    random: Random,
    made: Vec<String>,
}

/// One connection of his.
struct Visit<'a> {
    user: &'a mut ImapUser,
    imap: Imap,
    journal: &'a mut Journal,
    told: &'a mut Vec<Told>,
    rows: BTreeMap<u32, Row>,
    next_to_look: u32,
}

impl ImapUser {
    pub fn new(account: &str, size: usize) -> ImapUser {
        ImapUser {
            account: account.to_owned(),
            template: Template::new(size.max(MESSAGE_BYTES_MIN)),
            run: random::number(),
            counter: 0,
            random: Random(random::number()),
            made: Vec::new(),
        }
    }

    /// One connection, until the load is over or something fails.
    pub fn work(&mut self, context: &Context, journal: &mut Journal, told: &mut Vec<Told>) -> io::Result<()> {
        let mut imap = Imap::connect(context.addresses.imap)?;
        imap.login(&self.account, PASSWORD)?;
        let mut visit = Visit {
            user: self,
            imap,
            journal,
            told,
            rows: BTreeMap::new(),
            next_to_look: 1,
        };
        visit.command("SELECT INBOX")?;
        visit.look()?;
        while !context.is_over() {
            visit.step()?;
        }
        Ok(())
    }
}

impl Visit<'_> {
    fn step(&mut self) -> io::Result<()> {
        match self.user.random.below(16) {
            0..4 => self.append(),
            4..7 => self.look(),
            7..12 => self.flag(),
            12 | 13 => self.move_some(),
            14 => self.expunge_some(),
            _ => self.make_or_remove_mailbox(),
        }
    }

    /// A command in INBOX; what its responses say of HIGHESTMODSEQ is told.
    fn command(&mut self, command: &str) -> io::Result<Vec<Response>> {
        let mut responses = Vec::new();
        let tagged = self
            .imap
            .command_each(command, |response| responses.push(response))?;
        for response in responses.iter().chain([&tagged]) {
            if let Some(highest_mod_seq) = response.number_of("[HIGHESTMODSEQ ") {
                self.told.push(Told::Head {
                    mailbox: INBOX.to_owned(),
                    uid_next: response.number("[UIDNEXT ").unwrap_or(0),
                    highest_mod_seq,
                });
            } else if let Some(uid_next) = response.number("[UIDNEXT ") {
                self.told.push(Told::Head {
                    mailbox: INBOX.to_owned(),
                    uid_next,
                    highest_mod_seq: 0,
                });
            }
        }
        responses.push(tagged);
        Ok(responses)
    }

    /// Asks for changes by one command.
    fn change(&mut self, changes: Vec<Change>, command: &str) -> io::Result<Vec<Response>> {
        self.told.push(Told::Asked(changes));
        let responses = self.command(command)?;
        self.told.push(Told::Done);
        Ok(responses)
    }

    fn append(&mut self) -> io::Result<()> {
        let id = MessageId {
            run: self.user.run,
            counter: self.user.counter,
        };
        self.user.counter += 1;
        let is_archived = self.user.random.one_in(4);
        let mailbox = if is_archived { ARCHIVE } else { INBOX };
        let flags: Flags = if self.user.random.one_in(2) {
            Flags::from(["\\Seen".to_owned(), "Work".to_owned()])
        } else {
            Flags::new()
        };
        let digest = self.user.template.digest(id);
        let size = self.user.template.len();
        self.journal
            .sending(id, &self.user.account, size, &digest, Instant::now());
        self.told.push(Told::Asked(vec![
            Change::Place(id, Place::Nowhere),
            Change::Flags(id, flags.clone()),
        ]));
        self.told.push(Told::Asked(vec![
            Change::Place(id, Place::In(mailbox.to_owned())),
            Change::Flags(id, flags.clone()),
        ]));
        let list = flags.iter().cloned().collect::<Vec<_>>().join(" ");
        let body = self.user.template.body(id);
        let uid = self.imap.append_with_flags(mailbox, &list, body)?;
        self.journal.answered(id, true, b"OK", Instant::now());
        self.told.push(Told::Done);
        if let Some(uid) = uid {
            self.told.push(Told::Message {
                id,
                mailbox: mailbox.to_owned(),
                uid,
                flags: flags.clone(),
            });
            if !is_archived {
                self.rows.insert(uid, Row { id, flags });
            }
        }
        Ok(())
    }

    /// Learns what else came.
    fn look(&mut self) -> io::Result<()> {
        let from = self.next_to_look;
        let command = format!(
            "UID FETCH {from}:{} (UID FLAGS BODY.PEEK[HEADER.FIELDS (X-Load-Id)])",
            from.saturating_add(LOOK_MAX)
        );
        let mut last = None;
        for response in self.command(&command)? {
            let (Some(uid), Some(header)) = (response.number("UID "), response.literals.first()) else {
                continue;
            };
            last = last.max(Some(uid));
            let Some(id) = identify_header(header) else {
                continue;
            };
            let flags = response.flags();
            self.told.push(Told::Message {
                id,
                mailbox: INBOX.to_owned(),
                uid,
                flags: flags.clone(),
            });
            self.rows.insert(uid, Row { id, flags });
        }
        let is_gap = last.is_none() && self.rows.range(from..).next().is_none();
        self.next_to_look = match last {
            Some(last) => last + 1,
            // Expunged long ago: further on, unless this is the end, where new mail comes.
            None if is_gap && self.rows.is_empty() => self.first_uid(from)?,
            None => from,
        };
        Ok(())
    }

    /// The lowest UID there is at or behind `from`, or `from`.
    fn first_uid(&mut self, from: u32) -> io::Result<u32> {
        let found = self.command(&format!("UID SEARCH UID {from}:*"))?;
        let first = found
            .iter()
            .find(|response| response.contains("SEARCH"))
            .and_then(|response| response.number("SEARCH "));
        Ok(first.unwrap_or(from).max(from))
    }

    /// A few messages at random, by UID.
    fn pick(&mut self) -> Vec<u32> {
        let count = 1 + self.user.random.below(TOGETHER_MAX);
        let mut picked: Vec<u32> = (0..count)
            .filter_map(|_| {
                let nth = self.user.random.below(self.rows.len() as u64) as usize;
                self.rows.keys().nth(nth).copied()
            })
            .collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    fn flag(&mut self) -> io::Result<()> {
        let picked = self.pick();
        if picked.is_empty() {
            return Ok(());
        }
        let flag = FLAGS[self.user.random.below(FLAGS.len() as u64) as usize];
        let adds = !self.user.random.one_in(3);
        self.store(&picked, flag, adds)
    }

    fn store(&mut self, picked: &[u32], flag: &str, adds: bool) -> io::Result<()> {
        let mut changes = Vec::new();
        for uid in picked {
            let row = &self.rows[uid];
            let mut flags = row.flags.clone();
            if adds {
                flags.insert(flag.to_owned());
            } else {
                flags.remove(flag);
            }
            changes.push(Change::Flags(row.id, flags));
        }
        let sign = if adds { '+' } else { '-' };
        let command = format!("UID STORE {} {sign}FLAGS.SILENT ({flag})", set(picked));
        self.change(changes.clone(), &command)?;
        for (uid, change) in picked.iter().zip(changes) {
            if let (Some(row), Change::Flags(_, flags)) = (self.rows.get_mut(uid), change) {
                row.flags = flags;
            }
        }
        Ok(())
    }

    fn move_some(&mut self) -> io::Result<()> {
        let picked = self.pick();
        if picked.is_empty() {
            return Ok(());
        }
        let place = Place::In(ARCHIVE.to_owned());
        let changes = picked
            .iter()
            .map(|uid| Change::Place(self.rows[uid].id, place.clone()))
            .collect();
        let responses = self.change(changes, &format!("UID MOVE {} {ARCHIVE}", set(&picked)))?;
        let targets = responses.iter().find_map(copied_to).unwrap_or_default();
        for (uid, target) in picked.iter().zip(targets) {
            self.told.push(Told::Message {
                id: self.rows[uid].id,
                mailbox: ARCHIVE.to_owned(),
                uid: target,
                flags: self.rows[uid].flags.clone(),
            });
        }
        for uid in &picked {
            self.rows.remove(uid);
        }
        Ok(())
    }

    fn expunge_some(&mut self) -> io::Result<()> {
        let picked = self.pick();
        if picked.is_empty() {
            return Ok(());
        }
        self.store(&picked, "\\Deleted", true)?;
        let changes = picked
            .iter()
            .map(|uid| Change::Place(self.rows[uid].id, Place::Nowhere))
            .collect();
        self.change(changes, &format!("UID EXPUNGE {}", set(&picked)))?;
        for uid in &picked {
            self.rows.remove(uid);
        }
        Ok(())
    }

    fn make_or_remove_mailbox(&mut self) -> io::Result<()> {
        let exists = self.user.made.len() < 3;
        let name = if exists {
            self.user.counter += 1;
            format!("made-{:x}-{}", self.user.run, self.user.counter)
        } else {
            self.user.made.remove(0)
        };
        let verb = if exists { "CREATE" } else { "DELETE" };
        let change = Change::Mailbox {
            name: name.clone(),
            exists,
        };
        self.change(vec![change], &format!("{verb} {name}"))?;
        if exists {
            self.user.made.push(name);
        }
        Ok(())
    }
}

fn set(uids: &[u32]) -> String {
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// The target's UIDs in a COPYUID response code (RFC 4315 §3).
fn copied_to(response: &Response) -> Option<Vec<u32>> {
    let text = String::from_utf8_lossy(&response.text);
    let (_, rest) = text.split_once("[COPYUID ")?;
    let set = rest.split(']').next()?.split(' ').nth(2)?;
    let mut uids = Vec::new();
    for range in set.split(',') {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        uids.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(uids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Response {
        Response {
            text: text.as_bytes().to_vec(),
            literals: Vec::new(),
        }
    }

    #[test]
    fn targets_of_a_copy_are_read_from_ranges() {
        let copied = copied_to(&response("* OK [COPYUID 7 1,3,9 10:11,14] moved"));
        assert_eq!(copied, Some(vec![10, 11, 14]));
    }
}
