//! The certificates of a running server: chosen by the name the client asks for, exchanged while it runs.
//!
//! Invariants: a set is exchanged whole, and only for one in which every key fits its certificate; connections under way
//! keep what they have; the name is compared without regard to case, `*.example.org` stands for one label.
//! Failure: a client that asks for no name, or for one we have no certificate for, gets the default one: an MTA cares for
//! encryption more than for names (RFC 7672, RFC 8461 say so themselves), and a reader tells its user.
//! Standards: RFC 6066 §3 (SNI), RFC 6125 §6.4 (wildcards), RFC 7301 (ALPN).
//! Not here: where the files lie and when they are read again (`boot`).

use super::certificate::{Certificate, challenge_certificate, login_config, server_config_with};
use super::described::{Described, describe};
use super::error::TlsError;
use super::names;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// What is in use. Clones are the same.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<RwLock<Arc<Set>>>, Arc<RwLock<Shown>>);

/// Certificates that prove to an issuer that a name is ours (RFC 8737), by name in lower case.
type Shown = HashMap<String, Arc<CertifiedKey>>;

/// What an issuer offers by ALPN to see them, and nobody else.
const ACME_ALPN: &str = "acme-tls/1";

#[derive(Debug)]
struct Set {
    default: Arc<Certified>,
    /// In lower case; wildcards as they are written.
    by_name: HashMap<String, Arc<Certified>>,
    described: Vec<Described>,
}

#[derive(Debug)]
struct Certified {
    key: Arc<CertifiedKey>,
    /// What its channels are called.
    end_point: Option<Arc<[u8]>>,
}

impl Certificates {
    /// With one for whoever names none of ours, and others for the names they hold.
    ///
    /// # Errors
    /// [`TlsError`], for example a key that does not fit its certificate.
    pub fn new(default: Certificate, others: Vec<Certificate>) -> Result<Self, TlsError> {
        let set = Set::new(default, others)?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(set))), Arc::default()))
    }

    /// Shows issuers a certificate for `name` with `digest` in it (RFC 8737 §3).
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn show_challenge(&self, name: &str, digest: &[u8]) -> Result<(), TlsError> {
        let made = challenge_certificate(name, digest)?;
        let loaded = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(made.key);
        // Not by way of `certified`: its extension is critical, and unknown to whoever checks certificates.
        let key = CertifiedKey::new(made.chain, loaded.map_err(TlsError::Unusable)?);
        self.1.write().insert(name.to_ascii_lowercase(), Arc::new(key));
        Ok(())
    }

    /// Shows it no more.
    pub fn hide_challenge(&self, name: &str) {
        self.1.write().remove(&name.to_ascii_lowercase());
    }

    /// Uses these from the next handshake on.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use stays.
    pub fn replace(&self, default: Certificate, others: Vec<Certificate>) -> Result<(), TlsError> {
        let set = Arc::new(Set::new(default, others)?);
        *self.0.write() = set;
        Ok(())
    }

    /// What is in use, the default one first.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        self.0.read().described.clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.0.read().clone();
        let chosen = hello
            .server_name()
            .map_or_else(|| set.default.clone(), |name| set.find(name));
        names::chose(chosen.end_point.as_ref());
        Some(chosen.key.clone())
    }
}

/// Also shows challenges; only where [`ACME_ALPN`] is offered.
#[derive(Debug)]
struct WithChallenges(Certificates);

impl ResolvesServerCert for WithChallenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = hello.alpn().into_iter().flatten();
        // Alone, as RFC 8737 §4 has it; without a challenge for the name there is no handshake.
        if offered.next() == Some(ACME_ALPN.as_bytes()) && offered.next().is_none() {
            let name = hello.server_name()?.to_ascii_lowercase();
            return self.0.1.read().get(&name).cloned();
        }
        self.0.resolve(hello)
    }
}

impl Set {
    fn new(default: Certificate, others: Vec<Certificate>) -> Result<Self, TlsError> {
        let (default, description) = certified(default)?;
        let mut set = Self {
            default: default.clone(),
            by_name: HashMap::new(),
            described: Vec::new(),
        };
        set.add(default, description);
        for other in others {
            let (key, description) = certified(other)?;
            set.add(key, description);
        }
        Ok(set)
    }

    fn add(&mut self, key: Arc<Certified>, description: Described) {
        for name in &description.names {
            self.by_name.entry(name.clone()).or_insert_with(|| key.clone());
        }
        self.described.push(description);
    }

    fn find(&self, name: &str) -> Arc<Certified> {
        let name = name.to_ascii_lowercase();
        let wildcard = || Some(format!("*.{}", name.split_once('.')?.1));
        let found = self.by_name.get(&name).or_else(|| self.by_name.get(&wildcard()?));
        found.unwrap_or(&self.default).clone()
    }
}

