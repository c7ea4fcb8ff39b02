//! LDAP, by OpenLDAP's slapd.

use crate::common::daemon::{Daemon, certificate};
use crate::common::site::Site;
use crate::common::{PATIENCE, has_client, port, run, succeed};
use crate::looking_after::{Person, assert_kept_here};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where Debian puts it, which not everybody's PATH has.
const SLAPD: &str = "/usr/sbin/slapd";

const READER: &str = "cn=reader,dc=example,dc=org";

/// Passwords are all `secret`; dave has none to bind with, erin's entry is switched off.
const ENTRIES: &str = "\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: alice@example.org
employeeNumber: 1
userPassword: {SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0

dn: uid=bob,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: bob@example.org
mail: bob@xn--bcher-kva.example
employeeNumber: 2
userPassword: secret

dn: uid=dave,dc=example,dc=org
objectClass: inetOrgPerson
uid: dave
cn: Dave
sn: D
mail: dave@example.org
employeeNumber: 4

dn: uid=erin,dc=example,dc=org
objectClass: inetOrgPerson
uid: erin
cn: Erin
sn: E
mail: erin@example.org
employeeNumber: 5
employeeType: FALSE
userPassword: secret

dn: cn=team,dc=example,dc=org
objectClass: inetOrgPerson
cn: team
sn: team
description: team@example.org
title: alice@example.org
title: bob@example.org

dn: associatedDomain=second.example,dc=example,dc=org
objectClass: domainRelatedObject
objectClass: organizationalRole
cn: second
associatedDomain: second.example
description: bob@example.org
";

struct Slapd {
    directory: tempfile::TempDir,
    port: u16,
    server: Option<Daemon>,
}

impl Slapd {
    /// One with the entries above, running; with StartTLS and LDAPS if it has a certificate.
    fn started() -> Option<Slapd> {
        Self::with("")
    }

    fn with(settings: &str) -> Option<Slapd> {
        if !Path::new(SLAPD).exists() && !has_client("slapd") || !has_client("ldapmodify") {
            return None;
        }
        let mut slapd = Slapd {
            directory: tempfile::tempdir().expect("a temporary directory"),
            port: port::reserve(),
            server: None,
        };
        let root = slapd.directory.path().to_owned();
        fs::create_dir(root.join("data")).expect("room");
        let shown = root.display();
        let text = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\npidfile {shown}/pid\nmodulepath /usr/lib/ldap\n\
             moduleload back_mdb\n{}\nsizelimit 500\ndatabase mdb\nmaxsize 10485760\nsuffix dc=example,dc=org\n\
             directory {shown}/data\nrootdn cn=reader,dc=example,dc=org\nrootpw swordfish\nindex mail eq\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by * none\n",
            settings.replace("ROOT", &shown.to_string())
        );
        fs::write(root.join("slapd.conf"), text).expect("room");
        fs::write(root.join("entries.ldif"), ENTRIES).expect("room");
        fs::write(root.join("password"), "swordfish\n").expect("room");
        let mut add = Command::new(SLAPD);
        // As slapadd, which is the same program.
        add.args(["-T", "add", "-f"])
            .arg(slapd.file("slapd.conf"))
            .arg("-l")
            .arg(slapd.file("entries.ldif"));
        succeed(&mut add);
        slapd.start();
        Some(slapd)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&mut self) {
        let urls = format!("ldap://127.0.0.1:{}", self.port);
        let mut command = Command::new(SLAPD);
        // In the foreground.
        command
            .args(["-d", "0", "-h", &urls, "-f"])
            .arg(self.file("slapd.conf"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.server = Some(Daemon(command.spawn().expect("it starts")));
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "slapd did not start");
            std::thread::yield_now();
        }
    }

    fn stop(&mut self) {
        self.server.take().expect("it runs").stop("TERM");
    }

    fn modify(&self, changes: &str) {
        let ldif = self.file("changes.ldif");
        fs::write(&ldif, changes).expect("room");
        let url = format!("ldap://127.0.0.1:{}", self.port);
        let mut modify = Command::new("ldapmodify");
        modify.args(["-x", "-H", &url, "-D", READER, "-w", "swordfish", "-f"]);
        succeed(modify.arg(ldif));
    }

    fn sections(&self, ages: &str, more: &str) -> String {
        format!(
            "[directory]\nbackend = \"ldap\"\ntimeout = 30\n{ages}\n\n[ldap]\nurl = \"ldap://localhost:{}\"\n{}\n\
             bind_dn = \"{READER}\"\npassword_file = \"{}\"\nbase = \"dc=example,dc=org\"\n\
             domains = [\"example.org\", \"bücher.example\"]\ndomain = \"(associatedDomain={{domain}})\"\n\
             account = \"(&(objectClass=inetOrgPerson)(mail={{address}}))\"\n\
             login = \"(&(objectClass=inetOrgPerson)(|(mail={{login}})(uid={{login}})))\"\n\
             alias = \"(&(sn=team)(description={{address}}))\"\n\n\
             [ldap.attributes]\nid = \"employeeNumber\"\nenabled = \"employeeType\"\ntarget = \"title\"\n\
             catch_all = \"description\"\n",
            self.port,
            if more.contains("tls") {
                more.to_owned()
            } else {
                format!("tls = false\n{more}")
            },
            self.file("password").display(),
        )
    }
}

