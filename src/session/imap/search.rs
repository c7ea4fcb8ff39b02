//! SEARCH, SORT and their UID forms (RFC 5256, 5267 (ESORT), 5957; RFC 9051 §6.4.4, RFC 3501's untagged SEARCH, RFC 4731, 5182, 7162 §3.1.5).
//!
//! Limits: the budget of [`searching`]; beyond it `NO [LIMIT]`. An untagged SEARCH is sent in pieces.
//! Not here: what matches (`mailbox::search`).

use super::Services;
use super::changes::count;
use super::link::Link;
use super::state::{Answered, Session, Stop, mailbox_gone, no};
use crate::base::clock::Clock;
use crate::mailbox::search::{CompileError, Context, Query};
use crate::mailbox::searching::{self, Found, SearchError};
use crate::mailbox::sorting;
use crate::mailbox::view::row_of;
use crate::model::{ModSeq, SeqNum, Uid};
use crate::proto::imap::encode::mailbox::{ExtendedSearch, push_extended_search_line};
use crate::proto::imap::encode::push_number;
use crate::proto::imap::types::{ReturnOptions, Search, SortCriterion, Tag};
use crate::proto::imap::{Code, Completion, Status};
use crate::session::pipe::Pipe;

/// Numbers written between two looks at the send buffer.
const NUMBERS_SLICE: usize = 4_096;

/// Charsets named in BADCHARSET; mail's others are known too.
const CHARSETS: &[&str] = &["UTF-8", "US-ASCII", "ISO-8859-1", "ISO-8859-15", "WINDOWS-1252"];

impl<S: Services> Session<S> {
    pub async fn search<P: Pipe>(&mut self, link: &mut Link<P>, tag: &Tag, search: Search) -> Answered {
        let saves = search.return_options.is_some_and(|options| options.save);
        let query = match self.compile(&search) {
            Ok(query) => query,
            Err(stop) => {
                // RFC 5182 §2.1: NO empties the saved result, BAD leaves it.
                if saves && matches!(&stop, Stop::Ended(c) if c.status == Status::No) {
                    self.selected_mut()?.saved.clear();
                }
                return Err(stop);
            }
        };
        if query.has_mod_seq() {
            self.enable_condstore(link.out());
        }
        let found = self.find(&query).await;
        if saves && found.is_err() {
            self.selected_mut()?.saved.clear();
        }
        let mut found = found?;
        if !search.sort.is_empty() {
            self.sort(&mut found, &search.sort).await?;
        }
        let gives_mod_seq = query.has_mod_seq() && !found.indexes.is_empty();
        let mod_seq = gives_mod_seq.then(|| mod_seq_of(&found, search.return_options));
        let mut options = search.return_options;
        if self.is_rev2 && search.sort.is_empty() {
            // RFC 9051 §6.4.4: without RETURN it is RETURN (ALL).
            options.get_or_insert_default();
        }
        match options {
            None => {
                let word = if search.sort.is_empty() { "SEARCH" } else { "SORT" };
                self.write_numbers(link, word, &found, search.by_uid, mod_seq)
                    .await?;
            }
            Some(options) => self.answer_extended(link, tag, &found, search.by_uid, options, mod_seq)?,
        }
        let done = Completion::ok("SEARCH completed");
        // RFC 9051 §7.1. A UID SEARCH is followed by the EXPUNGE responses themselves.
        Ok(if found.has_gone && !search.by_uid {
            done.with_code(Code::ExpungeIssued)
        } else {
            done
        })
    }

    pub(super) fn compile(&self, search: &Search) -> Result<Query, Stop> {
        let now = self.services.clock().now();
        let compiled = self.with_selected(|state, selected| {
            let context = Context {
                view: &selected.view,
                saved: &selected.saved,
                keywords: &state.keywords,
                charset: search.charset.as_deref(),
                now,
            };
            Query::compile(&search.keys, context)
        })?;
        compiled.map_err(|error| match error {
            CompileError::BeyondView => Completion::bad("There is no message of that number").into(),
            CompileError::BadCharset => no(Code::BadCharset(CHARSETS), "Unknown charset").into(),
        })
    }

    pub(super) async fn find(&self, query: &Query) -> Result<Found, Stop> {
        let view = &self.selected()?.view;
        let services = &*self.services;
        let found = searching::run(services.store(), self.account.id, view, query, services).await;
        found.map_err(stop_of)
    }

