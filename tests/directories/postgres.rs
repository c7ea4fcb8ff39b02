//! PostgreSQL, the real one.

use crate::common::daemon::{Daemon, as_user, certificate, is_root};
use crate::common::site::Site;
use crate::common::{PATIENCE, port, run, skip_or_fail, succeed, wait_until};
use crate::looking_after::{Person, assert_kept_here};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The user whom Debian's package makes.
const USER: &str = "postgres";

/// Passwords are all `secret`; made by openssl passwd, Python's hashlib and libcrypt.
const TABLES: &str = r"
CREATE TABLE domains (name text PRIMARY KEY, catch_all text, separator text);
INSERT INTO domains VALUES ('example.org', NULL, '+'), ('caught.example', 'bob@example.org', NULL),
    ('xn--bcher-kva.example', NULL, NULL);
CREATE TABLE people (
    number serial PRIMARY KEY, mail text UNIQUE, secret text, active boolean DEFAULT true,
    quota bigint, forward text[], may text);
INSERT INTO people (mail, secret) VALUES
    ('alice@example.org', '{SHA512-CRYPT}$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1'),
    ('bob@example.org', '$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA'),
    ('carol@example.org', '{SSHA256}+E+iFJ27Yu1ODPH1UNKUmzOmUT06dwfghQJRHHnMsO5zYWx0'),
    ('dave@example.org', '{BLF-CRYPT}$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW'),
    ('jens@xn--bcher-kva.example', '{PLAIN}secret'),
    ('nobody@example.org', NULL),
    ('o''brien@example.org', '{PLAIN}secret');
UPDATE people SET active = false WHERE mail = 'dave@example.org';
UPDATE people SET may = 'imap' WHERE mail = 'carol@example.org';
CREATE TABLE aliases (source text, target text);
INSERT INTO aliases VALUES
    ('team@example.org', 'alice@example.org'), ('team@example.org', 'bob@example.org'),
    ('postmaster@example.org', 'alice@example.org'), ('books@example.org', 'jens@bücher.example');
";

struct Postgres {
    directory: tempfile::TempDir,
    programs: PathBuf,
    server: Option<Daemon>,
}

/// Where Debian puts the programs of its newest version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut bins: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    bins.retain(|bin| bin.join("initdb").exists());
    bins.sort();
    let found = bins.pop();
    if found.is_none() {
        skip_or_fail("postgresql");
    }
    found
}

impl Postgres {
    fn new() -> Option<Postgres> {
        let postgres = Postgres {
            programs: programs()?,
            directory: tempfile::tempdir().expect("a temporary directory"),
            server: None,
        };
        let root = postgres.directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let data = root.join("data");
        fs::create_dir(&data).expect("room");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("it is ours");
        if is_root() {
            succeed(
                Command::new("chown")
                    .args(["-R", &format!("{USER}:{USER}")])
                    .arg(root),
            );
        }
        let mut initdb = as_user(USER, &postgres.programs.join("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "-U",
            USER,
            "-D",
        ]);
        succeed(initdb.arg(&data));
        Some(postgres)
    }

    /// One with the tables above, running.
    fn started() -> Option<Postgres> {
        let mut postgres = Self::new()?;
        postgres.start(&[]);
        postgres.sql(TABLES);
        Some(postgres)
    }

    fn start(&mut self, more: &[&str]) {
        let root = self.directory.path().display().to_string();
        let data = format!("{root}/data");
        let arguments = [
            "-D",
            &data,
            "-k",
            &root,
            "-c",
            "fsync=off",
            "-c",
            "shared_buffers=1MB",
        ];
        let listening: &[&str] = if more.is_empty() {
            &["-c", "listen_addresses="]
        } else {
            more
        };
        let arguments = [&arguments[..], listening].concat();
        self.server = Some(Daemon::start_as(
            USER,
            &self.programs.join("postgres"),
            &arguments,
        ));
        let until = Instant::now() + PATIENCE;
        while !self.psql("SELECT 1").status.success() {
            assert!(Instant::now() < until, "PostgreSQL did not start");
        }
    }

    fn psql(&self, sql: &str) -> std::process::Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "-U",
            USER,
            "-d",
            "postgres",
            "-h",
        ]);
        run(psql.arg(self.directory.path()).args(["-c", sql]))
    }

    #[track_caller]
    fn sql(&self, sql: &str) {
        let done = self.psql(sql);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn stop(&mut self) {
        // "Fast": connections are closed, as an admin does it.
        self.server.take().expect("it runs").stop("INT");
    }

    fn sections(&self, ages: &str) -> String {
        sections(
            &format!(
                "host={} user={USER} dbname=postgres",
                self.directory.path().display()
            ),
            ages,
            "",
        )
    }
}

