//! Messages out of segments that are to be freed: their records, and their bodies if those lie there, written anew into
//! the log of the core that owns them.
//!
//! Invariants: a body that several messages of this core share is written once; email ids stay; a message that cannot be
//! read stays where it is, and so does its segment. A change in flight can leave a row behind (a copy that is made of the
//! old one meanwhile), so the state is looked through again until nothing is found.
//! Limits: [`BATCH_BYTES`] of messages in memory; longer bodies go chunk by chunk. [`FOUND_AT_ONCE`] messages are looked for
//! before they are moved, but all of one account together, 24 bytes each; [`WRITTEN_MAX`] bodies are remembered, so that one
//! that messages share which are found far apart may be written once more. Accounts are loaded in groups, which wait for a
//! checkpoint when memory is short.
//! Not here: records that are no messages (`restate`).

use super::walk::Piece;
use crate::base::wait::Pause;
use crate::disk::DiskError;
use crate::model::{AccountId, LogPosition, MailboxId, SegmentId, Uid};
use crate::store::body::ChunkWriter;
use crate::store::handle::Inner;
use crate::store::plan::{Chunks, Plan, Planner};
use crate::store::record::{MessageRecord, MovedRecord, Record, body_bytes};
use crate::store::state::AccountState;
use crate::store::{Body, ChunkRef, Environment, MessageRow, StoreError, StoredMessage};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes of messages that are committed together.
const BATCH_BYTES: usize = 512 * 1024;
/// Messages that are committed together.
const BATCH_MESSAGES_MAX: usize = 256;
/// Graves that are gone through to find those of one batch: a fraction of a millisecond.
const BATCH_GRAVES_MAX: usize = 20_000;
/// Messages that are looked for before they are moved: enough that those which lie together are mostly moved together.
const FOUND_AT_ONCE: usize = 16 * 1024;
/// Bodies of which is remembered where they were written: a few MiB.
const WRITTEN_MAX: usize = 64 * 1024;
/// Times the state is looked through. What is in flight at one look is there at the next: two suffice but for a session
/// that copies without a pause.
const ROUNDS_MAX: usize = 16;

/// What moving did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Message records written anew.
    pub messages: u64,
    /// Bytes of them, bodies included.
    pub bytes: u64,
    /// Bytes of accounts said anew.
    pub restated_bytes: u64,
    /// Victims that must stay: damage keeps a message in them.
    pub kept: BTreeSet<SegmentId>,
}

/// A message record in a victim, or with a body there, as one row or grave refers to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    record: LogPosition,
    account: AccountId,
    mailbox: MailboxId,
    uid: Uid,
}

const _: () = assert!(size_of::<Found>() <= 24);

type Refer = SmallVec<[(MailboxId, Uid); 1]>;

/// A message to be moved, as it is now, and what refers to it.
struct Moving {
    account: AccountId,
    row: MessageRow,
    refer: Refer,
}

/// Where bodies were written anew, by the first chunk that they had; the oldest are forgotten.
#[derive(Default)]
struct Written {
    newest: HashMap<LogPosition, Chunks>,
    before: HashMap<LogPosition, Chunks>,
}

impl Written {
    fn get(&self, first: &LogPosition) -> Option<&Chunks> {
        self.newest.get(first).or_else(|| self.before.get(first))
    }

    fn put(&mut self, first: LogPosition, chunks: Chunks) {
        if self.newest.len() >= WRITTEN_MAX / 2 {
            self.before = std::mem::take(&mut self.newest);
        }
        self.newest.insert(first, chunks);
    }
}

/// Messages to be committed together.
#[derive(Default)]
struct Batch {
    moves: Vec<(MovedRecord, usize)>,
    /// Of the accounts.
    pins: HashMap<AccountId, crate::store::Pin>,
    bodies: Vec<Body>,
    /// The old first chunks of those of `bodies` that are written anew.
    old_bodies: HashMap<LogPosition, usize>,
    bytes: usize,
    /// Of accounts that were loaded for it.
    loaded_bytes: usize,
    /// Graves to be gone through when it is applied.
    graves: usize,
}

