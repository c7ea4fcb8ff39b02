//! A host as an admin sets it up: `init`, `check`, `serve`, accounts while it runs, reload, certificates; with the programs
//! that its users have.

mod common;

use common::talk::Wire;
use common::{PATIENCE, Server, binary, has_client, run, signal, succeed, wait_until};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

const PASSWORD: &str = "correct horse";

/// A host of example.org on free ports of loopback, in a directory of its own.
struct Host {
    directory: tempfile::TempDir,
    server: Option<Server>,
    admin_password: String,
}

impl Host {
    fn new() -> Host {
        Host::of_user("")
    }

    fn of_user(user: &str) -> Host {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // Another user has to reach what is inside.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let mut host = Host {
            directory,
            server: None,
            admin_password: String::new(),
        };
        let told = host.succeed(&init(&host.config(), &host.data(), user));
        let told: serde_json::Value = serde_json::from_slice(&told).expect("init prints JSON");
        host.admin_password = told["password"].as_str().expect("a password").to_owned();
        assert_eq!(told["admin"], "admin@example.org");
        host
    }

    /// A running one.
    fn started() -> Host {
        let mut host = Host::new();
        host.start();
        host
    }

    fn start(&mut self) {
        let mut command = Command::new(binary());
        command
            .args(["serve", "--config"])
            .arg(self.config())
            .stdin(Stdio::null());
        self.server = Some(Server::run(command));
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it was started")
    }

    fn port(&self, service: &str) -> u16 {
        self.server().port(service)
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("ringpost.toml")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A command about this host, with a line for its standard input.
    fn ask(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(self.config());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("it is read or not");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }

    fn order(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments, PASSWORD);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.ask(arguments, PASSWORD);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        errors
    }

    fn succeed(&self, arguments: &[String]) -> Vec<u8> {
        succeed(Command::new(binary()).args(arguments))
    }

    fn send(&self, to: &str, text: &str) -> Output {
        let letter = self.directory.path().join("letter");
        fs::write(&letter, format!("Subject: {text}\r\n\r\n{text}\r\n")).expect("room for a letter");
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--verbose", "--max-time", "20"]);
        command.arg(format!("smtp://127.0.0.1:{}", self.port("smtp")));
        command.args([
            "--mail-from",
            "me@example.net",
            "--mail-rcpt",
            to,
            "--upload-file",
        ]);
        run(command.arg(letter))
    }

    /// From the admin, over submission with TLS.
    fn submit(&self, to: &str) -> Output {
        let letter = self.directory.path().join("submitted");
        fs::write(
            &letter,
            "From: admin@example.org\r\nSubject: hello\r\n\r\nhello\r\n",
        )
        .expect("room for it");
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--verbose",
            "--insecure",
            "--max-time",
            "20",
        ]);
        command.args(["--user", &format!("admin@example.org:{}", self.admin_password)]);
        command.arg(format!("smtps://127.0.0.1:{}", self.port("submissions")));
        command.args([
            "--mail-from",
            "admin@example.org",
            "--mail-rcpt",
            to,
            "--upload-file",
        ]);
        run(command.arg(letter))
    }

    /// The first message, over IMAP with TLS.
    fn read(&self, login: &str, password: &str) -> Output {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--insecure", "--max-time", "20"]);
        command.args(["--user", &format!("{login}:{password}")]);
        let url = format!("imaps://127.0.0.1:{}/INBOX;MAILINDEX=1", self.port("imaps"));
        run(command.arg(url))
    }

    /// A page over HTTPS, whose certificate has to be the one in this file.
    fn page(&self, name: &str, path: &str, certificate: &Path) -> Output {
        let port = self.port("https");
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "20",
            "--cacert",
        ]);
        command.arg(certificate);
        command.args(["--connect-to", &format!("::127.0.0.1:{port}")]);
        run(command.arg(format!("https://{name}:{port}{path}")))
    }

    fn certificate(&self) -> PathBuf {
        self.data().join("tls/default.crt")
    }

    fn policy(&self) -> String {
        let output = self.page(
            "mta-sts.example.org",
            "/.well-known/mta-sts.txt",
            &self.certificate(),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("init wrote it");
        assert!(text.contains(from), "{from} is not in\n{text}");
        fs::write(self.config(), text.replace(from, to)).expect("it is ours");
    }
}

