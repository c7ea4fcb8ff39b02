//! FETCH items that summaries answer, so that the message is not opened: ENVELOPE, BODY and BODYSTRUCTURE without a section,
//! PREVIEW, HEADER.FIELDS, EMAILID, THREADID.
//!
//! Invariants: an answer from a summary is octet for octet what the message itself was answered with, but that a lazy PREVIEW may
//! be there which otherwise would be NIL. What is not whole is not kept.
//! HEADER.FIELDS.NOT is answered by the message: it asks for the fields that a summary leaves out, and nearly every header has
//! such (Received).
//! Not here: where summaries lie (`store`), the fields in them (`mailbox::summary`), the answer from the message
//! (`fetch_content`), what was answered lately (`mailbox::digests`).

use super::Services;
use super::fetch::{Plan, Target};
use super::fetch_content;
use super::state::Session;
use crate::mailbox::digests::Shape;
use crate::mailbox::reader::MessageReader;
use crate::mailbox::search::{email_id_text, thread_id_text};
use crate::mailbox::summary::{fields_of, header_fields, header_of};
use crate::model::AccountId;
use crate::proto::imap::encode::message;
use crate::proto::imap::types::{FetchItem, Section, SectionText};
use crate::store::{Environment, MessageRow, Part, PartSet, Store, Summary, SummarySource};
use bytes::Bytes;
use std::ops::Range;

/// What a summary must have to answer these items. `None`: none has.
pub(super) fn wanted(items: &[FetchItem]) -> Option<PartSet> {
    if items.is_empty() {
        return None;
    }
    items.iter().try_fold(PartSet::NONE, |parts, item| match item {
        FetchItem::EmailId => Some(parts),
        _ => part_of(item).map(|part| parts.with(part)),
    })
}

fn part_of(item: &FetchItem) -> Option<Part> {
    match item {
        FetchItem::Envelope => Some(Part::Envelope),
        FetchItem::BodyStructure => Some(Part::BodyStructure),
        FetchItem::Body => Some(Part::Body),
        FetchItem::Preview { .. } => Some(Part::Preview),
        FetchItem::ThreadId => Some(Part::Fields),
        _ => names_of(item).map(|_| Part::Fields),
    }
}

/// The names of HEADER.FIELDS of the message itself.
fn names_of(item: &FetchItem) -> Option<(&Section, &[Vec<u8>])> {
    match item {
        FetchItem::BodySection {
            section,
            partial: None,
            ..
        } if section.part.is_empty() => match &section.text {
            Some(SectionText::HeaderFields(names)) => Some((section, names)),
            _ => None,
        },
        _ => None,
    }
}

/// What stands before an item's part in a response.
fn name_of(part: Part) -> &'static [u8] {
    match part {
        Part::Envelope => b"ENVELOPE ",
        Part::BodyStructure => b"BODYSTRUCTURE ",
        Part::Body => b"BODY ",
        Part::Preview => b"PREVIEW ",
        Part::Fields => b"",
    }
}

/// Writes the items, a space before each. False: the summary does not say all of it, and `out` has some of it.
fn write(items: &[FetchItem], summary: &Summary<'_>, out: &mut Vec<u8>) -> bool {
    items.iter().all(|item| {
        out.push(b' ');
        write_item(item, summary, out).is_some()
    })
}

fn write_item(item: &FetchItem, summary: &Summary<'_>, out: &mut Vec<u8>) -> Option<()> {
    if *item == FetchItem::EmailId {
        message::push_email_id(&email_id_text(summary.email_id), out);
        return Some(());
    }
    let part = part_of(item)?;
    let octets = summary.part(part)?;
    if *item == FetchItem::ThreadId {
        let id = thread_id_text(header_of(octets), summary.email_id);
        message::push_thread_id(Some(&id), out);
    } else if let Some((section, names)) = names_of(item) {
        let fields = header_fields(octets, names)?;
        message::push_body_section_head(section, None, out);
        fetch_content::push_text(&fields, out);
    } else {
        out.extend_from_slice(name_of(part));
        out.extend_from_slice(octets);
    }
    Some(())
}

impl Plan {
    /// May the text of the answer be kept? NIL for a lazy PREVIEW is no answer for ever.
    pub(super) fn is_lasting(&self, row: &MessageRow) -> bool {
        let is_lazy = |item: &FetchItem| matches!(item, FetchItem::Preview { is_lazy: true });
        fetch_content::is_short(row) || !self.of_content.iter().any(is_lazy)
    }
}

