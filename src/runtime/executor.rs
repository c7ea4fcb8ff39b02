//! One pinned glommio executor per core, and the tasks on it.
//!
//! Invariants: no `main` runs before every executor of the process exists, so a machine that refuses one of them starts
//! none; helper threads (watchdog) start before the executors, because a thread inherits the affinity of its maker; the
//! preempt timer stays at glommio's 100 ms or above (see [`PREEMPT_TIMER`]).
//! Failure: glommio panics when io_uring is refused, and reports other errors only where the thread is joined; both
//! become [`ExecutorError`]. A panic in a task spawned here ends that task only.
//! Traps of glommio met here: any panic in a task unwinds the whole executor (hence `catch_unwind` around each); the end
//! of an executor runs no destructors of detached tasks (hence [`at_core_end`]).
//! Not here: what keeps a hung core from going unnoticed (`watchdog`), limits of the machine (`probe`).

use super::activity::Counted;
use super::watchdog::{Heart, Watchdog};
use futures_util::FutureExt;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Memory glommio registers for direct I/O per executor, in bytes. Its default of 10 MiB counts against RLIMIT_MEMLOCK
/// for every core; 1 MiB holds a group commit being written while the next one is filled.
const IO_MEMORY_BYTES: usize = 1024 * 1024;

/// Submission entries per ring; there are three rings per executor. More only defers less often.
const RING_DEPTH: usize = 1024;

/// How long tasks run before the reactor is visited although tasks are runnable. Never below 100 ms: with 2–10 ms the
/// executor was seen to go to sleep with runnable tasks (hung in 9 of 11 runs; with 100 ms in none).
const PREEMPT_TIMER: Duration = Duration::from_millis(100);

/// Threads per executor for calls that block (rename, remove, directory sync). Unbound: glommio's default is one thread
/// pinned to the executor's own CPU, which then waits for the very core it should relieve.
const BLOCKING_THREADS: usize = 2;

/// Which of how many executors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    pub id: usize,
    pub count: usize,
}

/// An executor did not start, or ended by a panic.
#[derive(Debug, thiserror::Error)]
#[error("executor of core {core}: {cause}")]
pub struct ExecutorError {
    pub core: usize,
    pub cause: String,
}

static TASK_PANICS: AtomicU64 = AtomicU64::new(0);

type EndHook = Box<dyn FnOnce()>;

thread_local! {
    /// `Some` while this thread's executor runs.
    static CORE_END: RefCell<Option<Vec<EndHook>>> = const { RefCell::new(None) };
}

/// Tasks of this process that ended by a panic and were contained.
#[must_use]
pub fn task_panics() -> u64 {
    TASK_PANICS.load(Ordering::Relaxed)
}

/// Runs `main(core)` on one pinned executor per core and returns when all have ended. `main` is called on the core's thread.
/// A core whose future ends or panics is reported; see `ExecutorError`. With more cores than allowed CPUs none is pinned.
pub fn run_cores<M, F, R>(cores: usize, main: M) -> Vec<Result<R, ExecutorError>>
where
    M: Fn(Core) -> F + Clone + Send + 'static,
    F: Future<Output = R> + 'static,
    R: Send + 'static,
{
    let hearts: Vec<Heart> = (0..cores).map(|_| Heart::default()).collect();
    let watchdog = Watchdog::start(hearts.clone());
    let cpus = allowed_cpus();
    let (started, starts) = mpsc::channel();
    let threads: Vec<_> = hearts
        .into_iter()
        .enumerate()
        .map(|(id, heart)| {
            let cpu = (cores <= cpus.len()).then(|| cpus[id]);
            let core = Core { id, count: cores };
            let (main, started) = (main.clone(), started.clone());
            let (go, gate) = mpsc::channel::<()>();
            let thread = std::thread::Builder::new()
                .name(format!("core-{id}"))
                .spawn(move || run_core(core, cpu, &heart, main, &started, &gate));
            (go, thread)
        })
        .collect();
    drop(started);

    let expected = threads.iter().filter(|(_, thread)| thread.is_ok()).count();
    let all_exist = expected == cores && starts.iter().take(cores).filter(|exists| *exists).count() == cores;
    // Dropping a gate without a word tells the core that another one did not start.
    let threads: Vec<_> = threads
        .into_iter()
        .map(|(go, thread)| {
            if all_exist {
                let _ = go.send(());
            }
            thread
        })
        .collect();
    let results = threads
        .into_iter()
        .enumerate()
        .map(|(core, thread)| match thread.map(std::thread::JoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(ExecutorError {
                core,
                cause: panic_text(&*panic),
            }),
            Err(error) => Err(ExecutorError {
                core,
                cause: format!("cannot start its thread: {error}"),
            }),
        })
        .collect();
    drop(watchdog);
    results
}