impl<E: Environment> Inner<E> {
    /// Moves everything this core needs out of `victims`. Durable on return.
    pub(super) async fn move_out(
        &self,
        victims: &BTreeSet<SegmentId>,
        pace: &impl AsyncFn(u64),
    ) -> Result<Moved, StoreError> {
        // A record that was in flight when segments were marked may refer to one of them: from here on it is applied.
        let barrier = |_: &mut Planner<'_>, _: &[Chunks], _: &[u64]| Ok(Plan::barrier());
        self.commit(0, &[], barrier).await?;
        let mut moved = Moved::default();
        let mut written = Written::default();
        for _ in 0..ROUNDS_MAX {
            let mut is_clean = true;
            let mut ids = self.account_ids().into_iter();
            while ids.len() > 0 {
                let mut wanted = victims.clone();
                wanted.retain(|segment| !moved.kept.contains(segment));
                let Some(found) = self.find(&mut ids, &wanted).await? else {
                    moved.kept.extend(victims);
                    return Ok(moved);
                };
                is_clean &= found.is_empty();
                self.move_all(found, &wanted, &mut written, &mut moved, pace)
                    .await?;
            }
            if is_clean {
                return Ok(moved);
            }
        }
        Err(StoreError::Cannot(
            "messages are copied faster than they are moved",
        ))
    }

    /// What refers to `victims` in the next accounts, by place. `None`: that cannot be told.
    async fn find(
        &self,
        ids: &mut impl Iterator<Item = AccountId>,
        victims: &BTreeSet<SegmentId>,
    ) -> Result<Option<BTreeSet<Found>>, StoreError> {
        let mut all = BTreeSet::new();
        while all.len() < FOUND_AT_ONCE
            && let Some(id) = ids.next()
        {
            if !self.find_of(id, victims, &mut all).await? {
                return Ok(None);
            }
            Pause::new().await;
        }
        Ok(Some(all))
    }

