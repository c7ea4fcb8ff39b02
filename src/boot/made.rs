//! The certificate that `init` makes and nobody vouches for: its files, and a new one in time.
//!
//! Whoever has told a program to trust it must do so again after each renewal, so there are few: [`tls::SELF_SIGNED_DAYS`]. Its key
//! stays, so that one file changes and the pair fits at every moment, and whoever knows the key goes on knowing it.
//! Invariants: a certificate that somebody vouches for, or that the admin names, is never touched.
//! Failure: what cannot be renewed goes on as it is, and the log and `doctor` say when it ends.
//! Not here: certificates by ACME (`acme`).

use super::BootError;
use crate::config::CertificateFiles;
use crate::disk::small;
use crate::tls::{self, Certificate, Described};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Seconds before its end at which another one is made: long enough to be seen in the log and by `doctor` if it fails.
const RENEW_SECONDS: i64 = 30 * DAY;

const DAY: i64 = 86_400;

/// Makes a key and a certificate for `names`, where no files are.
pub(super) fn make(files: &CertificateFiles, names: &[String]) -> Result<(), BootError> {
    let made = tls::self_signed(names).map_err(BootError::system("certificate"))?;
    write_new(&files.chain, chain_of(&made).as_bytes(), 0o644)?;
    let key = pem("PRIVATE KEY", made.key.secret_der());
    write_new(&files.key, key.as_bytes(), 0o600)
}

/// Makes another certificate in the place of one that ends soon at `now` (Unix time), or that lasts longer than some programs
/// take. True if it did.
///
/// # Errors
/// What is wrong with the files; nothing is changed then.
pub(super) fn renew(files: &CertificateFiles, now: i64) -> Result<bool, String> {
    let (chain, key) = (small::read(&files.chain)?, small::read(&files.key)?);
    let certificate = Certificate::from_pem(&chain, &key).map_err(|error| error.to_string())?;
    let described = certificate.describe().map_err(|error| error.to_string())?;
    if !is_due(&described, now) {
        return Ok(false);
    }
    let made =
        tls::self_signed_with(&described.names, &certificate.key).map_err(|error| error.to_string())?;
    replace(&files.chain, chain_of(&made).as_bytes())
        .map_err(|error| format!("{}: {error}", files.chain.display()))?;
    Ok(true)
}

fn is_due(described: &Described, now: i64) -> bool {
    let is_long = described.expires_at - described.begins_at > tls::SELF_SIGNED_DAYS * DAY;
    described.is_self_signed && (is_long || described.expires_at - now < RENEW_SECONDS)
}

fn chain_of(certificate: &Certificate) -> String {
    certificate
        .chain
        .iter()
        .map(|der| pem("CERTIFICATE", der))
        .collect()
}

/// RFC 7468.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), BootError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| BootError::Admin(format!("{}: {error}", path.display())))
}

/// The old file or the new one, whatever happens.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(files: &CertificateFiles) -> (Described, Certificate) {
        let read = |path| std::fs::read(path).expect("it is there");
        let pair = Certificate::from_pem(&read(&files.chain), &read(&files.key)).expect("a pair of ours");
        (pair.describe().expect("of ours"), pair)
    }

    #[test]
    fn a_made_certificate_is_one_that_apple_takes_and_is_made_anew_in_time_with_its_key() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = CertificateFiles {
            chain: directory.path().join("default.crt"),
            key: directory.path().join("default.key"),
        };
        let names = ["mail.example.org".to_owned(), "mta-sts.example.org".to_owned()];
        make(&files, &names).expect("an empty directory");
        let (first, pair) = described(&files);
        assert!(first.is_self_signed && first.names == names);
        // Apple counts the first and the last second in.
        assert!(first.expires_at - first.begins_at < 825 * DAY);
        let now = jiff::Timestamp::now().as_second();
        assert!(first.begins_at < now && first.expires_at > now + 800 * DAY);
        assert_eq!(renew(&files, now), Ok(false), "a new one");
        let key = std::fs::read(&files.key).expect("it is there");
        assert_eq!(renew(&files, first.expires_at - RENEW_SECONDS + 1), Ok(true));
        let (second, renewed) = described(&files);
        assert_eq!(second.names, names);
        assert_ne!(pair.chain, renewed.chain);
        assert_eq!(std::fs::read(&files.key).expect("it is there"), key);
        assert!(tls::server_config(renewed, &[]).is_ok(), "it fits its key");
    }

    #[test]
    fn one_that_lasts_too_long_is_due_and_one_that_somebody_vouches_for_never_is() {
        let of = |days: i64, is_self_signed| Described {
            names: Vec::new(),
            begins_at: 0,
            expires_at: days * DAY,
            is_self_signed,
        };
        assert!(is_due(&of(755_723, true), DAY));
        assert!(!is_due(&of(tls::SELF_SIGNED_DAYS, true), DAY));
        assert!(!is_due(&of(755_723, false), DAY) && !is_due(&of(20, false), DAY));
        assert!(is_due(&of(20, true), DAY));
    }

    #[test]
    fn what_cannot_be_renewed_is_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = CertificateFiles {
            chain: directory.path().join("default.crt"),
            key: directory.path().join("default.key"),
        };
        assert!(renew(&files, 0).is_err());
        std::fs::write(&files.chain, "no certificate").expect("it is ours");
        std::fs::write(&files.key, "no key").expect("it is ours");
        assert!(renew(&files, 0).is_err());
        assert_eq!(
            std::fs::read(&files.chain).expect("it is there"),
            b"no certificate"
        );
    }
}