fn sections(connect: &str, ages: &str, more: &str) -> String {
    format!(
        "[directory]\nbackend = \"postgresql\"\ntimeout = 30\n{ages}\n\n[postgresql]\nconnect = \"{connect}\"\n{more}\n\
         domain = \"SELECT catch_all, separator AS detail_separator FROM domains WHERE name = :domain\"\n\
         account = '''\n-- Everything about somebody.\nSELECT number AS id, mail AS address, active AS enabled, may AS protocols,\n\
         quota AS quota_bytes, forward, secret AS password FROM people WHERE mail = :address'''\n\
         alias = \"SELECT target FROM aliases WHERE source = :address\"\n"
    )
}

#[test]
fn accounts_aliases_domains_and_passwords_are_the_databases() {
    let Some(postgres) = Postgres::started() else {
        return;
    };
    let mut site = Site::new(&postgres.sections("cache = 1\nnegative_cache = 1"));
    let checked = site.ask(&["check"]);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    site.start();
    for (address, reply) in [
        ("alice@example.org", "250"),
        ("ALICE+lists@Example.org", "250"),
        ("team@example.org", "250"),
        ("postmaster", "250"),
        ("nobody@example.org", "250"),
        ("whoever@caught.example", "250"),
        ("jens@xn--bcher-kva.example", "250"),
        ("Jens@BÜCHER.example", "250"),
        ("books@example.org", "250"),
        ("eve@bücher.example", "550 5.1.1"),
        ("dave@example.org", "550 5.2.1"),
        ("eve@example.org", "550 5.1.1"),
        ("alice@elsewhere.example", "554 5.7.1"),
    ] {
        site.assert_rcpt(address, reply);
    }
    site.assert_login("alice@example.org", "secret", "+OK");
    site.assert_login("jens@bücher.example", "secret", "+OK");
    site.assert_login("jens@xn--bcher-kva.example", "secret", "+OK");
    site.assert_login("Bob@example.org", "secret", "+OK");
    site.assert_login("alice@example.org", "Secret", "-ERR");
    site.assert_login("dave@example.org", "secret", "-ERR");
    site.assert_login("nobody@example.org", "", "-ERR");
    site.assert_login("carol@example.org", "secret", "-ERR");
    assert_eq!(site.count("carol@example.org", "secret"), 0);

    site.deliver("team@example.org", "to both");
    site.deliver("whoever@caught.example", "caught");
    site.await_count("alice@example.org", "secret", 1);
    site.await_count("bob@example.org", "secret", 2);
    // What changes there is seen here, a changed address keeps its mail, and a changed password opens nothing.
    postgres.sql("UPDATE people SET mail = 'alicia@example.org' WHERE mail = 'alice@example.org'");
    postgres.sql("UPDATE people SET secret = '{PLAIN}other' WHERE mail = 'bob@example.org'");
    postgres.sql("UPDATE people SET forward = ARRAY['carol@example.org'] WHERE mail = 'bob@example.org'");
    site.until(|site| site.rcpt("alice@example.org"), "550 5.1.1");
    site.until(|site| site.login("bob@example.org", "secret"), "-ERR");
    assert_eq!(site.count("alicia@example.org", "secret"), 1);
    assert_eq!(site.count("bob@example.org", "other"), 2);
    // Each core learns of the forwarding in its own time; until then it keeps the mail for Bob alone.
    let mut delivered = 0;
    // Then Carol's is spooled, and may be with her after the next one was sent.
    wait_until("the forwarding is known", || {
        site.deliver("bob@example.org", "forwarded");
        delivered += 1;
        site.count("carol@example.org", "secret") > 0
    });
    let refused = site.ask(&["account", "add", "x@example.org", "--none"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("postgresql"));
    // The ids are kept where they were given.
    site.stop();
    site.start();
    site.await_count("bob@example.org", "other", 2 + delivered);
}

#[test]
fn addresses_are_never_read_as_sql() {
    let Some(postgres) = Postgres::started() else {
        return;
    };
    let mut site = Site::new(&postgres.sections(""));
    site.start();
    for (address, reply) in [
        ("o'brien@example.org", "250"),
        ("'or'1'='1@example.org", "550 5.1.1"),
        ("\"' OR 1=1 --\"@example.org", "550 5.1.1"),
        ("\"'; DROP TABLE people; --\"@example.org", "550 5.1.1"),
        ("$1@example.org", "550 5.1.1"),
        ("%@example.org", "550 5.1.1"),
        ("\\\"@example.org", "5"),
    ] {
        site.assert_rcpt(address, reply);
    }
    for login in [
        "' OR '1'='1",
        "alice@example.org' --",
        "alice@example.org\\",
        "$$",
        ":login",
    ] {
        site.assert_login(login, "secret", "-ERR");
    }
    site.assert_login("o'brien@example.org", "secret", "+OK");
    site.assert_rcpt("alice@example.org", "250");
    // Not even a query that means to can write: it is a part of another one.
    let written = "DELETE FROM people WHERE mail = :address RETURNING number AS id, secret AS password";
    let text = fs::read_to_string(site.config()).expect("it is ours");
    let start = text.find("account = '''").expect("it is there");
    let end = start + text[start..].find("alias = ").expect("it is behind");
    fs::write(
        site.config(),
        format!("{}account = \"{written}\"\n{}", &text[..start], &text[end..]),
    )
    .expect("ours");
    let checked = site.ask(&["check"]);
    assert_eq!(checked.status.code(), Some(2));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("postgresql.account"), "{told}");
}

