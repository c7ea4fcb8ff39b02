//! LIST and LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.9, RFC 5258, 5819, 6154, 9590).
//!
//! Invariants: `\HasChildren` or `\HasNoChildren` is always given (RFC 3348), special uses too (RFC 6154 §2 allows it).
//! Not here: which names match (`mailbox::list`).

use super::Services;
use super::link::Link;
use super::mailboxes::push_status_of;
use super::metadata;
use super::state::{Answered, Session, Stop, no};
use crate::mailbox::list::{ListEntry, ListQuery, Progress};
use crate::model::MailboxName;
use crate::proto::imap::encode::mailbox::{
    push_child_info_subscribed, push_list, push_list_delimiter_line, push_old_name,
};
use crate::proto::imap::types::{List, MetadataQuery, NameForm, StatusItem};
use crate::proto::imap::{Code, Completion};
use crate::session::pipe::Pipe;
use smallvec::SmallVec;

/// What the two commands differ in.
struct Style<'a> {
    word: &'static str,
    /// The command has a form of RFC 5258: its client knows what `\NonExistent` implies.
    is_extended: bool,
    shows_subscribed: bool,
    status: &'a [StatusItem],
    metadata: Option<&'a MetadataQuery>,
    names: NameForm,
}

impl<S: Services> Session<S> {
    pub async fn list<P: Pipe>(&mut self, link: &mut Link<P>, list: List) -> Answered {
        let is_delimiter_asked = !list.is_extended && list.patterns.iter().all(String::is_empty);
        if is_delimiter_asked {
            push_list_delimiter_line("LIST", link.out());
            return Ok(Completion::ok("LIST completed"));
        }
        if list.return_status.contains(&StatusItem::HighestModSeq) {
            self.enable_condstore(link.out());
        }
        let style = Style {
            word: "LIST",
            is_extended: list.is_extended,
            shows_subscribed: list.return_subscribed || list.select_subscribed,
            status: &list.return_status,
            metadata: list.return_metadata.as_ref(),
            names: self.names,
        };
        let longest = self.write_list(link, ListQuery::list(&list), &style).await?;
        Ok(metadata::ended(Completion::ok("LIST completed"), longest))
    }

    pub async fn lsub<P: Pipe>(&self, link: &mut Link<P>, reference: &str, pattern: &str) -> Answered {
        if pattern.is_empty() {
            push_list_delimiter_line("LSUB", link.out());
            return Ok(Completion::ok("LSUB completed"));
        }
        let style = Style {
            word: "LSUB",
            is_extended: false,
            shows_subscribed: false,
            status: &[],
            metadata: None,
            names: self.names,
        };
        self.write_list(link, ListQuery::lsub(reference, pattern), &style)
            .await?;
        Ok(Completion::ok("LSUB completed"))
    }

    async fn write_list<P: Pipe>(
        &self,
        link: &mut Link<P>,
        mut query: ListQuery,
        style: &Style<'_>,
    ) -> Result<Option<u64>, Stop> {
        let limit = self.append_limit();
        let mut entries = Vec::new();
        let mut longest = None;
        loop {
            let progress = self.with_account(|account| {
                let progress = query.next_slice(account, &mut entries);
                for entry in entries.drain(..) {
                    push_entry(&entry, style, link.out());
                    let state = entry.mailbox.and_then(|id| account.mailboxes.get(&id));
                    if let (Some(state), false) = (state, style.status.is_empty()) {
                        push_status_of(state, style.status, self.names, limit, link.out());
                    }
                    if let (Some(state), Some(query)) = (state, style.metadata) {
                        let name = Some(&state.name);
                        let left_out = metadata::push_found(
                            name,
                            &metadata::shown(state),
                            query,
                            self.names,
                            link.out(),
                        );
                        longest = longest.max(left_out);
                    }
                }
                progress
            })?;
            link.part_done(&*self.services).await?;
            match progress {
                Progress::More => {}
                Progress::Done => return Ok(longest),
                Progress::Spent => {
                    return Err(no(Code::Limit, "The patterns are too many for so many names").into());
                }
            }
        }
    }
}

/// Writes `* LIST …` of a mailbox that was made, renamed (`old_name`), deleted, subscribed to or not any more (RFC 5465
/// §5.4, §5.5).
pub fn push_event_entry(
    entry: &ListEntry,
    old_name: Option<&MailboxName>,
    names: NameForm,
    out: &mut Vec<u8>,
) {
    let style = Style {
        word: "LIST",
        is_extended: true,
        shows_subscribed: true,
        status: &[],
        metadata: None,
        names,
    };
    push_entry_head(entry, &style, out);
    if let Some(old_name) = old_name {
        push_old_name(old_name, names, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn push_entry(entry: &ListEntry, style: &Style<'_>, out: &mut Vec<u8>) {
    push_entry_head(entry, style, out);
    if entry.child_is_subscribed {
        push_child_info_subscribed(out);
    }
    out.extend_from_slice(b"\r\n");
}

fn push_entry_head(entry: &ListEntry, style: &Style<'_>, out: &mut Vec<u8>) {
    let mut attributes: SmallVec<[&str; 4]> = SmallVec::new();
    let is_lsub = style.word == "LSUB";
    if is_lsub && entry.is_placeholder {
        attributes.push("\\Noselect");
    } else if entry.mailbox.is_none() && !is_lsub {
        attributes.push("\\NonExistent");
        // RFC 5258 §3: \NonExistent implies \Noselect; clients that know only the latter need it said.
        if !style.is_extended {
            attributes.push("\\Noselect");
        }
    }
    attributes.push(if entry.has_children {
        "\\HasChildren"
    } else {
        "\\HasNoChildren"
    });
    if style.shows_subscribed && entry.is_subscribed {
        attributes.push("\\Subscribed");
    }
    attributes.extend(entry.special_use.map(|role| role.attribute()));
    push_list(style.word, &attributes, &entry.name, style.names, out);
}
