//! Changes of history, alerts and boards: those of one tenant one after the other, in the order of the calls.

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
use crate::store::{abort::FromFailure, activity::Kind};

/// How many there are. Tenants that share one wait for each other.
const QUEUES: usize = 4;

/// Changes that wait in one lane; more are refused.
const QUEUE: usize = 256;

/// A change that was handed in.
type Job = Box<dyn FnOnce(Arc<Link>) -> BoxFuture<'static, ()> + Send>;

/// Ways in which changes keep their order.
pub(super) struct TenantQueues([mpsc::Sender<Job>; QUEUES]);

impl TenantQueues {
    /// Starts them on `runtime`; they end when nobody can hand in anything more.
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

    /// Changes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.iter().map(|queue| QUEUE - queue.capacity()).sum()
    }

    /// Hands in a change of `tenant` that is part of `what`: history does not wait for alerts.
    pub(super) fn hand_in<T, E>(
        &self,
        what: &'static str,
        tenant: &str,
        work: impl FnOnce(Arc<Link>) -> BoxFuture<'static, Result<T, E>> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, E>>, Failure>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let begun = Instant::now();
        let job: Job = Box::new(move |link| {
            Box::pin(async move {
                let available = *link.available.borrow();
                let result =
                    if available { work(Arc::clone(&link)).await } else { Err(E::from_failure(Failure::Down)) };
                link.activity.note(Kind::Write, begun);
                // A caller that went away does not want it.
                drop(reply.send(result));
            })
        });
        let mut hasher = DefaultHasher::new();
        (what, tenant).hash(&mut hasher);
        let queue = &self.0[hasher.finish() as usize % QUEUES];
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Failure::Closed,
        })?;
        Ok(answer)
    }
}
