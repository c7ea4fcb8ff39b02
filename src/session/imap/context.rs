//! Searches whose results are kept up to date (CONTEXT=SEARCH and CONTEXT=SORT, RFC 5267 §4.3).
//!
//! Owns: the results that a session asked to hear about with UPDATE, and the ESEARCH responses that say what enters them
//! (ADDTO) and what leaves (REMOVEFROM).
//! Invariants: what an EXPUNGE takes away leaves the results before that EXPUNGE, with the number it has until then; what
//! comes enters them behind its EXISTS, with the number it has from then on. Numbers and `$` in the criteria mean the
//! messages that they meant when the search was made. Places are those of the sorted result, each after the ones before it
//! took effect; a result of SEARCH has no order of its own, so its place is 0.
//! The results end with the selection of the mailbox, by CANCELUPDATE, or by `NO [NOUPDATE …]` when they cannot be kept.
//! Limits: [`CONTEXTS_MAX`] a session, 4 octets a result; the budget of a search for each update.
//! LIMITATION: messages that begin or cease to match by the time alone (OLDER, YOUNGER) are told of when they change.
//! Not here: the search itself (`search`), what changed (`changes`).

use super::Services;
use super::link::{Link, Lost};
use super::search::{Searched, stop_of};
use super::state::{Answered, Session, Stop};
use crate::mailbox::fuzzy::{self, Reading, Scores};
use crate::mailbox::searching::{Found, Run};
use crate::mailbox::view::ViewChanges;
use crate::model::{MailboxName, SeqNum, Uid, UidValidity, Uids};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::encode::mailbox::{ContextUpdate, push_context_line};
use crate::proto::imap::types::{NameForm, Search, SearchKey, SequenceSet, SortKey, Tag};
use crate::proto::imap::{Code, Completion, Status};
use crate::session::pipe::Pipe;

/// Most results a session may have kept up to date. Each is looked at whenever a message changes.
const CONTEXTS_MAX: usize = 16;

/// Messages of the view that came or changed.
#[derive(Debug)]
pub enum Touched {
    Nothing,
    /// Ascending.
    These(Vec<Uid>),
    /// More than is remembered.
    Anything,
}

/// A result that is kept up to date.
#[derive(Debug)]
pub struct SearchContext {
    tag: Tag,
    /// What ESEARCH called the mailbox (RFC 7377 §2.1).
    mailbox: Option<(MailboxName, NameForm, UidValidity)>,
    /// Without numbers in it.
    search: Search,
    /// In the order of the result; ascending if it is not sorted.
    members: Vec<Uid>,
}

impl SearchContext {
    fn is_sorted(&self) -> bool {
        !self.search.sort.is_empty()
    }

    fn update<'a>(&'a self, word: &'static str, places: &'a [(u32, Vec<u32>)]) -> ContextUpdate<'a> {
        ContextUpdate {
            tag: &self.tag,
            mailbox: self
                .mailbox
                .as_ref()
                .map(|(name, form, validity)| (name, *form, *validity)),
            by_uid: self.search.by_uid,
            word,
            places,
        }
    }

    /// Takes `gone`, ascending, out of the result and says so; `number` is what each is called.
    fn remove(&mut self, gone: &[Uid], number: impl Fn(Uid) -> u32, out: &mut Vec<u8>) {
        let mut places: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut place = 1;
        let is_sorted = self.is_sorted();
        self.members.retain(|uid| {
            if gone.binary_search(uid).is_err() {
                place += 1;
                return true;
            }
            let at = if is_sorted { place } else { 0 };
            match places.last_mut() {
                Some((last, numbers)) if *last == at => numbers.push(number(*uid)),
                _ => places.push((at, vec![number(*uid)])),
            }
            false
        });
        if !places.is_empty() {
            push_context_line(&self.update("REMOVEFROM", &places), out);
        }
    }

    /// Says that the result has become `members`, to which `new`, ascending, belong.
    fn add(&mut self, members: Vec<Uid>, new: &[Uid], number: impl Fn(Uid) -> u32, out: &mut Vec<u8>) {
        let mut places: Vec<(u32, Vec<u32>)> = Vec::new();
        for (place, uid) in (1..).zip(&members) {
            if new.binary_search(uid).is_err() {
                continue;
            }
            let at = if self.is_sorted() { place } else { 0 };
            match places.last_mut() {
                Some((first, numbers)) if at == 0 || *first + count(numbers) == at => {
                    numbers.push(number(*uid));
                }
                _ => places.push((at, vec![number(*uid)])),
            }
        }
        self.members = members;
        if !places.is_empty() {
            push_context_line(&self.update("ADDTO", &places), out);
        }
    }
}

fn count(numbers: &[u32]) -> u32 {
    super::changes::count(numbers.len())
}

/// Writes `* NO [NOUPDATE "tag"] …`.
pub fn push_no_update(tag: &Tag, why: &str, out: &mut Vec<u8>) {
    let code = Code::NoUpdate(tag.to_vec());
    push_status_line(b"*", Status::No, Some(&code), why, out);
}

