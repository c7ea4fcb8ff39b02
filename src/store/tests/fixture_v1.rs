//! A frozen store of format 1, which this and every later version opens.

use super::tools::{Snapshots, checked, snapshots};
use super::world::*;
use crate::disk::{Disk, DiskFile};
use crate::sim::{Fault, SimDisk};
use futures::executor::block_on;

/// A store of format version 1 as this program's first version wrote it.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/store-v1");

/// What is to be read from it: mailboxes, UIDNEXTs, UIDs, flags, keywords, CRC-32C and length of the octets.
fn outline(snapshots: &Snapshots) -> String {
    let mut text = String::new();
    for (id, model) in snapshots {
        for (name, mailbox) in &model.0 {
            text += &format!("account {id} {name:?} uidnext {}\n", mailbox.uid_next);
            for (uid, flags, keywords, octets) in &mailbox.messages {
                let crc = crate::base::crc32c(octets);
                text += &format!(
                    "  {uid} flags {flags} {keywords:?} {} octets {crc:08x}\n",
                    octets.len()
                );
            }
        }
    }
    text
}

fn fixture() -> SimDisk {
    let disk = SimDisk::new(1);
    for name in ["STORE"].map(str::to_owned).into_iter().chain(segment_names()) {
        let content = std::fs::read(format!("{FIXTURE}/{name}")).expect("the fixture is there");
        let file = block_on(disk.create(&name, content.len() as u64)).expect("it is new");
        disk.put_content(&name, content);
        block_on(file.sync()).expect("nothing fails");
    }
    block_on(disk.sync_directory()).expect("nothing fails");
    disk
}

fn segment_names() -> Vec<String> {
    let entries = std::fs::read_dir(format!("{FIXTURE}/segments")).expect("the fixture is there");
    let names = entries.map(|entry| entry.expect("it is listed").file_name());
    names
        .map(|name| format!("segments/{}", name.to_str().expect("it is ASCII")))
        .collect()
}

#[test]
fn a_store_of_format_1_opens_and_reads_as_it_was_written() {
    let expected = std::fs::read_to_string(format!("{FIXTURE}/expected.txt")).expect("the fixture is there");
    let disk = fixture();
    let report = checked(&disk);
    assert!(report.is_clean(), "{:?}", report.damages.kept);
    assert_eq!(outline(&snapshots(&disk)), expected);
    // And once more after this version has written to it.
    assert_eq!(outline(&snapshots(&disk)), expected);
}

#[test]
fn a_store_of_format_1_is_raised_through_any_cut() {
    let expected = std::fs::read_to_string(format!("{FIXTURE}/expected.txt")).expect("the fixture is there");
    let mut cuts = 0;
    for at in 0.. {
        let disk = fixture();
        let start = disk.operations();
        disk.inject(Fault::CutAfter(start + at));
        if World::open(&disk, 2, small_options()).is_ok() {
            break;
        }
        cuts += 1;
        for seed in 0..4 {
            let after = disk.crash(seed);
            assert_eq!(outline(&snapshots(&after)), expected, "cut {at}, seed {seed}");
            let report = checked(&after);
            assert!(
                report.is_clean(),
                "cut {at}, seed {seed}: {:?}",
                report.damages.kept
            );
        }
    }
    assert!(cuts > 20, "{cuts}");
}
