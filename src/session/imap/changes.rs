//! Telling the client what has changed in the selected mailbox (RFC 9051 §7.4, §7.5.1; RFC 7162 §3.2.4).
//!
//! Invariants: EXPUNGE (or VANISHED), EXISTS, FETCH in this order, so that a number always means what it did when it was written;
//! FLAGS has named a keyword before any message is shown with it; unsolicited FETCH carries the UID, and MODSEQ once CONDSTORE is enabled.
//! Limits: [`FLAGS_SLICE`] messages are looked at between sends.
//! Not here: what has changed (`mailbox::view`).

use super::Services;
use super::context::Touched;
use super::link::{Link, Lost};
use super::notify::OfSelected;
use super::state::{Selected, Session, Stop};
use crate::mailbox::view::{OwnChanges, Telling, View, ViewChanges, row_of};
use crate::model::{Flags, MailboxId, SeqNum, Uid};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::encode::mailbox::{push_count_line, push_flags_line};
use crate::proto::imap::encode::{message, push_number, push_number_set};
use crate::proto::imap::types::{Fetch, FetchItem, SequenceSet};
use crate::proto::imap::{Code, Status};
use crate::session::pipe::Pipe;
use crate::store::{MailboxState, MessageRow};

/// Messages whose flags are written in one look at the store: about a send buffer full.
const FLAGS_SLICE: usize = 1_024;

/// When changes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// At the end of a command during which numbers keep their meaning (RFC 9051 §7.5.1).
    Numbers,
    /// At the end of another command, and in IDLE.
    Command,
    /// At the end of a command that asks for changes or makes such as must be told, whatever NOTIFY says.
    Asked,
    /// No command is in progress (RFC 5465).
    Push,
}

/// Is the selected mailbox (if any) still there?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Selected,
    Deleted,
}

impl<S: Services> Session<S> {
    /// Brings the view up to date and writes what the client must be told, of the selected mailbox and of what NOTIFY
    /// watches.
    pub async fn tell_changes<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        occasion: Occasion,
    ) -> Result<Standing, Lost> {
        let standing = self.tell_selected(link, occasion).await?;
        if standing == Standing::Selected {
            self.tell_others(link).await?;
        }
        Ok(standing)
    }

    async fn tell_selected<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        occasion: Occasion,
    ) -> Result<Standing, Lost> {
        let wanted = match occasion {
            Occasion::Asked => OfSelected::EVERYTHING,
            _ => self.wanted_of_selected(),
        };
        let may = Telling {
            expunges: match occasion {
                Occasion::Numbers => false,
                Occasion::Push => !wanted.delays_expunge,
                Occasion::Command | Occasion::Asked => true,
            },
            flags: wanted.flags,
        };
        let Some(selected) = &mut self.selected else {
            return Ok(if self.has_lost_mailbox {
                Standing::Deleted
            } else {
                Standing::Selected
            });
        };
        let mailbox = selected.view.mailbox();
        let own = std::mem::take(&mut selected.own);
        let own = OwnChanges {
            mod_seqs: &own,
            were_told: selected.own_were_told,
        };
        let own_new = std::mem::take(&mut selected.own_new);
        let may_change_flags = !selected.is_read_only;
        let is_rev2 = self.is_rev2;
        let view = &mut selected.view;
        let before = view.len();
        let has_contexts = !selected.contexts.is_empty();
        let mut touched = Touched::Nothing;
        let synced = self.services.store().account(self.owner.account.id, |account| {
            let state = account.mailboxes.get(&mailbox)?;
            if has_contexts && wanted.messages {
                touched = view.touched(state).map_or(Touched::Anything, Touched::These);
            }
            if !wanted.messages {
                return Some((ViewChanges::default(), 0));
            }
            if view.takes_new_keywords(state) {
                write_flags_lines(state, may_change_flags, link.out());
            }
            let changes = view.sync(state, may, own);
            if changes.exists.is_none() {
                return Some((changes, 0));
            }
            if !is_rev2 {
                view.take_recent(state, may_change_flags);
            }
            let recent = view.recent_count();
            Some((changes, recent))
        });
        let Some((changes, recent)) = synced.flatten() else {
            self.selected = None;
            self.has_lost_mailbox = true;
            return Ok(Standing::Deleted);
        };
        self.remove_gone_from_contexts(&changes, link.out());
        self.write_changes(link, mailbox, &changes, recent).await?;
        let arrived = match changes.exists {
            Some(_) => self.arrived(before - changes.expunged.len(), &own_new),
            None => Vec::new(),
        };
        self.update_contexts(link, &touched, &arrived).await?;
        let items = self.fetched_of_new().to_vec();
        if !items.is_empty() {
            let sent = self.send_items(link, &arrived, items).await;
            sent.or_else(|stop| match stop {
                // What cannot be read now is told of by whoever asks for it.
                Stop::Ended(_) => Ok(()),
                Stop::Lost(lost) => Err(lost),
            })?;
        }
        self.correct_mod_seq(link.out());
        Ok(Standing::Selected)
    }

    /// The messages from index `from` on that others brought, if anybody asks for them.
    fn arrived(&self, from: usize, own: &[Uid]) -> Vec<Uid> {
        let is_asked = !self.fetched_of_new().is_empty() || self.fetches_for_contexts();
        let Some(selected) = self.selected.as_ref().filter(|_| is_asked) else {
            return Vec::new();
        };
        let new = selected.view.uids().range(from..selected.view.len());
        new.filter(|uid| !own.contains(uid)).collect()
    }

    /// Sends new messages with the items that NOTIFY or a search's UPDATE named (RFC 5465 §5.2, §7).
    pub(super) async fn send_items<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        uids: &[Uid],
        mut items: Vec<FetchItem>,
    ) -> Result<(), Stop> {
        if uids.is_empty() {
            return Ok(());
        }
        if self.is_condstore && !items.contains(&FetchItem::ModSeq) {
            // RFC 7162 §3.2: in every FETCH that was not asked for.
            items.push(FetchItem::ModSeq);
        }
        let fetch = Fetch {
            set: SequenceSet::of(uids.iter().copied()),
            by_uid: true,
            items: items.into(),
            changed_since: None,
            vanished: false,
            partial: None,
        };
        self.fetch(link, fetch).await.map(|_| ())
    }

    async fn write_changes<P: Pipe>(
        &self,
        link: &mut Link<P>,
        mailbox: MailboxId,
        changes: &ViewChanges,
        recent: usize,
    ) -> Result<(), Lost> {
        if self.is_qresync || self.is_uid_only {
            push_vanished_line(&changes.vanished, link.out());
        } else {
            for number in &changes.expunged {
                push_count_line(number.value(), "EXPUNGE", link.out());
                link.part_done(&*self.services).await?;
            }
        }
        if let Some(exists) = changes.exists {
            push_count_line(count(exists), "EXISTS", link.out());
            if !self.is_rev2 {
                push_count_line(count(recent), "RECENT", link.out());
            }
        }
        for uids in changes.flags.chunks(FLAGS_SLICE) {
            self.services.store().account(self.owner.account.id, |account| {
                let state = account.mailboxes.get(&mailbox)?;
                self.write_flags_of(state, uids, link.out());
                Some(())
            });
            link.part_done(&*self.services).await?;
        }
        Ok(())
    }

    /// Writes a FETCH with the flags of each of `uids` that is there and in the view.
    pub fn write_flags_of(&self, state: &MailboxState, uids: &[Uid], out: &mut Vec<u8>) {
        let Some(selected) = &self.selected else { return };
        announce_keywords(state, selected, out);
        for uid in uids {
            let (Some(index), Some(row)) = (selected.view.index_of(*uid), row_of(&state.rows, *uid)) else {
                continue;
            };
            self.push_head_with_uid(index, *uid, out);
            push_flags_item(state, &selected.view, row, out);
            if self.is_condstore {
                out.push(b' ');
                push_mod_seq_item(&selected.view, row, out);
            }
            message::push_fetch_end(out);
        }
    }
}

