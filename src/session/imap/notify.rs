//! NOTIFY (RFC 5465): what a client wants to hear of the selected mailbox, and of the others of its account.
//!
//! Owns: which events a client asked for, how far it was told of each mailbox, the STATUS, LIST and METADATA responses that
//! tell it.
//! Invariants: a client that never gave NOTIFY is told of the selected mailbox as RFC 9051 has it, and of nothing else;
//! what a session did itself it is not told again (§5); several changes of a mailbox between two looks are one STATUS.
//! After NOTIFY the selected mailbox is told of as its group says; with none, numbers stay as they are until a command
//! that asks for changes (NOOP, CHECK, NOTIFY) or makes them (EXPUNGE, MOVE). Flags that a group leaves out wait for such a
//! command as well, and HIGHESTMODSEQ for them.
//! INBOXES is PERSONAL: mail may be delivered to any mailbox (§6.3).
//! Limits: the parser's; 16 octets for each mailbox of the account; a session that falls behind the account's change log
//! gets `OK [NOTIFICATIONOVERFLOW]` and nothing more until its next NOTIFY (§5.8).
//! Not here: telling of the selected mailbox (`changes`), waiting (`driver`).

use super::Services;
use super::link::{Link, Lost};
use super::list::push_event_entry;
use super::mailboxes::push_status_of;
use super::state::{Answered, Session, no};
use crate::mailbox::list::ListEntry;
use crate::model::{MailboxId, MailboxName, ModSeq, Uid};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::encode::mailbox::push_metadata_change_line;
use crate::proto::imap::types::{
    EventGroup, Events, FetchItem, MailboxFilter, NameForm, Notify, NotifySet, StatusItem,
};
use crate::proto::imap::{Code, Completion, Status};
use crate::session::pipe::Pipe;
use crate::store::{AccountChange, AccountState, MailboxChange, MailboxState};
use smallvec::SmallVec;
use std::collections::HashMap;

/// What BADEVENT lists (RFC 5465 §3.1).
const EVENTS: &[&str] = &[
    "MessageNew",
    "MessageExpunge",
    "FlagChange",
    "MailboxName",
    "SubscriptionChange",
    "MailboxMetadataChange",
    "ServerMetadataChange",
];

/// What a client asked for, and how far it was told.
#[derive(Debug)]
pub struct Watch {
    /// None after NOTIFY NONE and after an overflow.
    groups: Vec<EventGroup>,
    /// Place in the account's change log, and the MODSEQ at that look: nothing has changed while both are the same.
    seen: (u64, ModSeq),
    /// Places in the mailboxes' change logs.
    mailboxes: HashMap<MailboxId, u64>,
    /// Changes this session made since the last look.
    own: Vec<AccountChange>,
}

/// What happened to a mailbox that is not selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Happened {
    new: bool,
    expunge: bool,
    flags: bool,
}

impl Happened {
    const EVERYTHING: Self = Self {
        new: true,
        expunge: true,
        flags: true,
    };
}

/// What the client wants to hear of the selected mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfSelected {
    pub messages: bool,
    pub flags: bool,
    /// Expunges wait for a command (SELECTED-DELAYED).
    pub delays_expunge: bool,
}

impl OfSelected {
    /// Of a client that never gave NOTIFY.
    pub const EVERYTHING: Self = Self {
        messages: true,
        flags: true,
        delays_expunge: false,
    };
}

impl Watch {
    fn new(groups: Vec<EventGroup>, account: &AccountState) -> Self {
        let ends = account
            .mailboxes
            .iter()
            .map(|(id, state)| (*id, state.changes.end()));
        Self {
            mailboxes: if groups.is_empty() {
                HashMap::new()
            } else {
                ends.collect()
            },
            groups,
            seen: now(account),
            own: Vec::new(),
        }
    }

    fn selected(&self) -> Option<&EventGroup> {
        self.groups.iter().find(|group| group.filter.is_of_selected())
    }

