//! One account into a store, from a [`Source`] and, where there is one, the sidecar.
//!
//! Invariants: the account is new, or an import of it was begun and not finished; a mailbox's UIDVALIDITY and its messages' UIDs are what the files say, and messages
//! without a UID come behind all that have one; nothing gets a UID twice: one that does not rise counts as none, as for
//! other readers of mbox.
//! Failure: an import that fails or is killed leaves a part of the account in the store; the same import again goes on from
//! there (`store::Restorer`). Ids and UIDs follow from the files and from when it was begun, which the store keeps; messages that
//! are in are held against the files by size and date, so that other files, or mail that came in between, are told.

use super::keyword_room::KeywordRoom;
use super::sidecar::{self, Sidecar};
use super::{FiledMessage, MailboxHead, PassedOver, Source, invalid};
use crate::base::clock::UnixMillis;
use crate::disk::filling::refuse_unfinished;
use crate::mailbox::uidl::ImportedUidls;
use crate::model::{AccountId, Keyword, MailboxId, MailboxName, ModSeq, Uid, UidValidity};
use crate::store::{
    AccountImage, AccountState, Body, Environment, MailboxImage, MessageImage, MessageRow, RestoreError,
    Restored, Restorer, UID_MAX,
};
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    pub mailboxes: u64,
    pub messages: u64,
    pub bytes: u64,
    /// That could not be kept.
    pub uidls_lost: u64,
    /// That were said and could not be kept: programs see these messages as new.
    pub uids_lost: u64,
    /// Of the messages: those that an earlier attempt brought in.
    pub already: u64,
    /// Messages whose UIDs an earlier attempt has used, and that are not there: expunged since, or passed over then.
    pub gone: u64,
    /// Files that are no messages, or cannot be read.
    pub passed_over: PassedOver,
    /// Messages that came without some of their keywords: a mailbox has room for so many
    /// ([`crate::store::KEYWORDS_MAX`]), and some texts are none.
    pub keywords_lost: PassedOver,
}

/// UIDLs of messages of which the files say none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UidlForm {
    /// `UIDVALIDITY.UID`
    #[default]
    Own,
    /// Dovecot's default, `%08Xu%08Xv`.
    Dovecot,
}

/// Why an account did not come in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The files.
    #[error(transparent)]
    Files(#[from] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] RestoreError),
}

/// A mailbox to come, with its place among the files and what the sidecar knows of its messages.
struct Planned {
    id: MailboxId,
    place: PathBuf,
    known: BTreeMap<u32, sidecar::Message>,
    /// To the sidecar.
    is_known: bool,
}

/// Puts the account that `source` reads in `root` into a store as `id`. `now` dates what has no date. `progress` is told
/// how many messages there are so far.
///
/// # Errors
/// See [`ImportError`].
pub async fn import<E: Environment>(
    restorer: &mut Restorer<E>,
    id: AccountId,
    source: &dyn Source,
    root: &Path,
    now: UnixMillis,
    form: UidlForm,
    progress: &mut dyn FnMut(u64),
) -> Result<ImportReport, ImportError> {
    let begun = restorer.begun(id).await?;
    let now = begun.map_or(now, |begun| begun.at);
    let (mut image, planned) = plan(id, source, root, now)?;
    restorer.begin_repeatable(&image, begun, now).await?;
    let mut report = ImportReport {
        mailboxes: image.mailboxes.len() as u64,
        ..ImportReport::default()
    };
    for mailbox in planned {
        let mut waiting = Vec::new();
        source.messages(&mailbox.place, &mut report.passed_over, &mut |message| {
            waiting.push(message);
            Ok(())
        })?;
        report.uids_lost += put_in_order(&mut waiting);
        let mut uidls = ImportedUidls::default();
        let mut room = KeywordRoom::default();
        for mut message in waiting {
            report.messages += 1;
            report.bytes += message.octets.len() as u64;
            let uidl = message.uidl.clone();
            let named = std::mem::take(&mut message.keywords);
            let (keywords, lost) = room.admit(&named);
            let (message, body) = restored(&mut image, &mailbox, message, keywords, now)?;
            if !lost.is_empty() {
                let without = format!(
                    "the message with UID {} came without {}",
                    message.uid,
                    lost.join(" ")
                );
                report.keywords_lost.push(&mailbox.place, without);
            }
            if let Some(uidl) = uidl {
                uidls.push(message.uid, &uidl);
            }
            match restorer.restored(id, mailbox.id, message.uid) {
                Restored::No => restorer.message(id, message, Some(body)).await?,
                Restored::Gone => report.gone += 1,
                Restored::There(row) => {
                    check_same(&row, &message, body.len(), &mailbox)?;
                    report.already += 1;
                }
            }
            progress(report.messages);
        }
        report.uidls_lost += keep_uidls(restorer, &image, &mailbox, uidls, form).await?;
    }
    restorer.end_account(&image).await?;
    Ok(report)
}

