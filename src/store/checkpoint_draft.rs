//! One checkpoint on its way into its file, slice by slice.
//!
//! Invariants: slices are numbered without a gap; the file is no checkpoint before its header is written, which comes last.
//! Limits: the file has the length it was made with; a state that outgrew it is [`Failure::Outgrown`].
//! Not here: what goes into the slices (`checkpointer`, `checkpoint_accounts`), their bytes (`checkpoint`).

use super::StoreError;
use super::checkpoint::{CheckpointHeader, CheckpointName, SliceHeader};
use crate::disk::{BLOCK_BYTES, DiskError, DiskFile, WriteBuffer};
use crate::model::LogPosition;
use std::rc::Rc;

/// Why there is no new checkpoint.
#[derive(Debug)]
pub enum Failure {
    /// The state outgrew the file.
    Outgrown,
    Disk(DiskError),
    /// A snapshot that had to be copied cannot be read.
    Store(StoreError),
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// One checkpoint on its way into its file.
pub struct Draft<F: DiskFile> {
    file: F,
    store_id: u64,
    name: CheckpointName,
    at: u64,
    end: u64,
    slices: u32,
}

impl<F: DiskFile> Draft<F> {
    /// Room for `len` bytes in `file`, the header's block among them.
    pub fn begin(file: F, store_id: u64, name: CheckpointName, len: u64) -> Self {
        Self {
            file,
            store_id,
            name,
            at: BLOCK_BYTES as u64,
            end: len,
            slices: 0,
        }
    }

    /// Bytes it has, the header's among them.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// Slices that were put.
    pub fn slices(&self) -> u32 {
        self.slices
    }

    /// Writes the next slice.
    pub async fn put(&mut self, slice: Slice) -> Result<(), Failure> {
        let header = SliceHeader {
            payload_bytes: u32::try_from(slice.payload.len()).map_err(|_| Failure::Outgrown)?,
            kind: slice.kind,
            index: self.slices,
            as_of: slice.as_of,
            items: slice.items,
        };
        let bytes = header.slice_bytes();
        if self.at + bytes as u64 > self.end {
            return Err(Failure::Outgrown);
        }
        let mut buffer = self.file.buffer(bytes);
        header.encode(self.store_id, &self.name, &slice.payload, buffer.bytes_mut());
        self.file.write_at(Rc::new(buffer), self.at).await?;
        self.at += bytes as u64;
        self.slices += 1;
        Ok(())
    }

    /// Writes the header and syncs: from then on the file is a checkpoint.
    pub async fn finish(&self, header: &CheckpointHeader) -> Result<(), Failure> {
        let mut block = self.file.buffer(BLOCK_BYTES);
        block.bytes_mut().copy_from_slice(&header.encode());
        self.file.write_at(Rc::new(block), 0).await?;
        self.file.sync().await?;
        Ok(())
    }
}

/// Encoded, not written yet.
pub struct Slice {
    kind: u8,
    as_of: LogPosition,
    pub items: u32,
    pub payload: Vec<u8>,
}

impl Slice {
    /// As of which position it is encoded.
    pub fn as_of(&self) -> LogPosition {
        self.as_of
    }

    /// Nothing yet.
    pub fn new(kind: u8, as_of: LogPosition) -> Self {
        Self {
            kind,
            as_of,
            items: 0,
            payload: Vec::new(),
        }
    }

    /// One more item.
    pub fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.payload);
        self.items += 1;
    }
}
