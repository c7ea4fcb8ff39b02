//! A host of example.org that needs other servers, and what its users see of it.

// Two test programs compile this file and use a part of it each.
#![allow(dead_code)]

use crate::common::talk::{Imap, Pop3, Smtp};
use crate::common::{PATIENCE, Server, binary, run, succeed, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

pub struct Site {
    pub directory: tempfile::TempDir,
    /// What `init` printed.
    pub told: serde_json::Value,
    server: Option<Server>,
}

impl Site {
    /// A host set up by `init`, with `sections` for its directory.
    pub fn new(sections: &str) -> Site {
        let mut site = Site {
            directory: tempfile::tempdir().expect("a temporary directory"),
            told: serde_json::Value::Null,
            server: None,
        };
        let mut init = Command::new(binary());
        init.args([
            "init",
            "example.org",
            "--hostname",
            "mail.example.org",
            "--listen",
            "127.0.0.1",
        ]);
        init.args(["--port-offset", "auto", "--json", "--user=", "--config"]);
        let told = succeed(
            init.arg(site.config())
                .arg("--data")
                .arg(site.directory.path().join("data")),
        );
        site.told = serde_json::from_slice(&told).expect("init prints JSON");
        site.configure(if sections.is_empty() { "[acme]\n" } else { sections });
        site
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

    pub fn start(&mut self) {
        let mut command = Command::new(binary());
        command
            .args(["serve", "--config"])
            .arg(self.config())
            .stdin(Stdio::null());
        self.server = Some(Server::run(command));
    }

    pub fn stop(&mut self) {
        let server = self.server.take().expect("it runs");
        assert!(server.terminate().success());
    }

    /// What it wrote into its log.
    pub fn stop_for_log(&mut self) -> String {
        self.server.take().expect("it runs").terminate_for_log()
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("ringpost.toml")
    }

    /// `ringpost check`, or another command about this host.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        run(Command::new(binary())
            .args(arguments)
            .arg("--config")
            .arg(self.config()))
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

/// A server that a test started; ends with it.
pub struct Daemon(pub Child);

impl Daemon {
    /// Starts a command as `user`, if this is root: some servers will not run as root.
    pub fn start_as(user: &str, program: &Path, arguments: &[&str]) -> Daemon {
        let mut command = as_user(user, program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Daemon(command.spawn().expect("it starts"))
    }

    pub fn stop(mut self, signal: &str) {
        crate::common::signal(self.0.id(), signal);
        let ended = crate::common::wait(&mut self.0, PATIENCE);
        assert!(ended.is_some(), "it did not stop on SIG{signal}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// A command as another user, if this is root; the process is the program itself.
pub fn as_user(user: &str, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([
        &format!("--reuid={user}"),
        &format!("--regid={user}"),
        "--clear-groups",
        "--",
    ]);
    command.arg(program);
    command
}

/// A certificate for `localhost` and 127.0.0.1 that signs itself, and its key, as PEM files.
pub fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (chain, key) = (directory.join("server.crt"), directory.join("server.key"));
    fs::write(&chain, made.cert.pem()).expect("room");
    fs::write(&key, made.signing_key.serialize_pem()).expect("room");
    (chain, key)
}
