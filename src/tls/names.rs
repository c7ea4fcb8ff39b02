//! What a TLS channel is called, for SASL's channel binding, and who showed a certificate at its other end.
//!
//! rustls' unbuffered connections tell neither the certificate they chose nor exported keys. Both pass through what they call
//! while they work: the resolver that chooses the certificate, and the key log that is told the exporter's secret. What these
//! see is left in a place of this thread's, and taken from there before anything else runs: rustls waits for nothing.
//! Invariants: a secret is never kept, only the 32 octets that are made of it for this one purpose; nothing is left behind
//! for the next connection.
//! Standards: RFC 5929 §4 (`tls-server-end-point`), RFC 9266 (`tls-exporter`), RFC 8446 §7.1 and §7.5 (exporters).
//! LIMITATION: with TLS 1.2 there is no `tls-exporter`: it would need to be known that the master secret is an extended one
//! (RFC 9266 §4), which rustls does not tell.

use aws_lc_rs::{digest, hkdf};
use rustls::KeyLog;
use std::cell::RefCell;
use std::sync::Arc;

/// Octets of an exported name (RFC 9266 §2).
const EXPORTER_BYTES: usize = 32;

/// The line of the key log that is looked at.
const EXPORTER_SECRET: &str = "EXPORTER_SECRET";

/// Of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `tls-server-end-point`
    pub end_point: Option<Arc<[u8]>>,
    /// `tls-exporter`
    pub exporter: Option<Box<[u8]>>,
    /// The client's certificate (DER), which an authority that we trust vouches for.
    pub client: Option<Box<[u8]>>,
}

thread_local! {
    static SEEN: RefCell<Names> = RefCell::default();
}

/// What was seen since the last time.
pub(super) fn take() -> Names {
    SEEN.take()
}

/// A certificate was chosen.
pub(super) fn chose(end_point: Option<&Arc<[u8]>>) {
    SEEN.with_borrow_mut(|seen| seen.end_point = end_point.cloned());
}

impl Names {
    /// Adds what was seen later.
    pub(super) fn absorb(&mut self, seen: Self) {
        self.end_point = seen.end_point.or(self.end_point.take());
        self.exporter = seen.exporter.or(self.exporter.take());
    }
}

/// Sees the exporter's secret of TLS 1.3.
#[derive(Debug)]
pub(super) struct Witness;

impl KeyLog for Witness {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == EXPORTER_SECRET {
            let exporter = exporter(secret);
            SEEN.with_borrow_mut(|seen| seen.exporter = exporter);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == EXPORTER_SECRET
    }
}

struct Octets(usize);

impl hkdf::KeyType for Octets {
    fn len(&self) -> usize {
        self.0
    }
}

/// TLS-Exporter("EXPORTER-Channel-Binding", "", 32). The secret is as long as the hash of the cipher suite.
fn exporter(secret: &[u8]) -> Option<Box<[u8]>> {
    let (algorithm, hash) = match secret.len() {
        32 => (hkdf::HKDF_SHA256, &digest::SHA256),
        48 => (hkdf::HKDF_SHA384, &digest::SHA384),
        _ => return None,
    };
    let nothing = digest::digest(hash, b"");
    let expand = |secret: &[u8], label: &str, length: usize| {
        let mut octets = vec![0; length];
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        let label = format!("tls13 {label}");
        let sizes = [label.len(), nothing.as_ref().len()].map(u8::try_from);
        let [Ok(label_bytes), Ok(context_bytes)] = sizes else {
            return None;
        };
        let info: [&[u8]; 5] = [
            &[high, low],
            &[label_bytes],
            label.as_bytes(),
            &[context_bytes],
            nothing.as_ref(),
        ];
        let prk = hkdf::Prk::new_less_safe(algorithm, secret);
        prk.expand(&info, Octets(length)).ok()?.fill(&mut octets).ok()?;
        Some(octets)
    };
    let derived = expand(secret, "EXPORTER-Channel-Binding", secret.len())?;
    expand(&derived, "exporter", EXPORTER_BYTES).map(Vec::into_boxed_slice)
}

/// The hash of a certificate (DER) by the hash of its signature, SHA-256 in place of those that are broken. `None`: its
/// signature has no hash of its own (Ed25519), for which nothing is laid down.
pub(super) fn end_point(der: &[u8]) -> Option<Arc<[u8]>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let hash = match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        // MD5 and SHA-1 with RSA; SHA-1 with ECDSA; SHA-256 with RSA, with ECDSA.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => &digest::SHA256,
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(hash, der).as_ref().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Certificates, Offers, TlsSession, self_signed};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use std::io::Write as _;

    /// Both sides after their handshake; the server's names, and what rustls' client exports for the same purpose.
    fn agreed(
        offers: &Offers,
        roots: &RootCertStore,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> (Names, Vec<u8>) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("known versions")
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut server = TlsSession::new(offers.imap.clone()).expect("a server");
        while client.is_handshaking() || server.is_handshaking() {
            let mut sent = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut sent).expect("to memory");
            }
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let count = (&mut server.space()[..]).write(rest).expect("to memory");
                server.received(count);
                rest = &rest[count..];
                server.advance().expect("a good client");
            }
            let outgoing = server.take_outgoing();
            let mut outgoing = &outgoing[..];
            while !outgoing.is_empty() {
                client.read_tls(&mut outgoing).expect("from memory");
                client.process_new_packets().expect("a good server");
            }
        }
        let exported = client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
        (
            server.take_names(),
            exported.expect("after the handshake").to_vec(),
        )
    }

    #[test]
    fn both_sides_call_the_channel_the_same() {
        let certificate = self_signed(&["localhost".to_owned()]).expect("a certificate");
        let der = certificate.chain[0].clone();
        let mut roots = RootCertStore::empty();
        roots.add(der.clone()).expect("a root of its own");
        let offers = Offers::new(&Certificates::new(certificate, Vec::new()).expect("they fit"))
            .expect("a configuration");
        // rcgen signs with ECDSA and SHA-256.
        let hash = digest::digest(&digest::SHA256, &der);
        let (names, exported) = agreed(&offers, &roots, &[&rustls::version::TLS13]);
        assert_eq!(names.end_point.as_deref(), Some(hash.as_ref()));
        assert_eq!(names.exporter.as_deref(), Some(&exported[..]));
        let (again, _) = agreed(&offers, &roots, &[&rustls::version::TLS13]);
        assert_ne!(again.exporter, names.exporter, "each connection has its own");
        let (old, _) = agreed(&offers, &roots, &[&rustls::version::TLS12]);
        assert_eq!((old.end_point, old.exporter), (names.end_point, None));
        assert_eq!(take(), Names::default(), "nothing stays behind");
    }
}
