//! The policy by which senders insist on TLS and our names (RFC 8461 §3.2).

use super::{Document, Offer};
use crate::model::Domain;
use std::fmt::Write as _;

/// RFC 8461 §3.3.
pub const PATH: &str = "/.well-known/mta-sts.txt";

/// Longest `max_age` the RFC allows: 31,557,600 seconds, a year.
pub const MAX_AGE_SECONDS_MAX: u32 = 31_557_600;

/// What senders are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MtaSts {
    pub mode: MtaStsMode,
    /// Names that MX records may hold, `*.` allowed at the front; not empty unless the mode is [`MtaStsMode::None`].
    pub mx: Vec<Domain>,
    /// For how long the policy may be kept, seconds, up to 31,557,600 (a year).
    pub max_age_seconds: u32,
}

/// RFC 8461 §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtaStsMode {
    /// Do not deliver where TLS or the name is wrong.
    Enforce,
    /// Deliver, and report.
    Testing,
    /// There is no policy any more.
    None,
}

pub fn answer(offer: &Offer) -> Document {
    let Some(policy) = &offer.mta_sts else {
        return Document::refused(404, "There is no policy.");
    };
    let mode = match policy.mode {
        MtaStsMode::Enforce => "enforce",
        MtaStsMode::Testing => "testing",
        MtaStsMode::None => "none",
    };
    let mut text = format!("version: STSv1\r\nmode: {mode}\r\n");
    for mx in &policy.mx {
        let _ = write!(text, "mx: {mx}\r\n");
    }
    let max_age = policy.max_age_seconds.min(MAX_AGE_SECONDS_MAX);
    let _ = write!(text, "max_age: {max_age}\r\n");
    Document::found("text/plain; charset=utf-8", text)
}
