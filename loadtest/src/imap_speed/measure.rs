//! The rows of the table: each a command or a short session, timed from the client.

use super::fill::{LARGE, MANY, SMALL, SMALL_BYTES, message};
use super::wire::Wire;
use super::{Options, Part, Server};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Repetitions of a command whose single time is shown; the median counts.
const REPEATS: usize = 5;
/// Of one that takes well below a millisecond.
const SHORT_REPEATS: usize = 100;
const MIB: f64 = 1024.0 * 1024.0;

/// One row of one server.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub value: f64,
    is_rate: bool,
}

impl Figure {
    fn milliseconds(name: &'static str, time: Duration) -> Self {
        Self {
            name,
            unit: "ms",
            value: time.as_secs_f64() * 1e3,
            is_rate: false,
        }
    }

    fn rate(name: &'static str, unit: &'static str, value: f64) -> Self {
        Self {
            name,
            unit,
            value,
            is_rate: true,
        }
    }

    /// How many times better `first` is.
    pub fn ratio_to(&self, first: &Figure) -> f64 {
        if self.is_rate {
            first.value / self.value
        } else {
            self.value / first.value
        }
    }
}

/// Row by row the median of several rounds.
pub fn medians(rounds: &[Vec<Figure>]) -> Vec<Figure> {
    let rows = rounds.first().map_or(0, Vec::len);
    let median = |row: usize| {
        let mut of_row: Vec<&Figure> = rounds.iter().map(|round| &round[row]).collect();
        of_row.sort_by(|a, b| a.value.total_cmp(&b.value));
        of_row[of_row.len() / 2].clone()
    };
    (0..rows).map(median).collect()
}

/// Everything that was asked for, on one server.
pub fn measure(server: &Server, options: &Options) -> io::Result<Vec<Figure>> {
    let bench = Bench { server, options };
    let mut figures = Vec::new();
    if options.wants(Part::Logins) {
        figures.push(bench.logins(10)?);
    }
    if options.wants(Part::Reading) {
        figures.extend(bench.reading(&mut bench.log_in()?)?);
    }
    if options.wants(Part::Append) {
        for connections in [1, 10] {
            figures.push(bench.appends(connections)?);
        }
    }
    if options.wants(Part::Store) {
        for connections in [1, 10, 50] {
            figures.push(bench.stores(connections)?);
        }
    }
    Ok(figures)
}

struct Bench<'a> {
    server: &'a Server,
    options: &'a Options,
}

