//! Doors for fuzzers to what reads the disk: bytes as a broken disk could give them, behind the checksums.
//!
//! Compiled with `--cfg fuzzing` only, which cargo-fuzz sets. Not here: the targets (`fuzz/fuzz_targets/`).

use super::checkpoint::{CheckpointHeader, CheckpointName, SliceHeader};
use super::checkpoint_state::{account, put_account, rows, segment, served, spool};
use super::codec::Reader;
use super::frame::{GroupHeader, RecordHeader};
use super::record::Record;
use super::snapshot::{SnapshotName, head};
use super::summaries::{
    INDEX_ENTRY_BYTES, SummariesName, decode, decode_header, decode_index, encode, encode_head, seal_head,
};
use crate::base::crc32c_append;
use crate::disk::BLOCK_BYTES;
use crate::model::AccountId;

/// A record: its kind, a choice of partition, its payload. What is read must be written and read the same again.
pub fn record(bytes: &[u8]) {
    let Some((&[kind, choice], payload)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    // Nearly every payload begins with its account, and must lie in that account's partition.
    let owner = payload
        .first_chunk::<8>()
        .map_or(0, |id| AccountId(u64::from_le_bytes(*id)).partition().0);
    let partition = if choice & 1 == 0 {
        owner
    } else {
        1_024 + u16::from(choice) / 4
    };
    let Ok(record) = Record::decode(kind, partition, payload) else {
        return;
    };
    let mut again = Vec::new();
    record.encode(&mut again);
    assert_eq!(
        Record::decode(record.kind(), partition, &again).as_ref(),
        Ok(&record)
    );
}

/// What stands before records.
pub fn frame(bytes: &[u8]) {
    let _ = GroupHeader::decode(1, bytes);
    let _ = RecordHeader::decode(1, bytes);
}

/// Summaries, what stands before them in a file, and its index. What is read must be written and read the same again.
pub fn summaries(bytes: &[u8]) {
    let name = SummariesName {
        account: AccountId(1),
        incarnation: 1,
        number: 1,
    };
    if let Ok(header) = decode_header(1, &name, bytes) {
        let _ = decode_index(1, &name, &header, bytes.get(4096..).unwrap_or_default());
    }
    let Some((blocks, rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    // Behind right checksums.
    index(&name, u32::from_le_bytes(*blocks), rest);
    let mut bytes = crc32c_append(7, rest).to_le_bytes().to_vec();
    bytes.extend_from_slice(rest);
    if let Ok((message, summary)) = decode(7, &bytes) {
        let mut again = Vec::new();
        encode(7, &message, &summary, &mut again);
        assert_eq!(decode(7, &again), Ok((message, summary.clone())));
    }
}

fn index(name: &SummariesName, blocks: u32, bytes: &[u8]) {
    let whole = bytes.len() / INDEX_ENTRY_BYTES * INDEX_ENTRY_BYTES;
    let mut head = vec![0; BLOCK_BYTES];
    head.extend_from_slice(&bytes[..whole]);
    seal_head(1, name, blocks, &mut head);
    let header = decode_header(1, name, &head).expect("what was sealed is read");
    if let Ok(index) = decode_index(1, name, &header, &head[BLOCK_BYTES..]) {
        assert_eq!(encode_head(1, name, blocks, &index), head);
    }
}

/// What checkpoints and snapshots are made of; the first octet chooses.
pub fn checkpoint(bytes: &[u8]) {
    let Some((&[choice], bytes)) = bytes.split_first_chunk::<1>() else {
        return;
    };
    let input = &mut Reader::new(bytes);
    match choice % 8 {
        0 => drop(CheckpointHeader::decode(bytes)),
        1 => drop(SliceHeader::decode(bytes)),
        2 => drop(segment(input)),
        3 => drop(spool(input)),
        4 => drop(served(input)),
        5 => drop(head(input)),
        6 => drop(rows(input)),
        _ => {
            if let Ok(state) = account(input) {
                let mut again = Vec::new();
                put_account(&mut again, &state);
                let state = account(&mut Reader::new(&again)).expect("what was written is read");
                let mut third = Vec::new();
                put_account(&mut third, &state);
                assert_eq!(again.len(), third.len());
            }
        }
    }
    if let Ok(name) = std::str::from_utf8(bytes) {
        let _ = (CheckpointName::of_file(name), SnapshotName::of_file(name));
    }
}
