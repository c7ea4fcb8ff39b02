//! What was read lately and is likely to be read again: verified payloads, and the newest groups as they were written.
//!
//! Invariants: only bytes whose checksum was right go in; the total stays within [`CACHE_BYTES_MAX`] plus one item.
//! Not here: reading (`reader`).

use crate::base::id_map::IdMap;
use crate::disk::WriteBuffer;
use crate::model::{LogPosition, SegmentId};
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes of payloads a core keeps, in order of arrival: a client fetches a message's header, then its parts.
pub const CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of written groups a core keeps: mail is most often read right after it has come.
pub const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Checked payloads by the position of their records.
#[derive(Default)]
pub struct Cache {
    payloads: IdMap<LogPosition, Bytes>,
    order: VecDeque<LogPosition>,
    bytes: usize,
}

impl Cache {
    /// The payload of the record at `position`.
    pub fn find(&self, position: LogPosition) -> Option<&Bytes> {
        self.payloads.get(&position)
    }

    /// Keeps a checked payload; the oldest go.
    pub fn keep(&mut self, position: LogPosition, payload: &Bytes) {
        if self.payloads.insert(position, payload.clone()).is_some() {
            return;
        }
        self.order.push_back(position);
        self.bytes += payload.len();
        while self.bytes > CACHE_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.bytes -= self.payloads.remove(&oldest).map_or(0, |payload| payload.len());
        }
    }
}

/// The newest groups of this core's log, in the memory they were written from.
pub struct RecentGroups<B> {
    groups: VecDeque<(SegmentId, u32, Rc<B>)>,
    bytes: usize,
}

impl<B> Default for RecentGroups<B> {
    fn default() -> Self {
        Self {
            groups: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<B: WriteBuffer> RecentGroups<B> {
    /// Keeps a durable group; the oldest go.
    pub fn keep(&mut self, segment: SegmentId, start: u32, buffer: Rc<B>) {
        self.bytes += buffer.bytes().len();
        self.groups.push_back((segment, start, buffer));
        while self.bytes > RECENT_BYTES_MAX {
            let Some((_, _, oldest)) = self.groups.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes().len();
        }
    }

    /// The bytes from `position` to the end of its group.
    pub fn find(&self, position: LogPosition) -> Option<&[u8]> {
        // Groups are kept in the order of their positions; most of what is asked for is older than all of them.
        let key = (position.segment, position.offset);
        let (segment, start, _) = self.groups.front()?;
        if key < (*segment, *start) {
            return None;
        }
        let after = self
            .groups
            .partition_point(|(segment, start, _)| (*segment, *start) <= key);
        let (segment, start, buffer) = self.groups.get(after.checked_sub(1)?)?;
        let buffer = buffer.bytes();
        let offset = position.offset.checked_sub(*start)? as usize;
        (*segment == position.segment)
            .then(|| buffer.get(offset..))
            .flatten()
    }
}
