//! The server's own metrics at the ends of a run, where it has some: syncs and bytes for each message.
//!
//! Only Ringpost's names are known. Limits: plain HTTP; `ANSWER_BYTES_MAX`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is wanted of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Store {
    pub syncs: f64,
    pub groups: f64,
    pub commits: f64,
    pub written_bytes: f64,
}

/// Reads `http://host:port/path`.
pub fn read(url: &str) -> io::Result<Store> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| io::Error::other("metrics: give http://host:port/path"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
    let mut stream = TcpStream::connect(crate::address::resolve(host)?)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream
        .write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") {
        let first = answer.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("metrics: {first}")));
    }
    Ok(parse(&answer))
}

fn parse(text: &str) -> Store {
    let sum = |name: &str| -> f64 {
        text.lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    Store {
        syncs: sum("ringpost_disk_sync_seconds_count") + sum("ringpost_disk_other_syncs_total"),
        groups: sum("ringpost_store_group_commits_count"),
        commits: sum("ringpost_store_commits_total"),
        written_bytes: sum("ringpost_disk_written_bytes_total"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_summed_and_other_names_are_not() {
        let store = parse(
            "ringpost_store_commits_total{core=\"0\"} 3\nringpost_store_commits_total{core=\"1\"} 4\n\
             ringpost_store_commits_total_more 9\nringpost_disk_sync_seconds_count{core=\"0\"} 2\n\
             ringpost_disk_other_syncs_total{core=\"0\"} 1\n",
        );
        assert_eq!((store.commits, store.syncs), (7.0, 3.0));
    }
}