impl<S: Services> Session<S> {
    /// Before a search: is its result to be kept up to date, and can it be?
    pub fn may_update(&self, tag: &Tag, search: &Search, out: &mut Vec<u8>) -> Result<bool, Stop> {
        if !search.return_options.is_some_and(|options| options.update) {
            return Ok(false);
        }
        let contexts = &self.selected()?.contexts;
        if contexts.iter().any(|context| context.tag == *tag) {
            return Err(Completion::bad("The tag is that of a search that is still updated").into());
        }
        let refusal = if contexts.len() == CONTEXTS_MAX {
            "Too many searches are updated already"
        } else if search.sort.iter().any(|by| by.key == SortKey::Relevancy) {
            "An order by relevancy is not updated"
        } else {
            return Ok(true);
        };
        push_no_update(tag, refusal, out);
        Ok(false)
    }

    /// After a search, by ESEARCH if `mailbox` is given: keeps its result.
    pub fn keep_context(
        &mut self,
        (tag, mailbox): (&Tag, Option<(&MailboxName, UidValidity)>),
        search: Search,
        Searched { found, is_part, .. }: &Searched,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        if *is_part {
            push_no_update(tag, "Only a part was searched", out);
            return Ok(());
        }
        let names = self.names;
        let selected = self.selected_mut()?;
        let uids = selected.view.uids();
        let members = found.indexes.iter().map(|index| uids.at(*index)).collect();
        let keys = search.keys.iter().map(|key| fixed(key, uids, &selected.saved));
        let context = SearchContext {
            tag: tag.clone(),
            mailbox: mailbox.map(|(name, validity)| (name.clone(), names, validity)),
            members,
            search: Search {
                keys: keys.collect(),
                ..search
            },
        };
        selected.contexts.push(context);
        Ok(())
    }

    /// CANCELUPDATE.
    pub fn cancel_update(&mut self, tags: &[Tag]) -> Answered {
        let contexts = &mut self.selected_mut()?.contexts;
        let is_known = |tag: &Tag| contexts.iter().any(|context| context.tag == *tag);
        if !tags.iter().all(is_known) {
            return Ok(Completion::bad("No search of this tag is updated"));
        }
        contexts.retain(|context| !tags.contains(&context.tag));
        Ok(Completion::ok("CANCELUPDATE completed"))
    }

    /// Before EXPUNGE and VANISHED are written: what they take away leaves the results.
    pub fn remove_gone_from_contexts(&mut self, changes: &ViewChanges, out: &mut Vec<u8>) {
        let Some(selected) = &mut self.selected else {
            return;
        };
        if changes.vanished.is_empty() {
            return;
        }
        // Numbers descend where UIDs ascend.
        let number_before = |uid: Uid| {
            let place = changes.vanished.binary_search(&uid).unwrap_or_default();
            let number = changes.expunged.iter().rev().nth(place);
            number.map_or(0, |number| number.value())
        };
        for context in &mut selected.contexts {
            let by_uid = context.search.by_uid;
            let called = |uid: Uid| if by_uid { uid.value() } else { number_before(uid) };
            context.remove(&changes.vanished, called, out);
        }
    }

    /// True while some result's new members are to be sent with items.
    pub fn fetches_for_contexts(&self) -> bool {
        let contexts = self.selected.as_ref().map(|selected| &selected.contexts);
        contexts.is_some_and(|contexts| contexts.iter().any(|context| !context.search.fetched.is_empty()))
    }

