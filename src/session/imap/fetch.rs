//! FETCH and UID FETCH (RFC 9051 §6.4.5, §7.5.2; RFC 7162 §3.1.4; RFC 3516; RFC 8474; RFC 8514).
//!
//! Owns: the plan of a FETCH, the implicit `\Seen`, the order of messages, what became of those that could not be given.
//! Invariants: items of the rows are written in one look at the store; contents are read between looks; a message's
//! response is either written whole or not begun, or the connection ends. `\Seen` is durable before the FETCH that shows
//! it, one change for [`SEEN_BATCH`] messages, so a client that goes away has marked little it never got.
//! An expunged message is passed over; a FETCH by number then ends `OK [EXPUNGEISSUED]` (RFC 9051 §7.1), or `NO` when
//! nothing it names is there any more (RFC 2180 §4.1.2).
//! Limits: [`ROWS_SLICE`], [`TARGETS_SLICE`]; [`ahead`] of messages read at the same time, and as many of the next ones while
//! those are sent; the send buffer's.
//! Failure: a message that cannot be read is left out and the command ends with NO and the store's code; if `\Seen`
//! cannot be stored, mail is shown without it.
//! Not here: single items of contents (`fetch_content`).

use super::Services;
use super::changes::{announce_keywords, push_flags_item, push_mod_seq_item};
use super::fetch_content::{self, Warmth, is_of_content};
use super::fetch_summary;
use super::link::Link;
use super::message_limit;
use super::state::{Answered, Session, Stop, expunge_issued, no};
use crate::mailbox::digests::{Digests, Shape};
use crate::mailbox::reader::{self, MessageReader, ReadError};
use crate::mailbox::view::{View, row_near, row_of};
use crate::model::{Flags, ModSeq, Uid};
use crate::proto::imap::encode::{message, push_number};
use crate::proto::imap::types::{Fetch, FetchItem, InternalDate, StoreOperation};
use crate::proto::imap::{Code, Completion};
use crate::proto::message::structure::Structure;
use crate::session::pipe::Pipe;
use crate::store::{Change, MailboxState, MessageRow, Outcome, PartSet};
use bytes::Bytes;
use futures_util::future::{join, join_all};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

/// Messages whose rows are written in one look at the store.
const ROWS_SLICE: usize = 512;

/// Messages marked `\Seen` by one change before they are sent.
const SEEN_BATCH: usize = 64;

/// Messages whose rows are looked up at once, before their contents are sent.
const TARGETS_SLICE: usize = 512;

/// Structures with more parts are not kept for the next command.
const KEPT_STRUCTURE_PARTS_MAX: usize = 100;

/// What a FETCH asks, taken apart.
pub(super) struct Plan {
    /// Answered from the row, UID first.
    of_row: SmallVec<[FetchItem; 4]>,
    /// Answered from the message.
    pub(super) of_content: SmallVec<[FetchItem; 4]>,
    /// What a summary must have to answer these; `None`: none has.
    pub(super) summary: Option<PartSet>,
    warmth: Warmth,
    sets_seen: bool,
    changed_since: Option<ModSeq>,
    /// The highest message first: the limit leaves the lowest to another command (RFC 9738 §3.1).
    is_descending: bool,
}

impl Plan {
    fn new(fetch: &Fetch, is_read_only: bool, is_uid_only: bool) -> Self {
        let mut plan = Self {
            of_row: SmallVec::new(),
            of_content: SmallVec::new(),
            summary: None,
            warmth: Warmth::Record,
            sets_seen: false,
            changed_since: fetch.changed_since,
            is_descending: false,
        };
        // RFC 9586 §3.3: UIDFETCH has it in its head.
        if fetch.by_uid && !is_uid_only {
            plan.add(&FetchItem::Uid);
        }
        for item in &fetch.items {
            plan.add(item);
            plan.sets_seen |= !is_read_only && sets_seen(item);
        }
        // RFC 7162 §3.1.4.1
        if fetch.changed_since.is_some() {
            plan.add(&FetchItem::ModSeq);
        }
        plan.summary = fetch_summary::wanted(&plan.of_content);
        plan
    }