/// What holds whoever checks the passwords.
fn assert_accounts(site: &Site) {
    for (address, reply) in [
        ("alice@example.org", "250"),
        ("ALICE+lists@example.org", "250"),
        ("team@example.org", "250"),
        ("bob@xn--bcher-kva.example", "250"),
        ("bob@Bücher.example", "250"),
        ("whoever@second.example", "250"),
        ("erin@example.org", "550 5.2.1"),
        ("eve@example.org", "550 5.1.1"),
        ("alice@elsewhere.example", "554 5.7.1"),
        // A filter's signs are no filter.
        ("*@example.org", "550 5.1.1"),
        ("a*@example.org", "550 5.1.1"),
        ("\"x)(mail=*\"@example.org", "550 5.1.1"),
        ("\"alice@example.org)(objectClass=*\"@example.org", "550 5.1.1"),
    ] {
        site.assert_rcpt(address, reply);
    }
    for (login, password, reply) in [
        ("alice@example.org", "secret", "+OK"),
        ("alice", "secret", "+OK"),
        ("bob", "secret", "+OK"),
        ("bob@bücher.example", "secret", "+OK"),
        ("alice", "Secret", "-ERR"),
        ("alice", "", "-ERR"),
        ("dave", "secret", "-ERR"),
        ("erin", "secret", "-ERR"),
        ("*", "secret", "-ERR"),
        ("a*", "secret", "-ERR"),
        ("alice)(uid=*", "secret", "-ERR"),
        ("uid=alice,dc=example,dc=org", "secret", "-ERR"),
    ] {
        site.assert_login(login, password, reply);
    }
}

#[test]
fn accounts_aliases_and_domains_are_the_directorys_and_binds_check_passwords() {
    let Some(slapd) = Slapd::started() else { return };
    let mut site = Site::new(&slapd.sections("cache = 1\nnegative_cache = 1", ""));
    let checked = site.ask(&["check"]);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    site.start();
    assert_accounts(&site);
    site.deliver("team@example.org", "to both");
    site.deliver("whoever@second.example", "caught");
    site.await_count("alice", "secret", 1);
    site.await_count("bob@example.org", "secret", 2);
    let changed = "dn: uid=bob,dc=example,dc=org\nchangetype: modify\nreplace: userPassword\nuserPassword: other\n-\n\
        replace: mail\nmail: robert@example.org\n";
    slapd.modify(changed);
    site.until(|site| site.login("bob", "secret"), "-ERR");
    site.until(|site| site.rcpt("robert@example.org"), "250");
    assert_eq!(site.count("bob", "other"), 2, "a changed address keeps its mail");
}

