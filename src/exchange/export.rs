//! One account out of a store: every message that is whole goes to a [`Sink`], what else is known to the sidecar.

use super::sidecar::{self, Sidecar};
use super::{FiledMessage, MailboxHead, Sink};
use crate::disk::Disk;
use crate::disk::filling::Filling;
use crate::mailbox::uidl::ImportedUidls;
use crate::model::AccountId;
use crate::store::tools::{Progress, Survey};
use crate::store::{AccountImage, MailboxImage, MailboxState, MessageRow};
use std::io;
use std::path::Path;

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    pub mailboxes: u64,
    pub messages: u64,
    pub bytes: u64,
    /// Messages that are damaged, by mailbox and UID, and why; they are not exported.
    pub lost: Vec<String>,
}

/// Writes account `id` of `survey` to `sink`, and the sidecar into `root`. `file_of` names a mailbox's file there.
///
/// # Errors
/// When there is no such account, or what `sink` and the file system say. Damaged messages are no error.
pub async fn export<D: Disk>(
    survey: &Survey<D>,
    id: AccountId,
    sink: &mut dyn Sink,
    root: &Path,
    file_of: fn(&str) -> String,
    progress: Progress<'_>,
) -> io::Result<ExportReport> {
    let account = survey.account(id).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("account {id} is not in this store"),
        )
    })?;
    let filling = Filling::begin(root, "ringpost store export")?;
    let image = AccountImage::of(account);
    let mut report = ExportReport::default();
    let mut sidecar = Sidecar::new(&image);
    for mailbox in &image.mailboxes {
        let state = &account.mailboxes[&mailbox.id];
        let file = file_of(mailbox.name.as_str());
        sink.begin_mailbox(&head(mailbox, state))?;
        let uidls = ImportedUidls::of(&state.metadata);
        let mut beside = Vec::with_capacity(state.rows.len());
        for row in &state.rows {
            match survey.whole(id, row).await {
                Ok((octets, asked)) => {
                    report.messages += 1;
                    report.bytes += octets.len() as u64;
                    sink.message(&filed(state, row, &uidls, octets))?;
                    beside.push(beside_of(row, &asked));
                }
                Err(why) => report.lost.push(format!(
                    "mailbox {}, UID {}: {why}",
                    mailbox.name,
                    row.uid.value()
                )),
            }
            progress(report.bytes, account.bytes_used);
        }
        sink.end_mailbox()?;
        sidecar.push(mailbox, file, beside);
        report.mailboxes += 1;
    }
    sidecar.write(root)?;
    filling.finish()?;
    Ok(report)
}

fn head(image: &MailboxImage, state: &MailboxState) -> MailboxHead {
    MailboxHead {
        name: image.name.to_string(),
        uid_validity: Some(image.uid_validity),
        uid_next: image.uid_next,
        keywords: state
            .keywords
            .iter()
            .map(|keyword| keyword.as_str().to_owned())
            .collect(),
    }
}

fn filed(mailbox: &MailboxState, row: &MessageRow, uidls: &ImportedUidls, octets: Vec<u8>) -> FiledMessage {
    let keywords = mailbox.keywords_of(row.keywords);
    FiledMessage {
        uid: Some(row.uid.value()),
        uidl: uidls.find(row.uid),
        flags: row.flags,
        keywords: keywords.map(|keyword| keyword.as_str().to_owned()).collect(),
        internal_date: row.internal_date(),
        octets,
    }
}

fn beside_of(row: &MessageRow, asked: &[u8]) -> sidecar::Message {
    sidecar::Message {
        uid: row.uid.value(),
        mod_seq: row.mod_seq.0,
        internal_date_ms: row.internal_date_at.0,
        zone_minutes: row.internal_date_zone_minutes,
        save_date_ms: row.save_date.0,
        asked: asked.to_vec(),
    }
}