impl Bench<'_> {
    fn log_in(&self) -> io::Result<Wire> {
        Wire::log_in(
            self.server.address,
            &self.options.login(1),
            &self.options.password,
        )
    }

    /// Connect, LOGIN, LOGOUT.
    fn logins(&self, connections: usize) -> io::Result<Figure> {
        let rate = self.rate(
            connections,
            |_| Ok(()),
            |(), _| self.log_in()?.command("LOGOUT").map(drop),
        )?;
        Ok(Figure::rate("login sessions, 10 at once", "1/s", rate))
    }

    fn reading(&self, wire: &mut Wire) -> io::Result<Vec<Figure>> {
        let mut figures = vec![
            self.select(wire, SMALL, "SELECT of the small mailbox")?,
            self.select(wire, MANY, "SELECT of the large mailbox")?,
        ];
        wire.command(&format!("EXAMINE {MANY}"))?;
        let (time, _) = repeat(wire, REPEATS, "FETCH 1:* (UID FLAGS)")?;
        figures.push(Figure::milliseconds("FETCH 1:* (UID FLAGS), large mailbox", time));
        wire.command(&format!("EXAMINE {SMALL}"))?;
        let (time, _) = repeat(wire, REPEATS, "FETCH 1:* ENVELOPE")?;
        figures.push(Figure::milliseconds("FETCH 1:* ENVELOPE, small mailbox", time));
        let (time, bytes) = repeat(wire, REPEATS, "FETCH 1:* BODY.PEEK[]")?;
        figures.push(Figure::rate(
            "BODY.PEEK[] of 4 KiB",
            "MiB/s",
            bytes as f64 / MIB / time.as_secs_f64(),
        ));
        let (time, _) = repeat(wire, REPEATS, "SEARCH TEXT \"there is no such phrase\"")?;
        figures.push(Figure::milliseconds("SEARCH TEXT, small mailbox", time));
        wire.command(&format!("EXAMINE {LARGE}"))?;
        let (time, bytes) = repeat(wire, REPEATS, "FETCH 1:* BODY.PEEK[]")?;
        figures.push(Figure::rate(
            "BODY.PEEK[] of 50 KiB",
            "MiB/s",
            bytes as f64 / MIB / time.as_secs_f64(),
        ));
        Ok(figures)
    }

    fn select(&self, wire: &mut Wire, mailbox: &str, name: &'static str) -> io::Result<Figure> {
        let (time, _) = repeat(wire, SHORT_REPEATS, &format!("SELECT {mailbox}"))?;
        Ok(Figure::milliseconds(name, time))
    }

    /// Messages of 4 KiB, one after the other on each connection, each of another account.
    fn appends(&self, connections: usize) -> io::Result<Figure> {
        let open = |number: usize| {
            Wire::log_in(
                self.server.address,
                &self.options.login(number % 8 + 1),
                &self.options.password,
            )
        };
        let letter = message(7, SMALL_BYTES);
        let rate = self.rate(connections, open, |wire, _| {
            wire.append_all("INBOX", std::slice::from_ref(&letter))
        })?;
        let name = if connections == 1 {
            "APPEND of 4 KiB, 1 connection"
        } else {
            "APPEND of 4 KiB, 10 connections"
        };
        Ok(Figure::rate(name, "1/s", rate))
    }

    /// One message's \Flagged, set and cleared in turn; each connection its own messages of one mailbox.
    fn stores(&self, connections: usize) -> io::Result<Figure> {
        let messages = (self.options.small / connections).max(1);
        let open = |number: usize| {
            let mut wire = self.log_in()?;
            wire.command(&format!("SELECT {SMALL}"))?;
            Ok((wire, number * messages))
        };
        let rate = self.rate(connections, open, |(wire, first), turn| {
            let number = *first + turn % messages + 1;
            let sign = if (turn / messages).is_multiple_of(2) {
                '+'
            } else {
                '-'
            };
            wire.command(&format!("STORE {number} {sign}FLAGS.SILENT (\\Flagged)"))
                .map(drop)
        })?;
        let name = match connections {
            1 => "STORE of one flag, 1 connection",
            10 => "STORE of one flag, 10 connections",
            _ => "STORE of one flag, 50 connections",
        };
        Ok(Figure::rate(name, "1/s", rate))
    }

    /// How often a second `act` ends, over threads that each have what `open` made.
    fn rate<C>(
        &self,
        connections: usize,
        open: impl Fn(usize) -> io::Result<C> + Sync,
        act: impl Fn(&mut C, usize) -> io::Result<()> + Sync,
    ) -> io::Result<f64> {
        let seconds = Duration::from_secs_f64(self.options.seconds);
        let (open, act) = (&open, &act);
        let gate = &std::sync::Barrier::new(connections);
        let done = thread::scope(|scope| {
            let workers: Vec<_> = (0..connections)
                .map(|number| {
                    scope.spawn(move || {
                        let opened = open(number);
                        gate.wait();
                        let (mut opened, began) = (opened?, Instant::now());
                        let mut done = 0;
                        while began.elapsed() < seconds {
                            act(&mut opened, done)?;
                            done += 1;
                        }
                        io::Result::Ok(done)
                    })
                })
                .collect();
            let join = |worker: thread::ScopedJoinHandle<'_, io::Result<usize>>| match worker.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            workers.into_iter().map(join).sum::<io::Result<usize>>()
        })?;
        Ok(done as f64 / self.options.seconds)
    }
}

/// The median time of a command, and the octets of its answer.
fn repeat(wire: &mut Wire, times: usize, command: &str) -> io::Result<(Duration, u64)> {
    let mut taken = Vec::with_capacity(times);
    let mut bytes = 0;
    for _ in 0..times {
        let began = Instant::now();
        bytes = wire.command(command)?.bytes;
        taken.push(began.elapsed());
    }
    taken.sort_unstable();
    Ok((taken[times / 2], bytes))
}
