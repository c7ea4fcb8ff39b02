//! A file of summaries under the admin's eyes: is it as it was written?
//!
//! Limits: one file's index at once.
//! Not here: whether there is anything else to be said of a store (`tools`).

use super::file::{SummariesName, decode_header, decode_index};
use super::{Identity, decode, entry};
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};

/// What there is in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Summaries in its index.
    pub entries: u64,
    /// Of these, not as they were written.
    pub wrong: u64,
}

/// Reads a file of `len` bytes. `Ok(None)`: it is gone, or was never finished, which a crash leaves behind.
///
/// # Errors
/// Why nothing in it counts.
pub async fn verify<D: Disk>(
    disk: &D,
    store_id: u64,
    name: &SummariesName,
    len: u64,
) -> Result<Option<Verified>, String> {
    let file = match disk.open(&name.file()).await {
        Err(DiskError::NotFound { .. }) => return Ok(None),
        opened => opened.map_err(|error| error.to_string())?,
    };
    let block = file
        .read_at(0, BLOCK_BYTES)
        .await
        .map_err(|error| error.to_string())?;
    // Its head is written last.
    if block.as_ref().iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let header = decode_header(store_id, name, block.as_ref()).map_err(|why| why.0.to_owned())?;
    if header.file_bytes() != len {
        return Err("it is not as long as it says".to_owned());
    }
    let index = file.read_at(BLOCK_BYTES as u64, header.index_bytes()).await;
    let index = index.map_err(|error| error.to_string())?;
    let index = decode_index(store_id, name, &header, index.as_ref()).map_err(|why| why.0.to_owned())?;
    let mut verified = Verified::default();
    let seed = entry::seed(store_id, name.account);
    for entry in index {
        let bytes = file.read_at(u64::from(entry.at), usize::from(entry.bytes)).await;
        let is_right = bytes.is_ok_and(|bytes| {
            let is_of = |(message, summary): (Identity, super::Summary<'_>)| {
                message.record == entry.record && summary.parts() == entry.parts
            };
            decode(seed, bytes.as_ref()).is_ok_and(is_of)
        });
        verified.entries += 1;
        verified.wrong += u64::from(!is_right);
    }
    Ok(Some(verified))
}
