//! May this begin, may this recipient be named? What is answered before a message comes.
//!
//! Limits: the submitter's (`node::submitters`), the room of the store, the account's quota, the memory of the peer's network.

use super::Session;
use crate::directory::{Targets, Verdict};
use crate::model::{AddrSpec, ForwardPath, Quota};
use crate::proto::smtp::limits::COMMAND_LINE_BYTES_MAX;
use crate::proto::smtp::reply::{BeginRefusal, RecipientRefusal};
use crate::proto::smtp::{BeginVerdict, RecipientVerdict};
use crate::session::pipe::Pipe;
use crate::session::submission::{self, Ownership};
use crate::session::transaction::begin_refusal;
use crate::store::{BODY_IN_MEMORY_BYTES_MAX, StoreError};

/// Put on top of the size a peer declares: trace fields count against the quota too, and are not written yet at RCPT. Those of
/// most messages have 300 to 600 octets; with the longest names they may have some more than this, which the end of data finds.
const TRACE_BYTES_ALLOWANCE: u64 = 1_024;

/// Of trace fields and wishes, whatever names are in them: field names, dates, addresses of hosts, ids, parameters.
const COPY_OCTETS: usize = 640;

/// 64 and 255 octets (RFC 5321 §4.5.3.1) and the at sign.
const ADDRESS_OCTETS_MAX: usize = 320;

impl<P: Pipe> Session<P> {
    /// Whether the submitter, where there is one, may send from this reverse-path, and now.
    async fn may_submit(&self) -> BeginVerdict {
        let Some(submitter) = &self.submitter else {
            return Ok(());
        };
        let limits = self.node.settings.submission();
        if !self.node.submitters.may_begin(submitter.id, limits, self.began) {
            return Err(BeginRefusal::TooMany);
        }
        let envelope = self.dialogue.core.envelope();
        // The null reverse-path is nobody's: notifications to be read by programs have it (RFC 8098 §3).
        let Some(address) = envelope.and_then(|envelope| envelope.reverse_path.0.as_ref()) else {
            return Ok(());
        };
        match submission::ownership(&self.node, submitter, address).await {
            Ownership::Own => Ok(()),
            Ownership::Foreign => Err(BeginRefusal::NotOwned),
            Ownership::Unknown => Err(BeginRefusal::Failed),
        }
    }

    pub(super) async fn may_begin(&self, bytes: u64) -> BeginVerdict {
        if self.submitter.is_some() {
            // On the heap: it is rare, and every session would hold room for it.
            Box::pin(self.may_submit()).await?;
        }
        let wanted = usize::try_from(bytes).map_or(BODY_IN_MEMORY_BYTES_MAX, |bytes| {
            bytes.min(BODY_IN_MEMORY_BYTES_MAX)
        });
        if self.share.as_ref().is_some_and(|share| !share.has_memory(wanted)) {
            return Err(BeginRefusal::NoSpace);
        }
        self.node.store().check_room(bytes).map_err(begin_refusal)
    }

    pub(super) async fn receive(&mut self) -> RecipientVerdict {
        let path = self
            .dialogue
            .core
            .candidate()
            .ok_or(RecipientRefusal::Temporary)?;
        let verdict = self.node.directory.resolve(self.meant(path)).await;
        if let (Some(submitter), Verdict::Local(_)) = (&self.submitter, &verdict) {
            let limits = self.node.settings.submission();
            if !self
                .node
                .submitters
                .note_recipient(submitter.id, limits, self.began)
            {
                return Err(RecipientRefusal::TooMany);
            }
        }
        match verdict {
            Verdict::Local(targets) => {
                self.check_quota(&targets).await?;
                let octets = self.copy_octets_max();
                let store = self.node.store();
                self.transaction.add(targets, octets, |accounts, octets| {
                    store.is_one_spool_record(accounts, octets)
                })
            }
            Verdict::UnknownUser => Err(RecipientRefusal::UnknownUser),
            Verdict::Disabled => Err(RecipientRefusal::Disabled),
            Verdict::NotLocal => Err(match (&self.submitter, self.node.settings.relays_later) {
                (None, _) => RecipientRefusal::RelayDenied,
                (Some(_), false) => RecipientRefusal::NotSentOn,
                (Some(_), true) => RecipientRefusal::NotSentOnYet,
            }),
            Verdict::Temporary => Err(RecipientRefusal::Temporary),
        }
    }

    /// Whether any of the accounts has room for what is to come. That one of many is full refuses none (`delivery::room`).
    async fn check_quota(&self, targets: &Targets) -> Result<(), RecipientRefusal> {
        if targets.iter().any(|account| account.quota() == Quota::NONE) {
            return Ok(());
        }
        let envelope = self.dialogue.core.envelope();
        let declared = envelope.and_then(|envelope| envelope.declared_size);
        // Of a size that is not told, the least there can be.
        let bytes = declared.map_or(1, |size| size.saturating_add(TRACE_BYTES_ALLOWANCE));
        let mut refusal = RecipientRefusal::BeyondQuota;
        for account in targets {
            match Box::pin(self.node.router.check_room(account, bytes)).await {
                Ok(()) => return Ok(()),
                Err(StoreError::BeyondQuota) => {}
                Err(StoreError::OverQuota) => refusal = RecipientRefusal::OverQuota,
                Err(_) => return Err(RecipientRefusal::Temporary),
            }
        }
        Err(refusal)
    }

    /// Of the trace fields of a copy by the forward-path that is asked about, and of what its sender asked for: at most so much.
    fn copy_octets_max(&self) -> usize {
        let core = &self.dialogue.core;
        let (path, dsn) = (core.candidate(), core.candidate_dsn());
        let envelope = core.envelope();
        let sender = envelope.and_then(|envelope| envelope.reverse_path.0.as_ref());
        let id = envelope.and_then(|envelope| envelope.envelope_id.as_ref());
        let path = path.map_or(0, |path| match path {
            ForwardPath::Address(address) => address_octets_max(address),
            // An account's own address.
            ForwardPath::Postmaster => ADDRESS_OCTETS_MAX,
        });
        let original = dsn.and_then(|dsn| dsn.original.as_ref());
        COPY_OCTETS
            + core.hello_name().map_or(0, str::len)
            + self.node.settings.hostname.len()
            + sender.map_or(0, address_octets_max)
            // Delivered-To, and in Received.
            + 2 * path
            + id.map_or(0, |id| escaped_octets_max(id.as_str()))
            + original.map_or(0, |original| escaped_octets_max(original.address()))
    }
}

/// All octets of a local part may have to be quoted.
fn address_octets_max(address: &AddrSpec) -> usize {
    2 * address.local_part.as_str().len() + address.domain.as_str().len() + 3
}

/// As xtext or unitext: up to six octets for one that is escaped; no more than the command had.
fn escaped_octets_max(text: &str) -> usize {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_' | b'@');
    let octets = text.bytes().map(|octet| if is_plain(octet) { 1 } else { 6 });
    octets.sum::<usize>().min(COMMAND_LINE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::smtp::xtext;

    #[test]
    fn what_is_escaped_is_never_longer_than_reckoned() {
        for text in [
            "user@example.net",
            "a+b=c",
            "\u{e4}\u{f6}@b\u{fc}cher.example",
            "a\\b",
        ] {
            let most = escaped_octets_max(text);
            assert!(xtext::encode(text.as_bytes(), false).len() <= most, "{text}");
            let escaped = text.replace('\\', "\\x{5C}");
            assert!(xtext::encode(escaped.as_bytes(), true).len() <= most, "{text}");
        }
        assert_eq!(escaped_octets_max("user@example.net"), 16);
    }
}
