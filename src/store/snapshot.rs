//! Snapshot files: accounts as blobs, written by checkpoints, read when somebody touches an account.
//!
//! Invariants: derived data; a file is written once, under a name never used before, and synced before a checkpoint refers
//! to it; a blob is served only when its checksum, which starts from the store's id, is right and it is this account's.
//! Limits: [`BLOB_ALIGNMENT`] times 2^32 bytes a file, 4 GiB a blob. An account is read whole.
//! Failure: [`StoreError::Damaged`] at loading; what follows from it is `paging`'s.
//! Not here: which blobs an account has (`cold`), when they are written (`checkpoint_accounts`). FORMAT.md has the fields.

use super::StoreError;
use super::checkpoint_state::{account, put_account, put_rows, rows};
use super::codec::{Malformed, Reader, put_u16, put_u32, put_u64, put_varint};
use super::cold::Head;
use super::cold::{Chain, Cold, add_rows};
use super::state::{AccountState, MessageRow};
use crate::base::{crc32c, crc32c_append};
use crate::disk::{Disk, DiskError, DiskFile};
use crate::model::{AccountId, LogPosition, ModSeq, SegmentId};

/// Blobs begin at multiples of it.
pub const BLOB_ALIGNMENT: usize = 16;

/// Which file; all of it is in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// Of the start that wrote it.
    pub incarnation: u32,
    /// Of the checkpoint it was written for.
    pub number: u32,
    /// The core that wrote it.
    pub core: u16,
}

impl SnapshotName {
    /// Beside the checkpoints.
    #[must_use]
    pub fn file(&self) -> String {
        format!(
            "segments/{:08x}-{:04x}-{:08x}.snp",
            self.incarnation, self.core, self.number
        )
    }

    /// `None`: not the name of a snapshot file.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("segments/")?.strip_suffix(".snp")?;
        let mut parts = digits.split('-');
        let incarnation = u32::from_str_radix(parts.next()?, 16).ok()?;
        let core = u16::from_str_radix(parts.next()?, 16).ok()?;
        let number = u32::from_str_radix(parts.next()?, 16).ok()?;
        let found = Self {
            incarnation,
            number,
            core,
        };
        (found.file() == name).then_some(found)
    }
}

/// One blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// Where it lies.
    pub file: SnapshotName,
    /// In [`BLOB_ALIGNMENT`]s.
    pub at: u32,
    /// Its length.
    pub bytes: u32,
    /// Of its octets, started from the CRC of the store's id.
    pub crc: u32,
}

impl BlobRef {
    /// Bytes it occupies.
    pub fn space(&self) -> u64 {
        u64::from(self.bytes).next_multiple_of(BLOB_ALIGNMENT as u64)
    }

    /// Of its first byte.
    pub fn offset(&self) -> u64 {
        u64::from(self.at) * BLOB_ALIGNMENT as u64
    }

    /// Behind its last byte.
    pub fn end(&self) -> u64 {
        self.offset() + u64::from(self.bytes)
    }
}

/// The checksum of a blob.
pub fn blob_crc(store_id: u64, blob: &[u8]) -> u32 {
    crc32c_append(crc32c(&store_id.to_le_bytes()), blob)
}

/// Appends a whole account.
pub fn put_base(out: &mut Vec<u8>, account: &AccountState) {
    put_account(out, account);
}

/// Appends rows that came to an account's INBOX.
pub fn put_delta(out: &mut Vec<u8>, id: AccountId, added: &[MessageRow]) {
    put_u64(out, id.0);
    put_rows(out, added);
}

fn delta(id: AccountId, blob: &[u8]) -> Result<Vec<MessageRow>, Malformed> {
    let mut input = Reader::new(blob);
    if input.u64()? != id.0 {
        return Err(Malformed("rows of another account"));
    }
    let found = rows(&mut input)?;
    input.finish()?;
    Ok(found)
}

fn base(id: AccountId, blob: &[u8]) -> Result<AccountState, Malformed> {
    let mut input = Reader::new(blob);
    let found = account(&mut input)?;
    input.finish()?;
    if found.id == id {
        Ok(found)
    } else {
        Err(Malformed("another account"))
    }
}

/// Reads the account of a chain, without any delta in memory.
pub async fn read_chain<D: Disk>(
    disk: &D,
    store_id: u64,
    id: AccountId,
    chain: &Chain,
) -> Result<AccountState, StoreError> {
    let mut found: Option<AccountState> = None;
    for blob in chain {
        let octets = read_blob(disk, blob).await?;
        take_blob(store_id, id, blob, octets.as_ref(), &mut found).map_err(|why| damaged(id, blob, &why))?;
    }
    found.ok_or_else(|| StoreError::Damaged {
        position: NOWHERE,
        what: format!("account {id} has no snapshot"),
    })
}

/// As [`read_cold`] without a delta; says of which blob what is wrong.
pub async fn read_snapshot<'a, D: Disk>(
    disk: &D,
    store_id: u64,
    id: AccountId,
    cold: &'a Cold,
) -> Result<AccountState, (&'a BlobRef, Malformed)> {
    let mut found: Option<AccountState> = None;
    for blob in &cold.chain {
        let octets = read_blob(disk, blob).await;
        let octets = octets.map_err(|_| (blob, Malformed("it cannot be read")))?;
        take_blob(store_id, id, blob, octets.as_ref(), &mut found).map_err(|why| (blob, why))?;
    }
    let last = cold.chain.last().expect("a head without a blob is refused");
    let account = found.expect("the first blob made it");
    cold.bring_up(account).map_err(|why| (last, why))
}