fn init(config: &Path, data: &Path, user: &str) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let words = [
        "init",
        "example.org",
        "--hostname",
        "mail.example.org",
        "--listen",
        "127.0.0.1",
        "--port-offset",
        "auto",
        "--json",
        "--config",
    ];
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.extend([
        path(config),
        "--data".to_owned(),
        path(data),
        format!("--user={user}"),
    ]);
    words
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
}

#[test]
fn accounts_change_in_a_running_server_at_once() {
    if !has_client("curl") {
        return;
    }
    let host = Host::started();
    let bob = "bob@example.org";
    assert!(text(&host.send(bob, "early")).contains("550 5.1.1"));
    host.order(&["account", "add", bob, "--stdin", "--quota", "1G"]);
    assert_done(&host.send(bob, "first"));
    let read = host.read(bob, PASSWORD);
    assert!(text(&read).contains("first"), "{}", text(&read));

    host.order(&["alias", "add", "team@example.org", bob, "admin@example.org"]);
    assert_done(&host.send("team@example.org", "for all"));
    wait_until("the admin has the mail for the team", || {
        text(&host.read("admin@example.org", &host.admin_password)).contains("for all")
    });
    assert_done(&host.send("postmaster@example.org", "for the postmaster"));

    let output = host.ask(&["account", "password", bob, "--stdin"], "another password\n");
    assert_done(&output);
    assert!(
        !host.read(bob, PASSWORD).status.success(),
        "the old password was remembered"
    );
    assert_done(&host.read(bob, "another password"));

    host.order(&["account", "disable", bob]);
    assert!(text(&host.send(bob, "late")).contains("550 5.2.1"));
    assert!(!host.read(bob, "another password").status.success());
    host.order(&["account", "enable", bob]);
    assert_done(&host.read(bob, "another password"));

    host.order(&["account", "set", bob, "--protocols", "pop3"]);
    assert!(!host.read(bob, "another password").status.success());
    let errors = host.refused(&["account", "delete", bob], 1);
    assert!(errors.contains("the alias team@example.org"), "{errors}");
    host.order(&["alias", "add", "bob.b@example.org", bob]);
    host.order(&["account", "delete", bob, "--force"]);
    assert!(text(&host.send(bob, "too late")).contains("550 5.1.1"));
    assert!(text(&host.send("bob.b@example.org", "too late")).contains("550 5.1.1"));
    assert_done(&host.send("team@example.org", "for who is left"));

    let listed = host.order(&["account", "list"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let shown: serde_json::Value =
        serde_json::from_str(&host.order(&["account", "list", "--json"])).expect("JSON");
    assert_eq!(shown.as_array().map(Vec::len), Some(1));
    assert_eq!(shown[0]["address"], "admin@example.org");
}

#[test]
fn an_app_password_opens_what_it_is_for() {
    if !has_client("curl") {
        return;
    }
    let host = Host::started();
    let admin = "admin@example.org";
    assert_done(&host.send(admin, "hello"));
    let password = host.order(&[
        "account",
        "app-password-add",
        admin,
        "phone",
        "--protocols",
        "imap",
    ]);
    assert_done(&host.read(admin, password.trim()));
    let shown = host.order(&["account", "show", admin]);
    assert!(shown.contains("phone (imap)"), "{shown}");
    assert!(!shown.contains(password.trim()));
    let other = host.order(&["account", "app-password-add", admin, "old", "--protocols", "pop3"]);
    assert!(!host.read(admin, other.trim()).status.success());
    host.order(&["account", "app-password-delete", admin, "phone"]);
    assert!(!host.read(admin, password.trim()).status.success());
}

#[test]
fn mbsync_and_swaks_work_with_the_certificate_that_init_made() {
    if !has_client("mbsync") || !has_client("swaks") {
        return;
    }
    let host = Host::started();
    let admin = "admin@example.org";
    let mut swaks = Command::new("swaks");
    swaks.args([
        "--server",
        "127.0.0.1",
        "--port",
        &host.port("smtp").to_string(),
        "--tls",
    ]);
    swaks.args([
        "--to",
        admin,
        "--from",
        "me@example.net",
        "--body",
        "by swaks",
        "--timeout",
        "20",
    ]);
    succeed(&mut swaks);
    let mail = host.directory.path().join("mail");
    fs::create_dir(&mail).expect("a directory");
    let settings = host.directory.path().join("mbsyncrc");
    let text = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {}\nUser {admin}\nPass {}\nSSLType IMAPS\nCertificateFile {}\nTimeout 20\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nInbox {}/INBOX\nSubFolders Verbatim\nPath {}/\n\n\
         Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n",
        host.port("imaps"),
        host.admin_password,
        host.certificate().display(),
        mail.display(),
        mail.display(),
    );
    fs::write(&settings, text).expect("it can be written");
    succeed(Command::new("mbsync").arg("-c").arg(&settings).arg("c"));
    let new = fs::read_dir(mail.join("INBOX/new"))
        .expect("mbsync made it")
        .count();
    assert_eq!(new, 1);
}

#[test]
fn certificates_are_exchanged_and_a_key_of_another_is_not_taken() {
    if !has_client("curl") {
        return;
    }
    let (mut host, other) = (Host::new(), Host::new());
    // Nobody but the commands looks at the files.
    host.edit("# watch = 60", "watch = 86400");
    host.start();
    let first = host.directory.path().join("first.crt");
    fs::copy(host.certificate(), &first).expect("a copy");
    let live = |certificate: &Path| host.page("mail.example.org", "/health/live", certificate);
    assert_done(&live(&first));
    assert!(
        !live(&other.certificate()).status.success(),
        "curl looks at the certificate"
    );

    fs::copy(other.certificate(), host.certificate()).expect("a copy");
    let errors = host.refused(&["reload"], 2);
    assert!(
        errors.contains("default.key belongs to another certificate"),
        "{errors}"
    );
    assert_done(&live(&first));

    fs::copy(
        other.data().join("tls/default.key"),
        host.data().join("tls/default.key"),
    )
    .expect("a copy");
    let told = host.order(&["reload"]);
    assert!(told.contains("taken: certificates"), "{told}");
    assert_done(&live(&other.certificate()));
    assert!(!live(&first).status.success());
}

#[test]
fn a_changed_certificate_file_is_found_without_being_told() {
    if !has_client("curl") {
        return;
    }
    let (mut host, other) = (Host::new(), Host::new());
    host.edit("# watch = 60", "watch = 1");
    host.start();
    for file in ["tls/default.crt", "tls/default.key"] {
        fs::copy(other.data().join(file), host.data().join(file)).expect("a copy");
    }
    wait_until("the new certificate is served", || {
        host.page("mail.example.org", "/health/live", &other.certificate())
            .status
            .success()
    });
}

#[test]
fn a_reload_takes_what_it_can_and_names_the_rest() {
    if !has_client("curl") {
        return;
    }
    let host = Host::started();
    assert!(host.policy().contains("mode: testing"), "{}", host.policy());
    host.edit("# mta_sts = \"testing\"", "mta_sts = \"enforce\"");
    host.edit("# cores = 0", "cores = 1");
    let told = host.order(&["reload"]);
    assert!(told.contains("taken: web.mta_sts"), "{told}");
    assert!(told.contains("waits for a restart: server.cores"), "{told}");
    assert!(host.policy().contains("mode: enforce"), "{}", host.policy());

    host.edit("mta_sts = \"enforce\"", "mta_sts = \"sometimes\"\ncolour = 1");
    let data = host.data().display().to_string();
    let output = run(Command::new(binary()).args(["reload", "--data", &data]));
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output);
    assert!(
        errors.contains("web.mta_sts") && errors.contains("web.colour"),
        "{errors}"
    );
    assert!(host.policy().contains("mode: enforce"), "what ran goes on");

    host.edit("mta_sts = \"sometimes\"\ncolour = 1", "mta_sts = \"none\"");
    signal(host.server().pid(), "HUP");
    wait_until("SIGHUP is heard", || host.policy().contains("mode: none"));
    assert_done(&host.send("admin@example.org", "still there"));
}

