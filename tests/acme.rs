//! Certificates by ACME from Pebble, the issuer that Let's Encrypt has for tests: a real one in all but trust.

#[path = "acme/adviser.rs"]
mod adviser;
mod common;

use adviser::Adviser;
use common::daemon::{Daemon, certificate};
use common::site::Site;
use common::{PATIENCE, has_client, port, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

const HOSTNAME: &str = "mail.example.org";

/// An issuer, and the DNS that it asks, in which every name is 127.0.0.1.
struct Pebble {
    directory: tempfile::TempDir,
    port: u16,
    management: u16,
    _issuer: Daemon,
    _dns: Daemon,
}

impl Pebble {
    /// One that looks for challenges at these ports. Its certificates last `seconds`.
    fn start(http: u16, tls: u16, seconds: u64) -> Option<Pebble> {
        Pebble::start_with(http, tls, seconds, None)
    }

    /// `known`: it makes accounts for whoever has this key only, by its id and in base64url.
    fn start_with(http: u16, tls: u16, seconds: u64, known: Option<(&str, &str)>) -> Option<Pebble> {
        if !has_client("pebble") || !has_client("pebble-challtestsrv") || !has_client("curl") {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (chain, key) = certificate(directory.path());
        let [port, management, dns, dns_management] = std::array::from_fn(|_| port::reserve());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": chain, "privateKey": key,
            "httpPort": http, "tlsPort": tls,
            "ocspResponderURL": "", "externalAccountBindingRequired": known.is_some(),
            "externalAccountMACKeys": known.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "certificateValidityPeriod": seconds,
        }});
        let file = directory.path().join("pebble.json");
        fs::write(&file, config.to_string()).expect("room");
        let quiet = |command: &mut Command| {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            Daemon(command.spawn().expect("it starts"))
        };
        let dns_address = format!("127.0.0.1:{dns}");
        let mut server = Command::new("pebble-challtestsrv");
        server.args([
            "-dns01",
            &dns_address,
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
        ]);
        server.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        server.args(["-management", &format!("127.0.0.1:{dns_management}")]);
        let dns = quiet(&mut server);
        let mut pebble = Command::new("pebble");
        pebble
            .env("PEBBLE_VA_NOSLEEP", "1")
            .arg("-config")
            .arg(&file)
            .args(["-dnsserver", &dns_address]);
        let pebble = Pebble {
            _issuer: quiet(&mut pebble),
            _dns: dns,
            directory,
            port,
            management,
        };
        let until = Instant::now() + PATIENCE;
        while pebble.root().is_none() {
            assert!(Instant::now() < until, "Pebble did not start");
        }
        Some(pebble)
    }

    /// The file with the root of what it issues.
    fn root(&self) -> Option<PathBuf> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--insecure", "--max-time", "20"]);
        let output = run(curl.arg(format!("https://127.0.0.1:{}/roots/0", self.management)));
        let file = self.directory.path().join("root.pem");
        fs::write(&file, &output.stdout).expect("room");
        output.status.success().then_some(file)
    }

    fn sections(&self, more: &str) -> String {
        self.sections_at(self.port, more)
    }

    /// For somebody who stands before it at this port.
    fn sections_at(&self, port: u16, more: &str) -> String {
        format!(
            "[acme]\ndirectory = \"https://localhost:{port}/dir\"\nca_file = \"{}\"\ncontact = \"admin@example.org\"\n{more}\n",
            self.directory.path().join("server.crt").display()
        )
    }

    /// One who stands before it and says when to renew.
    fn advised(&self, answer: impl Fn(usize) -> (String, String) + Send + 'static) -> Adviser {
        let file = |name: &str| self.directory.path().join(name);
        Adviser::start(self.port, &file("server.crt"), &file("server.key"), answer)
    }
}

/// A page or mailbox by TLS, of a server whose name and certificate are verified against `root`.
fn by_tls(site: &Site, scheme: &str, name: &str, root: &Path) -> Output {
    let port = site.server().port(scheme);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(root);
    curl.args(["--connect-to", &format!("::127.0.0.1:{port}")]);
    let path = if scheme == "https" {
        "/mail/config-v1.1.xml"
    } else {
        ""
    };
    run(curl.arg(format!("{scheme}://{name}:{port}{path}")))
}

/// Waits until the name's certificate is the issuer's.
fn until_trusted(site: &Site, scheme: &str, name: &str, root: &Path) {
    let heard = |site: &Site| {
        let output = by_tls(site, scheme, name, root);
        // Whatever the protocol then says of the missing login: 60 is a certificate that is not trusted.
        match output.status.code() {
            Some(60) => String::from_utf8_lossy(&output.stderr).into_owned(),
            _ => "trusted".to_owned(),
        }
    };
    site.until(heard, "trusted");
}

