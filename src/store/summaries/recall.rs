//! Summaries back from memory and files.
//!
//! Invariants: see [`super`]; what a read through the page cache brings and is not right is read from the disk itself before
//! it is forgotten. Nothing is borrowed over a wait.
//! Limits: [`READ_BYTES_MAX`] of one read, [`GAP_BYTES_MAX`] read in vain between two summaries.
//! Not here: files (`index`), making summaries (`mailbox::summary`).

use super::entry::{ENTRY_BYTES_MAX, Identity, PartSet, Summary, decode};
use super::index::{Index, Place};
use crate::disk::DiskFile;
use crate::model::AccountId;
use crate::store::handle::Store;
use crate::store::{Environment, MessageRow};

/// Bytes of one read: it is there in a fraction of a millisecond, and what is in it is looked at without a break.
const READ_BYTES_MAX: u64 = 256 * 1024;

/// Bytes between two summaries that are read along: a request costs as much.
const GAP_BYTES_MAX: u64 = 8 * 1024;

const _: () = assert!(ENTRY_BYTES_MAX as u64 <= READ_BYTES_MAX);

/// Where a summary was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummarySource {
    /// Among those that are not written yet.
    Memory,
    /// On the disk.
    File,
}

/// A read of several places of one file, the indexes of which in a list it has.
struct Stretch {
    slot: u8,
    start: u64,
    end: u64,
    places: std::ops::Range<usize>,
}

/// The reads that bring these places, which are sorted by slot and place.
fn stretches(places: &[Place]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let (start, end) = (u64::from(place.at), u64::from(place.at) + u64::from(place.bytes));
        match stretches.last_mut() {
            Some(last)
                if last.slot == place.slot
                    && start <= last.end + GAP_BYTES_MAX
                    && end - last.start <= READ_BYTES_MAX =>
            {
                last.end = last.end.max(end);
                last.places.end = number + 1;
            }
            _ => stretches.push(Stretch {
                slot: place.slot,
                start,
                end,
                places: number..number + 1,
            }),
        }
    }
    stretches
}

fn sort(places: &mut [Place]) {
    places.sort_unstable_by_key(|place| (place.slot, place.at));
}

/// Sorts `places`, reads them and shows each to `see`, with its number in the sorted list; `see` says whether the bytes are
/// right. Returns those that are not, or cannot be read.
pub(super) async fn read_places<F: DiskFile>(
    index: &std::cell::RefCell<Index<F>>,
    places: &mut [Place],
    mut see: impl FnMut(&Place, &[u8]) -> bool,
) -> Vec<Place> {
    sort(places);
    let mut wrong = Vec::new();
    for stretch in stretches(places) {
        let file = {
            let index = index.borrow();
            let slot = index.slots.get(usize::from(stretch.slot));
            slot.and_then(Option::as_ref).map(|slot| slot.file.clone())
        };
        let of_stretch = &places[stretch.places];
        let Some(file) = file else {
            // Joined with others meanwhile: what is asked for is opened.
            continue;
        };
        let len = (stretch.end - stretch.start) as usize;
        let read = file.read_cached_at(stretch.start, len).await;
        let mut doubtful = Vec::new();
        for place in of_stretch {
            let bytes = read.as_ref().ok().and_then(|read| {
                let from = (u64::from(place.at) - stretch.start) as usize;
                read.as_ref().get(from..from + usize::from(place.bytes))
            });
            if !bytes.is_some_and(|bytes| see(place, bytes)) {
                doubtful.push(*place);
            }
        }
        for place in doubtful {
            let read = file.read_at(u64::from(place.at), usize::from(place.bytes)).await;
            if !read.is_ok_and(|read| see(&place, read.as_ref())) {
                wrong.push(place);
            }
        }
    }
    wrong
}

impl<E: Environment> Store<E> {
    /// Shows `tell` what is known of the messages of these rows, if it has all of `wanted`: each row's number among them, in any
    /// order, at most once. Waits for the disk; ask for some hundred rows at a time. Those not told of must be opened.
    pub async fn recall(
        &self,
        account: AccountId,
        rows: &[MessageRow],
        wanted: PartSet,
        mut tell: impl FnMut(usize, &Summary<'_>),
    ) {
        self.recall_from(account, rows, wanted, |number, summary, _| tell(number, summary))
            .await;
    }

    /// The same, and `tell` hears where each comes from.
    pub async fn recall_from(
        &self,
        account: AccountId,
        rows: &[MessageRow],
        wanted: PartSet,
        mut tell: impl FnMut(usize, &Summary<'_>, SummarySource),
    ) {
        let inner = self.inner();
        let summaries = &inner.summaries;
        let seed = inner.summary_seed(account);
        let mut tell = |number: usize, bytes: &[u8], source: SummarySource| match decode(seed, bytes) {
            Ok((message, summary)) => {
                // A right summary of another message is one that this row does not have.
                if message == Identity::of(&rows[number]) && summary.parts().has_all(wanted) {
                    inner.meters.summaries_recalled.add(1);
                    tell(number, &summary, source);
                }
                true
            }
            Err(_) => false,
        };
        let mut missing: Vec<(usize, &MessageRow)> = rows.iter().enumerate().collect();
        {
            let pending = summaries.pending.borrow();
            if pending.has(account) {
                missing.retain(|(number, row)| match pending.find(account, row.record) {
                    Some(draft) if draft.parts.has_all(wanted) => {
                        !tell(*number, &draft.bytes, SummarySource::Memory)
                    }
                    _ => true,
                });
            }
        }
        if missing.is_empty() {
            return;
        }
        let Some(index) = summaries.index(inner.env.disk(), account).await else {
            return;
        };
        let (mut places, mut numbers) = (Vec::new(), Vec::new());
        {
            let index = index.borrow();
            for (number, row) in missing {
                if let Some(place) = index.find(row.record).filter(|place| place.parts.has_all(wanted)) {
                    places.push(*place);
                    numbers.push((place.record, number));
                }
            }
        }
        // Two rows of one mailbox may be copies of each other.
        sort(&mut places);
        places.dedup();
        numbers.sort_unstable();
        let wrong = read_places(&index, &mut places, |place, bytes| {
            let first = numbers.partition_point(|(record, _)| *record < place.record);
            let same = numbers[first..]
                .iter()
                .take_while(|(record, _)| *record == place.record);
            same.fold(true, |is_right, (_, number)| {
                is_right & tell(*number, bytes, SummarySource::File)
            })
        });
        for place in wrong.await {
            inner.meters.summaries_wrong.add(1);
            index.borrow_mut().forget(&place);
        }
    }
}