#[test]
fn hashes_are_compared_here_where_the_reader_may_read_them() {
    let Some(slapd) = Slapd::started() else { return };
    let more = "check_password = \"hash\"";
    let sections = slapd.sections("password_scheme = \"PLAIN\"", more);
    let mut site = Site::new(&sections);
    site.start();
    assert_accounts(&site);
}

#[test]
fn app_passwords_and_second_factors_are_kept_here() {
    let Some(slapd) = Slapd::started() else { return };
    let site = Site::new(&slapd.sections("", ""));
    let person = Person {
        address: "alice@example.org",
        login: "alice",
    };
    assert_kept_here(site, "ldap", &person);
}

#[test]
fn while_the_directory_is_away_what_was_known_is_used() {
    let Some(mut slapd) = Slapd::started() else { return };
    let mut site = Site::new(&slapd.sections("cache = 1\nnegative_cache = 1\nstale = 3600", ""));
    site.start();
    site.assert_rcpt("alice@example.org", "250");
    site.assert_login("alice", "secret", "+OK");
    slapd.stop();
    site.assert_rcpt("bob@example.org", "451");
    site.assert_rcpt("alice@example.org", "250");
    site.assert_login("alice", "secret", "+OK");
    site.assert_login("bob", "secret", "-ERR [SYS/TEMP]");
    slapd.start();
    site.until(|site| site.rcpt("alice@example.org"), "250");
    site.until(|site| site.login("bob", "secret"), "+OK");
}

#[test]
fn what_is_too_old_is_used_no_more() {
    let Some(mut slapd) = Slapd::started() else { return };
    let mut site = Site::new(&slapd.sections("cache = 1\nnegative_cache = 1\nstale = 0", ""));
    site.start();
    site.assert_login("alice", "secret", "+OK");
    slapd.stop();
    site.until(|site| site.rcpt("alice@example.org"), "451");
    site.until(|site| site.login("alice", "secret"), "-ERR [SYS/TEMP]");
    slapd.start();
    site.until(|site| site.login("alice", "secret"), "+OK");
}

#[test]
fn starttls_comes_before_everything_and_the_certificate_is_verified() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (chain, key) = certificate(root.path());
    let tls = format!(
        "TLSCertificateFile {}\nTLSCertificateKeyFile {}\nsecurity tls=1",
        chain.display(),
        key.display()
    );
    let Some(slapd) = Slapd::with(&tls) else { return };
    let with = |ca: &Path| slapd.sections("", &format!("tls = true\nca_file = \"{}\"", ca.display()));
    let mut site = Site::new(&with(&chain));
    let checked = site.ask(&["check"]);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let other = tempfile::tempdir().expect("a temporary directory");
    let (other, _) = certificate(other.path());
    site.configure(&with(&other));
    assert_eq!(
        site.ask(&["check"]).status.code(),
        Some(2),
        "another issuer's certificate"
    );
    site.configure(&slapd.sections("", "tls = false"));
    let checked = site.ask(&["check"]);
    assert_eq!(checked.status.code(), Some(2), "slapd asks for TLS");
    site.configure(&with(&chain));
    site.start();
    assert_accounts(&site);
}

#[test]
fn settings_that_cannot_work_are_told() {
    let Some(slapd) = Slapd::started() else { return };
    let good = slapd.sections("", "");
    let site = Site::new(&good);
    for (from, to, told) in [
        ("(mail={address})", "(mail={adress})", "{adress}"),
        ("(mail={address}))", "(mail={address})", "RFC 4515"),
        ("url = \"ldap:", "url = \"http:", "ldap://"),
        ("target = \"title\"", "", "ldap.attributes.target"),
        (
            "base = \"dc=example,dc=org\"",
            "base = \"dc=example,dc=net\"",
            "ldap.base",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        site.configure(&good.replace(from, to));
        let checked = run(Command::new(crate::common::binary())
            .arg("check")
            .arg("--config")
            .arg(site.config()));
        assert_eq!(checked.status.code(), Some(2), "{to}");
        let heard = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(heard.contains(told), "{to}: {heard}");
    }
}
