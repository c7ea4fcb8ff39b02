//! What the HTTP pages see of the running server.
//!
//! Failure: free space that cannot be asked for counts as enough; the store finds out by itself.

use crate::base::buffer::BufferMeters;
use crate::disk::meters::DiskMeters;
use crate::net::meters::NetMeters;
use crate::node::meters::SessionMeters;
use crate::runtime::MeshMeters;
use crate::store::meters::StoreMeters;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The log is being read, nobody is greeted yet.
    Starting,
    /// Mail is taken.
    Serving,
    /// Asked to stop.
    Draining,
}

/// One core's log is durable up to here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    /// The core.
    pub log: u16,
    /// The start of the server.
    pub incarnation: u32,
    /// Of the position.
    pub segment: u32,
    /// In that segment.
    pub offset: u32,
}

/// The meters of one core.
#[derive(Clone, Debug, Default)]
pub struct CoreMeters {
    /// Its number.
    pub core: usize,
    /// See the types.
    pub sessions: Arc<SessionMeters>,
    pub store: Arc<StoreMeters>,
    pub disk: Arc<DiskMeters>,
    pub net: Arc<NetMeters>,
    pub buffers: Arc<BufferMeters>,
    /// Deliveries between cores.
    pub deliveries: Arc<MeshMeters>,
    /// Sessions between cores.
    pub moves: Arc<MeshMeters>,
}

/// One process as its pages show it.
pub struct View {
    phase: AtomicU8,
    cores: Mutex<Vec<CoreMeters>>,
    data: PathBuf,
    reserve_bytes: u64,
    dropped_log_lines: fn() -> u64,
}

impl View {
    /// Of a process that starts, with its store in `data`. `dropped_log_lines` tells how many lines of the log were lost.
    #[must_use]
    pub fn new(data: PathBuf, reserve_bytes: u64, dropped_log_lines: fn() -> u64) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Starting as u8),
            cores: Mutex::default(),
            data,
            reserve_bytes,
            dropped_log_lines,
        }
    }

    /// The meters of a core that has started.
    pub fn add_core(&self, meters: CoreMeters) {
        let mut cores = self.cores.lock();
        cores.push(meters);
        cores.sort_unstable_by_key(|meters| meters.core);
    }

    /// Says where the process is now.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Why no mail is taken; nothing when it is.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == Phase::Starting as u8 {
            reasons.push("starting".to_owned());
        } else if phase == Phase::Draining as u8 {
            reasons.push("draining: the server was asked to stop".to_owned());
        }
        for meters in self.cores() {
            if meters.store.has_failed.value() != 0 {
                reasons.push(format!("the log of core {} has failed", meters.core));
            }
        }
        if let Some(free) = self.free_bytes()
            && free < self.reserve_bytes
        {
            let reserve = self.reserve_bytes;
            reasons.push(format!("disk: {free} bytes are free, {reserve} are kept"));
        }
        reasons
    }

    /// Up to where the logs of all cores are durable; `None` unless the server serves.
    #[must_use]
    pub fn log_ends(&self) -> Option<Vec<LogEnd>> {
        if self.phase.load(Ordering::Relaxed) != Phase::Serving as u8 {
            return None;
        }
        let end = |meters: &CoreMeters| {
            let position = meters.store.durable_to();
            Some(LogEnd {
                log: u16::try_from(meters.core).ok()?,
                incarnation: u32::try_from(meters.store.incarnation.value()).ok()?,
                segment: position.segment.0,
                offset: position.offset,
            })
        };
        self.cores().iter().map(end).collect()
    }

    pub(super) fn cores(&self) -> Vec<CoreMeters> {
        self.cores.lock().clone()
    }

    pub(super) fn dropped_log_lines(&self) -> u64 {
        (self.dropped_log_lines)()
    }

    /// Of the store's file system, as of now.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        crate::disk::plain::free_bytes(&self.data).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(number: usize) -> CoreMeters {
        CoreMeters {
            core: number,
            ..CoreMeters::default()
        }
    }

    #[test]
    fn ready_is_serving_with_whole_logs_and_room() {
        let view = View::new(std::env::temp_dir(), 0, || 0);
        let failing = core(1);
        let log = failing.store.clone();
        view.add_core(failing);
        view.add_core(core(0));
        assert_eq!(view.unready(), ["starting"]);
        view.set_phase(Phase::Serving);
        assert!(view.unready().is_empty());
        log.has_failed.set(1);
        assert_eq!(view.unready(), ["the log of core 1 has failed"]);
        log.has_failed.set(0);
        view.set_phase(Phase::Draining);
        assert!(view.unready()[0].starts_with("draining"));
    }

    #[test]
    fn a_disk_below_the_reserve_is_not_ready() {
        let view = View::new(std::env::temp_dir(), u64::MAX, || 0);
        view.set_phase(Phase::Serving);
        assert!(view.unready()[0].starts_with("disk: "), "{:?}", view.unready());
    }
}