impl<S: Services> Session<S> {
    /// Writes `* n FETCH (`, or what stands for it once numbers are not given any more.
    pub fn push_head(&self, index: usize, uid: Uid, out: &mut Vec<u8>) {
        if self.is_uid_only {
            message::push_uid_fetch_head(uid, out);
        } else {
            message::push_fetch_head(SeqNum::from_index(index), out);
        }
    }

    /// Writes `* n FETCH (UID uid ` of a FETCH that the client did not ask for.
    pub fn push_head_with_uid(&self, index: usize, uid: Uid, out: &mut Vec<u8>) {
        self.push_head(index, uid, out);
        if !self.is_uid_only {
            out.extend_from_slice(b"UID ");
            push_number(u64::from(uid.value()), out);
            out.push(b' ');
        }
    }
}

/// Writes `* VANISHED set`, if there is any (RFC 7162 §3.2.10.2).
fn push_vanished_line(uids: &[Uid], out: &mut Vec<u8>) {
    if uids.is_empty() {
        return;
    }
    out.extend_from_slice(b"* VANISHED ");
    push_number_set(uids.iter().map(|uid| uid.value()), out);
    out.extend_from_slice(b"\r\n");
}

/// Writes FLAGS when flags that follow may be keywords the client has not been told of.
pub fn announce_keywords(state: &MailboxState, selected: &Selected, out: &mut Vec<u8>) {
    if selected.view.takes_new_keywords(state) {
        write_flags_lines(state, !selected.is_read_only, out);
    }
}

/// Appends `MODSEQ (n)` of a FETCH.
pub fn push_mod_seq_item(view: &View, row: &MessageRow, out: &mut Vec<u8>) {
    view.note_shown(row.mod_seq);
    message::push_mod_seq(row.mod_seq, out);
}

/// Appends `FLAGS (…)`.
pub fn push_flags_item(state: &MailboxState, view: &View, row: &MessageRow, out: &mut Vec<u8>) {
    out.extend_from_slice(b"FLAGS ");
    let keywords = state
        .keywords
        .iter()
        .enumerate()
        .filter(|(bit, _)| row.keywords & (1 << bit) != 0)
        .map(|(_, keyword)| keyword);
    let extra: &[&str] = if view.is_recent(row.uid) {
        &["\\Recent"]
    } else {
        &[]
    };
    message::push_flags(row.flags, keywords, extra, out);
}

/// Writes `* FLAGS (…)` and `* OK [PERMANENTFLAGS (… \*)]`, the latter empty for a mailbox opened by EXAMINE, and without
/// `\*` where no keyword can be made any more (RFC 9051 §7.1).
pub fn write_flags_lines(state: &MailboxState, may_change_flags: bool, out: &mut Vec<u8>) {
    push_flags_line(&state.keywords, out);
    let (flags, keywords) = if may_change_flags {
        (Flags::ALL, state.keywords.clone())
    } else {
        (Flags::default(), Vec::new())
    };
    let permanent = Code::PermanentFlags {
        flags,
        keywords,
        may_create: may_change_flags && state.takes_new_keyword(),
    };
    push_status_line(b"*", Status::Ok, Some(&permanent), "Flags permitted", out);
}

/// A number of messages on the wire: a view holds fewer than 2^32.
pub fn count(messages: usize) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}