    /// The groups, but that of the selected mailbox, that a name belongs to.
    fn groups_of<'a>(
        &'a self,
        account: &'a AccountState,
        name: &'a MailboxName,
    ) -> impl Iterator<Item = &'a Events> + 'a {
        let is_subscribed = account.is_subscribed(name);
        let is_meant = move |group: &&EventGroup| group.filter.takes(name, is_subscribed);
        let groups = self.groups.iter().filter(is_meant);
        groups.map(|group| &group.events)
    }

    /// What of `happened` to the mailbox `name` the client wants to hear.
    fn wanted(&self, account: &AccountState, name: &MailboxName, happened: Happened) -> Happened {
        let mut wanted = Happened::default();
        for events in self.groups_of(account, name) {
            wanted.new |= events.message_new && happened.new;
            wanted.expunge |= events.message_expunge && happened.expunge;
            wanted.flags |= events.flag_change && happened.flags;
        }
        wanted
    }

    /// Writes LIST responses for what happened to names. False: some of it is forgotten.
    fn tell_names(&mut self, account: &AccountState, names: NameForm, out: &mut Vec<u8>) -> bool {
        let Some(changes) = account.changes.since(self.seen.0) else {
            return false;
        };
        let mut own = std::mem::take(&mut self.own);
        for change in changes {
            if let Some(at) = own.iter().position(|own| own == change) {
                own.swap_remove(at);
                continue;
            }
            self.tell_name(account, change, names, out);
        }
        true
    }

    fn tell_name(&self, account: &AccountState, change: &AccountChange, names: NameForm, out: &mut Vec<u8>) {
        let is_name_wanted =
            |name: &MailboxName| self.groups_of(account, name).any(|events| events.mailbox_name);
        match change {
            // RFC 5465 §5.4: the direct parent is affected too.
            AccountChange::Created(name) | AccountChange::Deleted(name) => {
                for name in [Some(name.clone()), name.parent()].into_iter().flatten() {
                    if is_name_wanted(&name) {
                        push_event_entry(&ListEntry::of(account, &name), None, names, out);
                    }
                }
            }
            // INBOX stays (RFC 9051 §6.3.6): what has its messages now is new.
            AccountChange::Renamed { from, to } if from.is_inbox() => {
                self.tell_name(account, &AccountChange::Created(to.clone()), names, out);
            }
            AccountChange::Renamed { from, to } => {
                if is_name_wanted(from) || is_name_wanted(to) {
                    push_event_entry(&ListEntry::of(account, to), Some(from), names, out);
                }
            }
            // RFC 5465 §5.6, §5.7: the names of the entries, without their values.
            AccountChange::Metadata { mailbox, entries } => {
                let is_wanted = match mailbox {
                    Some(name) => self
                        .groups_of(account, name)
                        .any(|events| events.mailbox_metadata_change),
                    None => self
                        .groups
                        .iter()
                        .any(|group| group.events.server_metadata_change),
                };
                if is_wanted {
                    push_metadata_change_line(mailbox.as_ref(), entries, names, out);
                }
            }
            AccountChange::Subscription(name) => {
                // SUBSCRIBED no longer names what was unsubscribed from, and yet this is what it asks for (§6.4).
                let is_of_subscribed = |group: &EventGroup| {
                    group.filter == MailboxFilter::Subscribed && group.events.subscription_change
                };
                if self
                    .groups_of(account, name)
                    .any(|events| events.subscription_change)
                    || self.groups.iter().any(is_of_subscribed)
                {
                    push_event_entry(&ListEntry::of(account, name), None, names, out);
                }
            }
        }
    }

    /// Mailboxes, other than the selected one, in which something happened that the client wants to hear, by name.
    fn changed(&mut self, account: &AccountState, selected: Option<MailboxId>) -> Vec<(MailboxId, Happened)> {
        let mut changed = Vec::new();
        for (id, state) in &account.mailboxes {
            let end = state.changes.end();
            let from = self.mailboxes.insert(*id, end).unwrap_or(0);
            if from == end || Some(*id) == selected {
                continue;
            }
            let wanted = self.wanted(account, &state.name, happened(state, from));
            if wanted != Happened::default() {
                changed.push((&state.name, *id, wanted));
            }
        }
        if self.mailboxes.len() > account.mailboxes.len() {
            self.mailboxes.retain(|id, _| account.mailboxes.contains_key(id));
        }
        changed.sort_unstable_by_key(|(name, ..)| *name);
        changed.into_iter().map(|(_, id, wanted)| (id, wanted)).collect()
    }
}