#[test]
fn a_reload_changes_what_new_sessions_are_offered_and_leaves_the_old_alone() {
    let host = Host::started();
    let mut old = Wire::connect(host.port("imap"));
    let greeting = old.line().expect("a greeting");
    assert!(greeting.contains("LITERAL+"), "{greeting}");
    let size = || {
        let mut smtp = Wire::connect(host.port("smtp"));
        let greeting = smtp.line().expect("a greeting");
        assert!(
            greeting.contains("mail.example.org"),
            "the name waits: {greeting}"
        );
        smtp.send("EHLO me\r\n");
        let mut lines = std::iter::from_fn(|| smtp.line());
        lines.find(|line| line.contains("SIZE")).expect("it is said")
    };
    assert!(size().ends_with("SIZE 52428800"), "{}", size());
    for (from, to) in [
        ("# message_bytes = 52428800", "message_bytes = \"1 MiB\""),
        ("# login_delay = 0", "login_delay = 60"),
        ("# literal_plus = true", "literal_plus = false"),
        (
            "# plaintext_login_on_loopback = false",
            "plaintext_login_on_loopback = true",
        ),
        ("hostname = \"mail.example.org\"", "hostname = \"mx.example.org\""),
    ] {
        host.edit(from, to);
    }
    let told = host.order(&["reload"]);
    for key in [
        "limits.message_bytes",
        "pop3.login_delay",
        "imap.literal_plus",
        "security.plaintext_login_on_loopback",
    ] {
        assert!(told.contains(&format!("taken: {key}")), "{told}");
    }
    assert!(told.contains("waits for a restart: server.hostname"), "{told}");
    assert!(size().ends_with("SIZE 1048576"), "{}", size());
    let mut new = Wire::connect(host.port("imap"));
    let greeting = new.line().expect("a greeting");
    assert!(
        greeting.contains("LITERAL-") && !greeting.contains("LITERAL+"),
        "{greeting}"
    );
    old.send("a CAPABILITY\r\n");
    let capabilities = old.line().expect("an answer");
    assert!(capabilities.contains("LITERAL+"), "{capabilities}");
    // Logins of one account, the second too soon.
    for expected in ["+OK", "-ERR [LOGIN-DELAY]"] {
        let mut pop = Wire::connect(host.port("pop3"));
        pop.line().expect("a greeting");
        pop.send(format!(
            "USER admin@example.org\r\nPASS {}\r\nQUIT\r\n",
            host.admin_password
        ));
        pop.line();
        let heard = pop.line().expect("an answer");
        assert!(heard.starts_with(expected), "{heard}");
        pop.until_closed();
    }
}

