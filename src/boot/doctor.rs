//! `ringpost doctor`: this machine, and with a configuration its listeners, certificates and domain.

use super::certificates::Files;
use super::init::own_addresses;
use super::settings::endpoints;
use super::{BootError, backend};
use crate::acme;
use crate::admin::socket;
use crate::cli::DoctorArguments;
use crate::config::Config;
use crate::discovery::records::{DkimKey, records};
use crate::doctor::chain::{self, Roots};
use crate::doctor::listeners::{self, Listening, Looking};
use crate::doctor::{self, Finding, certificates, domain};
use crate::runtime::Control;
use crate::tls::Certificates;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

/// Looks at everything; the exit code is the worst of it.
///
/// # Errors
/// [`BootError::Configuration`] when the file has problems.
pub fn run(arguments: &DoctorArguments) -> Result<ExitCode, BootError> {
    let Some(path) = &arguments.config else {
        let data = arguments.data.as_deref().unwrap_or(Path::new("."));
        return Ok(doctor::report(&doctor::examine(data), arguments.json));
    };
    let (config, _) = Config::load(path)?;
    let data = arguments.data.as_deref().unwrap_or(&config.server.data);
    let mut findings = doctor::examine(data);
    let roots = Roots::new(&rustls_native_certs::load_native_certs().certs);
    findings.extend(of_listeners(&config, &roots));
    findings.extend(of_certificates(&config, &roots));
    findings.push(doctor::directory(
        config.directory.backend.name(),
        backend::check(&config),
    ));
    findings.extend(of_domain(&config, arguments)?);
    Ok(doctor::report(&findings, arguments.json))
}

fn of_listeners(config: &Config, roots: &Roots) -> Vec<Finding> {
    let mail = config.listen.iter().flat_map(|(service, addresses)| {
        addresses
            .iter()
            .map(|address| Listening::of_service(*service, *address))
    });
    let web = |addresses: &[SocketAddr], is_https| -> Vec<Listening> {
        let one = |address: &SocketAddr| Listening::of_web(*address, is_https);
        addresses.iter().map(one).collect()
    };
    let all: Vec<Listening> = mail
        .chain(web(&config.http, false))
        .chain(web(&config.https, true))
        .chain(config.acme_listen.iter().copied().map(Listening::of_acme))
        .collect();
    let looking = Looking {
        hostname: config.server.hostname.as_str(),
        now: jiff::Timestamp::now().as_second(),
        roots,
        is_running: socket::is_served(&config.server.data),
    };
    listeners::examine(&all, &looking)
}

fn of_certificates(config: &Config, roots: &Roots) -> Vec<Finding> {
    let now = jiff::Timestamp::now().as_second();
    let made = Files::of(config).read().and_then(|(default, others)| {
        let all = std::iter::once(&default).chain(&others);
        let faults: Vec<_> = all.map(|one| chain::judge(&one.chain, roots, now)).collect();
        let made = Certificates::new(default, others).map_err(|error| error.to_string())?;
        Ok((made.described(), faults))
    });
    let mut findings = match made {
        Ok((described, faults)) => {
            let finding =
                |(one, fault)| certificates::with_fault(certificates::of_described(one, now), fault);
            let mut findings: Vec<Finding> = described.iter().zip(faults).map(finding).collect();
            findings.extend(certificates::of_name(&described, config.server.hostname.as_str()));
            findings
        }
        Err(cause) => vec![certificates::of_unusable(&cause)],
    };
    let kept = acme::files::Files::of(&config.server.data);
    for name in config.acme.iter().flat_map(|settings| &settings.names) {
        let state = kept.state(name);
        if state.failures > 0 {
            let next = state.next_try - now;
            findings.push(certificates::of_failure(
                name.as_str(),
                &state.cause,
                state.failures,
                next,
            ));
        }
    }
    findings
}

fn of_domain(config: &Config, arguments: &DoctorArguments) -> Result<Vec<Finding>, BootError> {
    let services = config.listen.iter().map(|(service, list)| (service.name(), list));
    // A port that the system chooses is in nobody's DNS.
    let ports: BTreeMap<&'static str, u16> = services
        .filter_map(|(name, list)| Some((name, list.first()?.port())).filter(|(_, port)| *port != 0))
        .collect();
    let addresses = own_addresses();
    let keys = dkim_keys(config);
    let (main, hostname) = (&config.server.domain, &config.server.hostname);
    let expected = domain::Expected {
        hostname: hostname.clone(),
        records: records(main, hostname, &addresses, &keys, &endpoints(&ports)),
        addresses,
        has_mta_sts: config.web.mta_sts.is_some(),
    };
    let control = Control::start().map_err(BootError::system("control thread"))?;
    let server = arguments.resolver;
    let examining = control.run(async move { domain::examine(&expected, server).await });
    futures_executor::block_on(examining).map_err(BootError::system("control thread"))
}

/// What `init` made, as it is published; a key that cannot be read is not compared.
fn dkim_keys(config: &Config) -> Vec<DkimKey> {
    let path = |selector: &str| {
        let name = format!("dkim/{}.{selector}.key", config.server.domain);
        config.server.data.join(name)
    };
    let read = |selector: &str| {
        let text = std::fs::read(path(selector)).ok()?;
        PrivatePkcs8KeyDer::from_pem_slice(&text).ok()
    };
    let key = |selector: &str, algorithm, public: &[u8]| DkimKey {
        selector: selector.to_owned(),
        algorithm,
        public: STANDARD.encode(public),
    };
    let rsa = || {
        let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(read("rsa1")?.secret_pkcs8_der()).ok()?;
        let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        Some(key("rsa1", "rsa", public.as_ref()))
    };
    let ed25519 = || {
        let pair = Ed25519KeyPair::from_pkcs8(read("ed1")?.secret_pkcs8_der()).ok()?;
        Some(key("ed1", "ed25519", pair.public_key().as_ref()))
    };
    rsa().into_iter().chain(ed25519()).collect()
}
