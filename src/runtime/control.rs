//! The threads beside the cores: one tokio thread for what is off the data path, a few for long computations.
//!
//! Invariants: no tokio I/O or timer ever runs on a core's thread, only tokio's channels (they wake glommio correctly;
//! 2 µs a round trip); results come back to the core that asked.
//! Limits: the number waiting is the number of callers, since each waits for its answer; whoever admits callers
//! (connections, logins) bounds it.
//! Failure: a panic in a task or computation ends only that one, its caller gets [`ControlGone`].
//! Not here: what is run there (DNS, HTTP, password hashing).

use super::doorbell::from_outside;
use crossbeam::channel as crossbeam_channel;
use std::future::Future;
use std::pin::Pin;
use tokio::sync::{mpsc, oneshot};

/// Threads for long computations. Password hashing takes tens of ms of CPU and megabytes of cache each; two keep logins
/// flowing while one is slow and leave the cores to the cores.
const COMPUTE_THREADS: usize = 2;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Computation = Box<dyn FnOnce() + Send>;

/// The tokio thread. Clones are the same thread; it ends, with its tasks, when the last clone is dropped.
#[derive(Clone)]
pub struct Control {
    tasks: mpsc::UnboundedSender<Task>,
    computations: crossbeam_channel::Sender<Computation>,
}

/// The thread has ended, or the task panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the control thread has ended")]
pub struct ControlGone;

impl Control {
    /// Starts the threads. Before any executor: threads inherit the affinity of their maker.
    pub fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (tasks, mut waiting) = mpsc::unbounded_channel::<Task>();
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    while let Some(task) = waiting.recv().await {
                        tokio::spawn(task);
                    }
                });
            })?;
        let (computations, queue) = crossbeam_channel::unbounded::<Computation>();
        for number in 0..COMPUTE_THREADS {
            let queue = queue.clone();
            std::thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(move || {
                    for computation in queue {
                        super::contained("computation", computation);
                    }
                })?;
        }
        Ok(Self { tasks, computations })
    }

    /// Runs `task` on the control thread until the thread ends. Nobody hears of its end.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // A thread that has ended runs nothing: the process is stopping.
        let _ = self.tasks.send(Box::pin(task));
    }

    /// Runs `task` on the control thread and brings its result back to this core. A dropped wait does not end the task.
    pub async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ControlGone> {
        let (answer, answered) = oneshot::channel();
        let task = async move {
            // Nobody waiting any more is fine.
            let _ = answer.send(task.await);
        };
        self.tasks.send(Box::pin(task)).map_err(|_| ControlGone)?;
        from_outside(answered).await.map_err(|_| ControlGone)
    }

    /// Runs a long computation (password hashing) on a helper thread of a small fixed pool. If nobody waits any more when
    /// its turn comes, it is not run.
    pub async fn compute<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ControlGone> {
        let (answer, answered) = oneshot::channel();
        let task = move || {
            if !answer.is_closed() {
                let _ = answer.send(task());
            }
        };
        self.computations.send(Box::new(task)).map_err(|_| ControlGone)?;
        from_outside(answered).await.map_err(|_| ControlGone)
    }
}