#[test]
fn mail_programs_find_their_settings() {
    if !has_client("curl") {
        return;
    }
    let host = Host::started();
    host.order(&["domain", "add", "second.example"]);
    let page = |path: &str| host.page("autoconfig.example.org", path, &host.certificate());
    let config = page("/mail/config-v1.1.xml?emailaddress=admin@example.org");
    assert_done(&config);
    let imaps = format!("<port>{}</port>", host.port("imaps"));
    let config = text(&config);
    assert!(
        config.contains(&imaps) && config.contains("mail.example.org"),
        "{config}"
    );
    let second = text(&page("/mail/config-v1.1.xml?emailaddress=x@second.example"));
    assert!(second.contains("second.example"), "{second}");
    assert!(!page("/nothing/here").status.success());
    assert_done(&page("/metrics"));
}

#[test]
fn commands_work_on_a_stopped_server_and_say_what_is_wrong() {
    let host = Host::new();
    host.order(&["account", "add", "bob@example.org", "--stdin"]);
    for (arguments, reason) in [
        (
            vec!["account", "add", "bob@example.org", "--none"],
            "there already",
        ),
        (
            vec!["account", "add", "x@elsewhere.example", "--none"],
            "ringpost domain add",
        ),
        (
            vec!["alias", "add", "a@example.org", "x@elsewhere.example"],
            "nothing relays",
        ),
        (
            vec!["alias", "add", "a@example.org", "nobody@example.org"],
            "ringpost account add nobody@example.org",
        ),
        (
            vec![
                "domain",
                "set",
                "example.org",
                "--catch-all",
                "nobody@example.org",
            ],
            "ringpost account add nobody@example.org",
        ),
        (
            vec!["account", "delete", "admin@example.org"],
            "still gets the mail",
        ),
        (vec!["account", "show", "nobody@example.org"], "no account"),
        (vec!["domain", "delete", "example.org"], "still has 2 accounts"),
    ] {
        let errors = host.refused(&arguments, 1);
        assert!(errors.contains(reason), "{errors}");
    }
    for (arguments, reason) in [
        (
            vec!["account", "add", "c@example.org", "--hash", "{ROT13}x"],
            "no scheme is known",
        ),
        (
            vec!["account", "add", "c@example.org", "--quota", "much", "--none"],
            "a size such as",
        ),
    ] {
        let errors = host.refused(&arguments, 2);
        assert!(errors.contains(reason), "{errors}");
    }
    let short = host.ask(&["account", "password", "bob@example.org", "--stdin"], "short\n");
    assert_eq!(short.status.code(), Some(2));
    let accounts = host.directory.path().join("users");
    fs::write(&accounts, "carol:{PLAIN}secret secret::::::\nbad line\n").expect("a file");
    let import = [
        "account",
        "import",
        accounts.to_str().expect("UTF-8"),
        "--domain",
        "example.org",
    ];
    assert!(
        host.refused(&import, 2).contains("users:2"),
        "every line is looked at"
    );
    fs::write(&accounts, "carol:{PLAIN}secret secret::::::\n").expect("a file");
    assert!(host.order(&import).contains("1 accounts"));
    let errors = host.refused(&["reload"], 2);
    assert!(errors.contains("no server runs"), "{errors}");
}