    /// Under which the contents' text is kept, if all of it is short and never changes.
    pub(super) fn digest_shape(&self, digests: &mut Digests) -> Option<Shape> {
        let is_digest = self.of_content.iter().all(fetch_content::is_digest);
        is_digest.then(|| digests.shape(format!("{:?}", self.of_content)))
    }

    fn add(&mut self, item: &FetchItem) {
        let items = if is_of_content(item) {
            self.warmth = self.warmth.and(fetch_content::warmth(item));
            &mut self.of_content
        } else {
            &mut self.of_row
        };
        if !items.contains(item) {
            items.push(item.clone());
        }
    }
}

fn sets_seen(item: &FetchItem) -> bool {
    match item {
        FetchItem::BodySection { peek, .. } | FetchItem::Binary { peek, .. } => !peek,
        FetchItem::Rfc822 | FetchItem::Rfc822Text => true,
        _ => false,
    }
}

/// What could not be given.
#[derive(Default)]
pub struct Trouble {
    has_gone: bool,
    /// Something the command names is still there.
    has_present: bool,
    /// The first failure.
    failure: Option<Completion>,
}

impl Trouble {
    /// Notes whether a message that the command names is there.
    pub fn note(&mut self, row: Option<&MessageRow>) {
        self.has_gone |= row.is_none();
        self.has_present |= row.is_some();
    }

    pub fn read(&mut self, error: ReadError) {
        if let Stop::Ended(completion) = Stop::from(error) {
            self.failure.get_or_insert(completion);
        }
    }

    pub fn unknown_encoding(&mut self) {
        let refused = no(Code::UnknownCte, "A part's transfer encoding cannot be decoded");
        self.failure.get_or_insert(refused);
    }

    fn completion(self, by_uid: bool) -> Completion {
        match self.failure {
            Some(failure) => failure,
            None if by_uid || !self.has_gone => Completion::ok("FETCH completed"),
            None => expunge_issued(
                "FETCH completed",
                "The messages have been expunged",
                self.has_present,
            ),
        }
    }
}

/// A message to be shown with contents.
pub(super) struct Target {
    index: usize,
    /// Where its row was.
    place: usize,
    pub(super) row: MessageRow,
    /// What was answered lately, or is known from its summary.
    pub(super) digest: Option<Bytes>,
    /// The flags are shown though they were not asked for: `\Seen` is new.
    is_newly_seen: bool,
}

impl<S: Services> Session<S> {
    pub async fn fetch<P: Pipe>(&mut self, link: &mut Link<P>, fetch: Fetch) -> Answered {
        let mut plan = Plan::new(&fetch, self.selected()?.is_read_only, self.is_uid_only);
        let mut ranges = self.selected()?.resolve(&fetch.set, fetch.by_uid)?;
        if plan.of_row.contains(&FetchItem::ModSeq) {
            self.enable_condstore(link.out());
        }
        if let (true, Some(since)) = (fetch.vanished, fetch.changed_since) {
            self.fetch_vanished(link, &fetch.set, since).await?;
        }
        let mut trouble = Trouble::default();
        let mut reached = None;
        if fetch.partial.is_some() || self.may_exceed_limit(&ranges) {
            let part = self.part_of(link, &ranges, fetch.partial, &plan, &mut trouble);
            (ranges, reached) = part.await?;
            plan.is_descending = reached.is_some();
        }
        if plan.is_descending {
            ranges.reverse();
        }
        for range in ranges {
            if plan.of_content.is_empty() {
                self.fetch_rows(link, &plan, range, &mut trouble).await?;
            } else {
                self.fetch_messages(link, &plan, range, &mut trouble).await?;
            }
        }
        self.services.store().leave_summaries(self.owner.account.id);
        let done = trouble.completion(fetch.by_uid);
        Ok(message_limit::ended(done, reached, link.out()))
    }

