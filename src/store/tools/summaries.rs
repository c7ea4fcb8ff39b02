//! Files of summaries under the admin's eyes: how many, how long, and are they as they were written?
//!
//! Whatever is wrong with them costs nothing, so it is a note: the server does not use what is not right, and removes it.
//! Not here: looking into a file (`summaries::verify`).

use crate::disk::Disk;
use crate::store::summaries::SummariesName;
use crate::store::summaries::verify::verify;

/// Files of summaries and their lengths.
pub fn summary_files(files: &[(String, u64)]) -> Vec<(SummariesName, u64)> {
    let named = files.iter();
    named
        .filter_map(|(name, len)| Some((SummariesName::of_file(name)?, *len)))
        .collect()
}

/// What is wrong with them.
pub async fn notes<D: Disk>(disk: &D, store_id: u64, files: &[(SummariesName, u64)]) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, len) in files {
        let file = name.file();
        let what = match verify(disk, store_id, name, *len).await {
            Ok(Some(verified)) if verified.wrong > 0 => {
                format!(
                    "{} of {} summaries in {file} are not as they were written",
                    verified.wrong, verified.entries
                )
            }
            Ok(Some(_)) => continue,
            Ok(None) => format!("{file} was never finished: a crash came while it was written"),
            Err(why) => format!("{file} is of no use: {why}"),
        };
        notes.push(format!(
            "{what}; it may be deleted, it is made anew from the mail"
        ));
    }
    notes
}