    /// Puts what was found in order; MIN and MAX then are the first and the last (RFC 5267 §3).
    async fn sort(&self, found: &mut Found, criteria: &[SortCriterion]) -> Result<(), Stop> {
        let view = &self.selected()?.view;
        let services = &*self.services;
        let sorted = sorting::sort(
            services.store(),
            self.account.id,
            view,
            criteria,
            &found.indexes,
            services,
        );
        found.indexes = sorted.await.map_err(stop_of)?;
        let ends = [found.indexes.first(), found.indexes.last()];
        let [first, last] = self.with_selected(|state, selected| {
            ends.map(|index| {
                let row = row_of(&state.rows, selected.view.uids()[*index?])?;
                Some(row.mod_seq)
            })
        })?;
        found.mod_seq_of_ends = (first.unwrap_or_default(), last.unwrap_or_default());
        Ok(())
    }

    /// `* SEARCH n …`, in pieces: with a million matches it is some megabytes.
    async fn write_numbers<P: Pipe>(
        &self,
        link: &mut Link<P>,
        word: &str,
        found: &Found,
        by_uid: bool,
        mod_seq: Option<ModSeq>,
    ) -> Result<(), Stop> {
        let uids = self.selected()?.view.uids();
        link.out().extend_from_slice(b"* ");
        link.out().extend_from_slice(word.as_bytes());
        for slice in found.indexes.chunks(NUMBERS_SLICE) {
            for index in slice {
                link.out().push(b' ');
                push_number(u64::from(number(uids, *index, by_uid)), link.out());
            }
            link.part_done(&*self.services).await?;
        }
        if let Some(mod_seq) = mod_seq {
            link.out().extend_from_slice(b" (MODSEQ ");
            push_number(mod_seq.0, link.out());
            link.out().push(b')');
        }
        link.out().extend_from_slice(b"\r\n");
        Ok(())
    }

    fn answer_extended<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        tag: &Tag,
        found: &Found,
        by_uid: bool,
        options: ReturnOptions,
        mod_seq: Option<ModSeq>,
    ) -> Result<(), Stop> {
        let selected = self.selected_mut()?;
        let uids = selected.view.uids();
        let names_all = options == ReturnOptions::default() || options.all;
        if options.min || options.max || options.count || names_all {
            let end = |index: Option<&usize>| index.map(|index| number(uids, *index, by_uid));
            let all: Vec<u32> = if names_all {
                found
                    .indexes
                    .iter()
                    .map(|index| number(uids, *index, by_uid))
                    .collect()
            } else {
                Vec::new()
            };
            let result = ExtendedSearch {
                tag,
                by_uid,
                min: options.min.then(|| end(found.indexes.first())).flatten(),
                max: options.max.then(|| end(found.indexes.last())).flatten(),
                count: options.count.then(|| count(found.indexes.len())),
                all: Some(&all),
                mod_seq,
            };
            push_extended_search_line(&result, link.out());
        }
        if options.save {
            selected.saved = saved(uids, &found.indexes, options);
        }
        Ok(())
    }
}

pub(super) fn stop_of(error: SearchError) -> Stop {
    match error {
        SearchError::BudgetSpent => no(Code::Limit, "The search takes too long, narrow it down").into(),
        SearchError::MailboxGone => mailbox_gone().into(),
        SearchError::Store(error) => error.into(),
    }
}

/// MIN or MAX are asked for, and neither ALL nor COUNT: the messages between do not matter.
fn is_of_ends(options: ReturnOptions) -> bool {
    (options.min || options.max) && !options.all && !options.count
}

/// RFC 4731 §3.2: the MODSEQ of what is returned.
fn mod_seq_of(found: &Found, options: Option<ReturnOptions>) -> ModSeq {
    let (first, last) = found.mod_seq_of_ends;
    match options.filter(|options| is_of_ends(*options)) {
        None => found.mod_seq,
        Some(options) if !options.max => first,
        Some(options) if !options.min => last,
        Some(_) => first.max(last),
    }
}

/// RFC 5182 §2.4: with MIN or MAX and neither ALL nor COUNT only these are saved.
fn saved(uids: &[Uid], indexes: &[usize], options: ReturnOptions) -> Vec<Uid> {
    if !is_of_ends(options) {
        let mut saved: Vec<Uid> = indexes.iter().map(|index| uids[*index]).collect();
        // Of a SORT they are in another order.
        saved.sort_unstable();
        return saved;
    }
    let first = options.min.then(|| indexes.first()).flatten();
    let last = options.max.then(|| indexes.last()).flatten();
    let mut saved: Vec<Uid> = first.into_iter().chain(last).map(|index| uids[*index]).collect();
    saved.sort_unstable();
    saved.dedup();
    saved
}

pub(super) fn number(uids: &[Uid], index: usize, by_uid: bool) -> u32 {
    if by_uid {
        uids[index].value()
    } else {
        SeqNum::from_index(index).value()
    }
}
