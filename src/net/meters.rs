//! What one core's connections did, for metrics.

use crate::base::meter::Counter;
use std::sync::Arc;

/// One core's; see `base::meter`.
#[derive(Debug, Default)]
pub struct NetMeters {
    /// Connections taken from listeners.
    pub accepted: Counter,
    /// Connections closed at once for want of descriptors.
    pub shed: Counter,
    /// Octets that sessions received, after TLS.
    pub received_bytes: Counter,
    /// Octets that sessions sent, before TLS.
    pub sent_bytes: Counter,
    /// TLS handshakes that succeeded.
    pub tls_handshakes: Counter,
    /// TLS handshakes that did not.
    pub tls_failures: Counter,
}

thread_local! {
    static OF_THIS_CORE: Arc<NetMeters> = Arc::default();
}

impl NetMeters {
    /// Those of the core whose thread this is.
    #[must_use]
    pub fn of_this_core() -> Arc<Self> {
        OF_THIS_CORE.with(Arc::clone)
    }

    /// Counts something on this core.
    #[inline]
    pub(super) fn count(count: impl FnOnce(&Self)) {
        // A thread that is ending has none any more.
        let _ = OF_THIS_CORE.try_with(|meters| count(meters));
    }
}