    async fn fetch_rows<P: Pipe>(
        &self,
        link: &mut Link<P>,
        plan: &Plan,
        range: Range<usize>,
        trouble: &mut Trouble,
    ) -> Result<(), Stop> {
        for slice in slices(range, ROWS_SLICE, plan.is_descending) {
            self.with_selected(|state, selected| {
                announce_keywords(state, selected, link.out());
                for index in slices(slice, 1, plan.is_descending).flatten() {
                    let Some(row) = row_of(&state.rows, selected.view.uids().at(index)) else {
                        trouble.has_gone = true;
                        continue;
                    };
                    trouble.has_present = true;
                    if is_wanted(plan, row) {
                        let out = link.out();
                        self.push_head(index, row.uid, out);
                        push_row_items(state, &selected.view, row, &plan.of_row, out);
                        message::push_fetch_end(out);
                    }
                }
            })?;
            link.part_done(&*self.services).await?;
        }
        Ok(())
    }

    async fn fetch_messages<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        plan: &Plan,
        range: Range<usize>,
        trouble: &mut Trouble,
    ) -> Result<(), Stop> {
        let store = self.services.store().clone();
        let batch = if plan.sets_seen { SEEN_BATCH } else { TARGETS_SLICE };
        let mut is_ahead = false;
        for slice in slices(range.clone(), batch, plan.is_descending) {
            let behind = if plan.is_descending {
                range.start..slice.start
            } else {
                slice.end..range.end
            };
            let mut targets = self.targets(plan, slice, trouble)?;
            if plan.sets_seen {
                self.mark_seen(&mut targets).await?;
            }
            self.recall(plan, &mut targets).await;
            let mut rest = &targets[..];
            while !rest.is_empty() {
                let (group, later) = rest.split_at(ahead(rest));
                rest = later;
                if !is_ahead {
                    let rows = self.rows_ahead(plan, group, 0..0)?;
                    store.read_ahead(rows.iter()).await;
                    is_ahead = true;
                }
                // The disk reads what comes next while this group is sent.
                let next = self.rows_ahead(plan, later, behind.clone())?;
                let reading = store.read_ahead(next.iter());
                let (sent, ()) = join(self.fetch_group(link, plan, group, trouble), reading).await;
                sent?;
            }
        }
        Ok(())
    }

    /// The rows that come behind a group, of `later` or, when there are none, of this part of the view, as far as they are
    /// to be read.
    fn rows_ahead(
        &self,
        plan: &Plan,
        later: &[Target],
        behind: Range<usize>,
    ) -> Result<Vec<MessageRow>, Stop> {
        let rows: Vec<MessageRow> = if later.is_empty() {
            let mut rows: Vec<MessageRow> = self.with_selected(|state, selected| {
                let indexes = slices(behind, 1, plan.is_descending).flatten();
                let uids = indexes.map(|index| selected.view.uids().at(index));
                let rows = uids
                    .take(reader::AHEAD_MESSAGES)
                    .filter_map(|uid| row_of(&state.rows, uid));
                rows.filter(|row| is_wanted(plan, row)).copied().collect()
            })?;
            rows.truncate(reader::ahead(rows.iter().map(|row| row.size)));
            self.unknown(plan, rows)
        } else {
            let later = later[..ahead(later)].iter();
            let unknown = later.filter(|target| target.digest.is_none());
            unknown.map(|target| target.row).collect()
        };
        Ok(rows)
    }

    fn targets(&self, plan: &Plan, slice: Range<usize>, trouble: &mut Trouble) -> Result<Vec<Target>, Stop> {
        self.with_selected(|state, selected| {
            let mut targets = Vec::with_capacity(slice.len());
            let mut next = 0;
            for index in slices(slice, 1, plan.is_descending).flatten() {
                let Some(place) = row_near(&state.rows, selected.view.uids().at(index), next) else {
                    trouble.has_gone = true;
                    continue;
                };
                next = place + 1;
                let row = &state.rows[place];
                trouble.has_present = true;
                if is_wanted(plan, row) {
                    targets.push(Target {
                        index,
                        place,
                        row: *row,
                        digest: None,
                        is_newly_seen: false,
                    });
                }
            }
            targets
        })
    }

    /// Sets `\Seen` where it is missing; durable on return, unless the store takes no changes.
    async fn mark_seen(&mut self, targets: &mut [Target]) -> Result<(), Stop> {
        let unseen = targets
            .iter()
            .filter(|target| !target.row.flags.contains(Flags::SEEN));
        let uids: Vec<Uid> = unseen.map(|target| target.row.uid).collect();
        if uids.is_empty() {
            return Ok(());
        }
        let change = Change::StoreFlags {
            mailbox: self.selected()?.view.mailbox(),
            uids,
            operation: StoreOperation::Add,
            flags: Flags::SEEN,
            keywords: SmallVec::new(),
            unchanged_since: None,
        };
        // A store that cannot write still shows mail.
        if let Ok(Outcome::Flags { changed, mod_seq, .. }) = self.change(change).await {
            let selected = self.selected_mut()?;
            selected.own.push(mod_seq);
            selected.own_were_told = true;
            let changed: HashSet<Uid> = changed.into_iter().collect();
            for target in targets {
                target.is_newly_seen = changed.contains(&target.row.uid);
            }
        }
        Ok(())
    }

    /// Opens a group of messages, which were read ahead, at the same time and writes them one after the other.
    async fn fetch_group<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        plan: &Plan,
        group: &[Target],
        trouble: &mut Trouble,
    ) -> Result<(), Stop> {
        let known = self.selected()?.structure.clone();
        let shape = plan.digest_shape(&mut self.services.digests().borrow_mut());
        if let [item] = &plan.of_content[..]
            && fetch_content::is_whole_message(item)
            && group.iter().all(|target| fetch_content::is_short(&target.row))
        {
            for target in group {
                self.fetch_short(link, plan, target, item, trouble).await?;
            }
            return Ok(());
        }
        let store = self.services.store();
        let unread = group.iter().filter(|target| target.digest.is_none());
        let known_of = |target: &Target| {
            let known = known.as_ref().filter(|(uid, _)| *uid == target.row.uid);
            known.map(|(_, structure)| structure.clone())
        };
        // What was read ahead is opened where it is written: it needs no wait, and its memory serves the next one.
        let is_here = |target: &Target| fetch_content::is_short(&target.row) && store.is_ahead(&target.row);
        let needs_wait = !unread.clone().all(is_here);
        let opening = unread.filter(|_| needs_wait);
        let opening = opening.map(|target| self.open(plan, &target.row, known_of(target)));
        let mut opened = join_all(opening).await.into_iter();
        for target in group {
            if let Some(digest) = &target.digest {
                self.write_head(link.out(), plan, target)?;
                link.out().extend_from_slice(digest);
                message::push_fetch_end(link.out());
                link.part_done(&*self.services).await?;
                continue;
            }
            let reader = match opened.next() {
                Some(opened) => opened,
                None => self.open(plan, &target.row, known_of(target)).await,
            };
            let mut reader = match reader {
                Ok(reader) => reader,
                Err(error) => {
                    trouble.read(error);
                    continue;
                }
            };
            self.write_head(link.out(), plan, target)?;
            let start = link.out().len();
            let mut written: SmallVec<[Range<usize>; 4]> = SmallVec::new();
            for item in &plan.of_content {
                link.out().push(b' ');
                let from = link.out().len();
                fetch_content::write(link, &*self.services, &mut reader, item, trouble).await?;
                if shape.is_none() {
                    link.part_done(&*self.services).await?;
                } else {
                    written.push(from..link.out().len());
                }
            }
            if let Some(shape) = shape.filter(|_| trouble.failure.is_none()) {
                let text = start..link.out().len();
                self.keep_answer(plan, shape, target, &mut reader, (link.out(), text, &written))
                    .await;
            }
            message::push_fetch_end(link.out());
            link.part_done(&*self.services).await?;
            if let Some(structure) = reader.known_structure()
                && structure.parts().len() <= KEPT_STRUCTURE_PARTS_MAX
            {
                self.selected_mut()?.structure = Some((target.row.uid, structure));
            }
        }
        Ok(())
    }

    /// Writes a short message that is asked for whole: from where it was read into the send buffer, without a copy between.
    async fn fetch_short<P: Pipe>(
        &self,
        link: &mut Link<P>,
        plan: &Plan,
        target: &Target,
        item: &FetchItem,
        trouble: &mut Trouble,
    ) -> Result<(), Stop> {
        let store = self.services.store();
        let message = match store.open_message(self.owner.account.id, &target.row).await {
            Ok(message) => message,
            Err(error) => {
                trouble.read(error.into());
                return Ok(());
            }
        };
        let out = link.out();
        let start = self.write_head(out, plan, target)?;
        out.push(b' ');
        match fetch_content::write_short(store, &message, item, out).await {
            Ok(()) => message::push_fetch_end(out),
            // Nothing of it was sent.
            Err(error) => {
                out.truncate(start);
                trouble.read(error.into());
            }
        }
        link.part_done(&*self.services).await?;
        Ok(())
    }

    async fn open(
        &self,
        plan: &Plan,
        row: &MessageRow,
        known: Option<Rc<Structure>>,
    ) -> Result<MessageReader<S::Environment>, ReadError> {
        let mut reader = MessageReader::open(self.services.store(), self.owner.account.id, row).await?;
        if let Some(structure) = known {
            reader.adopt_structure(structure);
        }
        fetch_content::warm(&mut reader, plan.warmth, &*self.services).await?;
        Ok(reader)
    }

    /// Writes `* n FETCH (` and the items of the row, as the row is now. Returns where the response begins.
    fn write_head(&self, out: &mut Vec<u8>, plan: &Plan, target: &Target) -> Result<usize, Stop> {
        self.with_selected(|state, selected| {
            announce_keywords(state, selected, out);
            let start = out.len();
            self.push_head(target.index, target.row.uid, out);
            // Expunged since it was opened: what was read then is still true of it.
            let place = row_near(&state.rows, target.row.uid, target.place);
            let row = place.map_or(&target.row, |place| &state.rows[place]);
            let mut items = plan.of_row.clone();
            if target.is_newly_seen && !items.contains(&FetchItem::Flags) {
                items.push(FetchItem::Flags);
            }
            // RFC 7162 §3.2.4: what tells of a change has both.
            if target.is_newly_seen && self.is_condstore {
                let missing = [FetchItem::Uid, FetchItem::ModSeq];
                items.extend(missing.into_iter().filter(|item| !plan.of_row.contains(item)));
            }
            // RFC 3501 clients count on one item at least before the first space.
            if items.is_empty() {
                items.push(FetchItem::Uid);
            }
            push_row_items(state, &selected.view, row, &items, out);
            start
        })
    }
}

