//! One running contender: started on a free port of loopback with a configuration to be thrown away, counted, ended.
//!
//! Invariants: a rival runs in a mount and PID namespace of its own (so root is needed): its trees lie over /usr and /etc
//! there and nowhere else, /var is a directory on the disk to be measured, and the end of the namespace's first process ends
//! everything in it; the scratch directory goes with the server.
//! Failure: a contender that does not greet within `START_TIMEOUT` is an error with the end of what it printed.

use super::contender::{Contender, Mailboxes, Start};
use serde_json::Value;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A contender that does not greet by then is broken.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What all contenders of a run are told.
pub struct Place<'a> {
    pub binary: &'a Path,
    /// More arguments of the demo.
    pub arguments: &'a [String],
    /// On the file system to be measured.
    pub directory: &'a Path,
    pub connections: usize,
    pub accounts: u64,
}

/// A running contender and its directory, both gone when this is dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    scratch: PathBuf,
    mailboxes: Mailboxes,
}

impl Server {
    pub fn start(contender: &Contender, trees: &[PathBuf], place: &Place) -> io::Result<Server> {
        let name = format!("loadtest-compare-{}-{}", std::process::id(), contender.name);
        let scratch = std::path::absolute(place.directory.join(name))?;
        fs::create_dir_all(&scratch)?;
        let started = match contender.start {
            Start::Demo(arguments) => start_demo(contender, arguments, &scratch, place),
            Start::Script { layout, .. } => start_script(contender, layout, trees, &scratch, place),
        };
        match started {
            Ok((child, port)) => Ok(Server {
                child,
                port,
                scratch,
                mailboxes: contender.mailboxes,
            }),
            Err(error) => {
                let _ = fs::remove_dir_all(&scratch);
                Err(io::Error::new(
                    error.kind(),
                    format!("{}: {error}", contender.title),
                ))
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A place for files of the run.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Messages in mailboxes; `None` when there is nothing to count.
    pub fn messages(&self) -> io::Result<Option<u64>> {
        let var = self.scratch.join("var");
        match self.mailboxes {
            Mailboxes::None | Mailboxes::Acknowledged => Ok(None),
            Mailboxes::Maildir(below) => count_maildirs(&var.join(below)).map(Some),
            Mailboxes::Mdbox(below) => count_mdboxes(&var.join(below)).map(Some),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The first process of the namespace too: one that changed its user outlives the death of its parent.
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id()));
        let _ = self.child.kill();
        for pid in children.unwrap_or_default().split_whitespace() {
            if let Ok(pid) = pid.parse::<libc::pid_t>() {
                // SAFETY: takes no pointer.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        let _ = self.child.wait();
        // Files may still be made until the last process is gone.
        for _ in 0..50 {
            match fs::remove_dir_all(&self.scratch) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    thread::sleep(Duration::from_millis(20));
                }
                _ => return,
            }
        }
    }
}

fn start_demo(
    contender: &Contender,
    arguments: &[&str],
    scratch: &Path,
    place: &Place,
) -> io::Result<(Child, u16)> {
    let mut child = Command::new(place.binary)
        .args(["demo", "--port-offset", "auto", "--accounts"])
        .arg(place.accounts.to_string())
        .args(arguments)
        .args(place.arguments)
        .arg("--data")
        .arg(scratch.join("store"))
        .env("RINGPOST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let service = if contender.is_lmtp { "lmtp" } else { "smtp" };
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("stdout was asked to be piped"))?;
    for line in BufReader::new(stdout).lines() {
        if let Some(json) = line?.strip_prefix("ready ") {
            let ready: Value = serde_json::from_str(json)?;
            let port = ready["ports"][service]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok());
            return port
                .map(|port| (child, port))
                .ok_or_else(|| io::Error::other("no port in the ready line"));
        }
    }
    Err(io::Error::other("the server ended before it was ready"))
}

fn start_script(
    contender: &Contender,
    layout: &str,
    trees: &[PathBuf],
    scratch: &Path,
    place: &Place,
) -> io::Result<(Child, u16)> {
    let script = scratch.join("run.sh");
    fs::write(&script, contender.script().unwrap_or_default())?;
    // None of them can choose a free port itself.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let trees: Vec<_> = trees.iter().map(|tree| tree.to_string_lossy()).collect();
    let output = fs::File::create(scratch.join("output"))?;
    let mut child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"])
        .arg(&script)
        .env("TREES", trees.join(" "))
        .env("SCRATCH", scratch)
        .env("PORT", port.to_string())
        .env("CONNECTIONS", place.connections.to_string())
        .env("ACCOUNTS", place.accounts.to_string())
        .env("LAYOUT", layout)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let began = Instant::now();
    while !greets(port) {
        let has_ended = child.try_wait()?.is_some();
        if has_ended || began.elapsed() > START_TIMEOUT {
            let _ = child.kill();
            let _ = child.wait();
            let printed = fs::read_to_string(scratch.join("output")).unwrap_or_default();
            let last: Vec<&str> = printed.lines().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            return Err(io::Error::other(format!(
                "it does not greet; it printed: {}",
                last.join(" / ")
            )));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok((child, port))
}

fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let mut greeting = [0; 3];
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .and_then(|()| stream.read_exact(&mut greeting))
        .is_ok()
        && greeting == *b"220"
}

fn count_maildirs(below: &Path) -> io::Result<u64> {
    let mut count = 0;
    for account in entries(below)? {
        for part in ["Maildir/new", "Maildir/cur"] {
            count += entries(&account.join(part))?.len() as u64;
        }
    }
    Ok(count)
}

/// The magic that stands before each message in an mdbox file.
const MDBOX_MESSAGE: &[u8] = b"\x01\x02N";

fn count_mdboxes(below: &Path) -> io::Result<u64> {
    let mut count = 0;
    for account in entries(below)? {
        for file in entries(&account.join("mdbox/storage"))? {
            let is_mail = file
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("m."));
            if is_mail {
                let bytes = fs::read(file)?;
                count += memchr::memmem::find_iter(&bytes, MDBOX_MESSAGE).count() as u64;
            }
        }
    }
    Ok(count)
}

/// What lies in a directory; nothing, if it is not there (yet).
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_counted_in_both_layouts() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let make = |path: &str, bytes: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, bytes).expect("a file");
        };
        make("a/Maildir/new/1", b"x");
        make("a/Maildir/cur/2", b"x");
        make("a/Maildir/tmp/3", b"x");
        make("b/mdbox/storage/m.1", b"2 M1e\n\x01\x02N one\n\x01\x02N two\n");
        make("b/mdbox/storage/dovecot.map.index", b"\x01\x02N");
        assert_eq!(count_maildirs(root).expect("readable"), 2);
        assert_eq!(count_mdboxes(root).expect("readable"), 2);
    }
}
