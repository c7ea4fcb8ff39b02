//! `[acme]` as the client takes it.

use super::problem::Problem;
use super::values::Values;
use crate::acme::{Binding, Challenge, Settings};
use crate::model::AddrSpec;
use std::path::Path;

const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETSENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// `None`: no issuer is asked. Relative paths are below `directory`.
pub(super) fn from_values(values: &Values, directory: &Path) -> Option<Settings> {
    let issuer = values.text("acme.directory");
    let mut names = values.domains("acme.names");
    if names.is_empty() {
        names.push(values.domain("server.hostname"));
    }
    let (key_id, key_file) = (values.text("acme.eab_key_id"), values.text("acme.eab_key_file"));
    let ca_file = values.text("acme.ca_file");
    let settings = Settings {
        directory: match issuer.as_str() {
            "letsencrypt" => LETSENCRYPT.to_owned(),
            "letsencrypt-staging" => LETSENCRYPT_STAGING.to_owned(),
            _ => issuer,
        },
        contact: values.text("acme.contact"),
        ca_file: (!ca_file.is_empty()).then(|| directory.join(ca_file)),
        challenge: match values.text("acme.challenge").as_str() {
            "http-01" => Challenge::Http,
            _ => Challenge::TlsAlpn,
        },
        names,
        binding: (!key_id.is_empty() || !key_file.is_empty()).then(|| Binding {
            key_id,
            key_file: directory.join(key_file),
        }),
    };
    (!settings.directory.is_empty()).then_some(settings)
}

/// What does not go together.
pub(super) fn problems(settings: &Settings, values: &Values, path: &Path) -> Vec<Problem> {
    let problem = |key: &str, found: &str, expected: &str, hint: &str| {
        Problem::of(path, values.line(key), key)
            .found(found)
            .expected(expected, hint)
    };
    let mut problems = Vec::new();
    if !settings.directory.starts_with("https://") {
        let hint = "letsencrypt, letsencrypt-staging, or another issuer's";
        problems.push(problem(
            "acme.directory",
            &settings.directory,
            "a known issuer or an https URL",
            hint,
        ));
    }
    if !settings.contact.is_empty() && AddrSpec::parse(&settings.contact).is_err() {
        problems.push(problem(
            "acme.contact",
            &settings.contact,
            "an address",
            "admin@example.com",
        ));
    }
    if settings.binding.is_some() {
        for key in ["acme.eab_key_id", "acme.eab_key_file"] {
            if values.text(key).is_empty() {
                let hint = "the issuer gives both: acme.eab_key_id and the key for acme.eab_key_file";
                problems.push(problem(key, "nothing", "what belongs to the other one", hint));
            }
        }
    }
    let (key, hint) = match settings.challenge {
        Challenge::Http => (
            "acme.listen",
            "http-01 is looked for on port 80: [\"0.0.0.0:80\", \"[::]:80\"]",
        ),
        Challenge::TlsAlpn => ("listen.https", "tls-alpn-01 is looked for on port 443"),
    };
    if values.addresses(key).is_empty() {
        problems.push(problem(
            key,
            "nothing",
            "an address, because acme.challenge needs it",
            hint,
        ));
    }
    problems
}
