//! Messages out of segments that are to be freed: their records, and their bodies if those lie there, written anew into
//! the log of the core that owns them.
//!
//! Invariants: a body that several messages of this core share is written once; email ids stay; a message that cannot be
//! read stays where it is, and so does its segment. A change in flight can leave a row behind (a copy that is made of the
//! old one meanwhile), so the state is looked through again until nothing is found.
//! Limits: [`BATCH_BYTES`] of messages in memory; longer bodies go chunk by chunk. 48 bytes for each message to be moved.
//! Not here: records that are no messages (`restate`).

use crate::disk::DiskError;
use crate::model::{AccountId, LogPosition, MailboxId, SegmentId, Uid};
use crate::store::body::ChunkWriter;
use crate::store::checkpointer::Pause;
use crate::store::handle::Inner;
use crate::store::plan::{Chunks, Plan, Planner};
use crate::store::record::{MessageRecord, MovedRecord, Record, body_bytes};
use crate::store::state::{AccountState, Grave};
use crate::store::{Body, ChunkRef, Environment, MessageRow, StoreError, StoredMessage};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes of messages that are committed together.
const BATCH_BYTES: usize = 512 * 1024;
/// Messages that are committed together.
const BATCH_MESSAGES_MAX: usize = 256;
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

/// A message record in a victim, or with a body there, and what refers to it.
struct Found {
    account: AccountId,
    row: MessageRow,
    refer: SmallVec<[(MailboxId, Uid); 1]>,
}