/// Gives HTTPS a port that is known before the server runs.
fn fix_https(site: &Site) -> u16 {
    let text = fs::read_to_string(site.config()).expect("init wrote it");
    let port = port::reserve();
    let fixed = text.replace(
        "https = [\"127.0.0.1:0\"]",
        &format!("https = [\"127.0.0.1:{port}\"]"),
    );
    assert_ne!(fixed, text, "init wrote another line");
    fs::write(site.config(), fixed).expect("it is ours");
    port
}

fn issued(site: &Site, name: &str) -> String {
    let file = site.directory.path().join(format!("data/acme/{name}.pem"));
    fs::read_to_string(file).unwrap_or_default()
}

/// Waits until there is another certificate than this one, or any; that one.
fn until_other(site: &Site, before: &str) -> String {
    let heard = |site: &Site| {
        let now = issued(site, HOSTNAME);
        if now.is_empty() || now == before {
            "the same"
        } else {
            "another"
        }
        .to_owned()
    };
    site.until(heard, "another");
    issued(site, HOSTNAME)
}

#[test]
fn every_name_gets_its_certificate_by_tls_and_every_listener_has_it() {
    let mut site = Site::new("");
    let Some(pebble) = Pebble::start(port::reserve(), fix_https(&site), 86_400) else {
        return;
    };
    let root = pebble.root().expect("it runs");
    let other = "autoconfig.example.org";
    site.configure(&pebble.sections(&format!("names = [\"{HOSTNAME}\", \"{other}\"]")));
    site.start();
    until_trusted(&site, "https", HOSTNAME, &root);
    until_trusted(&site, "https", other, &root);
    until_trusted(&site, "imaps", HOSTNAME, &root);
    until_trusted(&site, "submissions", HOSTNAME, &root);
    // Another name has none.
    assert_eq!(
        by_tls(&site, "https", "mta-sts.example.org", &root).status.code(),
        Some(60)
    );
    // What was issued is there after a restart, and nobody is asked again.
    let before = issued(&site, HOSTNAME);
    site.stop();
    drop(pebble);
    site.start();
    until_trusted(&site, "https", HOSTNAME, &root);
    assert_eq!(issued(&site, HOSTNAME), before);
}

#[test]
fn a_certificate_is_renewed_before_its_end() {
    let port = port::reserve();
    let mut site = Site::new("");
    // Renewed after six seconds or a little sooner.
    let Some(pebble) = Pebble::start(port, port::reserve(), 9) else {
        return;
    };
    let more = format!("challenge = \"http-01\"\nlisten = [\"127.0.0.1:{port}\"]");
    site.configure(&pebble.sections(&more));
    site.start();
    let first = until_other(&site, "");
    until_other(&site, &first);
    // Only challenges are answered there, and those only while they are open.
    for path in ["/", "/metrics", "/.well-known/acme-challenge/x"] {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--max-time",
            "20",
        ]);
        let output = run(curl.arg(format!("http://127.0.0.1:{port}{path}")));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "404", "{path}");
    }
}

#[test]
fn a_certificate_is_renewed_when_its_issuer_suggests_it() {
    let mut site = Site::new("");
    // By the rule for those who suggest nothing it would be renewed after six minutes.
    let Some(pebble) = Pebble::start(port::reserve(), fix_https(&site), 600) else {
        return;
    };
    let (looked, has_looked) = std::sync::mpsc::channel::<()>();
    let adviser = pebble.advised(move |question| {
        // Not before this test has seen the first certificate.
        if question == 0 {
            has_looked.recv().expect("the test looks");
        }
        // The first was to be renewed long ago, and has six seconds all the same; the others have time.
        let year = if question == 0 { 2020 } else { 2120 };
        let body = format!(
            "{{\"suggestedWindow\":{{\"start\":\"{year}-01-01T00:00:00Z\",\"end\":\"{year}-01-02T00:00:00Z\"}},\
             \"explanationURL\":\"https://issuer.example/why\"}}"
        );
        ("Retry-After: 21600".to_owned(), body)
    });
    site.configure(&pebble.sections_at(adviser.port, ""));
    site.start();
    let first = until_other(&site, "");
    looked.send(()).expect("the issuer waits for it");
    let second = until_other(&site, &first);
    let names = [&first, &second].map(|pem| adviser::name_of(pem));
    site.until(|_| adviser.heard(|heard| heard.questions.len()).to_string(), "2");
    assert_eq!(
        adviser.heard(|heard| heard.questions.clone()),
        names,
        "once for each"
    );
    let replaced = [None, Some(names[0].clone())];
    assert_eq!(adviser.heard(|heard| heard.orders.clone()), replaced);
    // Nor does a restart ask sooner than the issuer wishes.
    let log = site.stop_for_log();
    assert!(log.contains("https://issuer.example/why"), "{log}");
    site.start();
    until_trusted(&site, "https", HOSTNAME, &pebble.root().expect("it runs"));
    site.stop();
    assert_eq!(adviser.heard(|heard| heard.questions.len()), 2);
    assert_eq!(issued(&site, HOSTNAME), second);
}

