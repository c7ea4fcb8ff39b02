//! A segment's bytes, also where the device refuses some of them.
//!
//! Invariants: a block that cannot be read counts as zeros and is remembered; everything else is as on the device.
//! Limits: one window of [`WINDOW_BYTES`], or what one call asks for.

use crate::disk::{BLOCK_BYTES, DiskError, DiskFile};

/// Bytes of one read.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A window over one file.
pub struct Blocks<F> {
    file: F,
    len: u64,
    start: u64,
    data: Vec<u8>,
    /// First bytes of blocks that could not be read, and why; not yet taken.
    pub unreadable: Vec<(u64, DiskError)>,
}

impl<F: DiskFile> Blocks<F> {
    /// Over `file` of `len` bytes.
    pub fn new(file: F, len: u64) -> Self {
        Self {
            file,
            len,
            start: 0,
            data: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// `len` bytes at `position`, fewer at the end of the file.
    pub async fn get(&mut self, position: u64, len: usize) -> &[u8] {
        let len = usize::try_from(self.len.saturating_sub(position)).map_or(len, |left| left.min(len));
        let is_inside =
            position >= self.start && position + len as u64 <= self.start + self.data.len() as u64;
        if !is_inside {
            self.load(position, len).await;
        }
        let at = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        let data = self.data.get(at..).unwrap_or_default();
        &data[..data.len().min(len)]
    }

    async fn load(&mut self, position: u64, len: usize) {
        let left = usize::try_from(self.len - position).unwrap_or(usize::MAX);
        let wanted = len.max(WINDOW_BYTES).min(left);
        self.start = position;
        self.data.clear();
        match self.file.read_at(position, wanted).await {
            Ok(read) => self.data.extend_from_slice(read.as_ref()),
            Err(_) => self.load_by_block(position, wanted).await,
        }
    }

    async fn load_by_block(&mut self, position: u64, wanted: usize) {
        while self.data.len() < wanted {
            let at = position + self.data.len() as u64;
            let to_block_end = BLOCK_BYTES - (at % BLOCK_BYTES as u64) as usize;
            let bytes = to_block_end.min(wanted - self.data.len());
            match self.file.read_at(at, bytes).await {
                Ok(read) if read.as_ref().is_empty() => return,
                Ok(read) => self.data.extend_from_slice(read.as_ref()),
                Err(error) => {
                    let block = at - at % BLOCK_BYTES as u64;
                    if self.unreadable.last().is_none_or(|(known, _)| *known < block) {
                        self.unreadable.push((block, error));
                    }
                    self.data.resize(self.data.len() + bytes, 0);
                }
            }
        }
    }
}
