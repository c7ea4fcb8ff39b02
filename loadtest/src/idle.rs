//! Idle IMAP connections: how much memory of the server each one costs, and how long all of them take to hear of new mail.
//!
//! Connections are opened in steps; after each the server's memory is read from /proc (proportional set size, so that memory
//! that processes share is counted once, else resident). The cost of a connection is the median of the steps' slopes, so that
//! what the server takes anyway is not counted, nor what the kernel keeps for a socket.
//! Then one mail is delivered to every account that has connections, and each connection must say EXISTS.
//! Limits: descriptors of this process, raised to the hard limit.
//! Failure: a connection that cannot be opened, or is not told within `--patience`, is counted, and the exit code is 1.

use crate::address::resolve;
use crate::client::Smtp;
use crate::epoll::{Epoll, Interest, Ready};
use crate::process::Usage;
use crate::tls::{Dialect, Security, TlsLink, TlsMode};
use clap::Args;
use serde_json::json;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub struct Options {
    /// Where IMAP listens, as host:port
    #[arg(long)]
    address: String,
    /// Where mail is sent to, as host:port of SMTP; without it nobody is notified
    #[arg(long)]
    smtp: Option<String>,
    /// Idle connections in the end
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Steps in which they are opened
    #[arg(long, default_value_t = 8)]
    steps: usize,
    #[arg(long, value_enum, default_value_t = TlsMode::None)]
    tls: TlsMode,
    /// Logins, {} being a number from 1 to --logins
    #[arg(long, default_value = "user{}@example.org")]
    login_pattern: String,
    /// Accounts that log in, in turn
    #[arg(long, default_value_t = 8)]
    logins: usize,
    #[arg(long, default_value = "ringpost")]
    password: String,
    /// Seconds within which everybody must have heard of new mail
    #[arg(long, default_value_t = 2.0)]
    patience: f64,
    /// The server's process: its memory is read, with that of its descendants
    #[arg(long)]
    server_pid: u32,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is said, one command after the answer to the other, until the connection idles.
const STEPS: usize = 3;

struct Connection {
    stream: TcpStream,
    tls: Option<TlsLink>,
    pending: Vec<u8>,
    input: Vec<u8>,
    login: usize,
    /// 0: the greeting is awaited; `STEPS + 1`: it idles.
    step: usize,
    is_told: bool,
    is_dead: bool,
}

struct Clients {
    connections: Vec<Connection>,
    epoll: Epoll,
    security: Option<Security>,
    address: SocketAddr,
    commands: Vec<[String; STEPS]>,
    idle: usize,
    told: usize,
    dead: usize,
    scratch: Vec<u8>,
}

/// The `idle` command.
pub fn main(options: &Options) -> io::Result<bool> {
    raise_descriptors();
    let mut clients = Clients::new(options)?;
    let mut points = vec![(0.0, kib(options)?)];
    let steps = options.steps.clamp(1, options.connections.max(1));
    for step in 1..=steps {
        clients.open_up_to(options.connections * step / steps)?;
        // What logging in needed is given back by then, as far as it ever is.
        clients.run_for(Duration::from_millis(500))?;
        let count = clients.idle;
        points.push((count as f64, kib(options)?));
        println!("  {count} idle: {:.0} KiB of the server", points[step].1);
    }
    let slope = slope(&points);
    let notified = options
        .smtp
        .as_deref()
        .map(|smtp| clients.notify(options, smtp))
        .transpose()?;
    println!("idle connections={} tls={:?}", options.connections, options.tls);
    println!("  memory       {slope:.2} KiB a connection");
    let is_late = match &notified {
        Some(notified) => {
            println!(
                "  notified     {} of {} within {} s, the last after {:.0} ms",
                notified.count,
                clients.idle,
                options.patience,
                notified.last.as_secs_f64() * 1e3
            );
            notified.count < clients.idle
        }
        None => false,
    };
    let missing = options.connections - clients.idle;
    if missing > 0 {
        println!("  failed       {missing} connections");
    }
    if let Some(path) = &options.json {
        let report = json!({
            "workload": "idle",
            "connections": clients.idle,
            "failed": missing,
            "tls": format!("{:?}", options.tls).to_lowercase(),
            "kib_per_connection": slope,
            "points": points,
            "notified": notified.as_ref().map(|notified| notified.count),
            "last_notified_ms": notified.as_ref().map(|notified| notified.last.as_secs_f64() * 1e3),
        });
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(missing == 0 && !is_late)
}

fn kib(options: &Options) -> io::Result<f64> {
    Usage::of_tree(options.server_pid).map(|usage| usage.proportional_kib as f64)
}

struct Notified {
    count: usize,
    last: Duration,
}

impl Clients {
    fn new(options: &Options) -> io::Result<Clients> {
        let commands = (0..options.logins.max(1)).map(|login| {
            let name = options.login_pattern.replace("{}", &(login + 1).to_string());
            [
                format!("a0 LOGIN \"{name}\" \"{}\"\r\n", options.password),
                "a1 SELECT INBOX\r\n".to_owned(),
                "a2 IDLE\r\n".to_owned(),
            ]
        });
        Ok(Clients {
            connections: Vec::with_capacity(options.connections),
            epoll: Epoll::new()?,
            security: Security::new(options.tls, Dialect::Imap),
            address: resolve(&options.address)?,
            commands: commands.collect(),
            idle: 0,
            told: 0,
            dead: 0,
            scratch: vec![0; 64 * 1024],
        })
    }

    /// Logins under way at once: what takes its time is the password's hash.
    const OPENING_MAX: usize = 64;

    fn open_up_to(&mut self, wanted: usize) -> io::Result<()> {
        let until = Instant::now() + Duration::from_secs(120);
        while self.idle + self.dead < wanted {
            while self.connections.len() < wanted
                && self.connections.len() - self.idle - self.dead < Self::OPENING_MAX
            {
                self.open()?;
            }
            self.turn(Duration::from_millis(50))?;
            if Instant::now() > until {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    format!("{} of {wanted} connections idle after 120 s", self.idle),
                ));
            }
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let token = self.connections.len();
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.epoll.add(&stream, token, Interest::Read)?;
        let mut tls = self.security.as_ref().map(Security::begin).transpose()?;
        let mut pending = Vec::new();
        if let Some(tls) = &mut tls {
            tls.open(&mut pending)?;
        }
        self.connections.push(Connection {
            stream,
            tls,
            pending,
            input: Vec::new(),
            login: token % self.commands.len(),
            step: 0,
            is_told: false,
            is_dead: false,
        });
        self.connections[token].flush()
    }

    fn run_for(&mut self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn(Duration::from_millis(20))?;
        }
        Ok(())
    }

    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        let mut ready: Vec<Ready> = Vec::new();
        self.epoll.wait(timeout, &mut ready)?;
        for event in ready {
            let connection = &mut self.connections[event.token];
            if connection.is_dead {
                continue;
            }
            let was_idle = connection.step > STEPS;
            let was_told = connection.is_told;
            let heard = connection.hear(&mut self.scratch, &self.commands);
            self.told += usize::from(connection.is_told && !was_told);
            match heard {
                Ok(()) => self.idle += usize::from(connection.step > STEPS && !was_idle),
                Err(error) => {
                    eprintln!("connection {}: {error}", event.token);
                    connection.is_dead = true;
                    // A closed one would be ready for ever.
                    let _ = connection.stream.shutdown(std::net::Shutdown::Both);
                    self.epoll.remove(&connection.stream)?;
                    self.dead += 1;
                    self.idle -= usize::from(was_idle);
                }
            }
        }
        Ok(())
    }

    fn notify(&mut self, options: &Options, smtp: &str) -> io::Result<Notified> {
        let mut smtp = Smtp::connect(resolve(smtp)?)?;
        smtp.hello()?;
        let began = Instant::now();
        let accounts = self.commands.len().min(self.connections.len());
        for login in 0..accounts {
            let name = options.login_pattern.replace("{}", &(login + 1).to_string());
            smtp.deliver_timed(&name, b"Subject: wake up\r\n\r\nbody\r\n")?;
        }
        // From here on everybody should know; what the deliveries took is not the server's delay in telling.
        let delivered = Instant::now();
        let mut last = Duration::ZERO;
        while self.told < self.idle && delivered.elapsed().as_secs_f64() < options.patience {
            let before = self.told;
            self.turn(Duration::from_millis(10))?;
            if self.told > before {
                last = began.elapsed();
            }
        }
        Ok(Notified {
            count: self.told,
            last,
        })
    }
}

