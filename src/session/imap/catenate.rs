//! CATENATE (RFC 4469): parts of stored messages become parts of a new one.
//!
//! Invariants: octets are copied unchanged, and nothing is marked as read by it; a URL that names nothing here is refused
//! with itself, and with it the whole message; the message stays within the limit for messages and within the quota, part by part.
//! Limits: [`PIECE_BYTES`] of a part are in memory at a time, beside what taking a message apart needs.
//! Not here: URLs as text (`proto::imap::url`), the parts' literals (`append`).

use super::Services;
use super::fetch_content::{Value, section_value};
use super::state::Session;
use crate::mailbox::reader::MessageReader;
use crate::model::MailboxName;
use crate::proto::imap::url::MessageUrl;
use crate::proto::imap::{Answer, Code, Refusal};
use crate::store::{CommitReceipt, MessageRow};
use bytes::Bytes;
use std::ops::Range;

/// Octets read of a stored message at once.
const PIECE_BYTES: u64 = 64 * 1024;

impl<S: Services> Session<S> {
    /// Adds what the URLs name; then `bytes` octets more may come, with NUL in them only if `is_binary`.
    pub async fn append_part(
        &mut self,
        urls: &[Vec<u8>],
        bytes: u64,
        is_binary: bool,
    ) -> Answer<CommitReceipt> {
        for url in urls {
            if let Err(refusal) = self.append_url(url).await {
                self.upload = None;
                return Answer::AppendRefused(refusal);
            }
        }
        match self.make_room_for_part(bytes) {
            Ok(()) => {
                if let Some(upload) = &mut self.upload {
                    upload.expect_literal(is_binary);
                }
                Answer::AppendReady
            }
            Err(refusal) => {
                self.upload = None;
                Answer::AppendRefused(refusal)
            }
        }
    }

    fn make_room_for_part(&mut self, bytes: u64) -> Result<(), Refusal> {
        let most = self.services.config().message_bytes_max;
        let Some(upload) = &mut self.upload else {
            return Err(Refusal::new(Code::ServerBug, "There is no message"));
        };
        if upload.add_octets(bytes) > most {
            return Err(Refusal::new(Code::TooBig, "The message is too big"));
        }
        // Before it is read and written: what has no room must not cost the disk anything either.
        let (mailbox, added, freed) = (upload.mailbox().clone(), upload.added(), upload.freed());
        self.check_append(&mailbox, added, freed)
    }

    async fn append_url(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let bad = |why: &'static str| Refusal::new(Code::BadUrl(text.to_vec()), why);
        let url = MessageUrl::parse(text, self.selected_name().as_ref())
            .ok_or_else(|| bad("No URL of a message here"))?;
        let row = self
            .row_of_url(&url)
            .ok_or_else(|| bad("There is no such message"))?;
        let opened = MessageReader::open(self.services.store(), self.owner.account.id, &row).await;
        let mut reader = opened.map_err(|_| bad("The message cannot be read"))?;
        let value = section_value(&mut reader, &url.section).await;
        match value.map_err(|_| bad("The message cannot be read"))? {
            Value::Nil => Err(bad("The message has no such part")),
            Value::Owned(octets) => {
                let range = within(&url, 0..octets.len() as u64);
                self.make_room_for_part(range.end - range.start)?;
                let piece = Bytes::from(octets).slice(range.start as usize..range.end as usize);
                self.add_piece(piece).await;
                Ok(())
            }
            Value::Range(range) => {
                let range = within(&url, range);
                self.make_room_for_part(range.end - range.start)?;
                let mut at = range.start;
                while at < range.end {
                    let piece = at..range.end.min(at + PIECE_BYTES);
                    at = piece.end;
                    let octets = reader.read(piece).await;
                    for piece in octets.map_err(|_| bad("The message cannot be read"))? {
                        self.add_piece(piece).await;
                    }
                    self.services.breathe().await;
                }
                Ok(())
            }
        }
    }

    fn selected_name(&self) -> Option<MailboxName> {
        let id = self.selected.as_ref()?.view.mailbox();
        let name = self.services.store().account(self.owner.account.id, |account| {
            account.mailboxes.get(&id).map(|state| state.name.clone())
        });
        name.flatten()
    }

    fn row_of_url(&self, url: &MessageUrl) -> Option<MessageRow> {
        let selected = self.selected.as_ref().map(|selected| selected.view.mailbox());
        let found = self.services.store().account(self.owner.account.id, |account| {
            let id = match &url.mailbox {
                Some(name) => *account.names.find(name)?.1,
                None => selected?,
            };
            let state = account.mailboxes.get(&id)?;
            let is_same = url
                .uid_validity
                .is_none_or(|validity| validity == state.uid_validity.0);
            state.row(url.uid).copied().filter(|_| is_same)
        });
        found.flatten()
    }
}

fn within(url: &MessageUrl, range: Range<u64>) -> Range<u64> {
    url.partial.map_or(range.clone(), |partial| partial.of(range))
}
