//! The options of ACME.

use super::option::{Default, Kind, Opt, Reload::Restart, opt};

/// In the order of the sample file.
pub(super) const ACME: &[Opt] = &[
    opt(
        "acme.directory",
        Kind::Text,
        Default::Text(""),
        Restart,
        "Who issues certificates by ACME (RFC 8555): `letsencrypt`, `letsencrypt-staging` for trying (nobody trusts those), or the \
         https URL of another issuer's directory. To set it is to agree to the issuer's terms. They are asked for at the start, kept \
         below `acme/` in the data directory, and renewed when the issuer suggests it, or at two thirds of their life. Empty: nobody is asked.",
    )
    .like(r#""letsencrypt""#),
    opt(
        "acme.names",
        Kind::Domains,
        Default::List(&[]),
        Restart,
        "Names that get a certificate, one each; their DNS has to lead to this machine: `server.hostname`, and `mta-sts`, \
         `autoconfig` and `autodiscover` of each domain. Empty: `server.hostname` alone.",
    )
    .like(r#"["mail.example.com", "mta-sts.example.com", "autoconfig.example.com", "autodiscover.example.com"]"#),
    opt(
        "acme.contact",
        Kind::Text,
        Default::Text(""),
        Restart,
        "An address that the issuer may write to. Empty: none.",
    )
    .like(r#""hostmaster@example.com""#),
    opt(
        "acme.challenge",
        Kind::Word(&["tls-alpn-01", "http-01"]),
        Default::Text("tls-alpn-01"),
        Restart,
        "How a name is shown to be ours: in a TLS handshake on port 443 (`listen.https`), or by a text on port 80 (`acme.listen`). \
         The issuer has to reach that port from outside.",
    ),
    opt(
        "acme.listen",
        Kind::Addresses,
        Default::List(&[]),
        Restart,
        "Where issuers look for `http-01`: [\"0.0.0.0:80\", \"[::]:80\"]. Nothing else is answered there.",
    )
    .like(r#"["0.0.0.0:80", "[::]:80"]"#),
    opt(
        "acme.ca_file",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A PEM file with the issuer of the ACME server's own certificate, for one inside a site. Empty: those that this machine trusts.",
    )
    .like(r#""/etc/ringpost/acme-ca.pem""#),
    opt(
        "acme.eab_key_id",
        Kind::Text,
        Default::Text(""),
        Restart,
        "For issuers that want to know whose account it is (external account binding): the key's id that they gave you. Looked at \
         once, when the account is made. Empty: nobody is told.",
    )
    .like(r#""kid-1""#),
    opt(
        "acme.eab_key_file",
        Kind::Text,
        Default::Text(""),
        Restart,
        "A file with the key of `acme.eab_key_id` as the issuer gave it (base64url), readable by `server.user` only.",
    )
    .like(r#""/etc/ringpost/eab-key""#),
];