    /// What refers to `victims` in one account. False: that cannot be told.
    async fn find_of(
        &self,
        id: AccountId,
        victims: &BTreeSet<SegmentId>,
        all: &mut BTreeSet<Found>,
    ) -> Result<bool, StoreError> {
        let mut scattered: BTreeMap<LogPosition, (MessageRow, Refer)> = BTreeMap::new();
        let mut note = |mailbox: MailboxId, row: &MessageRow| {
            let lies_there = victims.contains(&row.record.segment) || victims.contains(&row.body_segment);
            if lies_there {
                all.insert(Found {
                    record: row.record,
                    account: id,
                    mailbox,
                    uid: row.uid,
                });
            } else if row.is_body_scattered {
                let found = scattered
                    .entry(row.record)
                    .or_insert_with(|| (*row, Refer::new()));
                found.1.push((mailbox, row.uid));
            }
        };
        self.walk(id, |piece| match piece {
            // What was seen in vain is passed over when it is to be moved.
            Piece::Begins => {}
            Piece::Rows(mailbox, rows) => rows.iter().for_each(|row| note(mailbox, row)),
            Piece::Graves(mailbox, graves) => {
                let kept = graves.iter().filter(|grave| !grave.has_moved);
                kept.for_each(|grave| note(mailbox, &grave.row));
            }
        })
        .await?;
        for (record, (row, refer)) in scattered {
            match self.lies_in(id, &row, victims).await? {
                Some(true) => all.extend(refer.into_iter().map(|(mailbox, uid)| Found {
                    record,
                    account: id,
                    mailbox,
                    uid,
                })),
                Some(false) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Does a body over several segments lie in `victims`? Its record says so. `None`: that cannot be read.
    async fn lies_in(
        &self,
        id: AccountId,
        row: &MessageRow,
        victims: &BTreeSet<SegmentId>,
    ) -> Result<Option<bool>, StoreError> {
        match self.reader.message_record(id, row).await {
            Ok(record) => {
                let mut segments = record.chunks.iter().map(|chunk| chunk.position.segment);
                Ok(Some(segments.any(|segment| victims.contains(&segment))))
            }
            // It may be readable at the next try, and any victim may hold a part of its body.
            Err(error) => {
                self.not_moved(row, error)?;
                Ok(None)
            }
        }
    }

    /// An error of one message, which stays where it is; any other ends the pass.
    fn not_moved(&self, row: &MessageRow, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Damaged { .. }
            | StoreError::Disk(
                DiskError::NotFound { .. }
                | DiskError::Io {
                    operation: "read", ..
                },
            ) => {
                tracing::warn!(record = %row.record, %error, "a message cannot be moved: its segments stay");
                Ok(())
            }
            other => Err(other),
        }
    }

    /// The segments that a message which cannot be moved needs; all `victims` if that cannot be told.
    async fn needed_by(
        &self,
        found: &Moving,
        victims: &BTreeSet<SegmentId>,
    ) -> Result<BTreeSet<SegmentId>, StoreError> {
        let mut needed = BTreeSet::from([found.row.record.segment, found.row.body_segment]);
        if !found.row.is_body_scattered {
            return Ok(needed);
        }
        match self.reader.message_record(found.account, &found.row).await {
            Ok(record) => needed.extend(record.chunks.iter().map(|chunk| chunk.position.segment)),
            Err(error) => {
                self.not_moved(&found.row, error)?;
                needed.extend(victims);
            }
        }
        Ok(needed)
    }

    async fn move_all(
        &self,
        mut found: BTreeSet<Found>,
        victims: &BTreeSet<SegmentId>,
        written: &mut Written,
        moved: &mut Moved,
        pace: &impl AsyncFn(u64),
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let most = BATCH_BYTES.min(self.options.inline_bytes_max());
        while let Some(moving) = self.next_moving(&mut found, &mut batch).await? {
            let Some(moving) = moving else { continue };
            match self.add_to(&mut batch, &moving, victims, written, pace).await {
                Ok(()) => {}
                Err(error) => {
                    self.not_moved(&moving.row, error)?;
                    let needed = self.needed_by(&moving, victims).await?;
                    moved.kept.extend(needed);
                }
            }
            if batch.bytes >= most / 2
                || batch.moves.len() >= BATCH_MESSAGES_MAX
                || batch.graves >= BATCH_GRAVES_MAX
                || batch.loaded_bytes >= self.loaded_at_once_max()
            {
                self.commit_moves(&mut batch, written, moved, pace).await?;
                self.wait_for_memory().await?;
            }
        }
        self.commit_moves(&mut batch, written, moved, pace).await?;
        self.wait_for_memory().await
    }

    /// The next message to be moved, its account loaded for as long as the batch is not committed. `Some(None)`: it is gone
    /// meanwhile. `None`: there is none any more.
    async fn next_moving(
        &self,
        found: &mut BTreeSet<Found>,
        batch: &mut Batch,
    ) -> Result<Option<Option<Moving>>, StoreError> {
        let Some(first) = found.pop_first() else {
            return Ok(None);
        };
        let mut refer: Refer = smallvec![(first.mailbox, first.uid)];
        let is_same = |next: &Found| (next.record, next.account) == (first.record, first.account);
        while let Some(next) = found.first().copied().filter(is_same) {
            refer.push((next.mailbox, next.uid));
            found.pop_first();
        }
        let is_new = !batch.pins.contains_key(&first.account);
        let pin = self.load(first.account).await?;
        batch.pins.entry(first.account).or_insert(pin);
        if is_new {
            batch.loaded_bytes += self.loaded_bytes_of(first.account);
        }
        let state = self.state.borrow();
        let Some(account) = state.accounts.get(&first.account) else {
            return Ok(Some(None));
        };
        let rows = refer.iter().filter_map(|(mailbox, uid)| {
            let (row, graves) = row_of(account, *mailbox, *uid)?;
            batch.graves += graves;
            Some(row)
        });
        let row = rows.filter(|row| row.record == first.record).last();
        Ok(Some(row.map(|row| Moving {
            account: first.account,
            row: *row,
            refer,
        })))
    }

    async fn add_to(
        &self,
        batch: &mut Batch,
        found: &Moving,
        victims: &BTreeSet<SegmentId>,
        written: &Written,
        pace: &impl AsyncFn(u64),
    ) -> Result<(), StoreError> {
        let record = self.reader.message_record(found.account, &found.row).await?;
        let first = record.chunks.first().map(|chunk| chunk.position);
        let first = first.ok_or(StoreError::Cannot("a message without a body"))?;
        let body_goes = record
            .chunks
            .iter()
            .any(|chunk| victims.contains(&chunk.position.segment));
        let known = batch.old_bodies.get(&first).copied();
        let index = match known {
            Some(index) => index,
            None if !body_goes => batch.put(Body::stored(record.chunks.to_vec())),
            None => match written.get(&first) {
                Some(chunks) => batch.put(Body::stored(chunks.to_vec())),
                None => {
                    let body = self.body_anew(&record, pace).await?;
                    if body.stored_chunks().is_none() {
                        batch.bytes += usize::try_from(body.len()).unwrap_or(0);
                    }
                    let index = batch.put(body);
                    batch.old_bodies.insert(first, index);
                    index
                }
            },
        };
        let row = &found.row;
        let message = MessageRecord {
            flags: row.flags,
            mod_seq: row.mod_seq,
            uid: row.uid,
            chunks: SmallVec::new(),
            // Which recipient of which spool entry was served is said with the partition.
            key: None,
            ..record
        };
        batch.bytes += record_bytes(&message, &batch.bodies[index], found.refer.len());
        let moved = MovedRecord {
            from: row.record,
            rows: found.refer.to_vec(),
            message,
        };
        batch.moves.push((moved, index));
        Ok(())
    }

    /// The body read back: in memory if it is short, otherwise in new chunks already.
    async fn body_anew(&self, record: &MessageRecord, pace: &impl AsyncFn(u64)) -> Result<Body, StoreError> {
        let message = StoredMessage {
            prefix: bytes::Bytes::new(),
            chunks: record.chunks.clone(),
            size: body_bytes(&record.chunks),
            email_id: record.email_id,
            owner: None,
            pins: SmallVec::new(),
        };
        let most = self
            .options
            .body_in_memory_bytes_max
            .min(self.options.inline_bytes_max() / 2) as u64;
        if message.size <= most {
            let pieces = self.reader.read_message(&message, 0..message.size).await?;
            return Ok(Body::from_memory(pieces.into()).with_email_id(record.email_id));
        }
        let mut chunks = ChunkWriter::anew(record.email_id);
        let mut start = 0;
        for chunk in &record.chunks {
            let end = start + u64::from(chunk.bytes);
            let pieces = self.reader.read_message(&message, start..end).await?;
            chunks.write(self, &pieces, chunk.bytes as usize).await?;
            pace(u64::from(chunk.bytes)).await;
            start = end;
        }
        chunks.finish().await
    }

    async fn commit_moves(
        &self,
        batch: &mut Batch,
        written: &mut Written,
        moved: &mut Moved,
        pace: &impl AsyncFn(u64),
    ) -> Result<(), StoreError> {
        let Batch {
            moves,
            pins: _pins,
            bodies,
            old_bodies,
            bytes,
            ..
        } = std::mem::take(batch);
        if moves.is_empty() {
            return Ok(());
        }
        moved.messages += moves.len() as u64;
        let records_bytes = moves
            .iter()
            .map(|(moved, body)| record_bytes(&moved.message, &bodies[*body], moved.rows.len()))
            .sum();
        let mut places: SmallVec<[Chunks; 4]> = smallvec![];
        let plan = |planner: &mut Planner<'_>, chunks: &[Chunks], _: &[u64]| {
            places.extend(chunks.iter().cloned());
            let mut plan = Plan::barrier();
            for (mut moved, body) in moves {
                moved.message.chunks = chunks[body].clone();
                planner.touch(Some(moved.message.account), &mut plan);
                plan.records.push(Record::MessageMoved(Box::new(moved)));
            }
            Ok(plan)
        };
        self.commit(records_bytes, &bodies, plan).await?;
        for (old, index) in old_bodies {
            written.put(old, places[index].clone());
        }
        let long = bodies.iter().filter(|body| body.stored_chunks().is_some());
        moved.bytes += bytes as u64 + long.filter(|body| body.is_pinned()).map(Body::len).sum::<u64>();
        // Long ones were paced chunk by chunk.
        pace(bytes as u64).await;
        Ok(())
    }
}

impl Batch {
    fn put(&mut self, body: Body) -> usize {
        self.bodies.push(body);
        self.bodies.len() - 1
    }
}

/// Bytes of a moved record, generously.
fn record_bytes(message: &MessageRecord, body: &Body, refer: usize) -> usize {
    const CHUNK_BYTES_MIN: u64 = 256;
    let keywords: usize = message.keywords.iter().map(|k| k.as_str().len() + 2).sum();
    let chunks = body.stored_chunks().map_or_else(
        || usize::try_from(body.len() / CHUNK_BYTES_MIN + 1).unwrap_or(usize::MAX / 64),
        <[ChunkRef]>::len,
    );
    256 + message.prefix.len() + message.asked.len() + keywords + 12 * chunks + 8 * refer
}

/// A row, or a grave that can be opened, as it is now, and how many graves were gone through for it.
fn row_of(account: &AccountState, mailbox: MailboxId, uid: Uid) -> Option<(&MessageRow, usize)> {
    let graves = match account.mailboxes.get(&mailbox) {
        Some(mailbox) => match mailbox.row(uid) {
            Some(row) => return Some((row, 0)),
            None => &mailbox.graves,
        },
        None => &account.buried.iter().find(|buried| buried.id == mailbox)?.graves,
    };
    let mut kept = graves.iter().filter(|grave| !grave.has_moved);
    let grave = kept.find(|grave| grave.row.uid == uid)?;
    Some((&grave.row, graves.len()))
}