/// A message that is in from before must be the one that would come in now.
fn check_same(row: &MessageRow, message: &MessageImage, octets: u64, mailbox: &Planned) -> io::Result<()> {
    if u64::from(row.size) == octets && row.internal_date() == message.internal_date {
        return Ok(());
    }
    Err(invalid(format!(
        "{}: the message with UID {} that is in from an earlier attempt is another than the one there now: \
         the files have changed since, or mail came in between",
        mailbox.place.display(),
        message.uid
    )))
}

/// Those with a UID ascending, then those without. Gives how many lost theirs.
fn put_in_order(messages: &mut [FiledMessage]) -> u64 {
    let (mut last, mut lost) = (0, 0);
    for message in &mut *messages {
        match message.uid {
            Some(uid) if uid > last && uid <= UID_MAX => last = uid,
            Some(_) => {
                message.uid = None;
                lost += 1;
            }
            None => {}
        }
    }
    messages.sort_by_key(|message| message.uid.is_none());
    lost
}

/// Those of a mailbox that the sidecar says nothing of: it has them with everything else that is said of a mailbox.
async fn keep_uidls<E: Environment>(
    restorer: &mut Restorer<E>,
    image: &AccountImage,
    planned: &Planned,
    mut uidls: ImportedUidls,
    form: UidlForm,
) -> Result<u64, ImportError> {
    let found = image.mailboxes.iter().find(|mailbox| mailbox.id == planned.id);
    let Some(mailbox) = found.filter(|_| !planned.is_known) else {
        return Ok(0);
    };
    if form == UidlForm::Dovecot {
        uidls.follow_dovecot(mailbox.uid_validity, mailbox.uid_next.saturating_sub(1));
    }
    uidls.drop_own(mailbox.uid_validity);
    let lost = uidls.drop_unusable(mailbox.uid_validity);
    for (name, value) in uidls.entries() {
        restorer.metadata(image.id, planned.id, name, value).await?;
    }
    Ok(lost)
}

/// The account without its messages, and where these are.
fn plan(
    id: AccountId,
    source: &dyn Source,
    root: &Path,
    now: UnixMillis,
) -> io::Result<(AccountImage, Vec<Planned>)> {
    refuse_unfinished(root)?;
    let sidecar = Sidecar::read(root)?;
    let mut image = match &sidecar {
        Some(sidecar) => sidecar.image(id)?,
        None => {
            let seconds = u32::try_from(now.seconds()).unwrap_or(1).max(1);
            AccountImage::of(&AccountState::new(id, seconds))
        }
    };
    let mut planned = Vec::new();
    for (head, place) in source.mailboxes()? {
        let file = if place == root {
            "".as_ref()
        } else {
            place.file_name().unwrap_or_default()
        };
        let known = sidecar
            .as_ref()
            .and_then(|sidecar| sidecar.mailbox(&file.to_string_lossy()));
        let is_known = known.is_some();
        let (mailbox, known) = match known {
            Some(known) => known,
            None => (place_mailbox(&mut image, &head)?, BTreeMap::new()),
        };
        planned.push(Planned {
            id: mailbox,
            place,
            known,
            is_known,
        });
    }
    planned.sort_unstable_by_key(|planned| planned.id);
    Ok((image, planned))
}

