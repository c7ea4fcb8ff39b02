//! What MAIL and RCPT carry (RFC 5321 §2.3.1): the reverse-path and the forward-paths, not header fields.

use super::{AddrSpec, DsnReturn, EnvelopeId, RecipientDsn};
use smallvec::SmallVec;

/// Where a failure would be reported to; `None` is the null reverse-path `<>`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReversePath(pub Option<AddrSpec>);

/// Where a message is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<local-part@domain>`; a source route before it has been dropped (RFC 5321 §4.1.2).
    Address(AddrSpec),
    /// `<postmaster>` without a domain, in any case (RFC 5321 §4.5.1).
    Postmaster,
}

/// What the MAIL command said of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyType {
    /// `7BIT`, also when nothing was said.
    #[default]
    SevenBit,
    /// `8BITMIME` (RFC 6152).
    EightBitMime,
    /// `BINARYMIME` (RFC 3030 §3): octets of any kind, line ends only where they are meant.
    BinaryMime,
}

/// One mail transaction's paths and parameters.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Envelope {
    /// From MAIL.
    pub reverse_path: ReversePath,
    /// From every RCPT that was accepted, in order.
    pub forward_paths: SmallVec<[ForwardPath; 1]>,
    /// `BODY=`.
    pub body_type: BodyType,
    /// `SMTPUTF8` was given (RFC 6531).
    pub is_utf8: bool,
    /// `SIZE=` as declared, octets (RFC 1870).
    pub declared_size: Option<u64>,
    /// `REQUIRETLS` was given (RFC 8689): never to be sent on without verified TLS.
    pub requires_tls: bool,
    /// `RET=` (RFC 3461).
    pub dsn_return: Option<DsnReturn>,
    /// `ENVID=` (RFC 3461).
    pub envelope_id: Option<EnvelopeId>,
    /// Empty as long as no RCPT asked for anything; else one for each forward-path, in order: see
    /// [`Self::push_recipient`].
    pub recipient_dsns: Vec<RecipientDsn>,
}

impl Envelope {
    /// Adds an accepted recipient and what its RCPT asked for.
    pub fn push_recipient(&mut self, path: ForwardPath, dsn: RecipientDsn) {
        if !self.recipient_dsns.is_empty() || dsn != RecipientDsn::default() {
            self.recipient_dsns
                .resize(self.forward_paths.len(), RecipientDsn::default());
            self.recipient_dsns.push(dsn);
        }
        self.forward_paths.push(path);
    }

    /// What the RCPT of the forward-path at `index` asked for; `None` when it asked for nothing.
    #[must_use]
    pub fn recipient_dsn(&self, index: usize) -> Option<&RecipientDsn> {
        self.recipient_dsns
            .get(index)
            .filter(|dsn| **dsn != RecipientDsn::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Notify;

    #[test]
    fn each_recipient_keeps_what_its_own_command_asked_for() {
        let asked = RecipientDsn {
            notify: Some(Notify::Never),
            original: None,
        };
        let mut envelope = Envelope::default();
        for dsn in [RecipientDsn::default(), asked.clone(), RecipientDsn::default()] {
            envelope.push_recipient(ForwardPath::Postmaster, dsn);
        }
        let dsns: Vec<_> = (0..4).map(|index| envelope.recipient_dsn(index)).collect();
        assert_eq!(dsns, [None, Some(&asked), None, None]);
        assert_eq!(envelope.forward_paths.len(), 3);
    }
}
