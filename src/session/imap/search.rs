//! SEARCH, SORT and their UID forms, in the selected mailbox (RFC 5256, 5267 (ESORT), 5957; RFC 9051 §6.4.4, RFC 3501's untagged SEARCH, RFC 4731, 5182, 7162 §3.1.5).
//!
//! Limits: the budget of [`searching`]; beyond it `NO [LIMIT]`. An untagged SEARCH is sent in pieces.
//! Not here: what matches (`mailbox::search`), results that are kept up to date (`context`), other mailboxes
//! (`multi_search`).

use super::Services;
use super::changes::count;
use super::link::Link;
use super::message_limit::{self, Reached};
use super::state::{Answered, Session, Stop, mailbox_gone, no};
use crate::base::clock::Clock;
use crate::mailbox::fuzzy::{self, Reading, Scores};
use crate::mailbox::search::{CompileError, Context, Query};
use crate::mailbox::searching::{Found, Run, SearchError};
use crate::mailbox::sorting;
use crate::mailbox::view::row_of;
use crate::model::{MailboxName, ModSeq, SeqNum, Uid, UidValidity, Uids};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::encode::mailbox::{ExtendedSearch, push_extended_search_line};
use crate::proto::imap::encode::push_number;
use crate::proto::imap::types::{ReturnOptions, Search, SearchKey, SequenceSet, SortCriterion, SortKey, Tag};
use crate::proto::imap::{Code, Completion, Status};
use crate::session::pipe::Pipe;
use std::time::Duration;

/// Numbers written between two looks at the send buffer.
const NUMBERS_SLICE: usize = 4_096;

/// Charsets named in BADCHARSET; mail's others are known too.
const CHARSETS: &[&str] = &["UTF-8", "US-ASCII", "ISO-8859-1", "ISO-8859-15", "WINDOWS-1252"];

/// Between two reports of how far a search is (RFC 9585 §3 advises against more than one in some ten seconds).
const PROGRESS_TIME: Duration = Duration::from_secs(10);

impl<S: Services> Session<S> {
    pub async fn search<P: Pipe>(&mut self, link: &mut Link<P>, tag: &Tag, search: Search) -> Answered {
        // RFC 6855 §3: SHOULD. SORT and THREAD cannot do without a charset.
        if self.is_utf8_accept && search.charset.is_some() && search.sort.is_empty() {
            return Ok(Completion::bad("UTF8=ACCEPT is enabled: no CHARSET"));
        }
        let updates = self.may_update(tag, &search, link.out())?;
        let searched = self.search_selected(link, tag, &search, None).await?;
        if updates {
            self.keep_context((tag, None), search, &searched, link.out())?;
        }
        Ok(searched.done)
    }

