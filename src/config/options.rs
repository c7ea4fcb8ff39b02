//! The declaration of every option. To add one: a line in `options_server`, `options_acme` or
//! `options_directory`, and a field of `Config` that reads it; a test sees to it that
//! nothing declared is unread and nothing read is undeclared.

use super::option::Opt;
use super::options_acme::ACME;
use super::options_directory::DIRECTORY;
use super::options_server::SERVER;
pub use super::options_server::{LOG_FILTER, METRICS_FROM};

/// All of them, in the order of the sample file; those of one table together.
pub const OPTIONS: &[Opt] = &joined::<{ OURS.len() + DIRECTORY.len() }>(OURS, DIRECTORY);

const OURS: &[Opt] = &joined::<{ SERVER.len() + ACME.len() }>(SERVER, ACME);

const fn joined<const N: usize>(first: &[Opt], then: &[Opt]) -> [Opt; N] {
    let mut all = [first[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() {
            first[at]
        } else {
            then[at - first.len()]
        };
        at += 1;
    }
    all
}

/// The option at a key of a file.
#[must_use]
pub fn find(key: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.matches(key))
}

/// Whether `key` is a table that has options in it.
#[must_use]
pub fn is_table(key: &str) -> bool {
    let depth = key.split('.').count();
    OPTIONS.iter().any(|option| {
        let parts: Vec<&str> = option.key.split('.').collect();
        parts.len() > depth
            && parts
                .iter()
                .zip(key.split('.'))
                .all(|(wanted, part)| *wanted == "*" || *wanted == part)
    })
}
