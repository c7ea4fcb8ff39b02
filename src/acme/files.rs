//! What is kept of ACME in the data directory, below `acme/`.
//!
//! | file | holds |
//! |---|---|
//! | `NAME.pem` | the key of a name, then its certificate and those of its issuers |
//! | `account-DIGEST.json` | the account with one issuer, its key included |
//! | `state.json` | what failed lately, by name |
//! | `renewal.json` | what the issuer said of renewals, by name |
//!
//! Invariants: a file is replaced whole, after it was synced; all are readable by their owner only.

use super::renewal::Suggestion;
use super::schedule::{self, Validity};
use crate::model::Domain;
use instant_acme::{AccountCredentials, CertificateIdentifier};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// The directory's name.
const DIRECTORY: &str = "acme";

const STATES: &str = "state.json";
const SUGGESTIONS: &str = "renewal.json";

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
        let suggested = self.suggestion(name).and_then(|known| known.window);
        let renewal = self
            .validity(name)
            .map_or(0, |validity| schedule::renewal(validity, suggested, chance));
        renewal.max(self.state(name).next_try)
    }

    /// Of the certificate that is there.
    #[must_use]
    pub fn validity(&self, name: &Domain) -> Option<Validity> {
        let first = self.first(name)?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&first).ok()?;
        let validity = certificate.validity();
        Some(Validity {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// How the issuer knows the certificate that is there (RFC 9773 §4.1); `None` for one that names no issuer's key.
    #[must_use]
    pub fn identifier(&self, name: &Domain) -> Option<CertificateIdentifier<'static>> {
        let first = self.first(name)?;
        let identifier = CertificateIdentifier::try_from(&first).ok()?;
        Some(identifier.into_owned())
    }

    /// The name's own, without those of its issuers.
    fn first(&self, name: &Domain) -> Option<CertificateDer<'static>> {
        let text = std::fs::read(self.certificate(name)).ok()?;
        let first = CertificateDer::pem_slice_iter(&text).next()?.ok()?;
        Some(first)
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

    /// A file that is not there or cannot be read says nothing.
    fn by_name<T: DeserializeOwned>(&self, file: &str) -> BTreeMap<String, T> {
        let text = std::fs::read(self.0.join(file)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// `None`: nothing any more.
    fn set<T: Serialize + DeserializeOwned>(&self, file: &str, name: &Domain, value: Option<T>) {
        let mut all = self.by_name::<T>(file);
        match value {
            Some(value) => drop(all.insert(name.as_str().to_owned(), value)),
            None => drop(all.remove(name.as_str())),
        }
        let written = serde_json::to_vec_pretty(&all)
            .map_err(|error| error.to_string())
            .and_then(|text| self.write(file, &text));
        if let Err(error) = written {
            tracing::warn!(%error, "what ACME did cannot be remembered");
        }
    }

    /// What the issuer said of the certificate that is there; `None` for one that it cannot be asked about.
    #[must_use]
    pub fn suggestion(&self, name: &Domain) -> Option<Suggestion> {
        let certificate = self.identifier(name)?.to_string();
        let known = self.by_name::<Suggestion>(SUGGESTIONS).remove(name.as_str());
        let known = known.filter(|known| known.certificate == certificate);
        Some(known.unwrap_or_else(|| Suggestion::none(certificate)))
    }

    /// Remembers it.
    pub fn set_suggestion(&self, name: &Domain, suggestion: Suggestion) {
        self.set(SUGGESTIONS, name, Some(suggestion));
    }

    /// What failed for a name.
    #[must_use]
    pub fn state(&self, name: &Domain) -> State {
        self.by_name::<State>(STATES)
            .remove(name.as_str())
            .unwrap_or_default()
    }

    /// Remembers it.
    pub fn set_state(&self, name: &Domain, state: State) {
        self.set(STATES, name, (state != State::default()).then_some(state));
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
    use crate::acme::schedule::Window;

    fn name() -> Domain {
        Domain::new("mail.example.org").expect("a domain")
    }

    /// Of ninety days.
    fn pem() -> String {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(["mail.example.org".to_owned()]).expect("names");
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2020, 3, 31);
        parameters.use_authority_key_identifier_extension = true;
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
    fn what_the_issuer_says_is_of_one_certificate_and_survives_a_restart() {
        let data = tempfile::tempdir().expect("a directory");
        let files = Files::of(data.path());
        assert_eq!(files.suggestion(&name()), None, "there is no certificate");
        files.keep(&name(), &pem()).expect("they fit");
        let nothing = files.suggestion(&name()).expect("it names its issuer's key");
        assert_eq!(nothing, Suggestion::none(nothing.certificate.clone()));
        let validity = files.validity(&name()).expect("it is there");
        let start = validity.not_before + 20 * 86_400;
        let window = Window {
            start,
            end: start + 86_400,
        };
        let known = Suggestion {
            window: Some(window),
            ask_at: 77,
            ..nothing
        };
        files.set_suggestion(&name(), known.clone());
        let files = Files::of(data.path());
        assert_eq!(files.suggestion(&name()), Some(known));
        assert_eq!(files.due(&name(), 0), start);
        files.keep(&name(), &pem()).expect("they fit");
        let next = files.suggestion(&name()).expect("it names its issuer's key");
        assert_eq!((next.window, next.ask_at), (None, 0), "another certificate");
        assert_eq!(files.due(&name(), 0), validity.not_before + 60 * 86_400);
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