    /// After the changes were told: what matches now and did not, or does not any more. `arrived`: messages that others
    /// brought, ascending; of what is among them and matches the items are sent that UPDATE named (RFC 5465 §7).
    pub async fn update_contexts<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        touched: &Touched,
        arrived: &[Uid],
    ) -> Result<(), Lost> {
        let Some(selected) = &mut self.selected else {
            return Ok(());
        };
        if selected.contexts.is_empty() || matches!(touched, Touched::Nothing) {
            return Ok(());
        }
        let contexts = std::mem::take(&mut selected.contexts);
        let mut kept = Vec::with_capacity(contexts.len());
        for mut context in contexts {
            match self.update_context(link, &mut context, touched, arrived).await {
                Ok(()) => kept.push(context),
                Err(Stop::Ended(_)) => {
                    push_no_update(&context.tag, "The result cannot be kept up to date", link.out());
                }
                Err(Stop::Lost(lost)) => return Err(lost),
            }
        }
        if let Some(selected) = &mut self.selected {
            selected.contexts = kept;
        }
        Ok(())
    }

    async fn update_context<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        context: &mut SearchContext,
        touched: &Touched,
        arrived: &[Uid],
    ) -> Result<(), Stop> {
        let (left, new) = self.difference(context, touched).await?;
        let is_new = |uid: &Uid| new.binary_search(uid).is_ok();
        if !context.search.fetched.is_empty() {
            let arrived: Vec<Uid> = arrived.iter().copied().filter(is_new).collect();
            self.send_items(link, &arrived, context.search.fetched.clone())
                .await?;
        }
        self.tell_context(link, context, &left, &new).await
    }

    /// What of the messages looked at is a member and matches no more, and what matches and is none. Ascending.
    async fn difference(
        &self,
        context: &SearchContext,
        touched: &Touched,
    ) -> Result<(Vec<Uid>, Vec<Uid>), Stop> {
        let view = &self.selected()?.view;
        let uids = view.uids();
        let indexes: Vec<usize> = match touched {
            Touched::Nothing => Vec::new(),
            Touched::These(touched) => touched.iter().filter_map(|uid| view.index_of(*uid)).collect(),
            Touched::Anything => (0..view.len()).collect(),
        };
        let matching = self.matching_among(context, &indexes).await?;
        let mut members = context.members.clone();
        members.sort_unstable();
        let has = |set: &[Uid], uid: Uid| set.binary_search(&uid).is_ok();
        let looked_at = || indexes.iter().map(|index| uids.at(*index));
        let left = looked_at().filter(|uid| has(&members, *uid) && !has(&matching, *uid));
        let new = matching.iter().copied().filter(|uid| !has(&members, *uid));
        Ok((left.collect(), new.collect()))
    }

    async fn tell_context<P: Pipe>(
        &self,
        link: &mut Link<P>,
        context: &mut SearchContext,
        left: &[Uid],
        new: &[Uid],
    ) -> Result<(), Stop> {
        let view = &self.selected()?.view;
        let by_uid = context.search.by_uid;
        let called = |uid: Uid| match view.index_of(uid) {
            Some(index) if !by_uid => SeqNum::from_index(index).value(),
            _ => uid.value(),
        };
        context.remove(left, called, link.out());
        if !new.is_empty() {
            let members = self.with_new(context, new).await?;
            // Sorting leaves out what is expunged meanwhile, before the session may be told of that.
            let mut sorted = members.clone();
            sorted.sort_unstable();
            let is_dropped = |uid: &Uid| sorted.binary_search(uid).is_err();
            let dropped = context.members.iter().copied().filter(is_dropped);
            let mut dropped: Vec<Uid> = dropped.collect();
            dropped.sort_unstable();
            context.remove(&dropped, called, link.out());
            context.add(members, new, called, link.out());
        }
        link.part_done(&*self.services).await?;
        Ok(())
    }

    /// The messages of some places that match, ascending.
    async fn matching_among(&self, context: &SearchContext, indexes: &[usize]) -> Result<Vec<Uid>, Stop> {
        let keys = fuzzy::read(&context.search.keys, Reading::Stems);
        let query = self.compile(&keys, context.search.charset.as_deref())?;
        let view = &self.selected()?.view;
        let services = &*self.services;
        let run = Run::new(services.store(), self.owner.account.id, view, &query, services);
        let mut run = run.among(indexes);
        while run.step().await.map_err(stop_of)? {}
        let found = run.into_found();
        Ok(found.indexes.iter().map(|index| view.uids().at(*index)).collect())
    }

    /// The result with more members, in its order.
    async fn with_new(&self, context: &SearchContext, new: &[Uid]) -> Result<Vec<Uid>, Stop> {
        let mut members: Vec<Uid> = context.members.iter().chain(new).copied().collect();
        members.sort_unstable();
        if !context.is_sorted() {
            return Ok(members);
        }
        let view = &self.selected()?.view;
        let mut found = Found {
            indexes: members.iter().filter_map(|uid| view.index_of(*uid)).collect(),
            ..Found::default()
        };
        self.sort(&mut found, &context.search.sort, &Scores::default())
            .await?;
        Ok(found.indexes.iter().map(|index| view.uids().at(*index)).collect())
    }
}

/// The same key with the messages instead of their numbers, and of `$`.
fn fixed(key: &SearchKey, uids: &Uids, saved: &[Uid]) -> SearchKey {
    let resolved = |set: &SequenceSet, by_uid| {
        let indexes = set.resolve(uids, saved, by_uid);
        SearchKey::Uid(SequenceSet::of(indexes.indices().map(|index| uids.at(index))))
    };
    match key {
        SearchKey::Sequence(set) => resolved(set, false),
        SearchKey::Uid(set @ SequenceSet::Saved) => resolved(set, true),
        SearchKey::Not(key) => SearchKey::Not(Box::new(fixed(key, uids, saved))),
        SearchKey::Fuzzy(key) => SearchKey::Fuzzy(Box::new(fixed(key, uids, saved))),
        SearchKey::Or(a, b) => {
            SearchKey::Or(Box::new(fixed(a, uids, saved)), Box::new(fixed(b, uids, saved)))
        }
        SearchKey::And(keys) => SearchKey::And(keys.iter().map(|key| fixed(key, uids, saved)).collect()),
        other => other.clone(),
    }
}
