//! What the tests of the whole program share: a server of their own on free ports, plain sockets, other people's
//! clients.
//!
//! Every wait is bounded (`PATIENCE`), everything is on loopback, and no test knows of another's server. The binary is
//! the one cargo built; RINGPOST_TEST_BINARY names another (a release build, or a wrapper around a rival).

// Each test program compiles this file and uses a part of it.
#![allow(dead_code)]

pub mod daemon;
pub mod port;
pub mod scripts;
pub mod site;
pub mod talk;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longest wait for anything that should happen at once. Generous, because tests run many at a time on small machines
/// and the build has no optimisation.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The demo's one password.
pub const PASSWORD: &str = "ringpost";

/// A running demo.
pub struct Server {
    child: Child,
    ports: HashMap<String, u16>,
    output: Option<JoinHandle<Vec<u8>>>,
    /// Dropped last: the store, when it is the test's own.
    directory: Option<tempfile::TempDir>,
}

impl Server {
    /// A server with an empty store of its own.
    pub fn start() -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut server = Server::with_data(&directory.path().join("store"));
        server.directory = Some(directory);
        server
    }

    /// A server over the store at `data`, made if it is not there.
    pub fn with_data(data: &Path) -> Server {
        Server::run(demo(data))
    }

    /// A server with an empty store of its own and more arguments.
    pub fn with_arguments(arguments: &[&str]) -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = demo(&directory.path().join("store"));
        command.args(arguments);
        let mut server = Server::run(command);
        server.directory = Some(directory);
        server
    }

    /// A server started by a command of the test's own, which made its store's directory too.
    pub fn run(mut command: Command) -> Server {
        // Tests that run at once have hundreds of connections each: more than many systems give a program at first.
        ringpost::runtime::raise_descriptors();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let (ready_sender, ready) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let stderr = child.stderr.take().expect("stderr is piped");
        // Both are read to their end, so that the server never waits for a full pipe.
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(json) = line.strip_prefix("ready ") {
                    let _ = ready_sender.send(json.to_owned());
                }
            }
        });
        let mut server = Server {
            child,
            ports: HashMap::new(),
            output: Some(read_all(stderr)),
            directory: None,
        };
        match ready.recv_timeout(PATIENCE) {
            Ok(json) => server.ports = ports(&json),
            Err(_) => {
                let _ = server.child.kill();
                panic!(
                    "the server printed no ready line; its errors:\n{}",
                    server.errors()
                );
            }
        }
        server
    }

    /// The same server, which removes `directory` when it is dropped.
    pub fn keeping(mut self, directory: tempfile::TempDir) -> Server {
        self.directory = Some(directory);
        self
    }

    /// The port of `smtp`, `imap`, `imaps`, `pop3`, `pop3s`, …
    pub fn port(&self, service: &str) -> u16 {
        *self
            .ports
            .get(service)
            .unwrap_or_else(|| panic!("the ready line names no port {service}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop and waits for it.
    pub fn terminate(mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        let Some(status) = wait(&mut self.child, PATIENCE) else {
            panic!(
                "the server did not stop on SIGTERM; its errors:\n{}",
                self.errors_of_dead()
            );
        };
        status
    }

    /// Asks it to stop, and returns what it wrote to its log.
    pub fn terminate_for_log(mut self) -> String {
        signal(self.pid(), "TERM");
        let status = wait(&mut self.child, PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        self.errors()
    }

    /// kill -9, and its store stays.
    pub fn kill(mut self) {
        self.child.kill().expect("the server is still running");
        self.child.wait().expect("the server is our child");
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Highest resident memory so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap_or("0");
        value
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    }

    fn errors_of_dead(&mut self) -> String {
        let _ = self.child.kill();
        self.errors()
    }

    /// What it wrote to stderr. It must be dead, or this waits for its end.
    fn errors(&mut self) -> String {
        let text = self
            .output
            .take()
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server's errors:\n{}", self.errors());
        }
    }
}

/// The program under test.
pub fn binary() -> PathBuf {
    std::env::var_os("RINGPOST_TEST_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_ringpost").into(), PathBuf::from)
}

/// The command that starts a demo on free ports over the store at `data`.
pub fn demo(data: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .args(["demo", "--port-offset", "auto", "--accounts", "8", "--data"])
        .arg(data)
        .stdin(Stdio::null());
    command
}

fn ports(json: &str) -> HashMap<String, u16> {
    let value: serde_json::Value = serde_json::from_str(json).expect("the ready line is JSON");
    let ports = value["ports"].as_object().expect("the ready line has ports");
    ports
        .iter()
        .map(|(name, port)| (name.clone(), port.as_u64().unwrap_or(0) as u16))
        .collect()
}

/// Sends a signal by name to a process this test started.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Waits for a child's end, up to `patience`.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            _ if Instant::now() >= until => return None,
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Asks again and again until it is so: for what happens a moment after its cause, or on each core in its own time.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Longest that a command of its own may take: a browser that reads mail on a machine which does much else beside it.
const COMMAND_PATIENCE: Duration = Duration::from_secs(300);

/// Runs a command to its end, killed and failed if that takes longer than [`COMMAND_PATIENCE`].
pub fn run(command: &mut Command) -> Output {
    run_with(command, "")
}

/// The same, with some lines for its standard input.
pub fn run_with(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // Who reads nothing closes it.
        let _ = stdin.write_all(input.as_bytes());
    }
    let readers = [
        read_all(child.stdout.take().expect("stdout is piped")),
        read_all(child.stderr.take().expect("stderr is piped")),
    ];
    let status = wait(&mut child, COMMAND_PATIENCE);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let [stdout, stderr] = readers.map(|reader| reader.join().unwrap_or_default());
    let status = status.unwrap_or_else(|| {
        panic!(
            "{command:?} did not end; it said:\n{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        )
    });
    Output {
        status,
        stdout,
        stderr,
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// Runs a command that must succeed and returns what it printed.
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Whether a client is installed. If not, the test says so and passes; with RINGPOST_REQUIRE_CLIENTS=1 it fails.
pub fn has_client(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
        return true;
    }
    skip_or_fail(name)
}

/// Says that something is not there, as [`has_client`] does; `false` if that is no failure.
pub fn skip_or_fail(what: &str) -> bool {
    let is_required = std::env::var_os("RINGPOST_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
    assert!(
        !is_required,
        "{what} is not installed, and RINGPOST_REQUIRE_CLIENTS=1 asks for it (.ci/install)"
    );
    println!("SKIPPED: {what} is not installed (.ci/install installs it)");
    false
}

/// Asserts that `text` is `body` behind trace fields, and returns those.
#[track_caller]
pub fn assert_body<'a>(text: &'a [u8], body: &[u8]) -> &'a str {
    assert!(
        text.ends_with(body),
        "the body changed; it is\n{}",
        String::from_utf8_lossy(&text[..text.len().min(2_000)])
    );
    let prefix = std::str::from_utf8(&text[..text.len() - body.len()]).expect("trace fields are ASCII");
    assert!(
        prefix.is_empty() || prefix.ends_with("\r\n"),
        "the prefix does not end in CRLF: {prefix}"
    );
    for line in prefix.lines().filter(|line| !line.starts_with([' ', '\t'])) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        assert!(
            [
                "return-path",
                "delivered-to",
                "received",
                "authentication-results"
            ]
            .contains(&name.as_str()),
            "not a trace field: {line}"
        );
    }
    prefix
}
