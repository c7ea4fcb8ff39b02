//! A host as `init` makes it, on free ports of loopback and in a directory of its own; and what its users see of it.

use super::talk::{Imap, Pop3, Smtp};
use super::{PATIENCE, Server, binary, run, run_with, succeed, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// What `init` is told.
pub struct Plan<'a> {
    pub domain: &'a str,
    pub hostname: &'a str,
    /// Who the server becomes; empty: nobody else.
    pub user: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Plan {
            domain: "example.org",
            hostname: "mail.example.org",
            user: "",
        }
    }
}

impl Plan<'_> {
    /// The command that sets it up.
    pub fn init(&self, config: &Path, data: &Path) -> Command {
        let mut init = Command::new(binary());
        init.args(["init", self.domain, "--hostname", self.hostname]);
        init.args(["--listen", "127.0.0.1", "--port-offset", "auto", "--json"]);
        init.arg(format!("--user={}", self.user));
        init.arg("--config").arg(config).arg("--data").arg(data);
        init
    }
}

pub struct Site {
    pub directory: tempfile::TempDir,
    /// What `init` printed.
    pub told: serde_json::Value,
    server: Option<Server>,
}

impl Site {
    /// A host of example.org with `sections` for its directory, where plaintext logins are allowed.
    pub fn new(sections: &str) -> Site {
        let site = Site::plain();
        site.configure(if sections.is_empty() { "[acme]\n" } else { sections });
        site
    }

    /// One as `init` leaves it.
    pub fn of(plan: &Plan) -> Site {
        Site::within(tempfile::tempdir().expect("a temporary directory"), plan)
    }

    /// The usual one.
    pub fn plain() -> Site {
        Site::of(&Plan::default())
    }

