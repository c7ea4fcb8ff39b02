//! The certificate files of the configuration: read at the start, looked at again now and then and at each reload.
//!
//! Failure: at the start a pair that cannot be used is the admin's error; later it is said once in the log, and what ran goes
//! on until the files change again.

use super::{BootError, made};
use crate::acme;
use crate::config::{CertificateFiles, Config};
use crate::disk::small;
use crate::tls::{Certificate, Certificates, TlsError};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Seconds before its end at which a certificate is spoken of.
const EXPIRES_SOON_SECONDS: i64 = 14 * 86_400;

/// What tells one state of a file from another; `None`: it is not there.
type Stamp = Option<FileStamp>;

/// The times of change are those of the content and of the inode: a copy that keeps the first (`cp -p`, `rsync -t`) into the
/// same file, of the same size, shows in the second only.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    bytes: u64,
}

/// What is wrong with each chain that cannot be used.
pub type Unusable = Vec<(PathBuf, String)>;

/// The pairs of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    default: CertificateFiles,
    others: Vec<CertificateFiles>,
    /// The default is the one that `init` has made.
    is_made: bool,
}

impl Files {
    /// Those that the configuration names, and those that were issued by ACME as far as they have come.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut files = Self {
            default: config.tls.default.clone(),
            others: config.tls.certificates.clone(),
            is_made: config.tls.is_default_made,
        };
        let names = config.acme.iter().flat_map(|settings| &settings.names);
        let kept = acme::files::Files::of(&config.server.data);
        for name in names {
            let path = kept.certificate(name);
            if !path.exists() {
                continue;
            }
            let issued = CertificateFiles {
                chain: path.clone(),
                key: path,
            };
            // In the place of the one that nobody vouches for; never of one that the admin has named.
            if *name == config.server.hostname && config.tls.is_default_made {
                files.default = issued;
                files.is_made = false;
            } else {
                files.others.push(issued);
            }
        }
        files
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// All that is wrong with them, a line each.
    pub fn read(&self) -> Result<(Certificate, Vec<Certificate>), String> {
        self.read_each().map_err(|problems| {
            let lines = problems
                .iter()
                .map(|(chain, why)| format!("{}: {why}", chain.display()));
            lines.collect::<Vec<_>>().join("\n")
        })
    }

    /// The same; what is wrong beside the chain it is about.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read_each(&self) -> Result<(Certificate, Vec<Certificate>), Unusable> {
        let mut problems = Vec::new();
        let mut read = |files: &CertificateFiles| match pair(files) {
            Ok(certificate) => Some(certificate),
            Err(why) => {
                problems.push((files.chain.clone(), why));
                None
            }
        };
        let default = read(&self.default);
        let others: Vec<_> = self.others.iter().filter_map(&mut read).collect();
        match default {
            Some(default) if problems.is_empty() => Ok((default, others)),
            _ => Err(problems),
        }
    }

    /// Makes the default anew in time, if nobody else is there to do it.
    fn renew(&self) {
        if !self.is_made {
            return;
        }
        let name = self.default.chain.display();
        match made::renew(&self.default, jiff::Timestamp::now().as_second()) {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(file = %name, "the self-signed certificate was made anew: who trusts it has to be told");
            }
            // What is wrong with the files is told when they are used.
            Err(cause) => tracing::debug!(file = %name, cause, "no certificate to renew"),
        }
    }

    /// What tells whether a file is another one now.
    fn stamp(&self) -> Vec<Stamp> {
        let pairs = std::iter::once(&self.default).chain(&self.others);
        let files = pairs.flat_map(|pair| [&pair.chain, &pair.key]);
        let stamp = |path: &std::path::PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some(FileStamp {
                inode: file.ino(),
                modified: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
                bytes: file.size(),
            })
        };
        files.map(stamp).collect()
    }
}