/// Messages to be committed together.
#[derive(Default)]
struct Batch {
    moves: Vec<(MovedRecord, usize)>,
    /// Of the accounts.
    pins: Vec<crate::store::Pin>,
    bodies: Vec<Body>,
    /// The old first chunks of those of `bodies` that are written anew.
    old_bodies: HashMap<LogPosition, usize>,
    bytes: usize,
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
        let mut written = HashMap::new();
        for _ in 0..ROUNDS_MAX {
            let mut wanted = victims.clone();
            wanted.retain(|segment| !moved.kept.contains(segment));
            let Some(found) = self.find(&wanted).await? else {
                moved.kept.extend(victims);
                return Ok(moved);
            };
            if found.is_empty() {
                return Ok(moved);
            }
            self.move_all(found, &wanted, &mut written, &mut moved, pace)
                .await?;
        }
        Err(StoreError::Cannot(
            "messages are copied faster than they are moved",
        ))
    }

    /// Everything that refers to `victims`, by place. `None`: that cannot be told.
    async fn find(&self, victims: &BTreeSet<SegmentId>) -> Result<Option<Vec<Found>>, StoreError> {
        let mut all: BTreeMap<(LogPosition, AccountId), Found> = BTreeMap::new();
        for id in self.account_ids() {
            let mut scattered: Vec<MessageRow> = Vec::new();
            let looked = |account: &AccountState| {
                for (mailbox, row) in referring(account) {
                    let lies_there =
                        victims.contains(&row.record.segment) || victims.contains(&row.body_segment);
                    if row.is_body_scattered && !lies_there {
                        scattered.push(*row);
                    } else if lies_there {
                        let found = all.entry((row.record, id)).or_insert_with(|| Found {
                            account: id,
                            row: *row,
                            refer: SmallVec::new(),
                        });
                        found.refer.push((mailbox, row.uid));
                    }
                }
            };
            self.look(id, looked).await?;
            for row in scattered {
                if !self.find_scattered(id, &row, victims, &mut all).await? {
                    return Ok(None);
                }
            }
            Pause::new().await;
        }
        Ok(Some(all.into_values().collect()))
    }

    /// A body over several segments: its record says which. False: the record cannot be read.
    async fn find_scattered(
        &self,
        id: AccountId,
        row: &MessageRow,
        victims: &BTreeSet<SegmentId>,
        all: &mut BTreeMap<(LogPosition, AccountId), Found>,
    ) -> Result<bool, StoreError> {
        let record = match self.reader.message_record(id, row).await {
            Ok(record) => record,
            // It may be readable at the next try, and any victim may hold a part of its body.
            Err(error) => {
                self.not_moved(row, error)?;
                return Ok(false);
            }
        };
        if !record
            .chunks
            .iter()
            .any(|chunk| victims.contains(&chunk.position.segment))
        {
            return Ok(true);
        }
        let refer = |account: &AccountState| {
            let refer = referring(account).filter(|(_, other)| other.record == row.record);
            refer.map(|(mailbox, row)| (mailbox, row.uid)).collect()
        };
        if let Some(refer) = self.look(id, refer).await? {
            let found = Found {
                account: id,
                row: *row,
                refer,
            };
            all.insert((row.record, id), found);
        }
        Ok(true)
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
        found: &Found,
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
        found: Vec<Found>,
        victims: &BTreeSet<SegmentId>,
        written: &mut HashMap<LogPosition, Chunks>,
        moved: &mut Moved,
        pace: &impl AsyncFn(u64),
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let most = BATCH_BYTES.min(self.options.inline_bytes_max());
        for found in found {
            match self.add_to(&mut batch, &found, victims, written).await {
                Ok(()) => {}
                Err(error) => {
                    self.not_moved(&found.row, error)?;
                    let needed = self.needed_by(&found, victims).await?;
                    moved.kept.extend(needed);
                }
            }
            if batch.bytes >= most / 2 || batch.moves.len() >= BATCH_MESSAGES_MAX {
                self.commit_moves(&mut batch, written, moved, pace).await?;
            }
        }
        self.commit_moves(&mut batch, written, moved, pace).await
    }

    async fn add_to(
        &self,
        batch: &mut Batch,
        found: &Found,
        victims: &BTreeSet<SegmentId>,
        written: &HashMap<LogPosition, Chunks>,
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
                    let body = self.body_anew(&record).await?;
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
        batch.pins.push(self.load(found.account).await?);
        batch.moves.push((moved, index));
        Ok(())
    }

    /// The body read back: in memory if it is short, otherwise in new chunks already.
    async fn body_anew(&self, record: &MessageRecord) -> Result<Body, StoreError> {
        let message = StoredMessage {
            prefix: bytes::Bytes::new(),
            chunks: record.chunks.clone(),
            size: body_bytes(&record.chunks),
            email_id: record.email_id,
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
            start = end;
        }
        chunks.finish().await
    }

    async fn commit_moves(
        &self,
        batch: &mut Batch,
        written: &mut HashMap<LogPosition, Chunks>,
        moved: &mut Moved,
        pace: &impl AsyncFn(u64),
    ) -> Result<(), StoreError> {
        let Batch {
            moves,
            pins: _pins,
            bodies,
            old_bodies,
            bytes,
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
            written.insert(old, places[index].clone());
        }
        let long = bodies.iter().filter(|body| body.stored_chunks().is_some());
        let bytes = bytes as u64 + long.filter(|body| body.is_pinned()).map(Body::len).sum::<u64>();
        moved.bytes += bytes;
        pace(bytes).await;
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

/// Every row, and every grave that can be opened, with its mailbox's id.
fn referring(account: &AccountState) -> impl Iterator<Item = (MailboxId, &MessageRow)> {
    fn kept(id: MailboxId, graves: &[Grave]) -> impl Iterator<Item = (MailboxId, &MessageRow)> {
        let kept = graves.iter().filter(|grave| !grave.has_moved);
        kept.map(move |grave| (id, &grave.row))
    }
    let own = account.mailboxes.values().flat_map(|mailbox| {
        let rows = mailbox.rows.iter().map(|row| (mailbox.id, row));
        rows.chain(kept(mailbox.id, &mailbox.graves))
    });
    let buried = account.buried.iter();
    own.chain(buried.flat_map(|mailbox| kept(mailbox.id, &mailbox.graves)))
}
