//! A Dovecot of this test's own: Debian's package with a throw-away configuration, on a free port of loopback.
//!
//! Limits: Dovecot 2.3, whose configuration and answers this test knows; another version is skipped. Run by root it
//! gives the mail to `nobody`, otherwise everything is the caller's.

use crate::common::talk::Wire;
use crate::common::{PASSWORD, PATIENCE, has_client, port, signal, wait};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Debian's `nobody`, who owns the mail when the test runs as root.
const NOBODY: u32 = 65_534;

pub struct Dovecot {
    child: Child,
    pub port: u16,
    /// Its configuration, sockets, mail and log.
    directory: tempfile::TempDir,
}

impl Dovecot {
    /// `None` when the package is not there, or is another version.
    pub fn start() -> Option<Dovecot> {
        if !has_client("dovecot") {
            return None;
        }
        let version = Command::new("dovecot").arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        if !version.starts_with("2.3.") {
            println!("SKIPPED: the list of differences is of Dovecot 2.3, this is {version}");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = port::reserve();
        let configuration = write_configuration(directory.path(), port);
        let child = Command::new("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("errors")).expect("a file of the test's own"))
            .spawn()
            .expect("dovecot is there");
        let mut dovecot = Dovecot {
            child,
            port,
            directory,
        };
        assert!(dovecot.is_greeting(), "Dovecot did not start");
        Some(dovecot)
    }

    /// Whether it answers before it dies.
    fn is_greeting(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                let greeting = Wire::connect(self.port).line().unwrap_or_default();
                return greeting.contains("Dovecot");
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{}", self.log());
        false
    }

    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        read("log") + &read("errors")
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
        }
        if wait(&mut self.child, PATIENCE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn write_configuration(directory: &Path, port: u16) -> std::path::PathBuf {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    let root = directory.display();
    let mail = directory.join("mail");
    fs::create_dir(&mail).expect("a directory of the test's own");
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let owner = if is_root {
        chown(&mail, Some(NOBODY), None).expect("root may");
        "mail_uid = nobody\nmail_gid = nogroup\n".to_owned()
    } else {
        let name = std::env::var("USER").unwrap_or_else(|_| "nobody".to_owned());
        format!("default_login_user = {name}\ndefault_internal_user = {name}\nmail_uid = {name}\n")
    };
    // Ringpost's own standard mailboxes and hierarchy, so that they are no difference.
    let mailboxes: String = ["Archive", "Drafts", "Junk", "Sent", "Trash"]
        .iter()
        .map(|name| format!("  mailbox {name} {{\n    auto = subscribe\n    special_use = \\{name}\n  }}\n"))
        .collect();
    let settings = format!(
        "base_dir = {root}/run\nstate_dir = {root}/run\nlog_path = {root}/log\nprotocols = imap\nlisten = 127.0.0.1\n\
         ssl = no\ndisable_plaintext_auth = no\nauth_mechanisms = plain login\nfirst_valid_uid = 1\nfirst_valid_gid = 0\n\
         {owner}mail_location = mdbox:{root}/mail/%u\nmail_always_cache_fields = date.save\n\
         passdb {{\n  driver = static\n  args = password={PASSWORD}\n}}\n\
         userdb {{\n  driver = static\n  args = home={root}/mail/%u\n}}\n\
         namespace inbox {{\n  inbox = yes\n  separator = /\n{mailboxes}}}\n\
         service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = {port}\n  }}\n  \
         inet_listener imaps {{\n    port = 0\n  }}\n}}\n\
         service anvil {{\n  chroot =\n}}\nservice stats {{\n  chroot =\n}}\n"
    );
    let path = directory.join("dovecot.conf");
    fs::write(&path, settings).expect("a file of the test's own");
    path
}