fn run_core<M, F, R>(
    core: Core,
    cpu: Option<usize>,
    heart: &Heart,
    main: M,
    started: &mpsc::Sender<bool>,
    gate: &mpsc::Receiver<()>,
) -> Result<R, ExecutorError>
where
    M: Fn(Core) -> F,
    F: Future<Output = R> + 'static,
    R: 'static,
{
    let failed = |cause: String| ExecutorError { core: core.id, cause };
    let executor = catch_unwind(|| make_executor(cpu))
        .unwrap_or_else(|panic| Err(panic_text(&*panic)))
        .map_err(failed);
    let _ = started.send(executor.is_ok());
    let executor = executor?;
    if gate.recv().is_err() {
        return Err(failed(
            "not started, because another core could not start".to_owned(),
        ));
    }
    CORE_END.with_borrow_mut(|hooks| *hooks = Some(Vec::new()));
    let pulse = heart.clone();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        executor.run(async move {
            glommio::spawn_local(pulse.beat()).detach();
            AssertUnwindSafe(async { main(core).await }).catch_unwind().await
        })
    }));
    heart.stop();
    for hook in CORE_END.take().unwrap_or_default() {
        hook();
    }
    // The outer panic is one that escaped a task not spawned by `spawn_detached`.
    ended.unwrap_or_else(Err).map_err(|panic| {
        let cause = format!("panicked: {}", panic_text(&*panic));
        tracing::error!(core = core.id, cause, "executor ended");
        failed(cause)
    })
}

fn make_executor(cpu: Option<usize>) -> Result<LocalExecutor, String> {
    let build = |placement| {
        LocalExecutorBuilder::new(placement)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT_TIMER)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
            .make()
    };
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    build(placement)
        .or_else(|error| {
            // Containers may hide the CPU topology from glommio; an unpinned executor is better than none.
            tracing::warn!(%error, "executor cannot be pinned to its CPU");
            build(Placement::Unbound)
        })
        .map_err(|error| error.to_string())
}

/// The CPUs this process may run on, in order.
fn allowed_cpus() -> Vec<usize> {
    // SAFETY: `cpu_set_t` is plain bits, all-zero is the empty set; the kernel writes at most the size given.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Vec::new();
        }
        set
    };
    let bits = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: `cpu` is below the number of bits in the set.
    (0..bits)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect()
}

/// Spawns on this core; a panic in it ends only this task and is logged with `name`.
///
/// # Panics
/// When the calling thread is no core.
pub fn spawn_detached(name: &'static str, task: impl Future<Output = ()> + 'static) {
    // Combinators, not an async block: that would hold the task twice, as what it captured and as what it awaits.
    let contained = AssertUnwindSafe(Counted::new(task))
        .catch_unwind()
        .map(move |ended| {
            if let Err(panic) = ended {
                report_panic(name, &*panic);
            }
        });
    glommio::spawn_local(contained).detach();
}

/// Calls `action`; a panic in it is logged with `name` and counted.
pub(crate) fn contained(name: &'static str, action: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(action)) {
        report_panic(name, &*panic);
    }
}

/// Logs and counts a contained panic.
pub(super) fn report_panic(task: &'static str, panic: &(dyn Any + Send)) {
    TASK_PANICS.fetch_add(1, Ordering::Relaxed);
    tracing::error!(task, cause = panic_text(panic), "task ended by a panic");
}

/// Is this thread a core whose executor runs?
pub(super) fn is_on_core() -> bool {
    CORE_END.with_borrow(Option::is_some)
}

/// Calls `hook` on this thread when its executor has ended, for whatever reason. The executor itself drops no detached
/// task, so whoever must tell other threads of the end registers here. Outside a core nothing is registered.
pub(crate) fn at_core_end(hook: impl FnOnce() + 'static) {
    CORE_END.with_borrow_mut(|hooks| {
        if let Some(hooks) = hooks {
            hooks.push(Box::new(hook));
        }
    });
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