impl Connection {
    fn hear(&mut self, scratch: &mut [u8], commands: &[[String; STEPS]]) -> io::Result<()> {
        let mut reader = &self.stream;
        let count = match reader.read(scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        match &mut self.tls {
            Some(tls) => tls.receive(&scratch[..count], &mut self.input, &mut self.pending)?,
            None => self.input.extend_from_slice(&scratch[..count]),
        }
        while let Some(length) = memchr::memchr(b'\n', &self.input) {
            let line: Vec<u8> = self.input.drain(..=length).collect();
            self.line(&line, commands)?;
        }
        if self.input.is_empty() {
            // Memory of the generator must not run out before the server's.
            self.input = Vec::new();
        }
        self.flush()
    }

    fn line(&mut self, line: &[u8], commands: &[[String; STEPS]]) -> io::Result<()> {
        if self.step > STEPS {
            self.is_told |= memchr::memmem::find(line, b" EXISTS").is_some();
            return Ok(());
        }
        let is_answer = match self.step {
            0 => line.starts_with(b"* OK"),
            STEPS => line.starts_with(b"+"),
            step => line.starts_with(format!("a{} ", step - 1).as_bytes()),
        };
        if !is_answer {
            return Ok(());
        }
        let is_good = matches!(self.step, 0 | STEPS) || line[3..].starts_with(b"OK");
        if !is_good {
            let line = String::from_utf8_lossy(line).trim_end().to_owned();
            return Err(io::Error::other(line));
        }
        if let Some(command) = commands[self.login].get(self.step) {
            match &mut self.tls {
                Some(tls) => tls.send(command.as_bytes(), &mut self.pending)?,
                None => self.pending.extend_from_slice(command.as_bytes()),
            }
        }
        self.step += 1;
        Ok(())
    }

    /// What the kernel does not take at once is a fault: it is a few octets.
    fn flush(&mut self) -> io::Result<()> {
        let mut writer = &self.stream;
        writer.write_all(&self.pending)?;
        self.pending = Vec::new();
        Ok(())
    }
}

/// KiB for each connection: the median of what each step added. A step in which the server gives back memory it needed for
/// something else (a password's hash takes megabytes) is far off, and so is the first, which pays for what is made once.
fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes: Vec<f64> = points
        .windows(2)
        .skip(1)
        .map(|pair| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0).max(1.0))
        .collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

/// Raises the soft limit of descriptors to the hard one.
pub fn raise_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls read or write exactly the structure given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_leaves_out_what_is_there_anyway_and_what_is_given_back() {
        let mut points: Vec<(f64, f64)> = (0..8)
            .map(|n| (f64::from(n) * 100.0, 5_000.0 + f64::from(n) * 400.0))
            .collect();
        points[0].1 = 1_000.0;
        points[5..].iter_mut().for_each(|point| point.1 -= 3_000.0);
        assert!((slope(&points) - 4.0).abs() < 1e-9);
    }
}