fn certified(certificate: Certificate) -> Result<(Arc<Certified>, Described), TlsError> {
    let first = certificate.chain.first().map_or(&[][..], |first| first.as_ref());
    let (description, end_point) = (describe(first)?, names::end_point(first));
    let provider = aws_lc_rs::default_provider();
    let key =
        CertifiedKey::from_der(certificate.chain, certificate.key, &provider).map_err(TlsError::Unusable)?;
    let key = Arc::new(key);
    Ok((Arc::new(Certified { key, end_point }), description))
}

/// Tickets that end with the certificates they were given out under. A resumed session shows no certificate: what a client
/// binds to is the one it saw, and that must be the one we would choose.
#[derive(Debug)]
struct Tickets {
    certificates: Certificates,
    made: RwLock<(Weak<Set>, Arc<dyn ProducesTickets>)>,
}

impl Tickets {
    fn new(certificates: &Certificates) -> Result<Self, TlsError> {
        let set = Arc::downgrade(&certificates.0.read());
        let made = (set, aws_lc_rs::Ticketer::new().map_err(TlsError::Unusable)?);
        Ok(Self {
            certificates: certificates.clone(),
            made: RwLock::new(made),
        })
    }

    /// Those of the certificates in use; `None`: without entropy there are no tickets.
    fn current(&self) -> Option<Arc<dyn ProducesTickets>> {
        let set = Arc::downgrade(&self.certificates.0.read());
        {
            let made = self.made.read();
            if made.0.ptr_eq(&set) {
                return Some(made.1.clone());
            }
        }
        let made = aws_lc_rs::Ticketer::new().ok()?;
        *self.made.write() = (set, made.clone());
        Some(made)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.made.read().1.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current()?.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.current()?.decrypt(cipher)
    }
}

/// One configuration for each protocol, over the same certificates.
#[derive(Clone, Debug)]
pub struct Offers {
    pub smtp: Arc<ServerConfig>,
    pub submission: Arc<ServerConfig>,
    pub pop3: Arc<ServerConfig>,
    pub imap: Arc<ServerConfig>,
    pub https: Arc<ServerConfig>,
}

impl Offers {
    /// A client that offers protocols by ALPN, and ours is not among them, is refused: it has been led here by somebody
    /// (ALPACA). IANA has no name for SMTP, so that there ALPN is not looked at.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(certificates: &Certificates) -> Result<Self, TlsError> {
        Self::with_clients(certificates, &WebPkiClientVerifier::no_client_auth())
    }

    /// The same where clients may log in by certificates that `clients` takes.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn with_clients(
        certificates: &Certificates,
        clients: &Arc<dyn ClientCertVerifier>,
    ) -> Result<Self, TlsError> {
        let of = |alpn: &[&str]| server_config_with(Arc::new(certificates.clone()), alpn);
        let with_logins = |alpn: &[&str]| {
            let mut config = login_config(Arc::new(certificates.clone()), alpn, clients.clone())?;
            config.ticketer = Arc::new(Tickets::new(certificates)?);
            Ok::<_, TlsError>(Arc::new(config))
        };
        Ok(Self {
            smtp: of(&[])?,
            submission: with_logins(&[])?,
            pop3: with_logins(&["pop3"])?,
            imap: with_logins(&["imap"])?,
            https: server_config_with(
                Arc::new(WithChallenges(certificates.clone())),
                &["http/1.1", ACME_ALPN],
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::self_signed;

    fn made(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        self_signed(&names).expect("a certificate")
    }

    fn names_for(certificates: &Certificates, name: &str) -> Vec<String> {
        let key = certificates.0.read().find(name);
        describe(&key.key.cert[0]).expect("it was parsed before").names
    }

    #[test]
    fn the_name_chooses_and_the_default_serves_the_rest() {
        let certificates = Certificates::new(
            made(&["mx.example.org"]),
            vec![made(&["mail.second.example", "*.third.example"])],
        )
        .expect("good ones");
        let second = ["mail.second.example", "*.third.example"];
        assert_eq!(names_for(&certificates, "MAIL.second.example"), second);
        assert_eq!(names_for(&certificates, "imap.third.example"), second);
        for name in [
            "third.example",
            "a.b.third.example",
            "elsewhere.example",
            "mx.example.org",
        ] {
            assert_eq!(names_for(&certificates, name), ["mx.example.org"], "{name}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_leaves_what_ran() {
        let certificates = Certificates::new(made(&["a.example"]), Vec::new()).expect("a good one");
        let wrong = || Certificate {
            chain: made(&["b.example"]).chain,
            key: made(&["b.example"]).key,
        };
        assert!(Certificates::new(wrong(), Vec::new()).is_err());
        assert!(certificates.replace(wrong(), Vec::new()).is_err());
        assert!(certificates.replace(made(&["b.example"]), vec![wrong()]).is_err());
        assert_eq!(certificates.described()[0].names, ["a.example"]);
        certificates
            .replace(made(&["b.example"]), Vec::new())
            .expect("a good one");
        assert_eq!(certificates.described()[0].names, ["b.example"]);
    }
}
