//! Summaries and the heads of their files: no panic, and what is read is written and read the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::store::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::summaries(bytes));
