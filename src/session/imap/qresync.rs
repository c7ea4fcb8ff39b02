//! Quick resynchronisation (RFC 7162 §3.2): VANISHED, the QRESYNC parameter of SELECT, VANISHED of UID FETCH.
//!
//! Invariants: `VANISHED (EARLIER)` stands before every FETCH of the same command; it names no message that the session
//! still has a number for, so that no client takes it for the VANISHED that changes numbers.
//! No client is left with a HIGHESTMODSEQ above a change it was not told of, such as an expunge held back during FETCH by
//! number: see `correct_mod_seq`.
//! Where the store's memory of expunges does not reach back to the client's MODSEQ, it is told of every UID it says it
//! knows that is not there (§3.2.6).
//! Limits: ranges are sent [`RANGES_SLICE`] at a time.
//! Not here: which UIDs are missing (`mailbox::vanished`).

use super::Services;
use super::changes::count;
use super::link::Link;
use super::state::{Session, Stop};
use crate::mailbox::status::shown_mod_seq;
use crate::mailbox::vanished::{agreed_up_to, contains, joined, missing, normalised, uid_ranges};
use crate::model::{ModSeq, Uid};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::encode::mailbox::push_count_line;
use crate::proto::imap::encode::push_ranges;
use crate::proto::imap::types::{QResync, SequenceSet};
use crate::proto::imap::{Code, Completion, Status};
use crate::session::pipe::Pipe;
use std::ops::RangeInclusive;

/// Ranges written between two looks at the send buffer.
const RANGES_SLICE: usize = 1_024;

/// Messages whose flags are written in one look at the store.
const FLAGS_SLICE: usize = 1_024;

impl<S: Services> Session<S> {
    /// Refuses what needs ENABLE QRESYNC first (RFC 7162 §3.2.3).
    pub fn check_qresync(&self) -> Result<(), Stop> {
        if self.is_qresync {
            Ok(())
        } else {
            Err(Completion::bad("ENABLE QRESYNC comes first").into())
        }
    }

    /// Tells what happened to the selected mailbox since the client knew it (RFC 7162 §3.2.5.1).
    pub async fn resynchronise<P: Pipe>(&self, link: &mut Link<P>, known: &QResync) -> Result<(), Stop> {
        let selected = self.selected()?;
        let (is_same, last) = self.with_selected(|state, _| {
            (
                state.uid_validity == known.uid_validity,
                state.uid_next.saturating_sub(1),
            )
        })?;
        if !is_same {
            return Ok(());
        }
        let everything = 1..=last;
        let uids = match &known.known {
            Some(ranges) => normalised(ranges.iter().cloned(), &everything),
            None => normalised([everything], &(1..=u32::MAX)),
        };
        let agreed = known
            .sample
            .as_ref()
            .map_or(0, |sample| agreed_up_to(sample, selected.view.uids()));
        let asked = normalised(uids.iter().cloned(), &(agreed.saturating_add(1)..=last));
        self.write_earlier(link, &asked, known.mod_seq).await?;
        // Once more: a client that goes on with the messages it has kept (imaptest) counts the new ones from here.
        push_count_line(count(selected.view.len()), "EXISTS", link.out());
        self.write_changed(link, &uids, known.mod_seq).await
    }

    /// `VANISHED (EARLIER)` of a UID FETCH (RFC 7162 §3.2.6). `*` stands for the largest UID there ever was: a client
    /// that knows of messages behind the last one left must learn that they are gone.
    pub async fn fetch_vanished<P: Pipe>(
        &self,
        link: &mut Link<P>,
        set: &SequenceSet,
        since: ModSeq,
    ) -> Result<(), Stop> {
        self.check_qresync()?;
        let SequenceSet::Ranges(ranges) = set else {
            // Of what SEARCH saved, nothing that is gone is left (RFC 5182 §2.1).
            return Ok(());
        };
        let last = self.with_selected(|state, _| state.uid_next.saturating_sub(1))?;
        self.write_earlier(link, &uid_ranges(ranges, last), since).await
    }

    /// How far the client is after EXPUNGE (RFC 7162 §3.2.7); said by [`Self::state_mod_seq`] when all was told.
    pub fn with_highest_mod_seq(&self, completion: Completion) -> Completion {
        completion.with_code(Code::HighestModSeq(ModSeq(0)))
    }

    /// Puts the number in that is true once the end of the command has told every change.
    pub fn state_mod_seq(&self, completion: &mut Completion) {
        if let (Some(Code::HighestModSeq(highest)), Some(selected)) = (&mut completion.code, &self.selected) {
            *highest = selected.view.highest_mod_seq();
        }
    }

    /// The same for a command whose tagged response says that it did a part only (RFC 9738).
    pub fn state_mod_seq_of_part(&self, completion: &Completion, out: &mut Vec<u8>) {
        let is_part = matches!(completion.code, Some(Code::MessageLimit { .. }));
        if let (true, true, Some(selected)) = (is_part, self.is_qresync, &self.selected) {
            let highest = Code::HighestModSeq(selected.view.highest_mod_seq());
            push_status_line(b"*", Status::Ok, Some(&highest), "Highest", out);
        }
    }

    /// Takes back a HIGHESTMODSEQ that the client has from FETCH responses while it has not been told all below it.
    pub fn correct_mod_seq(&mut self, out: &mut Vec<u8>) {
        let (true, Some(selected)) = (self.is_qresync, &mut self.selected) else {
            return;
        };
        let mailbox = selected.view.mailbox();
        let corrected = self.services.store().account(self.owner.account.id, |account| {
            let state = account.mailboxes.get(&mailbox)?;
            selected.view.correction(state)
        });
        if let Some(highest) = corrected.flatten() {
            push_status_line(
                b"*",
                Status::Ok,
                Some(&Code::HighestModSeq(shown_mod_seq(highest))),
                "Highest",
                out,
            );
        }
    }

    async fn write_earlier<P: Pipe>(
        &self,
        link: &mut Link<P>,
        asked: &[RangeInclusive<u32>],
        since: ModSeq,
    ) -> Result<(), Stop> {
        // The view, not the mailbox: what is gone but was not told yet is told as VANISHED.
        let gone = self.with_selected(|state, selected| {
            let present = selected.view.uids();
            match state.expunged_since(since) {
                Some(uids) => {
                    let told = uids.into_iter().filter(|uid| contains(asked, *uid));
                    joined(told.filter(|uid| selected.view.index_of(*uid).is_none()))
                }
                None => missing(asked, present),
            }
        })?;
        for (place, ranges) in gone.chunks(RANGES_SLICE).enumerate() {
            let start: &[u8] = if place == 0 {
                b"* VANISHED (EARLIER) "
            } else {
                b","
            };
            link.out().extend_from_slice(start);
            push_ranges(ranges.iter().cloned(), link.out());
            link.part_done(&*self.services).await?;
        }
        if !gone.is_empty() {
            link.out().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    async fn write_changed<P: Pipe>(
        &self,
        link: &mut Link<P>,
        known: &[RangeInclusive<u32>],
        since: ModSeq,
    ) -> Result<(), Stop> {
        let changed: Vec<Uid> = self.with_selected(|state, _| {
            let rows = state.rows.iter().filter(|row| row.mod_seq > since);
            rows.map(|row| row.uid)
                .filter(|uid| contains(known, *uid))
                .collect()
        })?;
        for uids in changed.chunks(FLAGS_SLICE) {
            self.with_selected(|state, _| self.write_flags_of(state, uids, link.out()))?;
            link.part_done(&*self.services).await?;
        }
        Ok(())
    }
}