#[test]
fn app_passwords_and_second_factors_are_kept_here() {
    let Some(postgres) = Postgres::started() else {
        return;
    };
    let site = Site::new(&postgres.sections(""));
    let person = Person {
        address: "alice@example.org",
        login: "ALICE@example.org",
    };
    assert_kept_here(site, "postgresql", &person);
}

#[test]
fn while_the_database_is_away_what_was_known_is_used() {
    let Some(mut postgres) = Postgres::started() else {
        return;
    };
    let mut site = Site::new(&postgres.sections("cache = 1\nnegative_cache = 1\nstale = 3600"));
    site.start();
    site.assert_rcpt("alice@example.org", "250");
    site.assert_rcpt("eve@example.org", "550");
    site.assert_login("alice@example.org", "secret", "+OK");
    postgres.stop();
    // Nobody is refused for good by what is not known.
    site.assert_rcpt("bob@example.org", "451");
    site.until(|site| site.rcpt("eve@example.org"), "451");
    site.assert_rcpt("alice@example.org", "250");
    site.assert_login("alice@example.org", "secret", "+OK");
    site.assert_login("bob@example.org", "secret", "-ERR [SYS/TEMP]");
    postgres.start(&[]);
    site.until(|site| site.rcpt("alice@example.org"), "250");
    site.until(|site| site.rcpt("bob@example.org"), "250");
    site.until(|site| site.rcpt("eve@example.org"), "550");
    site.until(|site| site.login("bob@example.org", "secret"), "+OK");
}

#[test]
fn what_is_too_old_is_used_no_more() {
    let Some(mut postgres) = Postgres::started() else {
        return;
    };
    let mut site = Site::new(&postgres.sections("cache = 1\nnegative_cache = 1\nstale = 0"));
    site.start();
    site.assert_rcpt("alice@example.org", "250");
    postgres.stop();
    site.until(|site| site.rcpt("alice@example.org"), "451");
    site.until(
        |site| site.login("alice@example.org", "secret"),
        "-ERR [SYS/TEMP]",
    );
    postgres.start(&[]);
    site.until(|site| site.rcpt("alice@example.org"), "250");
    site.until(|site| site.login("alice@example.org", "secret"), "+OK");
}

#[test]
fn a_database_that_is_not_there_keeps_no_server_from_starting() {
    let Some(mut postgres) = Postgres::started() else {
        return;
    };
    postgres.stop();
    let mut site = Site::new(&postgres.sections("negative_cache = 1"));
    let checked = site.ask(&["check"]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&checked.stderr).contains("does not answer"));
    site.start();
    site.assert_rcpt("alice@example.org", "451");
    postgres.start(&[]);
    site.until(|site| site.rcpt("alice@example.org"), "250");
}

#[test]
fn a_database_that_hangs_costs_its_time_and_no_more() {
    let Some(postgres) = Postgres::started() else {
        return;
    };
    let sections = postgres
        .sections("negative_cache = 1")
        .replace("timeout = 30", "timeout = 2");
    let mut site = Site::new(&sections);
    site.start();
    site.until(|site| site.rcpt("alice@example.org"), "250");
    // Nobody gets past this lock; the question is given up in its time.
    let mut holder = Command::new(postgres.programs.join("psql"));
    holder
        .args(["--no-psqlrc", "--quiet", "-U", USER, "-d", "postgres", "-h"])
        .arg(postgres.directory.path());
    holder
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().expect("psql starts");
    let mut stdin = holder.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, b"BEGIN; LOCK TABLE people;\n\\echo locked\n").expect("it reads");
    let mut line = String::new();
    let stdout = holder.stdout.take().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("it says so");
    assert_eq!(line.trim(), "locked");
    site.assert_rcpt("bob@example.org", "451");
    drop(stdin);
    holder.wait().expect("it ends with its input");
    site.until(|site| site.rcpt("bob@example.org"), "250");
}

