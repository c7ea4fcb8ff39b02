//! The TRANSACTION and UPDATE states (RFC 1939 §5, 6): reading, listing, marking, and QUIT's commit.
//!
//! Invariants: a reply about a message is given only if it is not marked as deleted; `+OK` to RETR and TOP comes after the
//! session has said that the message is there.

use super::command::Command;
use super::limits;
use super::listing::{Column, Listing};
use super::maildrop::{Maildrop, MaildropEntry};
use super::reply::{self, CommitRefusal, RetrieveRefusal, put};
use super::server::{Pop3, Question, State};
use crate::proto::{Actions, Receipt};

impl<R: Receipt> Pop3<R> {
    pub(super) fn run_in_transaction(&mut self, command: Command<'_>, out: &mut Actions<Question>) {
        match command {
            Command::Stat => self.stat(out),
            Command::List(None) => self.list(Column::Size, out),
            Command::Uidl(None) => self.list(Column::Uidl, out),
            Command::List(Some(index)) => self.list_one(Column::Size, index, out),
            Command::Uidl(Some(index)) => self.list_one(Column::Uidl, index, out),
            Command::Retr(index) => self.retrieve(index, None, out),
            Command::Top { index, lines } => self.retrieve(index, Some(lines), out),
            Command::Dele(index) => self.dele(index, out),
            Command::Noop => self.say(reply::OK, out),
            Command::Rset => {
                if let Some(maildrop) = &mut self.maildrop {
                    maildrop.undelete_all();
                }
                self.say(reply::OK, out);
            }
            Command::Lang(range) => self.lang(range, out),
            _ => self.refuse(reply::NOT_NOW, out),
        }
    }

    fn present(&self, index: u32) -> Option<(MaildropEntry, &Maildrop)> {
        let maildrop = self.maildrop.as_ref()?;
        maildrop.present(index).map(|entry| (entry, maildrop))
    }

    fn stat(&mut self, out: &mut Actions<Question>) {
        let (messages, octets) = self.maildrop.as_ref().map(Maildrop::totals).unwrap_or_default();
        put(&mut out.wire, format_args!("+OK {messages} {octets}\r\n"));
    }

    fn list_one(&mut self, column: Column, index: u32, out: &mut Actions<Question>) {
        let Some((entry, maildrop)) = self.present(index) else {
            return self.refuse(reply::NO_SUCH_MESSAGE, out);
        };
        out.wire.extend_from_slice(b"+OK ");
        column.put(index, entry, maildrop, &mut out.wire);
    }

    fn list(&mut self, column: Column, out: &mut Actions<Question>) {
        self.say(reply::OK, out);
        self.list_on(Listing { column, next: 0 }, out);
    }

    /// Writes as much of the list as `wire` holds.
    pub(super) fn list_on(&mut self, listing: Listing, out: &mut Actions<Question>) {
        self.state = State::Command;
        let Some(maildrop) = self.maildrop.as_ref() else {
            return;
        };
        let mut entries = maildrop.present_from(listing.next);
        let unwritten = entries.find(|(index, entry)| {
            let has_room = out.wire.len() <= limits::WIRE_BYTES_MAX;
            if has_room {
                listing.column.put(*index, *entry, maildrop, &mut out.wire);
            }
            !has_room
        });
        drop(entries);
        match unwritten {
            Some((next, _)) => self.ask(Question::Flush, State::List(Listing { next, ..listing }), out),
            None => out.wire.extend_from_slice(reply::LIST_END),
        }
    }

    fn retrieve(&mut self, index: u32, lines: Option<u32>, out: &mut Actions<Question>) {
        if self.present(index).is_none() {
            return self.refuse(reply::NO_SUCH_MESSAGE, out);
        }
        self.ask(
            Question::Retrieve { index, lines },
            State::Retrieve { index, lines },
            out,
        );
    }

    pub(super) fn retrieval(
        &mut self,
        index: u32,
        lines: Option<u32>,
        result: Result<(), RetrieveRefusal>,
        out: &mut Actions<Question>,
    ) {
        if let Err(refusal) = result {
            return self.say(refusal.reply(), out);
        }
        match (lines, self.present(index)) {
            (None, Some((entry, _))) => reply::message_follows(self.language, entry.size, &mut out.wire),
            _ => self.say(reply::TOP_FOLLOWS, out),
        }
        self.ask(Question::Stream { index, lines }, State::Stream, out);
    }

    fn dele(&mut self, index: u32, out: &mut Actions<Question>) {
        let is_marked = self
            .maildrop
            .as_mut()
            .is_some_and(|maildrop| maildrop.delete(index));
        if is_marked {
            self.say(reply::MARKED, out);
        } else {
            self.refuse(reply::NO_SUCH_MESSAGE, out);
        }
    }

    pub(super) fn quit(&mut self, out: &mut Actions<Question>) {
        let deleted = self.maildrop.as_ref().map(Maildrop::deleted).unwrap_or_default();
        if deleted.is_empty() {
            return self.close_with(reply::BYE, out);
        }
        self.ask(Question::Commit { deleted }, State::Commit, out);
    }

    /// The connection ends whatever came of the commit (RFC 1939 §6).
    pub(super) fn committed(
        &mut self,
        result: &Result<Option<R>, CommitRefusal>,
        out: &mut Actions<Question>,
    ) {
        match result {
            Ok(None) => self.close_with(reply::BYE, out),
            Ok(Some(receipt)) => {
                put(&mut out.wire, format_args!("+OK Deleted as {}\r\n", receipt.id()));
                self.close(out);
            }
            Err(refusal) => self.close_with(refusal.reply(), out),
        }
    }
}
