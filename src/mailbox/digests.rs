//! What FETCH answers of messages without giving their bodies, kept as it was written: envelopes, structures, header fields.
//!
//! A client that shows a list asks for the same items of the same messages again and again. What they digest never changes, so
//! the text of the answer is kept and the message is not opened the next time.
//! Invariants: a text is found only for a row that has the same record, size and dates as the one it was kept for, and for
//! exactly the same items; the total stays within [`DIGESTS_BYTES_MAX`].
//! Limits: also [`DIGEST_BYTES_MAX`] of one text, [`SHAPES_MAX`].
//! Not here: which items are digests, and writing them (`session::imap`).

use crate::store::MessageRow;
use bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

/// Bytes of texts a core keeps, 192 for each counted: the envelopes of some twenty thousand messages.
pub const DIGESTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longer texts are not kept: they come from few messages, and hostile ones are among those.
pub const DIGEST_BYTES_MAX: usize = 8 * 1024;

/// Different lists of items that are told apart. Programs have a handful each; beyond, everything is forgotten.
pub const SHAPES_MAX: usize = 512;

/// What an entry costs beside its text.
const ENTRY_BYTES: usize = 192;

/// Which list of items; valid until [`Digests::shape`] is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape(u32);

/// What a text is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    shape: Shape,
    segment: u32,
    offset: u32,
    size: u32,
    internal_date_ms: i64,
    save_date_ms: i64,
}

impl Key {
    fn new(shape: Shape, row: &MessageRow) -> Self {
        Self {
            shape,
            segment: row.record.segment.0,
            offset: row.record.offset,
            size: row.size,
            internal_date_ms: row.internal_date_at.0,
            save_date_ms: row.save_date.0,
        }
    }
}

/// The texts kept on one core, the oldest forgotten first.
#[derive(Debug, Default)]
pub struct Digests {
    shapes: HashMap<String, Shape>,
    texts: HashMap<Key, Bytes, RandomState>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Digests {
    /// The shape of a list of items, whose names and arguments `items` tells without ambiguity.
    pub fn shape(&mut self, items: String) -> Shape {
        if !self.shapes.contains_key(&items) && self.shapes.len() == SHAPES_MAX {
            *self = Self::default();
        }
        let next = Shape(u32::try_from(self.shapes.len()).expect("there are few"));
        *self.shapes.entry(items).or_insert(next)
    }

    /// Texts kept.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // nobody asks whether there are none
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// What was kept for this row.
    #[must_use]
    pub fn find(&self, shape: Shape, row: &MessageRow) -> Option<Bytes> {
        self.texts.get(&Key::new(shape, row)).cloned()
    }

    /// Keeps a text that is not too long.
    pub fn keep(&mut self, shape: Shape, row: &MessageRow, text: Bytes) {
        let length = text.len();
        if length > DIGEST_BYTES_MAX {
            return;
        }
        let key = Key::new(shape, row);
        let Entry::Vacant(place) = self.texts.entry(key) else {
            return;
        };
        place.insert(text);
        self.order.push_back(key);
        self.bytes += length + ENTRY_BYTES;
        while self.bytes > DIGESTS_BYTES_MAX {
            let oldest = self.order.pop_front().expect("what is counted is there");
            let gone = self.texts.remove(&oldest).expect("each key is there once");
            self.bytes -= gone.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::model::{Flags, LogPosition, ModSeq, SegmentId, Uid};

    fn row(offset: u32, saved: i64) -> MessageRow {
        MessageRow {
            uid: Uid::FIRST,
            flags: Flags::default(),
            keywords: 0,
            size: 1_000,
            internal_date_at: UnixMillis(1),
            internal_date_zone_minutes: 0,
            save_date: UnixMillis(saved),
            mod_seq: ModSeq(1),
            record: LogPosition {
                segment: SegmentId(1),
                offset,
            },
            record_bytes: 100,
            body_segment: SegmentId(1),
            is_body_scattered: false,
            line_end_octets: 0,
        }
    }

    #[test]
    fn a_text_is_found_for_the_same_items_of_the_same_message_only() {
        let mut digests = Digests::default();
        let envelope = digests.shape("ENVELOPE".to_owned());
        let structure = digests.shape("BODYSTRUCTURE".to_owned());
        digests.keep(envelope, &row(4096, 5), Bytes::from_static(b"one"));
        assert_eq!(digests.shape("ENVELOPE".to_owned()), envelope);
        assert_eq!(
            digests.find(envelope, &row(4096, 5)).as_deref(),
            Some(&b"one"[..])
        );
        assert_eq!(digests.find(structure, &row(4096, 5)), None);
        assert_eq!(digests.find(envelope, &row(8192, 5)), None);
        assert_eq!(
            digests.find(envelope, &row(4096, 6)),
            None,
            "the place was used anew"
        );
        let flagged = MessageRow {
            flags: Flags::SEEN,
            mod_seq: ModSeq(9),
            ..row(4096, 5)
        };
        assert!(
            digests.find(envelope, &flagged).is_some(),
            "flags are no part of it"
        );
    }

    #[test]
    fn the_oldest_go_and_long_texts_are_not_kept() {
        let mut digests = Digests::default();
        let shape = digests.shape("ENVELOPE".to_owned());
        digests.keep(shape, &row(0, 0), vec![b'x'; DIGEST_BYTES_MAX + 1].into());
        assert_eq!(digests.find(shape, &row(0, 0)), None);
        let text = Bytes::from(vec![b'x'; DIGEST_BYTES_MAX]);
        for offset in 0..3_000 {
            digests.keep(shape, &row(offset, 0), text.clone());
            assert!(digests.bytes <= DIGESTS_BYTES_MAX);
            assert_eq!(digests.order.len(), digests.texts.len());
        }
        assert_eq!(digests.find(shape, &row(0, 0)), None);
        assert!(digests.find(shape, &row(2_999, 0)).is_some());
    }

    #[test]
    fn a_client_that_varies_its_items_for_ever_fills_no_memory() {
        let mut digests = Digests::default();
        for number in 0..3 * SHAPES_MAX {
            let shape = digests.shape(format!("BODY[HEADER.FIELDS (X-{number})]"));
            digests.keep(shape, &row(0, 0), Bytes::from_static(b"text"));
        }
        assert!(digests.shapes.len() <= SHAPES_MAX && digests.texts.len() <= SHAPES_MAX);
    }
}
