//! Telling the service manager how we are (sd_notify(3)): ready, reloading, stopping, alive.
//!
//! Invariants: a manager that does not read holds nothing up for more than [`PATIENCE`] a line, and without one nothing happens.
//! The sign of life comes from the control thread, where reloads, look-ups and pages are served; a core that hangs ends the
//! process by itself (`runtime::watchdog`).
//! Not here: what the manager does about it (`tuning/ringpost.service`).

use super::signal::StopRequest;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// A manager reads what it is told within this, or is not told: its queue takes some ten lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the manager, if there is one. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    socket: UnixDatagram,
    manager: SocketAddr,
    /// How often it wants a sign of life.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the manager's variables say.
    #[must_use]
    pub fn of_environment() -> Self {
        let text = |name: &str| std::env::var(name).ok();
        let Some(path) = text("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let manager = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        // Meant for another process, if it names one.
        let is_ours = text("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let micros = text("WATCHDOG_USEC")
            .filter(|_| is_ours)
            .and_then(|text| text.parse().ok());
        let way = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok::<_, std::io::Error>(Way {
                socket,
                manager: manager?,
                watchdog: micros.map(Duration::from_micros),
            })
        };
        match way() {
            Ok(way) => Self(Some(Arc::new(way))),
            Err(error) => {
                tracing::warn!(path, %error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// Mail is taken, by the configuration as it is.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=serving");
    }

    /// The configuration is being read again.
    pub fn reloading(&self) {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: it writes to `now`, which is ours, and this clock exists on every Linux.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Says so when the process is asked to stop. Only on the control thread.
    pub async fn say_when_stopping(self, mut stop: StopRequest) {
        stop.heard().await;
        self.say("STOPPING=1\nSTATUS=sessions end");
    }

    /// Gives signs of life, twice in the time that the manager waits for one. Only on the control thread.
    pub async fn keep_alive(self) {
        let Some(every) = self.0.as_ref().and_then(|way| way.watchdog) else {
            return;
        };
        loop {
            self.say("WATCHDOG=1");
            tokio::time::sleep(every / 2).await;
        }
    }

    fn say(&self, text: &str) {
        let Some(way) = &self.0 else { return };
        if let Err(error) = way.socket.send_to_addr(text.as_bytes(), &way.manager) {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}