    /// Searches the selected mailbox and answers, with its name if it is given.
    pub(super) async fn search_selected<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        tag: &Tag,
        search: &Search,
        mailbox: Option<(&MailboxName, UidValidity)>,
    ) -> Result<Searched, Stop> {
        let searched = self.search_and_answer(link, tag, search, mailbox).await;
        // RFC 5182 §2.1: NO empties the saved result, BAD leaves it.
        let saves = search.return_options.is_some_and(|options| options.save);
        if saves && matches!(&searched, Err(Stop::Ended(c)) if c.status == Status::No) {
            self.selected_mut()?.saved.clear();
        }
        searched
    }

    async fn search_and_answer<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        tag: &Tag,
        search: &Search,
        mailbox: Option<(&MailboxName, UidValidity)>,
    ) -> Result<Searched, Stop> {
        check_relevancy(search)?;
        let (mut found, has_mod_seq) = self.matching(link, tag, search, Reading::Stems).await?;
        let scores = if wants_relevancy(search) {
            self.scores(link, tag, search, &found).await?
        } else {
            Scores::default()
        };
        if !search.sort.is_empty() {
            self.sort(&mut found, &search.sort, &scores).await?;
        }
        let mut options = search.return_options;
        if (self.is_rev2 || mailbox.is_some()) && search.sort.is_empty() {
            // RFC 9051 §6.4.4, RFC 7377 §2.1: without RETURN it is RETURN (ALL).
            options.get_or_insert_default();
        }
        let mut reached = None;
        if search.sort.is_empty() && names_all(options) {
            reached = self.cut_found(&mut found)?;
        }
        let gives_mod_seq = has_mod_seq && !found.indexes.is_empty();
        let mod_seq = gives_mod_seq.then(|| mod_seq_of(&found, options));
        match options {
            None => {
                let word = if search.sort.is_empty() { "SEARCH" } else { "SORT" };
                self.write_numbers(link, word, &found, search.by_uid, mod_seq)
                    .await?;
            }
            // RFC 7377 §2.1: of mailboxes without a match nothing is said.
            Some(_) if mailbox.is_some() && found.indexes.is_empty() => {}
            Some(options) => {
                let result = Answer {
                    tag,
                    mailbox,
                    found: &found,
                    scores: &scores,
                    by_uid: search.by_uid,
                    options,
                    mod_seq,
                };
                self.answer_extended(link, &result)?;
            }
        }
        let done = Completion::ok(if search.sort.is_empty() {
            "SEARCH completed"
        } else {
            "SORT completed"
        });
        // RFC 9051 §7.1. A UID SEARCH is followed by the EXPUNGE responses themselves.
        let done = if found.has_gone && !search.by_uid {
            done.with_code(Code::ExpungeIssued)
        } else {
            done
        };
        Ok(Searched {
            done: message_limit::ended(done, reached, link.out()),
            found,
            is_part: reached.is_some(),
        })
    }

    /// What matches, and whether MODSEQ is among the keys.
    pub(super) async fn matching<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        tag: &Tag,
        search: &Search,
        reading: Reading,
    ) -> Result<(Found, bool), Stop> {
        let query = self.compile(&fuzzy::read(&search.keys, reading), search.charset.as_deref())?;
        if query.has_mod_seq() {
            self.enable_condstore(link.out());
        }
        let found = self.find(link, tag, &query).await?;
        Ok((found, query.has_mod_seq()))
    }

    pub(super) fn compile(&self, keys: &[SearchKey], charset: Option<&str>) -> Result<Query, Stop> {
        let now = self.services.clock().now();
        let compiled = self.with_selected(|state, selected| {
            let context = Context {
                view: &selected.view,
                saved: &selected.saved,
                keywords: &state.keywords,
                charset,
                now,
            };
            Query::compile(keys, context)
        })?;
        compiled.map_err(|CompileError::BadCharset| no(Code::BadCharset(CHARSETS), "Unknown charset").into())
    }

    async fn find<P: Pipe>(&self, link: &mut Link<P>, tag: &Tag, query: &Query) -> Result<Found, Stop> {
        let view = &self.selected()?.view;
        let services = &*self.services;
        let mut run = Run::new(services.store(), self.owner.account.id, view, query, services);
        let mut told = services.now();
        while run.step().await.map_err(stop_of)? {
            let now = services.now();
            if now.saturating_duration_since(told) < PROGRESS_TIME {
                continue;
            }
            told = now;
            let progress = Code::InProgress {
                tag: tag.to_vec(),
                done: count(run.done()),
                goal: count(view.len()),
            };
            push_status_line(b"*", Status::Ok, Some(&progress), "Searching", link.out());
            link.flush(now).await?;
        }
        Ok(run.into_found())
    }

    /// How well each message found matches: by which reading it is found first.
    async fn scores<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        tag: &Tag,
        search: &Search,
        found: &Found,
    ) -> Result<Scores, Stop> {
        let uids = self.selected()?.view.uids();
        let found_uids = found.indexes.iter().map(|index| uids.at(*index));
        let mut scores = Scores::new(&found.indexes);
        let mut narrowed = search.clone();
        narrowed
            .keys
            .insert(0, SearchKey::Uid(SequenceSet::of(found_uids)));
        for reading in [Reading::Words, Reading::Exact] {
            let (better, _) = self.matching(link, tag, &narrowed, reading).await?;
            scores.raise(&better.indexes, reading);
        }
        Ok(scores)
    }

    /// Puts what was found in order; MIN and MAX then are the first and the last (RFC 5267 §3).
    pub(super) async fn sort(
        &self,
        found: &mut Found,
        criteria: &[SortCriterion],
        scores: &Scores,
    ) -> Result<(), Stop> {
        let view = &self.selected()?.view;
        let services = &*self.services;
        let order = sorting::Order { criteria, scores };
        let sorted = sorting::sort(
            services.store(),
            self.owner.account.id,
            view,
            order,
            &found.indexes,
            services,
        );
        found.indexes = sorted.await.map_err(stop_of)?;
        self.look_at_ends(found)
    }

    /// Leaves as many of the highest messages as one command may have.
    fn cut_found(&self, found: &mut Found) -> Result<Option<Reached>, Stop> {
        let reached = self.cut_places(&mut found.indexes, self.selected()?.view.uids());
        if reached.is_some() {
            found.mod_seq = self.highest_of(&found.indexes)?.unwrap_or_default();
            self.look_at_ends(found)?;
        }
        Ok(reached)
    }

    fn look_at_ends(&self, found: &mut Found) -> Result<(), Stop> {
        let ends = [found.indexes.first(), found.indexes.last()];
        let [first, last] = self.with_selected(|state, selected| {
            ends.map(|index| {
                let row = row_of(&state.rows, selected.view.uids().at(*index?))?;
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

    fn answer_extended<P: Pipe>(&mut self, link: &mut Link<P>, answer: &Answer<'_>) -> Result<(), Stop> {
        let Answer { found, options, .. } = *answer;
        let partial = options.partial.map(|partial| partial.of(found.indexes.len()));
        if let Some(partial) = &partial {
            self.check_message_limit(partial.len())?;
        }
        let shown = &found.indexes[partial.clone().unwrap_or(0..found.indexes.len())];
        let mod_seq = match partial {
            Some(_) if answer.mod_seq.is_some() => self.highest_of(shown)?,
            _ => answer.mod_seq,
        };
        let names = self.names;
        let selected = self.selected_mut()?;
        let uids = selected.view.uids();
        let names_all = names_all(Some(options));
        let asks_for_some = options.min || options.max || options.count || options.partial.is_some();
        // RFC 5267 §4.3: with UPDATE alone the response says that there is one.
        if asks_for_some || names_all || options.update {
            let number = |index: &usize| number(uids, *index, answer.by_uid);
            let names_shown = names_all || options.partial.is_some();
            let numbers: Vec<u32> = shown.iter().filter(|_| names_shown).map(number).collect();
            let relevancy: Vec<u8> = if options.relevancy && names_shown {
                shown.iter().map(|index| answer.scores.of(*index)).collect()
            } else {
                Vec::new()
            };
            let result = ExtendedSearch {
                tag: answer.tag,
                mailbox: answer.mailbox.map(|(name, validity)| (name, names, validity)),
                by_uid: answer.by_uid,
                min: options.min.then(|| found.indexes.first().map(number)).flatten(),
                max: options.max.then(|| found.indexes.last().map(number)).flatten(),
                count: options.count.then(|| count(found.indexes.len())),
                all: Some(&numbers[..]).filter(|_| names_all),
                partial: options.partial.map(|range| (range, &numbers[..])),
                relevancy: &relevancy,
                mod_seq,
            };
            push_extended_search_line(&result, link.out());
        }
        if options.save {
            selected.saved = saved(uids, &found.indexes, shown, options);
        }
        Ok(())
    }

    fn highest_of(&self, indexes: &[usize]) -> Result<Option<ModSeq>, Stop> {
        self.with_selected(|state, selected| {
            let uids = selected.view.uids();
            let rows = indexes
                .iter()
                .filter_map(|index| row_of(&state.rows, uids.at(*index)));
            rows.map(|row| row.mod_seq).max()
        })
    }
}

/// What became of a search.
pub(super) struct Searched {
    pub done: Completion,
    pub found: Found,
    /// The rest is beyond the limit (RFC 9738).
    pub is_part: bool,
}

/// What an ESEARCH response is made from.
struct Answer<'a> {
    tag: &'a Tag,
    /// Of ESEARCH.
    mailbox: Option<(&'a MailboxName, UidValidity)>,
    found: &'a Found,
    scores: &'a Scores,
    by_uid: bool,
    options: ReturnOptions,
    mod_seq: Option<ModSeq>,
}

fn wants_relevancy(search: &Search) -> bool {
    let is_returned = search.return_options.is_some_and(|options| options.relevancy);
    is_returned || search.sort.iter().any(|by| by.key == SortKey::Relevancy)
}

/// RFC 6203 §4, §5: only FUZZY gives scores.
fn check_relevancy(search: &Search) -> Result<(), Stop> {
    if wants_relevancy(search) && !fuzzy::is_fuzzy(&search.keys) {
        return Err(Completion::bad("RELEVANCY without FUZZY").into());
    }
    Ok(())
}

pub(super) fn stop_of(error: SearchError) -> Stop {
    match error {
        SearchError::BudgetSpent => no(Code::Limit, "The search takes too long, narrow it down").into(),
        SearchError::Busy => no(Code::Unavailable, "Too many long messages at once, try again").into(),
        SearchError::MailboxGone => mailbox_gone().into(),
        SearchError::Store(error) => error.into(),
    }
}

/// Every message found is named in the response.
fn names_all(options: Option<ReturnOptions>) -> bool {
    options.is_none_or(|options| {
        let without_scores = ReturnOptions {
            relevancy: false,
            context: false,
            ..options
        };
        options.all || without_scores == ReturnOptions::default()
    })
}

/// MIN or MAX are asked for, and neither ALL nor COUNT: the messages between do not matter.
fn is_of_ends(options: ReturnOptions) -> bool {
    has_ends_only(options) && options.partial.is_none()
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

fn has_ends_only(options: ReturnOptions) -> bool {
    (options.min || options.max) && !options.all && !options.count
}

/// RFC 5182 §2.4: with MIN or MAX and neither ALL nor COUNT only these are saved; of PARTIAL what it shows (`shown`), and
/// these with it, but everything beside COUNT (RFC 9394 §3.2).
fn saved(uids: &Uids, indexes: &[usize], shown: &[usize], options: ReturnOptions) -> Vec<Uid> {
    let (mut first, mut last) = (None, None);
    if has_ends_only(options) {
        first = indexes.first().filter(|_| options.min);
        last = indexes.last().filter(|_| options.max);
    }
    let shown = match options.count {
        true => indexes,
        false if is_of_ends(options) => &[],
        false => shown,
    };
    let kept = shown.iter().chain(first).chain(last);
    let mut saved: Vec<Uid> = kept.map(|index| uids.at(*index)).collect();
    // Of a SORT they are in another order.
    saved.sort_unstable();
    saved.dedup();
    saved
}

pub(super) fn number(uids: &Uids, index: usize, by_uid: bool) -> u32 {
    if by_uid {
        uids.at(index).value()
    } else {
        SeqNum::from_index(index).value()
    }
}