fn now(account: &AccountState) -> (u64, ModSeq) {
    (account.changes.end(), account.highest_mod_seq)
}

fn happened(state: &MailboxState, from: u64) -> Happened {
    let Some(changes) = state.changes.since(from) else {
        return Happened::EVERYTHING;
    };
    let mut happened = Happened::default();
    for change in changes {
        match change {
            MailboxChange::Added(_) => happened.new = true,
            MailboxChange::Expunged(_) => happened.expunge = true,
            MailboxChange::FlagsChanged(_) => happened.flags = true,
        }
    }
    happened
}

/// The items of a STATUS that tells of it (RFC 5465 §5.1–5.3).
fn status_items(happened: Happened, gives_mod_seq: bool) -> SmallVec<[StatusItem; 6]> {
    let mut items: SmallVec<[StatusItem; 6]> = SmallVec::new();
    if happened.new || happened.expunge {
        items.extend([StatusItem::Messages, StatusItem::UidNext]);
    }
    items.push(StatusItem::UidValidity);
    if happened.flags {
        items.push(StatusItem::Unseen);
    }
    if gives_mod_seq {
        items.push(StatusItem::HighestModSeq);
    }
    items
}

impl<S: Services> Session<S> {
    /// NOTIFY. The end of the command tells what changed in the selected mailbox before it (RFC 5465 §3.1).
    pub async fn notify<P: Pipe>(&mut self, link: &mut Link<P>, notify: Notify) -> Answered {
        let NotifySet {
            gives_status,
            mut groups,
        } = match notify {
            Notify::Set(set) => set,
            Notify::None => NotifySet {
                gives_status: false,
                groups: Vec::new(),
            },
        };
        if groups.iter().any(|group| group.events.is_unsupported) {
            return Ok(no(Code::BadEvent(EVENTS), "There are other events only"));
        }
        for group in &mut groups {
            group.filter.normalize();
        }
        let watch = self.with_account(|account| Watch::new(groups, account))?;
        self.notify = Some(Box::new(watch));
        if gives_status {
            self.tell_status(link).await?;
        }
        Ok(Completion::ok("NOTIFY completed"))
    }

    /// STATUS of every mailbox whose messages are watched.
    async fn tell_status<P: Pipe>(&mut self, link: &mut Link<P>) -> Result<(), Lost> {
        let selected = self.selected.as_ref().map(|selected| selected.view.mailbox());
        let Some(watch) = &self.notify else { return Ok(()) };
        let watched = self.services.store().account(self.owner.account.id, |account| {
            let others = account.names.iter().filter(|(_, id)| Some(**id) != selected);
            let wanted = others.map(|(name, id)| (*id, watch.wanted(account, name, Happened::EVERYTHING)));
            wanted
                .filter(|(_, wanted)| *wanted != Happened::default())
                .collect()
        });
        let watched: Vec<(MailboxId, Happened)> = watched.unwrap_or_default();
        for (id, wanted) in watched {
            // §3.1 asks for HIGHESTMODSEQ where flags are watched, whether CONDSTORE was enabled or not.
            self.write_status(link, id, &status_items(wanted, wanted.flags))
                .await?;
        }
        Ok(())
    }

