//! A host of an international domain: whoever writes it in one way reaches what was made in the other.

mod common;

use common::site::{Plan, Site};
use common::{has_client, run, succeed};
use std::path::Path;
use std::process::Command;

const PASSWORD: &str = "correct horse";
const ASCII: &str = "xn--bcher-kva.example";

struct Host(Site);

impl Host {
    fn new(domain: &str) -> Host {
        Host(Site::of(&Plan {
            domain,
            hostname: "mail.bücher.example",
            ..Plan::default()
        }))
    }

    fn serve(&mut self) {
        self.0
            .edit("\n[listen]\n", "\n[listen]\nlmtp = [\"127.0.0.1:0\"]\n");
        self.0.start();
    }

    fn order(&self, arguments: &[&str]) -> String {
        let output = self.0.ask_with(arguments, PASSWORD);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.0.ask_with(arguments, PASSWORD);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// A page over HTTPS by the certificate that `init` made, which has to be for the name.
    fn page(&self, name: &str, path: &str, fields: &[(&str, &str)]) -> String {
        let port = self.0.port("https");
        let jar = self.0.directory.path().join("jar");
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--location",
            "--cacert",
        ]);
        command.arg(self.0.directory.path().join("data/tls/default.crt"));
        command.arg("--cookie").arg(&jar).arg("--cookie-jar").arg(&jar);
        command.args(["--connect-to", &format!("::127.0.0.1:{port}")]);
        for (name, value) in fields {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = run(command.arg(format!("https://{name}:{port}{path}")));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}{path}: {errors}");
        String::from_utf8(output.stdout).expect("pages are UTF-8")
    }
}

#[test]
fn both_spellings_of_a_domain_reach_the_same_accounts_on_every_protocol() {
    if !has_client("python3") {
        return;
    }
    let mut host = Host::new("Bücher.example");
    host.serve();
    host.order(&["account", "add", "anna@bücher.example", "--stdin"]);
    host.order(&["account", "add", &format!("bob@{ASCII}"), "--none"]);
    host.order(&["alias", "add", "team@bücher.example", &format!("anna@{ASCII}")]);
    let mut python = Command::new("python3");
    python
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/international.py"));
    for service in ["smtp", "lmtp", "submissions", "pop3s", "imaps"] {
        let name = format!("RINGPOST_{}", service.to_uppercase());
        python.env(name, host.0.port(service).to_string());
    }
    succeed(python.env("PYTHONIOENCODING", "utf-8").arg(PASSWORD));
}

#[test]
fn commands_take_both_spellings_show_the_readable_one_and_give_programs_the_other() {
    let mut host = Host::new(ASCII);
    host.serve();
    host.order(&["account", "add", "anna@bücher.example", "--stdin"]);
    for (arguments, why) in [
        (
            &["account", "add", "anna@xn--bcher-kva.example", "--none"][..],
            "anna@bücher.example is there already",
        ),
        (
            &["domain", "add", "BÜCHER.example"],
            "bücher.example is there already",
        ),
        (
            &["domain", "add", "straße.example."],
            "without the dot at its end",
        ),
        (&["domain", "add", "xn--a.example"], "international"),
        (&["domain", "add", "\u{5d0}a.example"], "international"),
        (
            &["account", "add", "x@straße.example", "--none"],
            "straße.example is not a domain of this server",
        ),
        (
            &["account", "show", "eva@bücher.example"],
            "no account eva@bücher.example",
        ),
    ] {
        let errors = host.refused(arguments);
        assert!(errors.contains(why), "{arguments:?}: {errors}");
    }
    let list = host.0.directory.path().join("list.csv");
    std::fs::write(
        &list,
        "address,hash\neva@bücher.example,{PLAIN}x\nEVA@XN--bcher-kva.example,{PLAIN}y\n",
    )
    .expect("a file");
    let file = list.display().to_string();
    let errors = host.refused(&["account", "import", "--format", "csv", &file]);
    assert!(errors.contains("is there already"), "{errors}");
    std::fs::write(&list, "address,hash\neva,{PLAIN}x\n").expect("a file");
    host.order(&[
        "account",
        "import",
        "--format",
        "csv",
        "--domain",
        "bücher.example",
        &file,
    ]);
    let listed = host.order(&["account", "list", "--domain", ASCII]);
    assert!(
        listed.contains("eva@bücher.example") && !listed.contains("xn--"),
        "{listed}"
    );
    let listed = host.order(&["account", "list", "--domain", "bücher.example", "--json"]);
    assert!(
        listed.contains("eva@xn--bcher-kva.example") && !listed.contains("bücher"),
        "{listed}"
    );
    let domains = host.order(&["domain", "list"]);
    assert!(
        domains.contains("bücher.example (xn--bcher-kva.example)  3 accounts"),
        "{domains}"
    );
}

#[test]
fn records_certificates_and_pages_are_of_the_one_domain() {
    if !has_client("curl") {
        return;
    }
    let mut host = Host::new("bücher.example");
    assert_eq!(host.0.told["admin"], format!("admin@{ASCII}"));
    assert_eq!(host.0.told["hostname"], format!("mail.{ASCII}"));
    let records = host.0.told["records"].as_array().expect("a list");
    let all: Vec<String> = records.iter().map(ToString::to_string).collect();
    assert!(all.iter().all(|record| record.is_ascii()), "{all:#?}");
    assert!(
        all.iter()
            .any(|record| record.contains(&format!("_imaps._tcp.{ASCII}"))),
        "{all:#?}"
    );
    host.serve();
    // The certificate is for the name, SNI and Host have A-labels.
    for address in ["anna@b%C3%BCcher.example", "anna@xn--bcher-kva.example"] {
        let path = format!("/mail/config-v1.1.xml?emailaddress={address}");
        let config = host.page(&format!("autoconfig.{ASCII}"), &path, &[]);
        assert!(config.contains("<displayName>bücher.example<"), "{config}");
        assert!(config.contains(&format!("<hostname>mail.{ASCII}<")), "{config}");
    }
    let password = host.0.told["password"].as_str().expect("a password");
    for login in ["Admin@BÜCHER.example", "admin@xn--bcher-kva.example"] {
        let name = format!("mail.{ASCII}");
        let page = host.page(&name, "/login", &[("login", login), ("password", password)]);
        assert!(
            page.contains("Your login is <code>admin@bücher.example</code>"),
            "{page}"
        );
        let page = host.page(&name, "/admin?domain=b%C3%BCcher.example", &[]);
        assert!(page.contains("Accounts and aliases of bücher.example"), "{page}");
        let token = page.split_once("name=\"token\" value=\"").expect("a form").1;
        let token = token.split('"').next().unwrap_or_default();
        let address = format!(
            "{}@{}",
            login.len(),
            if login.is_ascii() {
                "bücher.example"
            } else {
                ASCII
            }
        );
        let fields = [
            ("token", token),
            ("address", &address),
            ("password", "long enough"),
            ("name", ""),
        ];
        let page = host.page(&name, "/admin/account", &fields);
        assert!(
            page.contains(&format!("{}@bücher.example", login.len())),
            "{page}"
        );
    }
}
