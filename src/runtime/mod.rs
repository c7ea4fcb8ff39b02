//! Executors, timers, requests between cores, wakes from other threads, the bridge to the control thread, how busy
//! a core is, the probe of the kernel.
//!
//! Invariants: one thread and one executor per core; what lives on a core never leaves it except through [`mesh()`],
//! [`Control`] or a detached connection. glommio is named only in `runtime`, `net` and `disk`.
//! Failure: a panic ends one task ([`spawn_detached`]), never its core; a core that ends is told by [`run_cores`] and
//! seen by callers as [`CoreGone`]; a core that hangs ends the process (`watchdog`).
//! Not here: sockets (`net`), files (`disk`), what the cores do (`boot`, `node`).

mod activity;
mod compute;
mod control;
mod doorbell;
mod executor;
mod load;
mod mesh;
mod probe;
mod timer;
mod watchdog;

pub(crate) use activity::{at_reactor, is_reactor_awaited, polls};
pub use compute::{NotComputed, Share, refused_computations};
pub use control::{Control, ControlGone};
pub(crate) use doorbell::{Doorbell, from_outside, make_event};
pub use executor::{Core, ExecutorError, run_cores, spawn_detached, task_panics};
pub(crate) use executor::{at_core_end, contained};
pub use load::{Load, computed};
pub use mesh::{CoreGone, Endpoint, MeshMeters, mesh};
pub use probe::{ProbeError, connections_max, probe, raise_descriptors};
pub use timer::{breathe, sleep, sleep_if_any, timeout};

#[cfg(test)]
mod tests;