#[test]
fn an_issuer_that_talks_nonsense_of_renewals_keeps_none_from_coming() {
    let mut site = Site::new("");
    // Renewed after six seconds or a little sooner.
    let Some(pebble) = Pebble::start(port::reserve(), fix_https(&site), 9) else {
        return;
    };
    let adviser = pebble.advised(|_| {
        (
            "Retry-After: soon".to_owned(),
            "{\"suggestedWindow\": 7".to_owned(),
        )
    });
    site.configure(&pebble.sections_at(adviser.port, ""));
    site.start();
    let first = until_other(&site, "");
    until_other(&site, &first);
    assert!(
        site.stop_for_log()
            .contains("the issuer does not say when to renew")
    );
    let replaced = adviser.heard(|heard| heard.orders.iter().flatten().count());
    assert_eq!(replaced, 0, "who suggests nothing is told nothing");
    let asked = adviser.heard(|heard| heard.questions.clone());
    assert!(asked.contains(&adviser::name_of(&first)), "{asked:?}");
}

#[test]
fn an_issuer_is_told_whose_account_it_is() {
    // Of 32 octets.
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut site = Site::new("");
    let pebble = Pebble::start_with(port::reserve(), fix_https(&site), 86_400, Some(("kid-1", key)));
    let Some(pebble) = pebble else { return };
    let root = pebble.root().expect("it runs");
    let file = site.directory.path().join("eab");
    let sections = |id: &str| {
        pebble.sections(&format!(
            "eab_key_id = \"{id}\"\neab_key_file = \"{}\"",
            file.display()
        ))
    };
    let refused = |site: &mut Site, cause: &str| {
        let state = site.directory.path().join("data/acme/state.json");
        site.start();
        site.until(
            |_| fs::read_to_string(&state).map_or_else(|_| "nothing".to_owned(), |_| "told".to_owned()),
            "told",
        );
        let told = fs::read_to_string(&state).expect("it is there");
        assert!(told.contains(cause), "{told}");
        site.stop();
        fs::remove_file(&state).expect("it is there");
    };
    // Without a key, with one that nobody can read, with another's, and at last with the right one.
    site.configure(&pebble.sections(""));
    refused(&mut site, "xternal");
    site.configure(&sections("kid-1"));
    refused(&mut site, "acme.eab_key_file");
    fs::write(&file, format!("{}\n", key.replace('z', "y"))).expect("room");
    refused(&mut site, "the account");
    fs::write(&file, format!("{key}\n")).expect("room");
    site.start();
    until_trusted(&site, "https", HOSTNAME, &root);
    // Once it is made it is known by its own key.
    site.stop();
    fs::remove_file(&file).expect("it was there");
    fs::remove_file(site.directory.path().join(format!("data/acme/{HOSTNAME}.pem"))).expect("it was issued");
    site.start();
    until_trusted(&site, "https", HOSTNAME, &root);
}

#[test]
fn what_fails_is_told_and_the_server_goes_on_with_what_it_has() {
    let mut site = Site::new("");
    // The issuer looks where nobody listens.
    let Some(pebble) = Pebble::start(port::reserve(), port::reserve(), 86_400) else {
        return;
    };
    site.configure(&pebble.sections(""));
    site.start();
    let state = site.directory.path().join("data/acme/state.json");
    let told = |state: &Path| fs::read_to_string(state).unwrap_or_default();
    site.until(
        |_| {
            if told(&state).contains("cause") {
                "told"
            } else {
                "nothing"
            }
            .to_owned()
        },
        "told",
    );
    let value: serde_json::Value = serde_json::from_str(&told(&state)).expect("JSON");
    assert_eq!(value[HOSTNAME]["failures"], 1);
    let cause = value[HOSTNAME]["cause"].as_str().expect("a text");
    assert!(cause.contains("tls-alpn-01"), "{cause}");
    let own = site.directory.path().join("data/tls/default.crt");
    until_trusted(&site, "https", HOSTNAME, &own);
    // Nor does a restart ask sooner.
    site.stop();
    site.start();
    until_trusted(&site, "https", HOSTNAME, &own);
    site.stop();
    let again: serde_json::Value = serde_json::from_str(&told(&state)).expect("JSON");
    assert_eq!(again, value);
}

#[test]
fn settings_that_do_not_go_together_are_told() {
    let site = Site::new("");
    for (sections, told) in [
        ("[acme]\ndirectory = \"letsencrpt\"\n", "acme.directory"),
        (
            "[acme]\ndirectory = \"letsencrypt\"\nchallenge = \"http-01\"\n",
            "acme.listen",
        ),
        (
            "[acme]\ndirectory = \"letsencrypt\"\ncontact = \"nobody\"\n",
            "acme.contact",
        ),
        (
            "[acme]\ndirectory = \"letsencrypt\"\neab_key_id = \"x\"\n",
            "acme.eab_key_file",
        ),
    ] {
        site.configure(sections);
        let checked = site.ask(&["check"]);
        assert_eq!(checked.status.code(), Some(2), "{sections}");
        let heard = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(heard.contains(told), "{heard}");
    }
}
