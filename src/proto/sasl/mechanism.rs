//! The mechanisms there are, by their registered names.

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login; old mail programs know no other.
    Login,
    /// RFC 5802.
    ScramSha1,
    /// The same, bound to the TLS channel.
    ScramSha1Plus,
    /// RFC 7677.
    ScramSha256,
    /// The same, bound to the TLS channel.
    ScramSha256Plus,
    /// RFC 4422, appendix A: the client's certificate says who it is.
    External,
    /// RFC 7628.
    OauthBearer,
    /// Google's and Microsoft's older form of it.
    Xoauth2,
}

/// All of them, the strongest first: in this order they are offered.
const ALL: [(Mechanism, &str); 9] = [
    (Mechanism::ScramSha256Plus, "SCRAM-SHA-256-PLUS"),
    (Mechanism::ScramSha256, "SCRAM-SHA-256"),
    (Mechanism::ScramSha1Plus, "SCRAM-SHA-1-PLUS"),
    (Mechanism::ScramSha1, "SCRAM-SHA-1"),
    (Mechanism::External, "EXTERNAL"),
    (Mechanism::OauthBearer, "OAUTHBEARER"),
    (Mechanism::Xoauth2, "XOAUTH2"),
    (Mechanism::Plain, "PLAIN"),
    (Mechanism::Login, "LOGIN"),
];

impl Mechanism {
    /// Its registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALL.iter()
            .find(|(mechanism, _)| *mechanism == self)
            .map_or("", |(_, name)| name)
    }

    /// Whether it is SCRAM, in whatever form.
    #[must_use]
    pub fn is_scram(self) -> bool {
        self.is_bound() || matches!(self, Self::ScramSha1 | Self::ScramSha256)
    }

    /// Whether it is bound to the TLS channel.
    #[must_use]
    pub fn is_bound(self) -> bool {
        matches!(self, Self::ScramSha1Plus | Self::ScramSha256Plus)
    }
}

/// A set of mechanisms: what a server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// Passwords as they are: what every server can do.
    pub const PASSWORDS: Self = Self(1 << Mechanism::Plain as u16 | 1 << Mechanism::Login as u16);

    /// SCRAM, for sites that keep a verifier of every password.
    pub const SCRAM: Self = Self(
        1 << Mechanism::ScramSha1 as u16
            | 1 << Mechanism::ScramSha1Plus as u16
            | 1 << Mechanism::ScramSha256 as u16
            | 1 << Mechanism::ScramSha256Plus as u16,
    );

    /// Tokens of an issuer that the site trusts.
    pub const TOKENS: Self = Self(1 << Mechanism::OauthBearer as u16 | 1 << Mechanism::Xoauth2 as u16);

    /// Client certificates.
    pub const CERTIFICATES: Self = Self(1 << Mechanism::External as u16);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `mechanism` is one of them.
    #[must_use]
    pub fn has(self, mechanism: Mechanism) -> bool {
        self.0 & 1 << mechanism as u16 != 0
    }

    /// Those that a connection may use: plaintext ones where it is allowed, bound ones where the channel can be named, and
    /// EXTERNAL where there is a certificate.
    pub fn on(self, channel: Channel) -> impl Iterator<Item = Mechanism> {
        ALL.iter()
            .map(|(mechanism, _)| *mechanism)
            .filter(move |mechanism| self.has(*mechanism) && channel.allows(*mechanism))
    }

    /// The one called `name`, in any case, if it may be used on this connection.
    #[must_use]
    pub fn find(self, name: &[u8], channel: Channel) -> Option<Mechanism> {
        self.on(channel)
            .find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }

    /// Whether there is one called `name` that only lacks the protection of TLS.
    #[must_use]
    pub fn needs_tls(self, name: &[u8]) -> bool {
        let protected = Channel {
            is_private: true,
            has_binding: true,
            has_certificate: true,
        };
        self.find(name, protected).is_some()
    }
}

/// What a connection has to offer a mechanism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// TLS, or a network where the operator allows passwords without.
    pub is_private: bool,
    /// The TLS channel can be named (RFC 5929).
    pub has_binding: bool,
    /// The client showed a certificate that is trusted.
    pub has_certificate: bool,
}

impl Channel {
    fn allows(self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::External => self.has_certificate,
            mechanism if mechanism.is_bound() => self.has_binding,
            // SCRAM keeps the password secret without TLS, but what follows it would be read by everybody (RFC 8314).
            _ => self.is_private,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(mechanisms: Mechanisms, channel: Channel) -> Vec<&'static str> {
        mechanisms.on(channel).map(Mechanism::name).collect()
    }

    #[test]
    fn a_connection_is_offered_what_it_can_use_strongest_first() {
        let all = Mechanisms::PASSWORDS
            .and(Mechanisms::SCRAM)
            .and(Mechanisms::TOKENS)
            .and(Mechanisms::CERTIFICATES);
        let plain = Channel::default();
        assert_eq!(names(all, plain), Vec::<&str>::new());
        assert!(all.needs_tls(b"plain") && !Mechanisms::PASSWORDS.needs_tls(b"EXTERNAL"));
        let tls = Channel {
            is_private: true,
            ..plain
        };
        assert_eq!(
            names(all, tls),
            [
                "SCRAM-SHA-256",
                "SCRAM-SHA-1",
                "OAUTHBEARER",
                "XOAUTH2",
                "PLAIN",
                "LOGIN"
            ]
        );
        assert_eq!(names(Mechanisms::PASSWORDS, tls), ["PLAIN", "LOGIN"]);
        let bound = Channel {
            has_binding: true,
            has_certificate: true,
            ..tls
        };
        assert_eq!(names(all, bound).len(), 9);
        assert_eq!(
            all.find(b"scram-sha-1-plus", bound),
            Some(Mechanism::ScramSha1Plus)
        );
        assert_eq!(all.find(b"scram-sha-1-plus", tls), None);
        assert_eq!(all.find(b"CRAM-MD5", bound), None);
    }
}
