//! What a configuration names, as `ringpost check` looks at it: the user, files, the data directory, the directory of accounts.
//!
//! Invariants: everything is looked at as the user that serves, as far as this process may become that one: what root can read
//! says nothing; each problem is told with the line and the key that name the thing; nothing is changed, also beside a server of
//! an older version that works on the same directory.
//! Not here: the file itself (`config`), whether the domain's DNS leads here (`doctor`).

use super::certificates::Files;
use super::{backend, issuer, privileges, settings};
use crate::config::options::find;
use crate::config::{Backend, Config, Problem, Values};
use crate::directory::embedded::{Database, FILE_NAME, not_ours};
use crate::tls::{self, Certificates};
use std::path::Path;

/// A configuration whose values were checked one by one.
pub struct Named<'a> {
    pub path: &'a Path,
    pub config: Config,
    pub values: Values,
}

/// What there is to tell.
#[derive(Debug, Default)]
pub struct Told {
    pub problems: Vec<Problem>,
    /// What is good, and still somebody should know.
    pub notes: Vec<String>,
}

impl Named<'_> {
    /// All that is wrong with it, and what is to be known of it. This process may be another user afterwards.
    pub fn look(&self) -> Told {
        let mut told = Told::default();
        match self.become_user() {
            None => told.problems.extend(self.of_the_file()),
            Some(problem) => told.problems.push(problem),
        }
        told.problems.extend(self.of_certificates());
        told.problems.extend(self.of_files());
        told.problems.extend(self.of_data());
        told.notes.extend(self.older_version());
        told.notes.extend(self.undeliverable());
        if let Err(why) = backend::check(&self.config) {
            told.problems
                .push(self.spoken("directory.backend", &why, "a directory that answers"));
        }
        told
    }

    fn problem(&self, key: &str, found: &dyn std::fmt::Display, expected: &str, hint: &str) -> Problem {
        Problem::of(self.path, self.values.line(key), key)
            .found(found)
            .expected(expected, hint)
    }

    /// What was said in one text, which may begin with the key.
    fn spoken(&self, key: &str, why: &str, expected: &str) -> Problem {
        match why.split_once(": ") {
            Some((named, rest)) if find(named).is_some() => {
                self.problem(named, &self.shown(named), expected, rest)
            }
            _ => self.problem(key, &self.shown(key), expected, why),
        }
    }

    fn shown(&self, key: &str) -> String {
        let value = self.values.value(key);
        value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
    }

    fn become_user(&self) -> Option<Problem> {
        let user = &self.config.server.user;
        let error = privileges::become_user(user).err()?;
        let hint = format!("`useradd --system --no-create-home {user}` makes it; {error}");
        Some(self.problem("server.user", user, "a user of this machine", &hint))
    }

    /// The running server reads it at a reload.
    fn of_the_file(&self) -> Option<Problem> {
        let error = std::fs::File::open(self.path).err()?;
        let hint = format!(
            "without it `ringpost reload` fails: chmod a+r {}",
            self.path.display()
        );
        let problem = Problem::of(self.path, None, "the file").found(error);
        Some(problem.expected("one that server.user can read", &hint))
    }

    fn of_certificates(&self) -> Vec<Problem> {
        let (default, others) = match Files::of(&self.config).read_each() {
            Ok(read) => read,
            Err(problems) => {
                let told = problems.iter();
                return told.map(|(chain, why)| self.of_certificate(chain, why)).collect();
            }
        };
        let offered = Certificates::new(default, others)
            .map_err(|error| error.to_string())
            .and_then(|all| settings::offers(&self.config, &all).map_err(|error| error.to_string()));
        match offered {
            Ok(_) => Vec::new(),
            Err(why) => vec![self.spoken("tls.client_ca", &why, "a file with certificates of authorities")],
        }
    }

    fn of_certificate(&self, chain: &Path, why: &str) -> Problem {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let labels = self.values.labels("tls.certificate");
        let mut keys = labels
            .iter()
            .map(|label| format!("tls.certificate.{label}.chain"));
        let key = keys.find(|key| directory.join(self.values.text(key)) == chain);
        let key = key.unwrap_or_else(|| "tls.certificate".to_owned());
        let expected = "a certificate chain and the key that belongs to it, readable by server.user";
        self.problem(&key, &chain.display(), expected, why)
    }

    /// Those that no certificate is in, and the authorities of others.
    fn of_files(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let expected = "a file that server.user can read";
        if let Err(error) = issuer::of(&self.config) {
            problems.push(self.spoken("oauth.issuer", &error.to_string(), expected));
        }
        let Some(acme) = &self.config.acme else {
            return problems;
        };
        if let Some(file) = &acme.ca_file
            && let Err(error) = tls::client_config(Some(file))
        {
            problems.push(self.problem("acme.ca_file", &file.display(), expected, &error.to_string()));
        }
        if let Some(Err(why)) = acme.binding.as_ref().map(crate::acme::Binding::check) {
            problems.push(self.spoken("acme.eab_key_file", &why, expected));
        }
        problems
    }

    fn of_data(&self) -> Option<Problem> {
        let (data, domain) = (&self.config.server.data, &self.config.server.domain);
        let wrong = |why: &str| {
            let expected = "a data directory, which belongs to server.user";
            Some(self.problem("server.data", &data.display(), expected, why))
        };
        match std::fs::metadata(data.join(FILE_NAME)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return wrong(&error.to_string());
            }
            Err(_) => {
                return wrong(&format!(
                    "there are no accounts in it: `ringpost init {domain}` makes one"
                ));
            }
        }
        let seen = match Database::look(data, domain) {
            Ok(seen) => seen,
            Err(error) => return wrong(&error.to_string()),
        };
        if self.config.directory.backend == Backend::Embedded && !seen.has_domain {
            let expected = "a domain whose mail is taken here";
            let why = not_ours(domain);
            return Some(self.problem("server.domain", domain, expected, &why));
        }
        None
    }

    fn undeliverable(&self) -> Option<String> {
        if self.config.directory.backend != Backend::Embedded {
            return None;
        }
        let named = Database::undeliverable(&self.config.server.data).ok()?;
        (!named.is_empty()).then(|| {
            let named = named.join("; ");
            format!("mail for these addresses waits at its senders until they lead elsewhere: {named}")
        })
    }

    fn older_version(&self) -> Option<String> {
        let data = &self.config.server.data;
        let seen = Database::look(data, &self.config.server.domain).ok()?;
        let next = seen.upgrade()?;
        Some(format!(
            "{} is of version {}; `ringpost serve` makes it version {next}, which older ones do not read",
            data.join(FILE_NAME).display(),
            seen.version
        ))
    }
}
