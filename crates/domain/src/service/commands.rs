//! Bounded queue of commands between the handle and the task of a service, and the deadlines of its callers.

use std::{future::Future, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::ServiceError;

/// Sends the result of a command to its caller, which may have stopped waiting.
pub type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// Sending end of a bounded queue of commands. Cheap to clone; the queue ends when all clones are dropped.
#[derive(Debug)]
pub struct Commands<C> {
    queue: mpsc::Sender<C>,
}

impl<C> Clone for Commands<C> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<C> Commands<C> {
    /// Creates a queue of at most `capacity` commands; its receiving end belongs to the task of the service.
    pub fn bounded(capacity: usize) -> (Self, mpsc::Receiver<C>) {
        let (queue, commands) = mpsc::channel(capacity);
        (Self { queue }, commands)
    }

    /// Returns whether no command waits in the queue.
    pub fn is_empty(&self) -> bool {
        self.queue.capacity() == self.queue.max_capacity()
    }

    /// Queues a command and waits for its result, but not longer than `deadline`. Once queued, the command is carried out
    /// even if this call is dropped.
    ///
    /// # Errors
    /// Those of the command; [`ServiceError::Busy`] when the queue is full, [`ServiceError::Stopped`] when the task has
    /// ended, [`ServiceError::Unknown`] when there is no result within `deadline`.
    pub async fn submit<T, E: From<ServiceError>>(
        &self,
        deadline: Duration,
        command: impl FnOnce(Reply<T, E>) -> C,
    ) -> Result<T, E> {
        let (reply, result) = oneshot::channel();
        self.queue.try_send(command(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ServiceError::Busy,
            mpsc::error::TrySendError::Closed(_) => ServiceError::Stopped,
        })?;
        confirmed(deadline, async { result.await.unwrap_or_else(|_| Err(ServiceError::Unknown.into())) }).await
    }
}

/// Waits for the result of a read.
///
/// # Errors
/// Those of `result`, and [`ServiceError::TimedOut`] after `deadline`.
pub async fn in_time<T, E: From<ServiceError>>(
    deadline: Duration,
    result: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(deadline, result).await.unwrap_or_else(|_| Err(ServiceError::TimedOut.into()))
}

/// Waits for the result of a change.
///
/// # Errors
/// Those of `result`, and [`ServiceError::Unknown`] after `deadline`.
pub async fn confirmed<T, E: From<ServiceError>>(
    deadline: Duration,
    result: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(deadline, result).await.unwrap_or_else(|_| Err(ServiceError::Unknown.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    type Command = Reply<u8, ServiceError>;

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_and_a_queued_command_is_answered() {
        let (commands, mut queue) = Commands::<Command>::bounded(1);
        let first = tokio::spawn({
            let commands = commands.clone();
            async move { commands.submit(DEADLINE, |reply| reply).await }
        });
        tokio::task::yield_now().await;
        assert!(!commands.is_empty());
        assert_eq!(commands.submit(DEADLINE, |reply| reply).await, Err(ServiceError::Busy));
        queue.recv().await.unwrap().send(Ok(7)).unwrap();
        assert_eq!((first.await.unwrap(), commands.is_empty()), (Ok(7), true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_without_a_result_may_have_been_made() {
        let (commands, mut queue) = Commands::<Command>::bounded(2);
        let late = tokio::spawn({
            let commands = commands.clone();
            async move { commands.submit(DEADLINE, |reply| reply).await }
        });
        let held = queue.recv().await;
        assert_eq!(late.await.unwrap(), Err(ServiceError::Unknown), "after the deadline");
        drop(held);
        let (result, ()) = tokio::join!(commands.submit(DEADLINE, |reply| reply), async { drop(queue.recv().await) });
        assert_eq!(result, Err(ServiceError::Unknown), "the task dropped the command");
        drop(queue);
        assert_eq!(commands.submit(DEADLINE, |reply| reply).await, Err(ServiceError::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_takes_too_long_has_changed_nothing() {
        let never = std::future::pending::<Result<u8, ServiceError>>();
        assert_eq!(in_time(DEADLINE, never).await, Err(ServiceError::TimedOut));
        assert_eq!(in_time(DEADLINE, async { Ok::<_, ServiceError>(1) }).await, Ok(1));
    }
}
