//! STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
//!
//! Invariants: one durable change a command; the flags shown are the durable ones after it.
//! An expunged message is passed over, and a STORE by number then ends `OK [EXPUNGEISSUED]` (RFC 9051 §7.1), or `NO`
//! when it is not `.SILENT` and nothing it names is there any more (RFC 2180 §4.2).
//! A STORE with a keyword for which the mailbox has no room changes nothing: `NO [LIMIT]`.
//! UNCHANGEDSINCE is checked where the change is applied, so of two sessions that store at the same moment one is told.

use super::Services;
use super::changes::push_mod_seq_item;
use super::link::Link;
use super::message_limit;
use super::state::{Answered, Selected, Session, Stop, expunge_issued, no};
use crate::mailbox::view::row_of;
use crate::model::flags::partition_flags;
use crate::model::{SeqNum, Uid};
use crate::proto::imap::encode::message;
use crate::proto::imap::types::Store;
use crate::proto::imap::{Code, Completion};
use crate::session::pipe::Pipe;
use crate::store::{Change, Outcome};

/// Messages answered in one look at the store.
const ANSWER_SLICE: usize = 1_024;

/// As the command counts: sequence number or UID.
fn number_of(selected: &Selected, uid: Uid, by_uid: bool) -> Option<u32> {
    if by_uid {
        return Some(uid.value());
    }
    let index = selected.view.index_of(uid)?;
    Some(SeqNum::from_index(index).value())
}

/// What a STORE names.
#[derive(Default)]
struct Targets {
    uids: Vec<Uid>,
    has_gone: bool,
}

impl<S: Services> Session<S> {
    pub async fn store<P: Pipe>(&mut self, link: &mut Link<P>, store: Store) -> Answered {
        let mailbox = self.writable()?;
        let mut targets = self.store_targets(&store)?;
        if store.unchanged_since.is_some() {
            // The one response code of the end is MODIFIED's.
            self.check_message_limit(targets.uids.len())?;
        }
        let reached = self.cut_to_limit(&mut targets.uids);
        // Of messages changed later than UNCHANGEDSINCE.
        let mut numbers: Vec<u32> = Vec::new();
        if store.unchanged_since.is_some() {
            self.enable_condstore(link.out());
        }
        if !targets.uids.is_empty() {
            let (flags, keywords) = partition_flags(&store.flags);
            let outcome = self
                .change(Change::StoreFlags {
                    mailbox,
                    uids: targets.uids.clone(),
                    operation: store.operation,
                    flags,
                    keywords,
                    unchanged_since: store.unchanged_since,
                })
                .await?;
            let Outcome::Flags {
                mut changed,
                mod_seq,
                modified,
            } = outcome
            else {
                return Ok(no(Code::ServerBug, "The store answered something else"));
            };
            let selected = self.selected_mut()?;
            selected.own.push(mod_seq);
            selected.own_were_told = !store.silent;
            numbers = modified
                .iter()
                .filter_map(|uid| number_of(selected, *uid, store.by_uid))
                .collect();
            if reached.is_some() {
                // RFC 9738 §3.1: from the highest on.
                targets.uids.reverse();
                changed.reverse();
            }
            if !store.silent {
                targets.uids.retain(|uid| modified.binary_search(uid).is_err());
                self.answer_flags(link, &targets.uids).await?;
            } else if self.is_condstore {
                self.answer_mod_seqs(link, &changed).await?;
            }
        }
        if !numbers.is_empty() {
            let code = Code::Modified(numbers);
            return Ok(Completion::ok("Some messages were changed meanwhile").with_code(code));
        }
        let done = if targets.has_gone && !store.by_uid {
            // imaptest tells this from a failure by the words "have been deleted", wherever they stand.
            let gone = "The messages have been deleted by somebody else";
            expunge_issued("STORE completed", gone, store.silent || !targets.uids.is_empty())
        } else if reached.is_some() {
            Completion::ok("STORE completed in part")
        } else {
            Completion::ok("STORE completed")
        };
        Ok(message_limit::ended(done, reached, link.out()))
    }

    fn store_targets(&self, store: &Store) -> Result<Targets, Stop> {
        let ranges = self.selected()?.resolve(&store.set, store.by_uid)?;
        self.with_selected(|state, selected| {
            let mut targets = Targets::default();
            for index in ranges.into_iter().flatten() {
                let uid = selected.view.uids().at(index);
                match row_of(&state.rows, uid) {
                    Some(_) => targets.uids.push(uid),
                    None => targets.has_gone = true,
                }
            }
            targets
        })
    }

    async fn answer_flags<P: Pipe>(&self, link: &mut Link<P>, uids: &[Uid]) -> Result<(), Stop> {
        for uids in uids.chunks(ANSWER_SLICE) {
            self.with_selected(|state, _| self.write_flags_of(state, uids, link.out()))?;
            link.part_done(&*self.services).await?;
        }
        Ok(())
    }

    /// RFC 7162 §3.1.3: with CONDSTORE a client learns the new MODSEQ even when it asked for silence.
    async fn answer_mod_seqs<P: Pipe>(&self, link: &mut Link<P>, uids: &[Uid]) -> Result<(), Stop> {
        for uids in uids.chunks(ANSWER_SLICE) {
            self.with_selected(|state, selected| {
                for uid in uids {
                    let index = selected.view.index_of(*uid);
                    let (Some(index), Some(row)) = (index, row_of(&state.rows, *uid)) else {
                        continue;
                    };
                    let out = link.out();
                    self.push_head_with_uid(index, *uid, out);
                    push_mod_seq_item(&selected.view, row, out);
                    message::push_fetch_end(out);
                }
            })?;
            link.part_done(&*self.services).await?;
        }
        Ok(())
    }
}
