//! The services a connection may be for, and the port each stands on.

use crate::node::peers::PeerLimits;
use crate::tls::Offers;
use std::sync::Arc;

/// A service and the dialogue its connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// RFC 5321, port 25.
    Smtp,
    /// RFC 2033. It has no port of its own; 24 is IANA's for "any private mail system", and what Dovecot, Cyrus and
    /// Postfix use in their examples.
    Lmtp,
    /// RFC 6409, port 587: STARTTLS, then AUTH.
    Submission,
    /// The same on port 2525, for users whose networks let nothing else out.
    Submission2525,
    /// RFC 8314 §3.3, port 465: TLS from the first octet.
    Submissions,
    /// RFC 1939, port 110.
    Pop3,
    /// RFC 8314 §3.3, port 995.
    Pop3s,
    /// RFC 9051, port 143.
    Imap,
    /// RFC 8314 §3.2, port 993.
    Imaps,
}

impl Service {
    /// Every service of the demo.
    pub const ALL: [Self; 9] = [
        Self::Smtp,
        Self::Lmtp,
        Self::Submission,
        Self::Submission2525,
        Self::Submissions,
        Self::Pop3,
        Self::Pop3s,
        Self::Imap,
        Self::Imaps,
    ];

    /// The port it usually stands on.
    #[must_use]
    pub fn standard_port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Lmtp => 24,
            Self::Submission => 587,
            Self::Submission2525 => 2525,
            Self::Submissions => 465,
            Self::Pop3 => 110,
            Self::Pop3s => 995,
            Self::Imap => 143,
            Self::Imaps => 993,
        }
    }

    /// Its name in the log and in the `ready` line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
            Self::Submission => "submission",
            Self::Submission2525 => "submission-2525",
            Self::Submissions => "submissions",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
        }
    }

    /// Connections that one address and one network may have open at once; `None`: any number, for peers that are this
    /// site's own. Other MTAs send over a few dozen at the most, a large provider's network over some hundred; behind one
    /// address may be an office of mail readers, each of which opens up to five, and behind one network a telephone
    /// company's.
    #[must_use]
    pub fn connections_max(self) -> Option<PeerLimits> {
        let limits = |address, network| Some(PeerLimits { address, network });
        match self {
            Self::Smtp => limits(50, 500),
            Self::Lmtp => None,
            Self::Submission | Self::Submission2525 | Self::Submissions => limits(100, 1_000),
            Self::Pop3 | Self::Pop3s | Self::Imap | Self::Imaps => limits(500, 5_000),
        }
    }

    /// What anybody is told when this core has as many connections as it may; nothing where TLS comes first.
    #[must_use]
    pub fn too_busy(self) -> &'static [u8] {
        match self {
            Self::Smtp | Self::Lmtp | Self::Submission | Self::Submission2525 => {
                b"421 4.3.2 Too busy, try again later\r\n"
            }
            Self::Pop3 => b"-ERR [SYS/TEMP] Too busy, try again later\r\n",
            Self::Imap => b"* BYE [UNAVAILABLE] Too busy, try again later\r\n",
            Self::Submissions | Self::Pop3s | Self::Imaps => b"",
        }
    }

    /// What a peer beyond it is told; nothing where TLS comes first.
    #[must_use]
    pub fn too_many_connections(self) -> &'static [u8] {
        match self {
            Self::Smtp | Self::Lmtp | Self::Submission | Self::Submission2525 => {
                b"421 4.7.0 Too many connections from your address\r\n"
            }
            Self::Pop3 => b"-ERR [SYS/TEMP] Too many connections from your address\r\n",
            Self::Imap => b"* BYE [UNAVAILABLE] Too many connections from your address\r\n",
            Self::Submissions | Self::Pop3s | Self::Imaps => b"",
        }
    }

    /// The TLS configuration of its protocol.
    #[must_use]
    pub fn tls(self, offers: &Offers) -> Arc<rustls::ServerConfig> {
        match self {
            Self::Smtp | Self::Lmtp => &offers.smtp,
            Self::Submission | Self::Submission2525 | Self::Submissions => &offers.submission,
            Self::Pop3 | Self::Pop3s => &offers.pop3,
            Self::Imap | Self::Imaps => &offers.imap,
        }
        .clone()
    }

    /// True when TLS comes before the greeting.
    #[must_use]
    pub fn is_implicit_tls(self) -> bool {
        matches!(self, Self::Submissions | Self::Pop3s | Self::Imaps)
    }
}
