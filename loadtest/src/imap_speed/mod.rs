//! `imap-speed`: what single IMAP commands and short sessions cost, on several servers in turn.
//!
//! The servers run already, with the same accounts. Each is filled once (`fill`), then measured in rounds, one server after
//! the other, so that a machine that is slow for a while is slow for everybody; the table shows medians and, for every
//! server, its ratio to the first one named (above 1: the first is better).
//! What is measured is what the client sees, over one loopback connection unless a row says otherwise; clients are plain
//! blocking threads. What a 250 or OK promises is the server's affair: say beside a figure whether its APPEND is synced.
//! Not here: throughput of whole sessions (`imap`), memory (`idle`).

mod fill;
mod measure;
mod wire;

use clap::Args;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub struct Options {
    /// A server, as NAME=HOST:PORT (IMAP without TLS); repeat it for others
    #[arg(long = "server", required = true)]
    servers: Vec<String>,
    /// Logins, {} being a number from 1
    #[arg(long, default_value = "user{}@example.org")]
    login_pattern: String,
    #[arg(long, default_value = "ringpost")]
    password: String,
    /// How often each server is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each rate
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Messages of 4 KiB in one mailbox
    #[arg(long, default_value_t = 10_000)]
    small: usize,
    /// Messages of 50 KiB in another
    #[arg(long, default_value_t = 2_000)]
    large: usize,
    /// Messages of 700 octets in a third
    #[arg(long, default_value_t = 100_000)]
    many: usize,
    /// Accounts that get one message of 4 KiB each, in turn, between those of the mailboxes that are read
    #[arg(long, default_value_t = 0)]
    fillers: usize,
    /// What to measure, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Logins, Part::Reading, Part::Append, Part::Store])]
    parts: Vec<Part>,
    /// The mailboxes are filled already, by an earlier run
    #[arg(long)]
    filled: bool,
    /// Also write the medians to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Rows of the table that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Sessions of LOGIN and LOGOUT
    Logins,
    /// SELECT, FETCH and SEARCH
    Reading,
    /// APPEND by 1 and 10 connections
    Append,
    /// STORE by 1, 10 and 50 connections
    Store,
}

/// One server under test.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    pub address: SocketAddr,
}

impl Options {
    fn login(&self, number: usize) -> String {
        self.login_pattern.replace("{}", &number.to_string())
    }

    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn servers(&self) -> io::Result<Vec<Server>> {
        let parse = |text: &String| {
            let (name, address) = text.split_once('=').ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{text}: not NAME=HOST:PORT"))
            })?;
            Ok(Server {
                name: name.to_owned(),
                address: crate::address::resolve(address)?,
            })
        };
        self.servers.iter().map(parse).collect()
    }
}

/// The `imap-speed` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let servers = options.servers()?;
    if !options.filled {
        for server in &servers {
            fill::fill(server, options)?;
        }
    }
    let mut rounds: Vec<Vec<Vec<measure::Figure>>> = vec![Vec::new(); servers.len()];
    for round in 0..options.rounds {
        for (server, rounds) in servers.iter().zip(&mut rounds) {
            eprintln!("round {}: {}", round + 1, server.name);
            rounds.push(measure::measure(server, options)?);
        }
    }
    let medians: Vec<Vec<measure::Figure>> = rounds.iter().map(|rounds| measure::medians(rounds)).collect();
    print_table(&servers, &medians);
    if let Some(path) = &options.json {
        std::fs::write(path, json(&servers, &medians).to_string())?;
    }
    Ok(true)
}

fn print_table(servers: &[Server], medians: &[Vec<measure::Figure>]) {
    print!("{:44}", "");
    for server in servers {
        print!("{:>24}", server.name);
    }
    println!();
    for (row, first) in medians[0].iter().enumerate() {
        print!("{:44}", format!("{} ({})", first.name, first.unit));
        for figures in medians {
            let figure = &figures[row];
            // A SELECT takes some microseconds, a listing many milliseconds.
            let decimals = if figure.value < 10.0 { 3 } else { 1 };
            print!("{:>15.decimals$} {:>7.2}x", figure.value, figure.ratio_to(first));
        }
        println!();
    }
    println!("(x: how many times better {} is)", servers[0].name);
}

fn json(servers: &[Server], medians: &[Vec<measure::Figure>]) -> serde_json::Value {
    let of_server = |figures: &Vec<measure::Figure>| -> serde_json::Value {
        let rows = figures
            .iter()
            .map(|figure| (figure.name.to_owned(), figure.value.into()));
        serde_json::Value::Object(rows.collect())
    };
    let pairs = servers.iter().zip(medians);
    serde_json::Value::Object(
        pairs
            .map(|(server, figures)| (server.name.clone(), of_server(figures)))
            .collect(),
    )
}
