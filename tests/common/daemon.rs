//! Other people's servers, as a test starts them.

use super::PATIENCE;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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
        super::signal(self.0.id(), signal);
        let ended = super::wait(&mut self.0, PATIENCE);
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
