//! Checkpoints and snapshots behind their checksums: no panic, and accounts that are read are written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::store::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::checkpoint(bytes));
