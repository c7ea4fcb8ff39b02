//! What the host's admin and its users do, by the command line and by curl.

use crate::common::run;
use crate::common::site::Site;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

pub const PASSWORD: &str = "correct horse";

pub trait Users {
    fn order(&self, arguments: &[&str]) -> String;
    fn refused(&self, arguments: &[&str], code: i32) -> String;
    fn send(&self, to: &str, text: &str) -> Output;
    /// From the admin, over submission with TLS.
    fn submit(&self, to: &str) -> Output;
    /// The first message, over IMAP with TLS.
    fn read(&self, login: &str, password: &str) -> Output;
    /// A page over HTTPS, whose certificate has to be the one in this file.
    fn page(&self, name: &str, path: &str, certificate: &Path) -> Output;
    fn policy(&self) -> String;
}

impl Users for Site {
    fn order(&self, arguments: &[&str]) -> String {
        let output = self.ask_with(arguments, PASSWORD);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.ask_with(arguments, PASSWORD);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        errors
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
        command.args(["--user", &format!("admin@example.org:{}", self.admin_password())]);
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

    fn read(&self, login: &str, password: &str) -> Output {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--insecure", "--max-time", "20"]);
        command.args(["--user", &format!("{login}:{password}")]);
        let url = format!("imaps://127.0.0.1:{}/INBOX;MAILINDEX=1", self.port("imaps"));
        run(command.arg(url))
    }

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

    fn policy(&self) -> String {
        let output = self.page(
            "mta-sts.example.org",
            "/.well-known/mta-sts.txt",
            &self.certificate(),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
pub fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
}
