//! `loadtest`: loads a mail server over SMTP, IMAP and POP3, and shows that it lost nothing.
//!
//! It knows nothing of Ringpost but its protocols (and, for `crash`, how its demo is started), so the same commands
//! measure any server. Every figure it prints is of acknowledged work only.
//! Exit code: 0; 1 when mail was lost, damaged or invented; 2 when the test could not be made.

mod address;
mod choice;
mod client;
mod compare;
mod crash;
mod driver;
mod epoll;
mod html;
mod idle;
mod imap;
mod imap_speed;
mod journal;
mod message;
mod mixed;
mod oracle;
mod ping;
mod pop3;
mod power;
mod process;
mod push;
mod random;
mod reading;
mod run;
mod scrape;
mod slow;
mod smtp;
mod stats;
mod tls;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    version,
    about = "Loads a mail server, measures it, and shows that it lost nothing"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send mail over SMTP or LMTP as fast as it is acknowledged, or at a rate
    Smtp(smtp::Options),
    /// The same over LMTP
    Lmtp(smtp::Options),
    /// IMAP sessions: log in, select, fetch, log out
    Imap(imap::Options),
    /// Single IMAP commands and short sessions on several servers in turn, with ratios
    ImapSpeed(imap_speed::Options),
    /// POP3 sessions: log in, STAT, UIDL, RETR, quit
    Pop3(pop3::Options),
    /// Sending and reading at once
    Mixed(mixed::Options),
    /// Idle IMAP connections: memory for each, and how soon all of them hear of new mail
    Idle(idle::Options),
    /// Good users beside thousands of slow connections: what it does to their latency
    Slow(slow::Options),
    /// How soon a change in one IMAP session is told to others of its account that idle or asked by NOTIFY
    Push(push::Options),
    /// Latency of NOOP on one connection, beside whatever else loads the server
    Ping(ping::Options),
    /// Check over IMAP (and POP3) that what a journal says was acknowledged is there, once and unharmed
    Verify(verify::Options),
    /// Load a server, kill it with -9 (or cut its disk's power, or fill its disk) at a random moment, start it again,
    /// verify; over and over
    Crash(crash::Options),
    /// The same load on Ringpost and on others in turn, with ratios
    Compare(compare::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Smtp(options) => smtp::main(&options),
        Command::Lmtp(options) => smtp::lmtp_main(&options),
        Command::Mixed(options) => mixed::main(&options),
        Command::Idle(options) => idle::main(&options),
        Command::Slow(options) => slow::main(&options),
        Command::Push(options) => push::main(&options),
        Command::Imap(options) => imap::main(&options),
        Command::ImapSpeed(options) => imap_speed::main(&options),
        Command::Pop3(options) => pop3::main(&options),
        Command::Ping(options) => ping::main(&options),
        Command::Verify(options) => verify::main(&options),
        Command::Crash(options) => crash::main(&options),
        Command::Compare(options) => compare::main(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::from(2)
        }
    }
}