impl<S: Services> Session<S> {
    /// Finds what was answered lately of the targets, and, of the others, what their summaries say.
    pub(super) async fn recall(&self, plan: &Plan, targets: &mut [Target]) {
        let digests = self.services.digests();
        let Some(shape) = plan.digest_shape(&mut digests.borrow_mut()) else {
            return;
        };
        for target in &mut *targets {
            target.digest = digests.borrow().find(shape, &target.row);
        }
        let Some(wanted) = plan.summary else { return };
        let mut unknown: Vec<&mut Target> = targets.iter_mut().filter(|t| t.digest.is_none()).collect();
        if unknown.is_empty() {
            return;
        }
        let rows: Vec<MessageRow> = unknown.iter().map(|target| target.row).collect();
        let mut text = Vec::new();
        let tell = |number: usize, summary: &Summary<'_>, source: SummarySource| {
            text.clear();
            if write(&plan.of_content, summary, &mut text) {
                let text = Bytes::copy_from_slice(&text);
                // What is in memory as it is need not be there twice: new memory costs more than making the text again.
                if source == SummarySource::File {
                    digests.borrow_mut().keep(shape, &rows[number], text.clone());
                }
                unknown[number].digest = Some(text);
            }
        };
        let store = self.services.store();
        store
            .recall_from(self.owner.account.id, &rows, wanted, tell)
            .await;
    }

    /// Keeps what was answered: in the message's summary, or as text if that cannot say all of it. Not in both: most programs ask
    /// once, and memory that is touched is time.
    pub(super) async fn keep_answer(
        &self,
        plan: &Plan,
        shape: Shape,
        target: &Target,
        reader: &mut MessageReader<S::Environment>,
        (out, text, written): (&[u8], Range<usize>, &[Range<usize>]),
    ) {
        let (store, account, row) = (self.services.store(), self.owner.account.id, &target.row);
        if let Some(parts) = plan.summary {
            let summary = (&plan.of_content[..], parts);
            if keep(store, account, row, reader, summary, (out, written)).await {
                return;
            }
        }
        if plan.is_lasting(row) {
            let mut digests = self.services.digests().borrow_mut();
            digests.keep(shape, row, Bytes::copy_from_slice(&out[text]));
        }
    }

    /// Those of the rows of which [`Self::recall`] will find nothing, as far as that is known.
    pub(super) fn unknown(&self, plan: &Plan, mut rows: Vec<MessageRow>) -> Vec<MessageRow> {
        let (store, account) = (self.services.store(), self.owner.account.id);
        let has_summary = |row: &MessageRow| {
            let has = |wanted| store.has_summary(account, row, wanted);
            plan.summary.is_some_and(has)
        };
        let mut digests = self.services.digests().borrow_mut();
        if let Some(shape) = plan.digest_shape(&mut digests) {
            rows.retain(|row| digests.find(shape, row).is_none() && !has_summary(row));
        }
        rows
    }
}

/// Keeps what was answered from the message: `written` are the places of the items in `out`. True: all of it.
async fn keep<E: Environment>(
    store: &Store<E>,
    account: AccountId,
    row: &MessageRow,
    reader: &mut MessageReader<E>,
    (items, parts): (&[FetchItem], PartSet),
    (out, written): (&[u8], &[Range<usize>]),
) -> bool {
    let mut summary = Summary::new(reader.email_id());
    let mut needs_fields = false;
    for (item, range) in items.iter().zip(written) {
        match part_of(item) {
            Some(Part::Fields) => needs_fields = true,
            Some(part) => {
                let octets = out[range.clone()].strip_prefix(name_of(part));
                // A lazy PREVIEW that was not made.
                if let Some(octets) = octets.filter(|octets| *octets != b"NIL") {
                    summary.put(part, octets);
                }
            }
            None => {}
        }
    }
    let fields = match needs_fields {
        true => reader.header().await.ok().and_then(fields_of),
        false => None,
    };
    if let Some(fields) = &fields {
        summary.put(Part::Fields, fields);
    }
    let is_kept = store.keep_summary(account, row, &summary);
    is_kept && summary.parts().has_all(parts)
}