/// The mailbox of this name, made if there is none, with the numbers that the files say.
fn place_mailbox(image: &mut AccountImage, head: &MailboxHead) -> io::Result<MailboxId> {
    let name = MailboxName::new(&head.name).map_err(|e| invalid(format!("mailbox {:?}: {e}", head.name)))?;
    let next_validity = image.next_uid_validity;
    if let Some(found) = image.mailboxes.iter_mut().find(|mailbox| mailbox.name == name) {
        found.uid_validity = head.uid_validity.unwrap_or(found.uid_validity);
        found.uid_next = found.uid_next.max(head.uid_next);
        let id = found.id;
        image.next_uid_validity = next_validity.max(found.uid_validity.0.saturating_add(1));
        return Ok(id);
    }
    let id = MailboxId(image.next_mailbox);
    image.next_mailbox += 1;
    let uid_validity = head.uid_validity.unwrap_or(UidValidity(next_validity));
    image.next_uid_validity = next_validity.max(uid_validity.0.saturating_add(1));
    image.subscriptions.insert(name.clone());
    image.mailboxes.push(MailboxImage {
        id,
        name,
        uid_validity,
        uid_next: head.uid_next.max(1),
        special_use: None,
        highest_mod_seq: ModSeq(1),
        metadata: crate::store::Metadata::new(),
    });
    Ok(id)
}

fn restored(
    image: &mut AccountImage,
    planned: &Planned,
    message: FiledMessage,
    keywords: SmallVec<[Keyword; 2]>,
    now: UnixMillis,
) -> io::Result<(MessageImage, Body)> {
    let next_mod_seq = ModSeq(image.highest_mod_seq.0.max(1));
    let mailbox = image
        .mailboxes
        .iter_mut()
        .find(|mailbox| mailbox.id == planned.id)
        .ok_or_else(|| invalid("a mailbox that was not planned"))?;
    let known = message.uid.and_then(|uid| planned.known.get(&uid));
    let uid = message.uid.unwrap_or(mailbox.uid_next);
    mailbox.uid_next = mailbox.uid_next.max(uid.saturating_add(1));
    let mod_seq = known.map_or(next_mod_seq, |known| ModSeq(known.mod_seq));
    mailbox.highest_mod_seq = mailbox.highest_mod_seq.max(mod_seq);
    image.highest_mod_seq = image.highest_mod_seq.max(mod_seq);
    // The file's date, if another program changed it; it may know seconds only.
    let internal_date = match known.map(sidecar::Message::internal_date) {
        Some(date) if date.at.seconds() == message.internal_date.at.seconds() => date,
        _ => message.internal_date,
    };
    let octets = missing_line_end_octets(&message.octets);
    let body = Body::from_memory(smallvec![Bytes::from(message.octets)]);
    let image = MessageImage {
        mailbox: planned.id,
        uid: Uid::new(uid).ok_or_else(|| invalid(format!("UID {uid}")))?,
        mod_seq,
        flags: message.flags,
        keywords,
        internal_date,
        save_date: known.map_or(now, |known| UnixMillis(known.save_date_ms)),
        prefix: Bytes::new(),
        asked: known.map_or_else(Bytes::new, |known| Bytes::copy_from_slice(&known.asked)),
        shared_body: None,
    };
    Ok((image, body.with_line_end_octets(octets)))
}

/// By how much octets grow when every line ends in CRLF.
fn missing_line_end_octets(octets: &[u8]) -> u32 {
    let mut missing = 0;
    let mut before = 0;
    for byte in octets {
        missing += u32::from(*byte == b'\n' && before != b'\r');
        before = *byte;
    }
    match before {
        b'\n' => missing,
        b'\r' => missing + 1,
        _ if octets.is_empty() => missing,
        _ => missing + 2,
    }
}
