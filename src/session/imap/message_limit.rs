//! MESSAGELIMIT (RFC 9738), where the operator set one: no command works on more messages than that.
//!
//! A command that names more does what it does for the messages with the highest UIDs and ends `OK [MESSAGELIMIT n uid]`
//! with the lowest UID it got to (§3.1); FETCH and STORE answer from the highest on, the client asks again for those below. What is whole or not at all (COPY, APPEND,
//! STORE with UNCHANGEDSINCE, a PARTIAL longer than the limit) is refused with `NO [MESSAGELIMIT n]`. EXPUNGE and CLOSE
//! name no messages and are not limited; nor are SORT and THREAD, whose results have no order by UID.
//! Clients that page find what is left with the search keys UIDAFTER and UIDBEFORE, which are taken with or without a limit.
//! SAVELIMIT is not announced: the same limit holds for what is saved.
//! Invariants: messages that the command passes over (expunged by others, not changed since CHANGEDSINCE) do not count.

use super::Services;
use super::state::{Session, no};
use crate::model::{Uid, Uids};
use crate::proto::imap::encode::code::push_status_line;
use crate::proto::imap::{Code, Completion, Status};
use smallvec::SmallVec;
use std::num::NonZeroU32;
use std::ops::Range;

/// What a command leaves undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    limit: NonZeroU32,
    /// The lowest UID it got to.
    lowest: Uid,
}

impl Reached {
    /// The code that says so.
    pub fn code(self) -> Code {
        Code::MessageLimit {
            limit: self.limit,
            lowest: Some(self.lowest),
        }
    }

    /// Refuses the whole command.
    pub fn refusal(self) -> Completion {
        no(self.code(), "Too many messages for one command")
    }
}

/// The end of a command that got so far. It says one thing only: beside EXPUNGEISSUED, or a failure, the limit is told
/// before it (RFC 9738 §3.1).
pub fn ended(done: Completion, reached: Option<Reached>, out: &mut Vec<u8>) -> Completion {
    let Some(reached) = reached else { return done };
    if done.code.is_none() {
        return done.with_code(reached.code());
    }
    let code = reached.code();
    push_status_line(
        b"*",
        Status::No,
        Some(&code),
        "Done for the last messages only",
        out,
    );
    done
}

impl<S: Services> Session<S> {
    /// Most messages of one command.
    pub fn message_limit(&self) -> Option<NonZeroU32> {
        self.services.config().message_limit
    }

    /// Refuses a command on `count` messages that cannot be done in part.
    pub fn check_message_limit(&self, count: usize) -> Result<(), Completion> {
        match self.message_limit() {
            Some(limit) if count > size(limit) => {
                let code = Code::MessageLimit { limit, lowest: None };
                Err(no(code, "Too many messages for one command"))
            }
            _ => Ok(()),
        }
    }

    /// Cuts `uids`, ascending, to the highest ones.
    pub fn cut_to_limit(&self, uids: &mut Vec<Uid>) -> Option<Reached> {
        let limit = self.message_limit()?;
        let beyond = uids.len().checked_sub(size(limit)).filter(|beyond| *beyond > 0)?;
        uids.drain(..beyond);
        let lowest = *uids.first()?;
        Some(Reached { limit, lowest })
    }

    /// As [`Self::cut_to_limit`], of places in the view `uids`.
    pub fn cut_places(&self, places: &mut Vec<usize>, uids: &Uids) -> Option<Reached> {
        let limit = self.message_limit()?;
        let beyond = places
            .len()
            .checked_sub(size(limit))
            .filter(|beyond| *beyond > 0)?;
        places.drain(..beyond);
        let lowest = uids.at(*places.first()?);
        Some(Reached { limit, lowest })
    }

    /// False while a command that names all of `ranges` stays within the limit.
    pub fn may_exceed_limit(&self, ranges: &SmallVec<[Range<usize>; 4]>) -> bool {
        let named: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        self.message_limit().is_some_and(|limit| named > size(limit))
    }
}

fn size(limit: NonZeroU32) -> usize {
    limit.get() as usize
}
