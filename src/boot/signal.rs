//! SIGTERM and SIGINT become one request to stop that every core hears; SIGHUP becomes requests to read the configuration again.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// One core's ear for the request to stop. The channel's wakers work on any executor.
#[derive(Clone, Debug)]
pub struct StopRequest(watch::Receiver<bool>);

impl StopRequest {
    /// Resolves once the process was asked to stop.
    pub async fn heard(&mut self) {
        // The sender lives in the signal thread, which never ends before the process; without one, nobody can ask any more.
        let _ = self.0.wait_for(|is_asked| *is_asked).await;
    }
}

impl StopRequest {
    /// A request that whoever holds the sender makes, for tests and benches that run a server in their own process.
    #[must_use]
    pub fn by_hand() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }
}

/// Requests to read the configuration again; several that come together are one.
#[derive(Clone, Debug)]
pub struct ReloadRequests(watch::Receiver<u64>);

impl ReloadRequests {
    /// Resolves with the next request.
    pub async fn heard(&mut self) {
        if self.0.changed().await.is_err() {
            // The signal thread is gone, and nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Starts the thread that waits for signals. Call it before any executor, so that its affinity is nobody's core.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn listen() -> std::io::Result<(StopRequest, ReloadRequests)> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = watch::channel(false);
    let (reloads, reload_requests) = watch::channel(0);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    reloads.send_modify(|count| *count += 1);
                    continue;
                }
                tracing::info!(signal, "stopping");
                sender.send_replace(true);
            }
        })?;
    Ok((StopRequest(receiver), ReloadRequests(reload_requests)))
}
