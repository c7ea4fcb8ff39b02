//! What is kept here for accounts that another directory has: passwords for programs, the second factor, the pages; and what
//! commands say about everything else.

use crate::common::site::Site;
use crate::common::{binary, has_client, run, succeed};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Somebody with the password `secret` in the directory.
pub struct Person<'a> {
    pub address: &'a str,
    pub login: &'a str,
}

struct Browser<'a> {
    site: &'a Site,
    jar: PathBuf,
}

impl<'a> Browser<'a> {
    fn new(site: &'a Site, name: &str) -> Browser<'a> {
        let jar = site.directory.path().join(format!("{name}.jar"));
        Browser { site, jar }
    }

    fn ask(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let port = self.site.server().port("https");
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--location",
            "--insecure",
        ]);
        curl.arg("--cookie").arg(&self.jar);
        curl.arg("--cookie-jar").arg(&self.jar);
        for (name, value) in fields {
            curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let page = succeed(curl.arg(format!("https://127.0.0.1:{port}{path}")));
        String::from_utf8(page).expect("pages are UTF-8")
    }

    fn log_in(&self, login: &str, password: &str, code: &str) -> String {
        self.ask(
            "/login",
            &[("login", login), ("password", password), ("code", code)],
        )
    }

    fn send(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let token = between(&self.ask("/account", &[]), "name=\"token\" value=\"", '"');
        let mut all = vec![("token", token.as_str())];
        all.extend_from_slice(fields);
        self.ask(path, &all)
    }
}

#[track_caller]
fn between(text: &str, start: &str, end: char) -> String {
    let Some((_, rest)) = text.split_once(start) else {
        panic!("no {start} in {text}")
    };
    rest.split(end).next().unwrap_or_default().to_owned()
}

/// RFC 6238 by Python's library.
fn code(secret: &str, steps: i32) -> String {
    let program = "import base64,hmac,struct,sys,time\n\
        step=int(time.time())//30+int(sys.argv[2])\n\
        tag=hmac.new(base64.b32decode(sys.argv[1]),struct.pack('>Q',step),'sha1').digest()\n\
        at=tag[19]&15\n\
        print('%06d'%((struct.unpack('>I',tag[at:at+4])[0]&0x7fffffff)%1000000))";
    let printed = succeed(Command::new("python3").args(["-c", program, secret, &steps.to_string()]));
    String::from_utf8(printed).expect("digits").trim().to_owned()
}

