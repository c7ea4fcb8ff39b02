//! What MAIL and RCPT carry (RFC 5321 §2.3.1): the reverse-path and the forward-paths, not header fields.

use super::AddrSpec;
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
}
