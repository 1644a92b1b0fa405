//! Threads with a runtime of their own, for work that must never wait for a worker or make one wait.

use std::{io, thread};

use tokio::{runtime::Handle, sync::oneshot};

/// Thread that drives tasks until it is stopped; unfinished tasks are then dropped.
pub(super) struct Thread {
    /// Runtime of its tasks.
    pub(super) runtime: Handle,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Thread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            // The sender is dropped or used: both mean the end.
            runtime.block_on(async move { drop(stopped.await) });
        })?;
        Ok(Self { runtime: handle, stop, thread })
    }

    /// Stops the thread and waits for its end.
    pub(super) async fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let thread = self.thread;
        drop(tokio::task::spawn_blocking(move || thread.join()).await);
    }
}