#[test]
fn a_bad_configuration_is_told_whole_and_starts_nothing() {
    let host = Host::new();
    assert!(host.order(&["check"]).contains("good"));
    host.edit(
        "hostname = \"mail.example.org\"",
        "hostnme = \"mail.example.org\"",
    );
    host.edit("# cores = 0", "cores = \"many\"");
    for command in ["check", "serve"] {
        let errors = host.refused(&[command], 2);
        assert!(errors.starts_with("ringpost: 3 problems"), "{errors}");
        for part in [
            "ringpost.toml:",
            "did you mean server.hostname?",
            "server.cores: found \"many\"",
            "server.hostname: found nothing",
        ] {
            assert!(errors.contains(part), "{part} in {errors}");
        }
    }
    fs::write(host.config(), [0xff, 0xfe, 0]).expect("a file");
    assert!(host.refused(&["check"], 2).contains("not UTF-8"));
    fs::remove_file(host.config()).expect("it is ours");
    assert!(host.refused(&["serve"], 2).contains("ringpost init"));
}

#[test]
fn check_looks_at_what_the_file_names() {
    let host = Host::new();
    fs::write(host.data().join("tls/default.key"), "no key").expect("it is ours");
    let errors = host.refused(&["check"], 2);
    assert!(
        errors.contains("default.crt") && errors.contains("private key"),
        "{errors}"
    );
    let errors = host.refused(&["serve"], 2);
    assert!(errors.contains("private key"), "{errors}");
}

#[test]
fn check_tells_every_problem_of_what_the_file_names_with_its_line() {
    let host = Host::new();
    let mut text = fs::read_to_string(host.config()).expect("init wrote it");
    text.push_str(
        "\n[tls.certificate.endless]\nchain = \"/dev/zero\"\nkey = \"/dev/zero\"\n\
         [tls.certificate.other]\nchain = \"data/tls/default.crt\"\nkey = \"data/dkim/example.org.rsa1.key\"\n",
    );
    let text = text
        .replace("# issuer = \"\"", "issuer = \"https://login.example.org\"")
        .replace("# audience = \"\"", "audience = \"us\"")
        .replace("# client_secret_file = \"\"", "client_secret_file = \"nowhere\"")
        .replace("domain = \"example.org\"", "domain = \"example.net\"")
        .replace("# message_limit = 0", "message_limit = -1");
    fs::write(host.config(), &text).expect("it is ours");
    let errors = host.refused(&["check"], 2);
    assert!(errors.starts_with("ringpost: 5 problems"), "{errors}");
    for (key, line, why) in [
        (
            "server.domain",
            "domain = \"example.net\"",
            "not a domain of this server",
        ),
        (
            "oauth.client_secret_file",
            "client_secret_file = \"nowhere\"",
            "No such file",
        ),
        ("imap.message_limit", "message_limit = -1", "a number from 0"),
        (
            "tls.certificate.endless.chain",
            "chain = \"/dev/zero\"",
            "not a regular file",
        ),
        (
            "tls.certificate.other.chain",
            "chain = \"data/tls/default.crt\"",
            "belongs to another certificate",
        ),
    ] {
        let at = 1 + text.lines().position(|one| one == line).expect("it stands there");
        let start = format!("ringpost.toml:{at}: {key}: found ");
        let told = errors.lines().find(|told| told.contains(&start));
        assert!(told.is_some_and(|told| told.contains(why)), "{start} in {errors}");
    }
}