    /// One in this directory.
    pub fn within(directory: tempfile::TempDir, plan: &Plan) -> Site {
        // Another user may have to reach what is inside.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let mut site = Site {
            directory,
            told: serde_json::Value::Null,
            server: None,
        };
        let told = succeed(&mut plan.init(&site.config(), &site.data()));
        site.told = serde_json::from_slice(&told).expect("init prints JSON");
        site
    }

    /// A running one, as `init` leaves it.
    pub fn started() -> Site {
        let mut site = Site::plain();
        site.start();
        site
    }

    pub fn admin_password(&self) -> &str {
        self.told["password"].as_str().expect("a password")
    }

    /// Writes other sections for the directory, or ACME.
    pub fn configure(&self, sections: &str) {
        let text = fs::read_to_string(self.config()).expect("init wrote it");
        let (before, _) = text
            .split_once("\n[acme]")
            // Configured before, with a directory and without ACME.
            .or_else(|| text.split_once("\n[directory]"))
            .expect("the sample has the section, and those of directories behind it");
        let before = before.replace(
            "# plaintext_login_on_loopback = false",
            "plaintext_login_on_loopback = true",
        );
        fs::write(self.config(), format!("{before}\n{sections}")).expect("it is ours");
    }

    /// Replaces text of the configuration, which has to be there, where it stands first.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("init wrote it");
        assert!(text.contains(from), "{from} is not in\n{text}");
        fs::write(self.config(), text.replacen(from, to, 1)).expect("it is ours");
    }

    /// Gives an option, which `init` left at its default, another value.
    #[track_caller]
    pub fn set(&self, key: &str, value: &str) {
        let text = fs::read_to_string(self.config()).expect("init wrote it");
        let old = text.lines().find(|line| line.starts_with(&format!("# {key} = ")));
        let old = old.expect("every option is in the file");
        let new = text.replacen(&format!("{old}\n"), &format!("{key} = {value}\n"), 1);
        fs::write(self.config(), new).expect("it is ours");
    }

    pub fn start(&mut self) {
        self.start_with(|_| {});
    }

    /// `change`: what is different about the command.
    pub fn start_with(&mut self, change: impl FnOnce(&mut Command)) {
        let mut command = Command::new(binary());
        command
            .args(["serve", "--config"])
            .arg(self.config())
            .stdin(Stdio::null());
        change(&mut command);
        self.server = Some(Server::run(command));
    }

    pub fn stop(&mut self) {
        assert!(self.take_server().terminate().success());
    }

    /// What it wrote into its log.
    pub fn stop_for_log(&mut self) -> String {
        self.take_server().terminate_for_log()
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    pub fn take_server(&mut self) -> Server {
        self.server.take().expect("it runs")
    }

    pub fn port(&self, service: &str) -> u16 {
        self.server().port(service)
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("ringpost.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The one that `init` made.
    pub fn certificate(&self) -> PathBuf {
        self.data().join("tls/default.crt")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(self.config());
        command
    }

    /// `ringpost check`, or another command about this host.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }

    /// The same, with `input` for its standard input.
    pub fn ask_with(&self, arguments: &[&str], input: &str) -> Output {
        run_with(&mut self.command(arguments), input)
    }

    /// What a sender hears about a recipient.
    pub fn rcpt(&self, address: &str) -> String {
        let mut smtp = Smtp::hello(self.server());
        let parameter = if address.is_ascii() { "" } else { " SMTPUTF8" };
        let mail = format!("MAIL FROM:<me@example.net>{parameter}");
        assert!(smtp.command(&mail).starts_with("250"));
        smtp.command(&format!("RCPT TO:<{address}>"))
    }

    #[track_caller]
    pub fn assert_rcpt(&self, address: &str, reply: &str) {
        let heard = self.rcpt(address);
        assert!(heard.starts_with(reply), "{address}: {heard}");
    }

    pub fn deliver(&self, address: &str, text: &str) {
        Smtp::hello(self.server()).deliver(address, &format!("Subject: {text}\r\n\r\n{text}\r\n"));
    }

    /// What a login by POP3 is answered.
    pub fn login(&self, user: &str, password: &str) -> String {
        let mut pop3 = Pop3::greeted(self.server());
        if !user.is_ascii() {
            assert!(pop3.command("UTF8").starts_with("+OK"));
        }
        let heard = pop3.command(&format!("USER {user}"));
        assert!(heard.starts_with("+OK"), "{heard}");
        pop3.command(&format!("PASS {password}"))
    }

    #[track_caller]
    pub fn assert_login(&self, user: &str, password: &str, reply: &str) {
        let heard = self.login(user, password);
        assert!(heard.starts_with(reply), "{user}: {heard}");
    }

    /// Waits until an INBOX has so many messages, and asserts that it has no more: mail for accounts of several cores is with
    /// each of them a moment after it was acknowledged.
    #[track_caller]
    pub fn await_count(&self, user: &str, password: &str, count: usize) {
        wait_until(&format!("{count} messages for {user}"), || {
            self.count(user, password) >= count
        });
        assert_eq!(self.count(user, password), count, "{user}");
    }

    /// How many messages an INBOX has. A login is tried again and again: each core remembers for a time of its own.
    pub fn count(&self, user: &str, password: &str) -> usize {
        let until = Instant::now() + PATIENCE;
        let log_in = || {
            let mut imap = Imap::greeted(self.server());
            let answer = imap.command(&format!("LOGIN {user} {password}"));
            (imap, answer)
        };
        let mut imap = loop {
            let (imap, answer) = log_in();
            if answer.outcome.starts_with("OK") {
                break imap;
            }
            assert!(Instant::now() < until, "{user}: still {}", answer.outcome);
        };
        imap.command("SELECT INBOX").ok();
        imap.inbox_count()
    }

    /// Asks again and again until the answer is the expected one: what is remembered has its time.
    #[track_caller]
    pub fn until(&self, what: impl Fn(&Site) -> String, expected: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let heard = what(self);
            if heard.starts_with(expected) {
                return;
            }
            assert!(Instant::now() < until, "still {heard}, not {expected}");
        }
    }
}
