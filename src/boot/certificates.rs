//! The certificate files of the configuration: read at the start, looked at again now and then and at each reload.
//!
//! Failure: at the start a pair that cannot be used is the admin's error; later it is said once in the log, and what ran goes
//! on until the files change again.

use super::BootError;
use crate::acme;
use crate::config::{CertificateFiles, Config};
use crate::tls::{Certificate, Certificates, TlsError};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Of one file, bytes: a chain of some ten certificates.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Seconds before its end at which a certificate is spoken of.
const EXPIRES_SOON_SECONDS: i64 = 14 * 86_400;

/// Inode, time of change (seconds, nanoseconds) and size of a file; `None`: it is not there.
type Stamp = Option<(u64, i64, i64, u64)>;

/// The pairs of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    default: CertificateFiles,
    others: Vec<CertificateFiles>,
}

impl Files {
    /// Those that the configuration names, and those that were issued by ACME as far as they have come.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut files = Self {
            default: config.tls.default.clone(),
            others: config.tls.certificates.clone(),
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
        let mut problems = String::new();
        let mut read = |files: &CertificateFiles| match pair(files) {
            Ok(certificate) => Some(certificate),
            Err(why) => {
                let _ = writeln!(problems, "{}: {why}", files.chain.display());
                None
            }
        };
        let default = read(&self.default);
        let others: Vec<_> = self.others.iter().filter_map(&mut read).collect();
        match default {
            Some(default) if problems.is_empty() => Ok((default, others)),
            _ => Err(problems.trim_end().to_owned()),
        }
    }

    /// What tells whether a file is another one now.
    fn stamp(&self) -> Vec<Stamp> {
        let pairs = std::iter::once(&self.default).chain(&self.others);
        let files = pairs.flat_map(|pair| [&pair.chain, &pair.key]);
        let stamp = |path: &std::path::PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
        };
        files.map(stamp).collect()
    }
}

fn pair(files: &CertificateFiles) -> Result<Certificate, String> {
    let certificate =
        Certificate::from_pem(&file(&files.chain)?, &file(&files.key)?).map_err(|error| error.to_string())?;
    // Each for itself, so that the one that does not fit is named.
    let trial = Certificate {
        chain: certificate.chain.clone(),
        key: certificate.key.clone_key(),
    };
    match Certificates::new(trial, Vec::new()) {
        Ok(_) => Ok(certificate),
        Err(TlsError::Unusable(rustls::Error::InconsistentKeys(_))) => Err(format!(
            "the key in {} belongs to another certificate",
            files.key.display()
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn file(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    let bytes = std::fs::metadata(path)
        .map_err(|error| format!("{name}: {error}"))?
        .len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("{name}: {bytes} bytes are no certificate"));
    }
    std::fs::read(path).map_err(|error| format!("{name}: {error}"))
}

/// The files in use and what was made of them.
#[derive(Debug)]
pub struct Keeper {
    certificates: Certificates,
    files: Mutex<Files>,
    stamp: Mutex<Vec<Stamp>>,
}

impl Keeper {
    /// Reads the files of `config`.
    ///
    /// # Errors
    /// [`BootError::Admin`].
    pub fn start(config: &Config) -> Result<Self, BootError> {
        let files = Files::of(config);
        let stamp = files.stamp();
        let (default, others) = files.read().map_err(BootError::Admin)?;
        let certificates =
            Certificates::new(default, others).map_err(|error| BootError::Admin(error.to_string()))?;
        let keeper = Self {
            certificates,
            files: Mutex::new(files),
            stamp: Mutex::new(stamp),
        };
        keeper.tell();
        Ok(keeper)
    }

    /// For TLS configurations.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Uses `files` from now on, as they are now. True when something is new.
    ///
    /// # Errors
    /// All that is wrong with them; what ran goes on.
    pub fn reload(&self, files: Files) -> Result<bool, String> {
        let stamp = files.stamp();
        if *self.files.lock() == files && *self.stamp.lock() == stamp {
            return Ok(false);
        }
        // Remembered also if they are bad, so that they are complained of once.
        *self.stamp.lock() = stamp;
        let (default, others) = files.read()?;
        self.certificates
            .replace(default, others)
            .map_err(|error| error.to_string())?;
        *self.files.lock() = files;
        self.tell();
        Ok(true)
    }

    /// Looks at the files again and again. Only on the control thread.
    pub async fn watch(&self, every: impl Fn() -> Duration) {
        loop {
            tokio::time::sleep(every()).await;
            let files = self.files.lock().clone();
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
