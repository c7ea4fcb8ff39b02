//! What one core did to its disk, for metrics. Of the real disk only: the simulated one has no time.

use crate::base::meter::{Counter, Micros};
use std::sync::Arc;

/// One core's; see `base::meter`.
#[derive(Debug, Default)]
pub struct DiskMeters {
    /// Bytes written with O_DIRECT.
    pub written_bytes: Counter,
    /// How long writes took.
    pub write_time: Micros,
    /// How long syncs of written files took. Syncs that belong to a new file or a directory are in [`Self::other_syncs`].
    pub sync_time: Micros,
    /// Syncs of new files and of directories.
    pub other_syncs: Counter,
    /// Bytes read with O_DIRECT: all of them came from the device.
    pub read_bytes: Counter,
    /// How long those reads took.
    pub read_time: Micros,
    /// Bytes read through the page cache, from wherever they came.
    pub cached_read_bytes: Counter,
    /// How long those reads took.
    pub cached_read_time: Micros,
}

thread_local! {
    static OF_THIS_CORE: Arc<DiskMeters> = Arc::default();
}

impl DiskMeters {
    /// Those of the core whose thread this is.
    #[must_use]
    pub fn of_this_core() -> Arc<Self> {
        OF_THIS_CORE.with(Arc::clone)
    }
}
