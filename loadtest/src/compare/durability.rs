//! Whether a contender syncs a file before it says 250: the kernel is asked, not the documentation.
//!
//! One message is sent to a fresh server that has nothing else to do; an fsync or fdatasync of one of its processes must
//! begin between the last octet of the message and the reply. It is seen in the trace events of ext4 and XFS (tracefs, for which
//! root is needed) and not with strace, because strace does not see what is asked for through io_uring.
//! LIMITATION: that a sync was made is not that it was of the message.

use super::server::Server;
use crate::client::Smtp;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// So many syncs between the end of the message and the 250.
    Syncs(usize),
    /// It could not be watched.
    Unknown,
}

impl Seen {
    pub fn text(self) -> String {
        match self {
            Seen::Syncs(0) => "NOT synced before 250".to_owned(),
            Seen::Syncs(1) => "1 sync before 250".to_owned(),
            Seen::Syncs(count) => format!("{count} syncs before 250"),
            Seen::Unknown => "not watched".to_owned(),
        }
    }
}

/// Sends one message and watches. The server must be fresh.
pub fn watch(server: &Server, is_lmtp: bool) -> io::Result<Seen> {
    let Some(trace) = Trace::start(server)? else {
        return Ok(Seen::Unknown);
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
    let mut smtp = Smtp::connect(address)?;
    if is_lmtp {
        smtp.lmtp_hello()?;
    } else {
        smtp.hello()?;
    }
    // The first message may make a mailbox, which is synced for reasons of its own.
    let mut last = (0, 0);
    for _ in 0..2 {
        // What the message before left behind must not be taken for this one's.
        thread::sleep(Duration::from_millis(300));
        last = smtp.deliver_timed("user1@example.org", b"Subject: watched\r\n\r\nbody\r\n")?;
    }
    thread::sleep(Duration::from_millis(200));
    trace.count_between(last, server.pid())
}

/// A reader of the kernel's trace, in a mount namespace of its own.
struct Trace {
    child: Child,
}

/// Mounts tracefs where nobody else sees it, makes an instance of its own, prints its events until it is killed.
const TRACE_SCRIPT: &str = r#"
set -eu
mount -t tracefs tracefs "$1"
instance=$1/instances/loadtest-$$
mkdir "$instance"
trap 'echo 0 >"$instance/tracing_on"; sleep 0.1; rmdir "$instance"' EXIT
trap 'exit 0' TERM
echo mono >"$instance/trace_clock"
for event in ext4/ext4_sync_file_enter xfs/xfs_file_fsync; do
    if [ -e "$instance/events/$event/enable" ]; then echo 1 >"$instance/events/$event/enable"; fi
done
echo ready
read -r _ || true
echo 0 >"$instance/tracing_on"
cat "$instance/trace"
"#;

impl Trace {
    /// `None` where the kernel lets nobody trace.
    fn start(server: &Server) -> io::Result<Option<Trace>> {
        let mount = server.scratch().join("trace");
        fs::create_dir_all(&mount)?;
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", TRACE_SCRIPT, "trace"])
            .arg(&mount)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut ready = [0; 6];
        let is_ready = match &mut child.stdout {
            Some(stdout) => stdout.read_exact(&mut ready).is_ok(),
            None => false,
        };
        if !is_ready {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(None);
        }
        Ok(Some(Trace { child }))
    }

    /// Syncs by processes of the server between two moments of CLOCK_MONOTONIC, in nanoseconds.
    fn count_between(mut self, (from, to): (u64, u64), server: u32) -> io::Result<Seen> {
        // Its end of input ends the script.
        drop(self.child.stdin.take());
        let mut text = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut text)?;
        }
        let _ = self.child.wait();
        // The trace counts microseconds.
        let from = from / 1_000 * 1_000;
        let threads = threads_of(server);
        let counted = text
            .lines()
            .filter_map(event)
            .filter(|(thread, at)| (from..=to).contains(at) && is_server_s(*thread, &threads));
        Ok(Seen::Syncs(counted.count()))
    }
}

/// A thread that has ended since may have been the server's; kernel workers do the work of io_uring.
fn is_server_s(thread: u32, threads: &HashSet<u32>) -> bool {
    threads.contains(&thread) || !Path::new(&format!("/proc/{thread}")).exists()
}

fn threads_of(server: u32) -> HashSet<u32> {
    let mut threads = HashSet::new();
    for pid in crate::process::tree(server) {
        for entry in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            threads.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<u32>().ok()),
            );
        }
    }
    threads
}

/// Thread and moment of `comm-tid [cpu] flags seconds.micros: event: …`. The name may hold spaces and hyphens.
fn event(line: &str) -> Option<(u32, u64)> {
    let (head, _) = line.split_once("] ")?;
    let (name, _) = head.rsplit_once(" [")?;
    let thread = name.trim_end().rsplit_once('-')?.1.parse().ok()?;
    let moment = line.split_once("] ")?.1.split_whitespace().nth(1)?;
    let (seconds, micros) = moment.strip_suffix(':')?.split_once('.')?;
    let nanos = seconds.parse::<u64>().ok()? * 1_000_000_000 + micros.parse::<u64>().ok()? * 1_000;
    Some((thread, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_trace_is_read() {
        let line = "  iou-wrk-19-1923    [001] .....  8371.102934: ext4_sync_file_enter: dev 254,0 ino 12";
        assert_eq!(event(line), Some((1923, 8_371_102_934_000)));
        assert_eq!(event("# tracer: nop"), None);
    }
}