#[test]
fn check_leaves_a_directory_of_an_older_version_as_it_is() {
    let host = Host::new();
    let file = host.data().join("directory.sqlite");
    let database = || rusqlite::Connection::open(&file).expect("init made it");
    let version = |database: &rusqlite::Connection| -> i64 {
        let asked = database.pragma_query_value(None, "user_version", |row| row.get(0));
        asked.expect("it says its version")
    };
    let older = database();
    let newest = version(&older);
    older
        .pragma_update(None, "user_version", newest - 1)
        .expect("it is ours");
    let told = |is_open: bool| {
        let told = host.order(&["check"]);
        assert!(
            told.contains("note: ") && told.contains("`ringpost serve`"),
            "{is_open} {told}"
        );
        assert!(told.contains(": good"), "{is_open} {told}");
    };
    // While another has it open, as an older server would, and at rest.
    told(true);
    drop(older);
    told(false);
    assert_eq!(version(&database()), newest - 1);
    // Whoever serves makes it the newest.
    let mut host = host;
    host.start();
    drop(host.server.take());
    assert_eq!(version(&database()), newest);
    assert!(!host.order(&["check"]).contains("note: "));
}

#[test]
fn init_overwrites_nothing() {
    let host = Host::new();
    let output = run(Command::new(binary()).args(init(&host.config(), &host.data(), "")));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("there already"), "{}", text(&output));
    let elsewhere = host.directory.path().join("other.toml");
    let output = run(Command::new(binary()).args(init(&elsewhere, &host.data(), "")));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("a server's data"), "{}", text(&output));
    assert!(!elsewhere.exists());
    for secret in ["tls/default.key", "directory.sqlite", "dkim/example.org.rsa1.key"] {
        let mode = fs::metadata(host.data().join(secret))
            .expect("init made it")
            .mode();
        assert_eq!(mode & 0o077, 0, "{secret} is for its owner only");
    }
}

#[test]
fn root_is_given_up_after_the_ports_are_bound() {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let has_nobody = fs::read_to_string("/etc/passwd").is_ok_and(|users| users.contains("\nnobody:"));
    if !is_root || !has_nobody {
        println!("SKIPPED: this is not root");
        return;
    }
    let mut host = Host::of_user("nobody");
    host.start();
    let status = fs::read_to_string(format!("/proc/{}/status", host.server().pid())).expect("it runs");
    for name in ["Uid:", "Gid:", "Groups:"] {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("the kernel says it");
        assert!(!line.split_whitespace().skip(1).any(|id| id == "0"), "{line}");
    }
    // Also what a command writes belongs to that user.
    let server = host.server.take().expect("it runs");
    assert!(server.terminate().success());
    host.order(&["account", "add", "bob@example.org", "--none"]);
    fs::remove_file(host.data().join("LOCK")).expect("the lock's file is there");
    let (data, saved) = (host.data(), host.directory.path().join("saved"));
    let store = |command: &str, paths: &[&Path]| {
        succeed(Command::new(binary()).args(["store", command]).args(paths));
    };
    store("check", &[&data]);
    store("salvage", &[&data, &saved]);
    assert_nothing_is_roots(&data);
    assert_nothing_is_roots(&saved);
}

#[track_caller]
fn assert_nothing_is_roots(directory: &Path) {
    for entry in fs::read_dir(directory).expect("it is there") {
        let entry = entry.expect("it can be read");
        let facts = entry.metadata().expect("its owner");
        assert_ne!(facts.uid(), 0, "{:?}", entry.path());
        if facts.is_dir() {
            assert_nothing_is_roots(&entry.path());
        }
    }
}

#[test]
fn a_service_manager_is_told_how_the_server_is() {
    let mut host = Host::new();
    let path = host.directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let (saying, heard) = std::sync::mpsc::channel();
    // A manager reads all the time: what is not read is not told.
    std::thread::spawn(move || {
        let mut octets = [0; 256];
        while let Ok(count) = manager.recv(&mut octets) {
            let said = String::from_utf8_lossy(&octets[..count]).into_owned();
            if saying.send(said).is_err() {
                return;
            }
        }
    });
    let mut serve = Command::new(binary());
    serve
        .args(["serve", "--config"])
        .arg(host.config())
        .stdin(Stdio::null());
    serve
        .env("NOTIFY_SOCKET", &path)
        // Its queue takes some ten lines: so seldom that it is not full, however late this manager reads.
        .env("WATCHDOG_USEC", "2000000")
        .env_remove("WATCHDOG_PID");
    host.server = Some(Server::run(serve));
    let mut alive = 0;
    let mut hear = |wanted: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = heard.recv_timeout(PATIENCE).expect("it says something");
            alive += u32::from(said == "WATCHDOG=1");
            if said.starts_with(wanted) {
                return said;
            }
            assert!(Instant::now() < deadline, "{wanted} was not said, but {said}");
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    signal(host.server().pid(), "HUP");
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    hear("READY=1");
    signal(host.server().pid(), "TERM");
    hear("STOPPING=1");
    assert!(alive >= 2);
}

