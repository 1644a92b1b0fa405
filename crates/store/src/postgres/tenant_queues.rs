//! Queues of changes of history, alerts and dashboards: those of one tenant are made one after the other, in order.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Instant,
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{Failure, Link};
use crate::{abort::FromFailure, activity::Kind};

/// Number of queues. Tenants that share one wait for each other.
const QUEUES: usize = 4;

/// Largest number of changes that wait in one queue; more are refused.
const QUEUE: usize = 256;

/// Queued change; the argument is the connection to make it on.
type Job = Box<dyn FnOnce(Arc<Link>) -> BoxFuture<'static, ()> + Send>;

/// Queues that keep the order of changes.
pub(super) struct TenantQueues([mpsc::Sender<Job>; QUEUES]);

impl TenantQueues {
    /// Starts a task for each queue on `runtime`; they end with their queues.
    pub(super) fn start(link: &Arc<Link>, runtime: &Handle) -> (Self, Vec<JoinHandle<()>>) {
        let mut tasks = Vec::with_capacity(QUEUES);
        let queues = std::array::from_fn(|_| {
            let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
            let link = Arc::clone(link);
            tasks.push(runtime.spawn(async move {
                while let Some(job) = queue.recv().await {
                    job(Arc::clone(&link)).await;
                }
            }));
            jobs
        });
        (Self(queues), tasks)
    }

    /// Returns the number of changes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.iter().map(|queue| QUEUE - queue.capacity()).sum()
    }

    /// Queues a change of `tenant` that is part of `subject`: history does not wait for alerts.
    pub(super) fn enqueue<T, E>(
        &self,
        subject: &'static str,
        tenant: &str,
        work: impl FnOnce(Arc<Link>) -> BoxFuture<'static, Result<T, E>> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, E>>, Failure>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let start = Instant::now();
        let job: Job = Box::new(move |link| {
            Box::pin(async move {
                let available = *link.available.borrow();
                let result =
                    if available { work(Arc::clone(&link)).await } else { Err(E::from_failure(Failure::Down)) };
                link.activity.record(Kind::Write, start);
                // The caller may have stopped waiting.
                drop(reply.send(result));
            })
        });
        let mut hasher = DefaultHasher::new();
        (subject, tenant).hash(&mut hasher);
        let queue = &self.0[hasher.finish() as usize % QUEUES];
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Failure::Closed,
        })?;
        Ok(answer)
    }
}
