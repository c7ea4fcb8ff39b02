//! Executors, timers, requests between cores, the bridge to the control thread, the probe of the kernel.
//!
//! API CONTRACT FOR THE OTHER MODULES. glommio is named only in `runtime`, `net` and `disk::file`.

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

/// Which of how many executors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    pub id: usize,
    pub count: usize,
}

/// What this machine lacks, said so that an admin knows what to change. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {hint}")]
pub struct ProbeError {
    pub what: String,
    pub hint: String,
}

/// Checks io_uring and limits on the calling thread and raises soft limits, before any executor exists.
pub fn probe(_cores: usize) -> Result<(), ProbeError> {
    unimplemented!()
}

/// Runs `main(core)` on one pinned executor per core and returns when all have ended. `main` is called on the core's thread.
/// A core whose future ends or panics is reported; see `ExecutorError`.
pub fn run_cores<M, F, R>(_cores: usize, _main: M) -> Vec<Result<R, ExecutorError>>
where
    M: Fn(Core) -> F + Clone + Send + 'static,
    F: Future<Output = R> + 'static,
    R: Send + 'static,
{
    unimplemented!()
}
#[derive(Debug, thiserror::Error)]
#[error("executor of core {core}: {cause}")]
pub struct ExecutorError {
    pub core: usize,
    pub cause: String,
}

/// Spawns on this core; a panic in it ends only this task and is logged with `name`.
pub fn spawn_detached(_name: &'static str, _task: impl Future<Output = ()> + 'static) {
    unimplemented!()
}
pub async fn sleep(_duration: Duration) {
    unimplemented!()
}
/// `None`: the time was up first (`task` is dropped).
pub async fn timeout<T>(_limit: Duration, _task: impl Future<Output = T>) -> Option<T> {
    unimplemented!()
}
/// Lets I/O and other tasks in during a long computation: waits on the reactor, unlike a bare yield.
pub async fn breathe() {
    unimplemented!()
}

/// One core's end of the mesh: requests to any core (the own one included), bounded, waker-based.
pub struct Endpoint<Req, Rep>(PhantomData<(Req, Rep)>);
/// The other core has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other core has ended")]
pub struct CoreGone;

/// A connected endpoint per core, each to be moved to its thread.
pub fn mesh<Req: Send + 'static, Rep: Send + 'static>(_cores: usize) -> Vec<Endpoint<Req, Rep>> {
    unimplemented!()
}
impl<Req: Send + 'static, Rep: Send + 'static> Endpoint<Req, Rep> {
    /// Waits for room, sends, waits for the reply. Room for the reply is reserved with the request.
    pub async fn call(&self, _core: usize, _request: Req) -> Result<Rep, CoreGone> {
        unimplemented!()
    }
    /// Serves requests from all cores until [`Endpoint::close`]: one local task per request, so none waits for another.
    pub async fn serve<S, F>(&self, _serve: S)
    where
        S: Fn(Req) -> F + 'static,
        F: Future<Output = Rep> + 'static,
    {
        unimplemented!()
    }
    pub fn close(&self) {
        unimplemented!()
    }
}

/// The tokio thread. Clones are the same thread.
#[derive(Clone)]
pub struct Control {}
impl Control {
    pub fn start() -> std::io::Result<Self> {
        unimplemented!()
    }
    /// Runs `task` on the control thread and brings its result back to this core.
    pub async fn run<T: Send + 'static>(
        &self,
        _task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ControlGone> {
        unimplemented!()
    }
    /// Runs a long computation (password hashing) on a helper thread of a small fixed pool.
    pub async fn compute<T: Send + 'static>(
        &self,
        _task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ControlGone> {
        unimplemented!()
    }
}
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the control thread has ended")]
pub struct ControlGone;