/// Where in the chain the certificate of the key stands, counted from 1.
fn place_of_key(certificate: &Certificate) -> Option<usize> {
    let fits = |der: &CertificateDer<'static>| {
        let alone = Certificate {
            chain: vec![der.clone()],
            key: certificate.key.clone_key(),
        };
        Certificates::new(alone, Vec::new()).is_ok()
    };
    Some(certificate.chain.iter().position(fits)? + 1)
}

fn pair(files: &CertificateFiles) -> Result<Certificate, String> {
    let certificate = Certificate::from_pem(&small::read(&files.chain)?, &small::read(&files.key)?)
        .map_err(|error| error.to_string())?;
    // Each for itself, so that the one that does not fit is named.
    let trial = Certificate {
        chain: certificate.chain.clone(),
        key: certificate.key.clone_key(),
    };
    match Certificates::new(trial, Vec::new()) {
        Ok(_) => Ok(certificate),
        Err(TlsError::Unusable(rustls::Error::InconsistentKeys(_))) => {
            let (chain, key) = (files.chain.display(), files.key.display());
            Err(match place_of_key(&certificate) {
                Some(at) => format!(
                    "wrong order in {chain}: the key in {key} belongs to the certificate at place {at}; the host's own comes first, \
                     behind each one its issuer's"
                ),
                None => format!("the key in {key} belongs to another certificate"),
            })
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The files in use and what was made of them.
#[derive(Debug)]
pub struct Keeper {
    certificates: Certificates,
    files: Mutex<Files>,
    stamp: Mutex<Vec<Stamp>>,
    /// The files of this stamp could not be used.
    has_failed: AtomicBool,
}

impl Keeper {
    /// Reads the files of `config`.
    ///
    /// # Errors
    /// [`BootError::Admin`].
    pub fn start(config: &Config) -> Result<Self, BootError> {
        let files = Files::of(config);
        files.renew();
        let stamp = files.stamp();
        let (default, others) = files.read().map_err(BootError::Admin)?;
        let certificates =
            Certificates::new(default, others).map_err(|error| BootError::Admin(error.to_string()))?;
        let keeper = Self {
            certificates,
            files: Mutex::new(files),
            stamp: Mutex::new(stamp),
            has_failed: AtomicBool::new(false),
        };
        keeper.tell();
        Ok(keeper)
    }

    /// For TLS configurations.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Uses `files` from now on, as they are now. True when something is new. Files that could not be used are tried again:
    /// what was wrong (a directory's mode, a descriptor short) need not show in the files themselves.
    ///
    /// # Errors
    /// All that is wrong with them; what ran goes on.
    pub fn reload(&self, files: Files) -> Result<bool, String> {
        let stamp = files.stamp();
        let is_same = *self.files.lock() == files && *self.stamp.lock() == stamp;
        if is_same && !self.has_failed.load(Ordering::Relaxed) {
            return Ok(false);
        }
        *self.stamp.lock() = stamp;
        self.has_failed.store(true, Ordering::Relaxed);
        self.take(files)?;
        self.has_failed.store(false, Ordering::Relaxed);
        Ok(true)
    }

    /// Whether the files are others than those that were tried last: bad ones are complained of once.
    fn are_new(&self, files: &Files) -> bool {
        *self.stamp.lock() != files.stamp()
    }

    fn take(&self, files: Files) -> Result<(), String> {
        let (default, others) = files.read()?;
        self.certificates
            .replace(default, others)
            .map_err(|error| error.to_string())?;
        *self.files.lock() = files;
        self.tell();
        Ok(())
    }

    /// Looks at the files again and again. Only on the control thread.
    pub async fn watch(&self, every: impl Fn() -> Duration) {
        loop {
            tokio::time::sleep(every()).await;
            let files = self.files.lock().clone();
            files.renew();
            if !self.are_new(&files) {
                continue;
            }
            match self.reload(files) {
                Ok(_) => {}
                Err(problems) => {
                    tracing::error!(%problems, "certificates cannot be used; the old ones go on")
                }
            }
        }
    }

    fn tell(&self) {
        let now = jiff::Timestamp::now().as_second();
        for certificate in self.certificates.described() {
            let names = certificate.names.join(" ");
            let days = (certificate.expires_at - now).div_euclid(86_400);
            if certificate.expires_at - now < EXPIRES_SOON_SECONDS {
                tracing::warn!(names, days, "a certificate expires soon");
            } else {
                tracing::info!(names, days, "certificate in use");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use std::path::Path;

    fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        // Signatures differ in length; what is behind the last line is skipped.
        format!(
            "{:<2000}",
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        )
    }

    /// Writes a pair for `name`, into the files that are there if there are any.
    fn write(files: &CertificateFiles, name: &str) {
        let made = tls::self_signed(&[name.to_owned()]).expect("a certificate");
        std::fs::write(&files.chain, pem("CERTIFICATE", &made.chain[0])).expect("a directory of ours");
        std::fs::write(&files.key, pem("PRIVATE KEY", made.key.secret_der())).expect("a directory of ours");
    }

    fn keeper(directory: &Path) -> (Keeper, Files) {
        let default = CertificateFiles {
            chain: directory.join("a.crt"),
            key: directory.join("a.key"),
        };
        write(&default, "a.example");
        let files = Files {
            default,
            others: Vec::new(),
            is_made: false,
        };
        let (default, others) = files.read().expect("they fit");
        let keeper = Keeper {
            certificates: Certificates::new(default, others).expect("they fit"),
            stamp: Mutex::new(files.stamp()),
            files: Mutex::new(files.clone()),
            has_failed: AtomicBool::new(false),
        };
        (keeper, files)
    }

    #[test]
    fn a_file_that_keeps_its_inode_size_and_time_is_seen_to_have_changed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (keeper, files) = keeper(directory.path());
        let before = std::fs::metadata(&files.default.chain).expect("it is there");
        write(&files.default, "b.example");
        for path in [&files.default.chain, &files.default.key] {
            let file = std::fs::File::options()
                .append(true)
                .open(path)
                .expect("it is there");
            file.set_modified(before.modified().expect("a time"))
                .expect("it is ours");
        }
        let after = std::fs::metadata(&files.default.chain).expect("it is there");
        assert_eq!(
            (before.ino(), before.size(), before.mtime_nsec()),
            (after.ino(), after.size(), after.mtime_nsec())
        );
        assert_eq!(keeper.reload(files), Ok(true));
        assert_eq!(keeper.certificates.described()[0].names, ["b.example"]);
    }

    #[test]
    fn the_certificate_that_init_made_is_made_anew_and_an_admins_is_not() {
        const DAY: i64 = 86_400;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (_, mut files) = keeper(directory.path());
        // As long as there was no limit: until the year 4096.
        let key = rcgen::KeyPair::generate().expect("a key");
        let long = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
        let long = long.self_signed(&key).expect("a certificate");
        std::fs::write(&files.default.chain, pem("CERTIFICATE", long.der())).expect("it is ours");
        std::fs::write(&files.default.key, pem("PRIVATE KEY", &key.serialize_der())).expect("it is ours");
        let days = |files: &Files| {
            let described = files.read().expect("they fit").0.describe().expect("of ours");
            (described.expires_at - described.begins_at) / DAY
        };
        files.renew();
        assert!(days(&files) > 700_000, "the admin has named it");
        files.is_made = true;
        files.renew();
        assert_eq!(days(&files), tls::SELF_SIGNED_DAYS);
    }

    #[test]
    fn what_could_not_be_used_is_tried_again_when_asked_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (keeper, files) = keeper(directory.path());
        std::fs::write(&files.default.key, "no key").expect("it is ours");
        assert!(keeper.reload(files.clone()).is_err());
        assert!(!keeper.are_new(&files), "it is complained of once");
        assert!(
            keeper.reload(files.clone()).is_err(),
            "but not called good when somebody asks"
        );
        write(&files.default, "b.example");
        assert_eq!(keeper.reload(files.clone()), Ok(true));
        assert_eq!(keeper.reload(files), Ok(false));
    }
}
