//! What is kept of ACME in the data directory, below `acme/`.
//!
//! | file | holds |
//! |---|---|
//! | `NAME.pem` | the key of a name, then its certificate and those of its issuers |
//! | `account-DIGEST.json` | the account with one issuer, its key included |
//! | `state.json` | what failed lately, by name |
//!
//! Invariants: a file is replaced whole, after it was synced; all are readable by their owner only.

use super::schedule::{self, Validity};
use crate::model::Domain;
use instant_acme::AccountCredentials;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// The directory's name.
const DIRECTORY: &str = "acme";

/// What failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// In a row.
    pub failures: u32,
    /// Of the last one.
    pub cause: String,
    /// Unix time.
    pub next_try: i64,
}

/// The directory with all of it.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

impl Files {
    /// Below the data directory `data`.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self(data.join(DIRECTORY))
    }

    /// Where the certificate of a name is, or will be.
    #[must_use]
    pub fn certificate(&self, name: &Domain) -> PathBuf {
        self.0.join(format!("{name}.pem"))
    }

    /// When the name's certificate is asked for, Unix time; in the past if there is none.
    #[must_use]
    pub fn due(&self, name: &Domain, chance: u32) -> i64 {
        let renewal = self
            .validity(name)
            .map_or(0, |validity| schedule::renewal(validity, chance));
        renewal.max(self.state(name).next_try)
    }

    /// Of the certificate that is there.
    #[must_use]
    pub fn validity(&self, name: &Domain) -> Option<Validity> {
        let text = std::fs::read(self.certificate(name)).ok()?;
        let first = CertificateDer::pem_slice_iter(&text).next()?.ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&first).ok()?;
        let validity = certificate.validity();
        Some(Validity {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Keeps a certificate with its key.
    ///
    /// # Errors
    /// They do not fit, or cannot be written.
    pub fn keep(&self, name: &Domain, pem: &str) -> Result<(), String> {
        let made = crate::tls::Certificate::from_pem(pem.as_bytes(), pem.as_bytes());
        let made = made.and_then(|made| crate::tls::Certificates::new(made, Vec::new()));
        made.map_err(|error| error.to_string())?;
        self.write(&format!("{name}.pem"), pem.as_bytes())
    }

    /// The account with an issuer.
    ///
    /// # Errors
    /// It is there and cannot be read: a new one would not have its limits and orders.
    pub fn account(&self, issuer: &str) -> Result<Option<AccountCredentials>, String> {
        let path = self.0.join(account_name(issuer));
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let read = serde_json::from_slice(&text);
        read.map(Some)
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_account(&self, issuer: &str, credentials: &AccountCredentials) -> Result<(), String> {
        let text = serde_json::to_vec(credentials).map_err(|error| error.to_string())?;
        self.write(&account_name(issuer), &text)
    }

    fn states(&self) -> BTreeMap<String, State> {
        let text = std::fs::read(self.0.join("state.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// What failed for a name; a file that cannot be read says nothing.
    #[must_use]
    pub fn state(&self, name: &Domain) -> State {
        self.states().remove(name.as_str()).unwrap_or_default()
    }

    /// Remembers it.
    pub fn set_state(&self, name: &Domain, state: State) {
        let mut states = self.states();
        if state == State::default() {
            states.remove(name.as_str());
        } else {
            states.insert(name.as_str().to_owned(), state);
        }
        let written = serde_json::to_vec_pretty(&states)
            .map_err(|error| error.to_string())
            .and_then(|text| self.write("state.json", &text));
        if let Err(error) = written {
            tracing::warn!(%error, "what ACME did cannot be remembered");
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let path = self.0.join(name);
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(told)?;
        let new = self.0.join(format!("{name}.new"));
        let mut options = std::fs::OpenOptions::new();
        let opened = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new);
        let mut file = opened.map_err(told)?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(told)?;
        std::fs::rename(&new, &path).map_err(told)?;
        let directory = std::fs::File::open(&self.0).and_then(|directory| directory.sync_all());
        directory.map_err(told)
    }
}

/// An account is one issuer's: staging and production do not know each other's.
fn account_name(issuer: &str) -> String {
    format!("account-{:016x}.json", xxh3_64(issuer.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Domain {
        Domain::new("mail.example.org").expect("a domain")
    }

    /// Of ninety days.
    fn pem() -> String {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(["mail.example.org".to_owned()]).expect("names");
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2020, 3, 31);
        let made = parameters.self_signed(&key).expect("a certificate");
        format!("{}{}", key.serialize_pem(), made.pem())
    }

    #[test]
    fn a_certificate_is_kept_with_its_key_and_due_in_time() {
        let data = tempfile::tempdir().expect("a directory");
        let files = Files::of(data.path());
        assert_eq!(files.due(&name(), 0), 0, "there is none");
        files.keep(&name(), &pem()).expect("they fit");
        let validity = files.validity(&name()).expect("it is there");
        assert_eq!(validity.not_after - validity.not_before, 90 * 86_400);
        assert_eq!(files.due(&name(), 0), validity.not_before + 60 * 86_400);
        let mode = std::os::unix::fs::MetadataExt::mode(
            &std::fs::metadata(files.certificate(&name())).expect("it is there"),
        );
        assert_eq!(mode & 0o777, 0o600);
        let other = format!(
            "{}{}",
            rcgen::KeyPair::generate().expect("a key").serialize_pem(),
            {
                let text = pem();
                text[text.find("-----BEGIN CERTIFICATE").expect("it has one")..].to_owned()
            }
        );
        assert!(files.keep(&name(), &other).is_err(), "the key is another's");
        assert_eq!(files.validity(&name()), Some(validity), "and the old one stays");
    }

    #[test]
    fn a_failure_is_remembered_until_it_is_over() {
        let data = tempfile::tempdir().expect("a directory");
        let files = Files::of(data.path());
        let state = State {
            failures: 2,
            cause: "no DNS".to_owned(),
            next_try: 77,
        };
        files.set_state(&name(), state.clone());
        assert_eq!(Files::of(data.path()).state(&name()), state);
        assert_eq!(files.due(&name(), 0), 77);
        files.set_state(&name(), State::default());
        assert_eq!(files.state(&name()), State::default());
    }
}
