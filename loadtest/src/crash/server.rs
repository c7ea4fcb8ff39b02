//! The server under test: started as a demo, found by its ready line, killed with -9.

use crate::client::Smtp;
use serde::Deserialize;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A server that is not ready by then is broken.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What the demo prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    ports: Ports,
}

#[derive(Deserialize)]
struct Ports {
    smtp: u16,
    imap: u16,
    pop3: u16,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub smtp: SocketAddr,
    pub imap: SocketAddr,
    pub pop3: SocketAddr,
}

/// How to start it.
#[derive(Clone, Debug)]
pub struct Launch {
    pub binary: PathBuf,
    /// More arguments of the demo.
    pub arguments: Vec<String>,
    pub accounts: u64,
    /// What it says to people is kept here instead of shown, when it is expected to complain.
    pub log: Option<PathBuf>,
}

/// A running server.
pub struct Server {
    child: Child,
    pub addresses: Addresses,
    /// From exec to the first 220.
    pub start: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it is dead and reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub fn start(launch: &Launch, data: &Path) -> io::Result<Server> {
        let began = Instant::now();
        let accounts = launch.accounts.to_string();
        let mut command = Command::new(&launch.binary);
        command
            .args(["demo", "--port-offset", "auto", "--accounts", &accounts, "--data"])
            .arg(data)
            .args(&launch.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(log) = &launch.log {
            let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
            command.stderr(log);
        }
        let mut child = command.spawn()?;
        let Some(stdout) = child.stdout.take() else {
            unreachable!("stdout was asked to be piped")
        };
        let (sender, ready) = std::sync::mpsc::channel();
        // Reads on to the end, so that the server never blocks on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(json) = line.strip_prefix("ready ") {
                    let _ = sender.send(json.to_owned());
                }
            }
        });
        let unspecified = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Server {
            child,
            addresses: Addresses {
                smtp: unspecified,
                imap: unspecified,
                pop3: unspecified,
            },
            start: Duration::ZERO,
        };
        let json = ready
            .recv_timeout(START_TIMEOUT)
            .map_err(|_| io::Error::other("the server ended or printed no ready line"))?;
        let ports = serde_json::from_str::<Ready>(&json)?.ports;
        server.addresses.smtp.set_port(ports.smtp);
        server.addresses.imap.set_port(ports.imap);
        server.addresses.pop3.set_port(ports.pop3);
        Smtp::connect(server.addresses.smtp)?;
        server.start = began.elapsed();
        Ok(server)
    }

    /// Kills it with -9; an error if it ended by itself before.
    pub fn kill(mut self) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(io::Error::other(format!("the server ended by itself: {status}")));
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Kills it with -9, whether it lives or not: without its disk it may have stopped.
    pub fn end(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}