#[test]
fn through_a_network_it_is_tls_with_a_certificate_that_is_verified() {
    let Some(mut postgres) = Postgres::started() else {
        return;
    };
    postgres.stop();
    let root = postgres.directory.path().to_owned();
    let (chain, key) = certificate(&root);
    if is_root() {
        succeed(
            Command::new("chown")
                .arg(format!("{USER}:{USER}"))
                .args([&chain, &key]),
        );
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let port = port::reserve();
    let only_tls = "hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n";
    fs::write(root.join("data/pg_hba.conf"), only_tls).expect("it is there");
    let setting = |name: &str, value: &Path| format!("{name}={}", value.display());
    let (certificate_file, key_file) = (setting("ssl_cert_file", &chain), setting("ssl_key_file", &key));
    postgres.server = None;
    let options = [
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "ssl=on",
        "-c",
        &certificate_file,
        "-c",
        &key_file,
    ];
    // psql goes through the socket, whose name has the port in it.
    let port_option = format!("port={port}");
    start_on_port(&mut postgres, &options, &port_option, port);
    let connect = format!("host=localhost hostaddr=127.0.0.1 port={port} user=mail dbname=postgres");
    let site = Site::new("");
    let password = site.directory.path().join("password");
    fs::write(&password, "swordfish\n").expect("room");
    let files = |ca: &Path| {
        format!(
            "password_file = \"{}\"\nca_file = \"{}\"",
            password.display(),
            ca.display()
        )
    };
    let good = sections(&connect, "", &files(&chain));
    site.configure(&good);
    let checked = site.ask(&["check"]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{told}");
    // Another issuer's.
    let other = tempfile::tempdir().expect("a temporary directory");
    let (other, _) = certificate(other.path());
    site.configure(&sections(&connect, "", &files(&other)));
    assert_eq!(site.ask(&["check"]).status.code(), Some(2));
    // In the clear nobody is let in.
    site.configure(&sections(
        &connect,
        "",
        &format!("{}\ntls = false", files(&chain)),
    ));
    assert_eq!(site.ask(&["check"]).status.code(), Some(2));
    let mut site = site;
    site.configure(&good);
    site.start();
    site.assert_rcpt("alice@example.org", "250");
    site.assert_login("alice@example.org", "secret", "+OK");
}

fn start_on_port(postgres: &mut Postgres, options: &[&str], port_option: &str, port: u16) {
    let root = postgres.directory.path().display().to_string();
    let data = format!("{root}/data");
    let arguments = ["-D", &data, "-k", &root, "-c", "fsync=off", "-c", port_option];
    let arguments = [&arguments[..], options].concat();
    postgres.server = Some(Daemon::start_as(
        USER,
        &postgres.programs.join("postgres"),
        &arguments,
    ));
    let until = Instant::now() + PATIENCE;
    loop {
        let mut psql = Command::new(postgres.programs.join("psql"));
        psql.args([
            "--no-psqlrc",
            "-U",
            USER,
            "-d",
            "postgres",
            "-p",
            &port.to_string(),
            "-h",
            &root,
        ]);
        let sql = "CREATE ROLE mail LOGIN PASSWORD 'swordfish'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO mail";
        if run(psql.args(["-c", sql])).status.success() {
            return;
        }
        assert!(Instant::now() < until, "PostgreSQL did not start");
    }
}

#[test]
fn queries_that_cannot_work_are_told_before_the_server_runs() {
    let Some(postgres) = Postgres::started() else {
        return;
    };
    let site = Site::new("");
    let good = postgres.sections("");
    for (from, to, told) in [
        (":address'''", ":adress'''", ":adress"),
        ("number AS id", "number AS nr", "no column id"),
        ("quota AS quota_bytes", "quota", "called quota"),
        ("FROM people", "FROM persons", "persons"),
        (
            "SELECT catch_all, separator AS detail_separator FROM domains WHERE name = :domain",
            "SELECT EXISTS (SELECT 1 FROM domains WHERE name = :domain)",
            "called exists",
        ),
        ("SELECT target", "SELECT source", "no column target"),
        ("user=postgres", "user=postgres password=x", "password_file"),
    ] {
        assert!(good.contains(from), "{from}");
        site.configure(&good.replace(from, to));
        let checked = site.ask(&["check"]);
        assert_eq!(checked.status.code(), Some(2), "{to}");
        let heard = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(heard.contains(told), "{to}: {heard}");
        let served = site.ask(&["serve"]);
        assert_eq!(served.status.code(), Some(2), "{to}");
    }
}