    async fn write_status<P: Pipe>(
        &self,
        link: &mut Link<P>,
        mailbox: MailboxId,
        items: &[StatusItem],
    ) -> Result<(), Lost> {
        let limit = self.append_limit();
        self.services.store().account(self.owner.account.id, |account| {
            if let Some(state) = account.mailboxes.get(&mailbox) {
                push_status_of(state, items, self.names, limit, link.out());
            }
        });
        link.part_done(&*self.services).await
    }

    /// True when changes are to be told though no command is in progress.
    pub fn wants_notifications(&self) -> bool {
        self.notify.as_ref().is_some_and(|watch| !watch.groups.is_empty())
    }

    /// What is to be told of the selected mailbox unasked.
    pub fn wanted_of_selected(&self) -> OfSelected {
        let Some(watch) = &self.notify else {
            return OfSelected::EVERYTHING;
        };
        let group = watch.selected();
        OfSelected {
            messages: group.is_some_and(|group| group.events.message_new),
            flags: group.is_some_and(|group| group.events.flag_change),
            delays_expunge: group.is_some_and(|group| group.filter == MailboxFilter::SelectedDelayed),
        }
    }

    /// What new messages of the selected mailbox are sent with.
    pub fn fetched_of_new(&self) -> &[FetchItem] {
        let group = self.notify.as_ref().and_then(|watch| watch.selected());
        group.map_or(&[], |group| &group.events.fetch)
    }

    /// Tells what happened to the account's other mailboxes.
    pub async fn tell_others<P: Pipe>(&mut self, link: &mut Link<P>) -> Result<(), Lost> {
        if !self.wants_notifications() {
            return Ok(());
        }
        let selected = self.selected.as_ref().map(|selected| selected.view.mailbox());
        let names = self.names;
        let Some(watch) = &mut self.notify else {
            return Ok(());
        };
        let mut has_overflown = false;
        let changed = self.services.store().account(self.owner.account.id, |account| {
            if watch.seen == now(account) {
                // What it did changed nothing.
                watch.own.clear();
                return Vec::new();
            }
            has_overflown = !watch.tell_names(account, names, link.out());
            watch.seen = now(account);
            watch.changed(account, selected)
        });
        if has_overflown {
            watch.groups.clear();
            let code = Some(&Code::NotificationOverflow);
            push_status_line(
                b"*",
                Status::Ok,
                code,
                "Too much has happened: NOTIFY NONE",
                link.out(),
            );
            return Ok(());
        }
        for (id, wanted) in changed.unwrap_or_default() {
            self.write_status(link, id, &status_items(wanted, self.is_condstore))
                .await?;
        }
        Ok(())
    }

    /// Notes what this session did to names, so that it is not told of it.
    pub fn note_own_change(&mut self, change: AccountChange) {
        if self.wants_notifications()
            && let Some(watch) = &mut self.notify
        {
            watch.own.push(change);
        }
    }

    /// Notes that this session put messages into a mailbox, the selected one perhaps.
    pub fn note_own_arrivals(&mut self, mailbox: MailboxId, uids: &[Uid]) {
        if (!self.fetched_of_new().is_empty() || self.fetches_for_contexts())
            && let Some(selected) = &mut self.selected
            && selected.view.mailbox() == mailbox
        {
            selected.own_new.extend_from_slice(uids);
        }
        self.note_own_messages(mailbox, uids.len());
    }

    /// Notes that this session put `count` messages into a mailbox. If that is all that happened there, it is not told
    /// of it.
    fn note_own_messages(&mut self, mailbox: MailboxId, count: usize) {
        if !self.wants_notifications() {
            return;
        }
        let Some(watch) = &mut self.notify else { return };
        self.services.store().account(self.owner.account.id, |account| {
            let Some(state) = account.mailboxes.get(&mailbox) else {
                return;
            };
            let place = watch.mailboxes.entry(mailbox).or_default();
            if *place + count as u64 == state.changes.end() {
                *place = state.changes.end();
            }
        });
    }
}
