//! The tokio thread beside the cores, for what is off the data path; and the way to those for long computations.
//!
//! Invariants: no tokio I/O or timer ever runs on a core's thread, only tokio's channels (they wake glommio correctly;
//! 2 µs a round trip); results come back to the core that asked.
//! Limits: the number waiting is the number of callers, since each waits for its answer; whoever admits callers
//! (connections, logins) bounds it.
//! Failure: a panic in a task ends only that one, its caller gets [`ControlGone`].
//! Not here: what is run there (DNS, HTTP, password hashing), the order of computations (`compute`).

use super::compute::{BOUNDS, Computers, NotComputed, Share, THREADS};
use super::doorbell::from_outside;
use crate::base::fair_queue::Bounds;
use std::future::Future;
use std::pin::Pin;
use tokio::sync::{mpsc, oneshot};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads. Clones are the same threads; they end, with their tasks, when the last clone is dropped.
#[derive(Clone)]
pub struct Control {
    tasks: mpsc::UnboundedSender<Task>,
    computers: Computers,
}

/// The thread has ended, or the task panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the control thread has ended")]
pub struct ControlGone;

impl Control {
    /// Starts the threads. Before any executor: threads inherit the affinity of their maker.
    pub fn start() -> std::io::Result<Self> {
        Self::with_computers(THREADS, BOUNDS)
    }

    /// With so many threads for computations, for which so many may wait.
    pub(crate) fn with_computers(threads: usize, bounds: Bounds) -> std::io::Result<Self> {
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
        let computers = Computers::start(threads, bounds)?;
        Ok(Self { tasks, computers })
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

    /// Runs a long computation (password hashing) on a helper thread of a small fixed pool, when it is the turn of `share`.
    /// If nobody waits any more then, it is not run.
    ///
    /// # Errors
    /// When too many wait already, or the computation panicked: nobody knows its result, which is nobody's fault who asked.
    pub async fn compute<T: Send + 'static>(
        &self,
        share: Share,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotComputed> {
        from_outside(self.computers.ask(share, task))
            .await
            .map_err(|_| NotComputed)
    }
}