#[test]
fn limits_and_the_log_change_in_a_running_server() {
    if !has_client("curl") {
        return;
    }
    let host = Host::started();
    let send = || host.submit("admin@example.org");
    assert_done(&send());
    host.edit(
        "# submission_messages_per_hour = 500",
        "submission_messages_per_hour = 1",
    );
    host.edit("# filter = \"info,mail=off\"", "filter = \"info,mail=info\"");
    host.edit("# cores = 0", "cores = 1");
    let told = host.order(&["reload"]);
    for line in [
        "taken: limits.submission_messages_per_hour",
        "taken: log.filter",
        "waits for a restart: server.cores",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let refused = send();
    assert!(
        !refused.status.success() && text(&refused).contains("450 4.7.1"),
        "{}",
        text(&refused)
    );
    host.edit(
        "submission_messages_per_hour = 1",
        "submission_messages_per_hour = 100",
    );
    host.order(&["reload"]);
    assert_done(&send());
    let mut host = host;
    let log = host.server.take().expect("it runs").terminate_for_log();
    assert_eq!(
        log.lines().filter(|line| line.contains("receipt=")).count(),
        1,
        "{log}"
    );
}

#[test]
fn an_owner_is_told_once_that_the_mailbox_gets_full_and_again_after_it_was_emptied() {
    if !has_client("curl") {
        return;
    }
    let mut host = Host::started();
    host.ask(
        &[
            "account",
            "add",
            "bob@example.org",
            "--stdin",
            "--quota",
            "100 KiB",
        ],
        &format!("{PASSWORD}\n"),
    );
    let curl = |host: &Host, path: &str, command: Option<&str>, upload: Option<&Path>| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "--max-time", "20"]);
        curl.args(["--user", &format!("bob@example.org:{PASSWORD}")]);
        if let Some(command) = command {
            curl.args(["--request", command]);
        }
        if let Some(file) = upload {
            curl.arg("--upload-file").arg(file);
        }
        curl.arg(format!("imaps://127.0.0.1:{}/{path}", host.port("imaps")));
        String::from_utf8_lossy(&succeed(&mut curl)).into_owned()
    };
    let letter = |kib: usize| {
        let path = host.directory.path().join(format!("{kib}"));
        fs::write(&path, format!("Subject: x\r\n\r\n{}\r\n", "x".repeat(kib * 1024))).expect("it is ours");
        path
    };
    let (large, small) = (letter(78), letter(4));
    let told = |host: &Host| {
        let found = curl(host, "INBOX", Some("SEARCH SUBJECT \"full\""), None);
        found
            .split_whitespace()
            .filter(|word| word.parse::<u32>().is_ok())
            .count()
    };
    curl(&host, "INBOX", None, Some(&large));
    assert_eq!(told(&host), 0);
    curl(&host, "INBOX", None, Some(&small));
    wait_until("the owner is told of 80 %", || told(&host) == 1);
    curl(&host, "INBOX", None, Some(&small));
    // Not again, for being above it: not now, and not after a restart.
    assert!(host.server.take().expect("it runs").terminate().success());
    host.start();
    curl(&host, "INBOX", None, Some(&small));
    curl(&host, "INBOX", None, Some(&small));
    assert_eq!(told(&host), 1);
    curl(&host, "INBOX", None, Some(&small));
    wait_until("the owner is told of 95 %", || told(&host) == 2);
    curl(&host, "INBOX", Some("STORE 1 +FLAGS.SILENT (\\Deleted)"), None);
    curl(&host, "INBOX", Some("EXPUNGE"), None);
    curl(&host, "INBOX", None, Some(&large));
    wait_until("the owner is told again", || told(&host) == 3);
}
