//! The rows of the table: what load each stands for.

use clap::ValueEnum;

/// One row, as in `--rows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    #[value(name = "10")]
    Ten,
    #[value(name = "100")]
    Hundred,
    #[value(name = "500")]
    FiveHundred,
    #[value(name = "once")]
    Once,
    #[value(name = "50k")]
    Large,
    #[value(name = "tls")]
    Tls,
    #[value(name = "p99")]
    HalfRate,
}

/// The load of a row.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub title: &'static str,
    pub connections: usize,
    pub size: usize,
    pub messages_per_connection: u64,
    pub is_tls: bool,
    /// Not as fast as it goes, but at half of the rate of row 100.
    pub is_at_half_rate: bool,
}

const HUNDRED: Shape = Shape {
    name: "100",
    title: "100 connections kept open, 4 KiB",
    connections: 100,
    size: 4096,
    messages_per_connection: 0,
    is_tls: false,
    is_at_half_rate: false,
};

impl Row {
    pub fn shape(self) -> Shape {
        match self {
            Row::Ten => Shape {
                name: "10",
                title: "10 connections kept open, 4 KiB",
                connections: 10,
                ..HUNDRED
            },
            Row::Hundred => HUNDRED,
            Row::FiveHundred => Shape {
                name: "500",
                title: "500 connections kept open, 4 KiB",
                connections: 500,
                ..HUNDRED
            },
            Row::Once => Shape {
                name: "once",
                title: "100 connections at a time, one message on each, 4 KiB",
                messages_per_connection: 1,
                ..HUNDRED
            },
            Row::Large => Shape {
                name: "50k",
                title: "100 connections kept open, 50 KiB",
                size: 50 * 1024,
                ..HUNDRED
            },
            Row::Tls => Shape {
                name: "tls",
                title: "100 connections kept open, 4 KiB, STARTTLS",
                is_tls: true,
                ..HUNDRED
            },
            Row::HalfRate => Shape {
                name: "p99",
                title: "100 connections kept open, 4 KiB, at half of each one's own rate (open loop)",
                is_at_half_rate: true,
                ..HUNDRED
            },
        }
    }
}

impl Shape {
    /// For `loadtest smtp`.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--connections={}", self.connections),
            format!("--size={}", self.size),
            format!("--messages-per-connection={}", self.messages_per_connection),
        ];
        if self.is_tls {
            arguments.push("--tls=starttls".to_owned());
        }
        arguments
    }
}