fn heard(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Orders that would change what is not here, with and without a running server.
#[track_caller]
fn assert_elsewhere(site: &Site, backend: &str, person: &Person<'_>) {
    for order in [
        // No password is asked for: there is no terminal here, and nothing to read it from.
        &["account", "add", "x@example.org"] as &[&str],
        &["account", "password", person.address],
        &["account", "set", person.address, "--quota", "5G"],
        &["account", "delete", person.address],
        &["account", "list"],
        &["alias", "add", "all@example.org", person.address],
        &["domain", "add", "example.net"],
        &["domain", "list"],
    ] {
        let refused = site.ask(order);
        assert_eq!(refused.status.code(), Some(1), "{order:?}: {}", heard(&refused));
        assert!(
            heard(&refused).contains(&format!("in {backend}")),
            "{order:?}: {}",
            heard(&refused)
        );
    }
    let shown = heard(&site.ask(&["account", "show", person.address]));
    assert!(
        shown.contains(&format!("in {backend}")) && shown.contains(person.address),
        "{shown}"
    );
    let nobody = site.ask(&["account", "show", "eve@example.org"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        heard(&nobody).contains("has no account eve@example.org"),
        "{}",
        heard(&nobody)
    );
}

/// `site` is not started yet.
pub fn assert_kept_here(mut site: Site, backend: &str, person: &Person<'_>) {
    if !has_client("curl") || !has_client("python3") {
        return;
    }
    assert_elsewhere(&site, backend, person);
    site.start();
    assert_elsewhere(&site, backend, person);
    site.assert_login(person.login, "secret", "+OK");
    passwords_for_programs(&site, person);
    let reader = pages(&site, backend, person);
    // All of it is on the disk.
    site.stop();
    let order = ["account", "show", person.address];
    let shown = heard(&site.ask(&order));
    assert!(
        shown.contains("reader (pop3)") && shown.contains("second factor    true"),
        "{shown}"
    );
    // Whoever names the directory and not the configuration is told, instead of being shown what nobody uses.
    let mut by_data = Command::new(binary());
    by_data.args(["account", "add", "x@example.org", "--none", "--data"]);
    let refused = run(by_data.arg(site.directory.path().join("data")));
    assert_eq!(refused.status.code(), Some(1));
    assert!(heard(&refused).contains("--config"), "{}", heard(&refused));
    site.start();
    site.assert_login(person.login, &reader, "+OK");
    site.assert_login(person.login, "secret", "-ERR");
}

fn passwords_for_programs(site: &Site, person: &Person<'_>) {
    let add = |name, protocols| {
        let made = site.ask(&[
            "account",
            "app-password-add",
            person.address,
            name,
            "--protocols",
            protocols,
        ]);
        assert!(made.status.success(), "{}", heard(&made));
        String::from_utf8_lossy(&made.stdout).trim().to_owned()
    };
    let (phone, sender) = (add("phone", "pop3"), add("sender", "submission"));
    site.assert_login(person.login, &phone, "+OK");
    site.assert_login(person.address, &phone, "+OK");
    site.assert_login(person.login, &sender, "-ERR");
    site.assert_login(person.login, "secret", "+OK");
    let shown = heard(&site.ask(&["account", "show", person.address]));
    assert!(shown.contains("phone (pop3), last used 20"), "{shown}");
    let removed = site.ask(&["account", "app-password-delete", person.address, "phone"]);
    assert!(removed.status.success(), "{}", heard(&removed));
    site.assert_login(person.login, &phone, "-ERR");
}

/// Leaves the second factor on, and gives a password that opens POP3.
fn pages(site: &Site, backend: &str, person: &Person<'_>) -> String {
    let browser = Browser::new(site, "a");
    for (login, password) in [
        (person.login, "wrong"),
        (person.login, ""),
        ("eve@example.org", "secret"),
    ] {
        let refused = browser.log_in(login, password, "");
        assert!(refused.contains("is not right"), "{refused}");
    }
    let account = browser.log_in(person.login, "secret", "");
    assert!(account.contains(person.address), "{account}");
    assert!(account.contains(&format!("directory ({backend})")), "{account}");
    assert!(!account.contains("/account/password"), "{account}");
    let fields = [
        ("old", "secret"),
        ("new", "another secret"),
        ("again", "another secret"),
    ];
    let refused = browser.send("/account/password", &fields);
    assert!(refused.contains(&format!("in {backend}")), "{refused}");
    let without = browser.send(
        "/account/app-password",
        &[("name", "x"), ("pop3", "on"), ("old", "wrong")],
    );
    assert!(without.contains("password is not right"), "{without}");
    let made = browser.send(
        "/account/app-password",
        &[("name", "reader"), ("pop3", "on"), ("old", "secret")],
    );
    let reader = between(&made, "id=\"password\">", '<');
    site.assert_login(person.login, &reader, "+OK");

    let begun = browser.send("/account/totp/begin", &[("old", "secret")]);
    let secret = between(&begun, "id=\"secret\">", '<');
    let first = code(&secret, 0);
    let on = browser.send("/account/totp", &[("code", &first)]);
    assert!(on.contains("It is on"), "{on}");
    site.assert_login(person.login, "secret", "-ERR");
    site.assert_login(person.login, &reader, "+OK");
    let other = Browser::new(site, "b");
    for code in ["", first.as_str()] {
        let refused = other.log_in(person.login, "secret", code);
        assert!(refused.contains("is not right"), "{refused}");
    }
    let in_again = other.log_in(person.login, "secret", &code(&secret, 1));
    assert!(in_again.contains(person.address), "{in_again}");
    reader
}
