//! A summary of a whole message, made before anybody asks for it.
//!
//! Invariants: each part is octet for octet what FETCH would have made of the message and kept (`session::imap::fetch_summary`).
//! Others get turns: nothing is computed for longer than `SLICE_TIME`, but what a slice of `budget` takes.
//! Limits: [`WHOLE_BYTES_MAX`].
//! Failure: a message that cannot be read is passed over; who asks for it hears why.
//! Not here: when there is time for it (`delivery::summaries`), which messages came lately and where summaries lie (`store`).

use super::budget::{Budget, Pace};
use super::reader::{MessageReader, READ_BYTES_MAX, ReadError};
use super::summary::fields_of;
use crate::model::AccountId;
use crate::proto::imap::encode::push_string;
use crate::proto::message::structure::Structure;
use crate::proto::message::{bodystructure, envelope, header, preview};
use crate::store::{Environment, MessageRow, Part, PartSet, Store, Summary};
use std::time::Duration;

/// Longer messages are not taken apart ahead, so that memory and turns stay short: they get what the header says.
pub const WHOLE_BYTES_MAX: u64 = READ_BYTES_MAX;

/// Computing after which others get a turn, nobody being in a hurry here: some ten messages.
const SLICE_TIME: Duration = Duration::from_micros(150);

/// What programs ask of lists. Not BODY, which those ask for that know nothing newer.
fn parts_of(row: &MessageRow) -> PartSet {
    let of_header = PartSet::NONE.with(Part::Envelope).with(Part::Fields);
    if u64::from(row.size) > WHOLE_BYTES_MAX {
        return of_header;
    }
    of_header.with(Part::BodyStructure).with(Part::Preview)
}

/// Makes and keeps summaries of messages that came lately, until so much time was spent computing or there is none left.
pub async fn make_fresh<E: Environment, P: Pace>(store: &Store<E>, pace: &P, time: Duration) {
    let mut budget = Budget::new(pace);
    let (mut spent, mut since_breath) = (Duration::ZERO, Duration::ZERO);
    while spent < time && store.has_fresh() {
        let begun = pace.now();
        // What every summary has; one without the rest was asked for already, and will be again.
        let wanted = PartSet::NONE.with(Part::Envelope).with(Part::Fields);
        if let Some((account, row)) = store.next_fresh(wanted)
            && make(store, account, &row, &mut budget).await.is_ok()
        {
            store.meters().summaries_ahead.add(1);
        }
        let took = pace.now().saturating_duration_since(begun);
        spent += took;
        since_breath += took;
        if since_breath > SLICE_TIME {
            since_breath = Duration::ZERO;
            pace.breathe().await;
        }
    }
}

/// Makes and keeps one.
async fn make<E: Environment, P: Pace>(
    store: &Store<E>,
    account: AccountId,
    row: &MessageRow,
    budget: &mut Budget<'_, P>,
) -> Result<(), ReadError> {
    let parts = parts_of(row);
    let mut reader = MessageReader::open(store, account, row).await?;
    let texts = if parts.has_all(PartSet::NONE.with(Part::BodyStructure)) {
        // A slice of the budget is longer than a message of this length takes; if it is spent, so is the turn.
        let Ok(structure) = reader.structure_within(budget).await else {
            return Ok(());
        };
        let structure = structure?;
        texts_of(&structure, reader.whole().await?)
    } else {
        Texts {
            envelope: envelope_of(reader.header().await?),
            ..Texts::default()
        }
    };
    let email_id = reader.email_id();
    let fields = fields_of(reader.header().await?);
    let mut summary = Summary::new(email_id);
    summary.put(Part::Envelope, &texts.envelope);
    if let Some(fields) = &fields {
        summary.put(Part::Fields, fields);
    }
    if !texts.structure.is_empty() {
        summary.put(Part::BodyStructure, &texts.structure);
        summary.put(Part::Preview, &texts.preview);
    }
    store.keep_summary(account, row, &summary);
    Ok(())
}

/// What FETCH answers of a message, without the names of the items. Empty: not looked at.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) envelope: Vec<u8>,
    pub(super) structure: Vec<u8>,
    pub(super) preview: Vec<u8>,
}

pub(super) fn texts_of(structure: &Structure, message: &[u8]) -> Texts {
    let mut texts = Texts {
        // As much of the header as a reader gives.
        envelope: envelope_of(&message[..header::length(message)]),
        ..Texts::default()
    };
    bodystructure::write(structure, message, true, &mut texts.structure);
    push_string(preview::of(structure, message).as_bytes(), &mut texts.preview);
    texts
}

fn envelope_of(header: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    envelope::write(header, &mut text);
    text
}
