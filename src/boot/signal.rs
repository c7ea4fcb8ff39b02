//! SIGTERM and SIGINT become one request to stop that every core hears.

use signal_hook::consts::{SIGINT, SIGTERM};
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

/// Starts the thread that waits for signals. Call it before any executor, so that its affinity is nobody's core.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn listen() -> std::io::Result<StopRequest> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = watch::channel(false);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                tracing::info!(signal, "stopping");
                sender.send_replace(true);
            }
        })?;
    Ok(StopRequest(receiver))
}