pub(super) fn is_wanted(plan: &Plan, row: &MessageRow) -> bool {
    plan.changed_since.is_none_or(|since| row.mod_seq > since)
}

/// A range in slices, from its end with `is_descending`.
pub(super) fn slices(
    range: Range<usize>,
    length: usize,
    is_descending: bool,
) -> impl Iterator<Item = Range<usize>> {
    let Range { start, end } = range;
    (0..range.len().div_ceil(length)).map(move |number| {
        let passed = number * length;
        if is_descending {
            let last = end - passed;
            last.saturating_sub(length).max(start)..last
        } else {
            let first = start + passed;
            first..end.min(first + length)
        }
    })
}

/// How many of the next messages are read at the same time.
fn ahead(targets: &[Target]) -> usize {
    reader::ahead(targets.iter().map(|target| target.row.size))
}

/// Appends the items of a row with spaces between them.
fn push_row_items(
    state: &MailboxState,
    view: &View,
    row: &MessageRow,
    items: &[FetchItem],
    out: &mut Vec<u8>,
) {
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        match item {
            FetchItem::Uid => push_named(b"UID ", u64::from(row.uid.value()), out),
            FetchItem::Rfc822Size => push_named(b"RFC822.SIZE ", u64::from(row.size), out),
            FetchItem::Flags => push_flags_item(state, view, row, out),
            FetchItem::ModSeq => push_mod_seq_item(view, row, out),
            FetchItem::InternalDate => message::push_internal_date(row.internal_date(), out),
            FetchItem::SaveDate => {
                let date = InternalDate {
                    at: row.save_date,
                    zone_minutes: 0,
                };
                message::push_save_date(Some(date), out);
            }
            _ => {}
        }
    }
}

fn push_named(name: &[u8], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    push_number(value, out);
}