async fn read_blob<D: Disk>(
    disk: &D,
    blob: &BlobRef,
) -> Result<<D::File as DiskFile>::ReadBuffer, DiskError> {
    let file = disk.open(&blob.file.file()).await?;
    file.read_at(blob.offset(), blob.bytes as usize).await
}

/// The next blob of a chain: the account, or rows behind it.
fn take_blob(
    store_id: u64,
    id: AccountId,
    blob: &BlobRef,
    octets: &[u8],
    found: &mut Option<AccountState>,
) -> Result<(), Malformed> {
    if octets.len() != blob.bytes as usize || blob_crc(store_id, octets) != blob.crc {
        return Err(Malformed("its checksum is wrong"));
    }
    match found {
        Some(account) => add_rows(account, &delta(id, octets)?),
        None => base(id, octets).map(|account| *found = Some(account)),
    }
}

/// Snapshots lie beside the log: damage in them has no place in it.
const NOWHERE: LogPosition = LogPosition {
    segment: SegmentId(0),
    offset: 0,
};

/// What to say of a blob.
pub fn damaged(id: AccountId, blob: &BlobRef, why: &Malformed) -> StoreError {
    StoreError::Damaged {
        position: NOWHERE,
        what: format!(
            "the snapshot of account {id} in {} at {}: {}",
            blob.file.file(),
            blob.offset(),
            why.0
        ),
    }
}

/// As [`read_chain`], with what came since.
pub async fn read_cold<D: Disk>(
    disk: &D,
    store_id: u64,
    id: AccountId,
    cold: &Cold,
) -> Result<AccountState, StoreError> {
    let account = read_chain(disk, store_id, id, &cold.chain).await?;
    let last = cold.chain.last().expect("it was read");
    cold.bring_up(account).map_err(|why| damaged(id, last, &why))
}

/// Appends an account's entry in a checkpoint.
pub fn put_head(out: &mut Vec<u8>, id: AccountId, head: &Head, chain: &Chain) {
    put_u64(out, id.0);
    put_u64(out, head.highest_mod_seq.0);
    put_u64(out, head.bytes_used);
    put_u32(out, head.messages);
    put_u32(out, head.uid_next);
    put_u32(out, head.uid_validity);
    put_u32(out, head.next_mailbox);
    put_u32(out, head.next_uid_validity);
    put_varint(out, chain.len() as u64);
    for blob in chain {
        put_u32(out, blob.file.incarnation);
        put_u16(out, blob.file.core);
        put_u32(out, blob.file.number);
        put_u32(out, blob.at);
        put_u32(out, blob.bytes);
        put_u32(out, blob.crc);
    }
}

/// See [`put_head`]. Nothing that was there before the start is recent.
pub fn head(input: &mut Reader<'_>) -> Result<(AccountId, Cold), Malformed> {
    let id = AccountId(input.u64()?);
    let mut head = Head {
        highest_mod_seq: ModSeq(input.u64()?),
        bytes_used: input.u64()?,
        messages: input.u32()?,
        uid_next: input.u32()?,
        uid_validity: input.u32()?,
        next_mailbox: input.u32()?,
        next_uid_validity: input.u32()?,
        recent_from: 0,
    };
    head.recent_from = head.uid_next;
    let count = input.count(22)?;
    let mut chain = Chain::with_capacity(count);
    for _ in 0..count {
        let incarnation = input.u32()?;
        let core = input.u16()?;
        let number = input.u32()?;
        chain.push(BlobRef {
            file: SnapshotName {
                incarnation,
                number,
                core,
            },
            at: input.u32()?,
            bytes: input.u32()?,
            crc: input.u32()?,
        });
    }
    if chain.is_empty() {
        return Err(Malformed("an account without a snapshot"));
    }
    let cold = Cold {
        head,
        chain,
        delta: Vec::new(),
    };
    Ok((id, cold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_heads_come_back() {
        let file = SnapshotName {
            incarnation: 12,
            number: 3,
            core: 1,
        };
        assert_eq!(file.file(), "segments/0000000c-0001-00000003.snp");
        assert_eq!(SnapshotName::of_file(&file.file()), Some(file));
        assert_eq!(SnapshotName::of_file("segments/0000000c-0001-00000003.ckp"), None);
        let blob = |at| BlobRef {
            file,
            at,
            bytes: 100,
            crc: at ^ 7,
        };
        let account = AccountState::new(AccountId(5), 9);
        let cold = Cold {
            head: Head {
                recent_from: 1,
                ..Head::of(&account)
            },
            chain: [blob(0), blob(7)].into_iter().collect(),
            delta: Vec::new(),
        };
        let mut bytes = Vec::new();
        put_head(&mut bytes, AccountId(5), &cold.head, &cold.chain);
        let mut input = Reader::new(&bytes);
        assert_eq!(head(&mut input), Ok((AccountId(5), cold)));
        assert!(input.is_empty());
        bytes.truncate(bytes.len() - 1);
        assert!(head(&mut Reader::new(&bytes)).is_err());
    }
}
