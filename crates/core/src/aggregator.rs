//! Aggregator: the single writer of a log. Readings go in, publications come out.
//!
//! A reading is accepted or refused ([`super::decider`]). An accepted one is in the log before the sender gets the reply.
//! A value equal to the current one is accepted and makes no new version.
//!
//! All senders use [`AggregatorHandle`]. Behind it is either an [`Aggregator`], one task of this process, or a cluster,
//! which sends the batches to its leader.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::yield_now,
    time::{sleep, sleep_until, timeout},
};

use super::{
    clock::Clock,
    decider::{Decided, Decider, Verdicts},
    log::{Log, LogWriter, Origins, assign_offsets},
    position::Position,
    reading::{Origin, Reading, Restored},
};

pub use super::decider::{AggregatorConfig, EndCounts, StateBudget};

/// Most batches that wait for the writer; further senders wait for room.
const QUEUE: usize = 1_024;

/// Kibibytes of pushed bodies of one tenant without a reply; further senders of that tenant wait for room, those of other
/// tenants do not.
const QUEUE_KIB: usize = 16 * 1024;

/// Minimum size of a batch in kibibytes, so that one tenant alone cannot fill the queue that all share in a cluster.
const SMALLEST_KIB: usize = 32;

/// Most batches that are written together, with one wake-up of the readers.
const GROUP: usize = 64;

/// Bytes of pushed bodies that are written together, or one batch. After each group it is the turn of other tenants' writers.
const GROUP_BYTES: usize = 1 << 20;

/// Longest time that a caller waits for the reply to a batch that was sent to another process.
const UNTIL_UNKNOWN: Duration = Duration::from_secs(20);

/// Result of a batch.
#[derive(Debug)]
pub struct Outcome {
    /// Verdicts on the readings, in order.
    pub verdicts: Verdicts,
    /// Position at or after every change of the batch: a reader at this position has seen them.
    pub position: Position,
}

/// Batch of readings on its way to the decider.
pub struct Batch {
    /// Tenant that owns the log of the readings.
    pub tenant: Arc<str>,
    /// Readings of the batch.
    pub readings: Vec<Reading>,
    /// Origin of the readings.
    pub origin: Origin,
    /// Size of the request body in bytes.
    bytes: usize,
    claim: Arc<Claim>,
    reply: oneshot::Sender<Outcome>,
    /// Share of the tenant's bytes, released with the reply.
    _room: OwnedSemaphorePermit,
}

impl Batch {
    /// Takes the batch for execution, independent of its sender; returns false if its sender already got the
    /// reply that it is not executed.
    pub fn take(&self) -> bool {
        self.claim.settle(TAKEN)
    }

    /// Splits off the reply, which is sent later.
    pub fn into_parts(self) -> (Vec<Reading>, Reply) {
        (self.readings, Reply { claim: self.claim, reply: self.reply, _room: self._room })
    }
}

/// Sender of the result of a batch.
pub struct Reply {
    claim: Arc<Claim>,
    reply: oneshot::Sender<Outcome>,
    _room: OwnedSemaphorePermit,
}

impl Reply {
    /// Sends the result. A sender that stopped waiting is ignored.
    pub fn send(self, verdicts: Verdicts, position: Position) {
        drop(self.reply.send(Outcome { verdicts, position }));
    }

    /// Releases a batch that was taken: it is not executed for now, and its sender may give up.
    pub fn release(&self) {
        self.claim.0.store(FREE, Ordering::Release);
    }

    /// Takes a batch again after [`Reply::release`]; returns false if its sender gave up meanwhile.
    pub fn retake(&self) -> bool {
        self.claim.settle(TAKEN)
    }
}

/// First of two events: a batch is taken, or its sender stops waiting.
#[derive(Default)]
struct Claim(AtomicU8);

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Claim {
    fn settle(&self, as_what: u8) -> bool {
        self.0.compare_exchange(FREE, as_what, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Reason why a batch has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The aggregator has stopped; the server is shutting down. Nothing was accepted.
    #[error("the aggregator has stopped")]
    Stopped,
    /// The leader cannot be reached. Nothing was accepted.
    #[error("the log can't be written at the moment; nothing was accepted")]
    Unavailable,
    /// The batch was sent to the leader, which cannot be reached: it will be executed once that is possible again.
    #[error("it is not known yet whether this was accepted")]
    Unknown,
}

/// Error: the aggregator has stopped, because the server is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the aggregator has stopped")]
pub struct Stopped;

impl PublishError {
    /// Ignores an unknown result, for publishers within this program: only a stopped aggregator is an error for them.
    ///
    /// # Errors
    /// [`Stopped`] if no more batches are accepted.
    pub fn unless_stopped(self) -> Result<(), Stopped> {
        match self {
            Self::Stopped => Err(Stopped),
            Self::Unavailable | Self::Unknown => Ok(()),
        }
    }
}

/// Receiving end of the queue of batches.
pub type Batches = mpsc::Receiver<Batch>;

/// Sends readings to the aggregator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AggregatorHandle {
    tenant: Arc<str>,
    batches: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
    /// Longest time that a client's batch waits to be taken; `None`: no limit.
    patience: Option<Duration>,
    leads: watch::Receiver<bool>,
}

impl AggregatorHandle {
    /// Creates a handle and the receiving end of its queue. With `patience`, a client's batch that was not taken in that
    /// time is refused. `leads` is true while this process is the leader.
    pub fn new(patience: Option<Duration>, leads: watch::Receiver<bool>) -> (Self, Batches) {
        let (sender, batches) = mpsc::channel(QUEUE);
        let room = Arc::new(Semaphore::new(QUEUE_KIB));
        (Self { tenant: Arc::from(""), batches: sender, room, patience, leads }, batches)
    }

    /// Returns a handle for the log of another tenant, which has a share of the same queue.
    pub fn of_tenant(&self, tenant: &str) -> Self {
        Self { tenant: tenant.into(), room: Arc::new(Semaphore::new(QUEUE_KIB)), ..self.clone() }
    }

    /// Returns whether this process is the leader; always true without a cluster.
    pub fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Sends `readings` of a request body of `bytes` bytes, and waits until they are in the log.
    ///
    /// A dropped call may or may not have been executed.
    ///
    /// # Errors
    /// [`PublishError::Stopped`]; for pushes of clients in a cluster also the others. Readings of this program wait until
    /// they can be executed.
    pub async fn publish(&self, origin: Origin, readings: Vec<Reading>, bytes: usize) -> Result<Outcome, PublishError> {
        let claim = Arc::<Claim>::default();
        let work = self.send_batch(origin, readings, bytes, Arc::clone(&claim));
        let Some(patience) = self.patience.filter(|_| origin == Origin::Pushed) else { return work.await };
        tokio::pin!(work);
        tokio::select! {
            outcome = &mut work => outcome,
            () = sleep(patience) => {
                if claim.settle(GIVEN_UP) {
                    return Err(PublishError::Unavailable);
                }
                timeout(UNTIL_UNKNOWN, work).await.unwrap_or(Err(PublishError::Unknown))
            }
        }
    }

    /// Sends readings of this program itself, and waits until they are in the log.
    ///
    /// # Errors
    /// [`Stopped`] if the server is shutting down.
    pub async fn publish_own(&self, readings: Vec<Reading>) -> Result<(), Stopped> {
        match self.publish(Origin::Internal, readings, 0).await {
            Ok(_) => Ok(()),
            Err(error) => error.unless_stopped(),
        }
    }

    async fn send_batch(
        &self,
        origin: Origin,
        readings: Vec<Reading>,
        bytes: usize,
        claim: Arc<Claim>,
    ) -> Result<Outcome, PublishError> {
        let (reply, outcome) = oneshot::channel();
        let kib = u32::try_from((bytes / 1024 + 1).clamp(SMALLEST_KIB, QUEUE_KIB)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| PublishError::Stopped)?;
        let tenant = Arc::clone(&self.tenant);
        let batch = Batch { tenant, readings, origin, bytes, claim, reply, _room: room };
        self.batches.send(batch).await.map_err(|_| PublishError::Stopped)?;
        // The result may be lost only if another process decides.
        let lost = if self.is_clustered() { PublishError::Unknown } else { PublishError::Stopped };
        outcome.await.map_err(|_| lost)
    }

    /// Returns whether other processes share the log.
    pub fn is_clustered(&self) -> bool {
        self.patience.is_some()
    }

    /// Returns the number of waiting batches.
    pub fn waiting(&self) -> usize {
        self.batches.max_capacity() - self.batches.capacity()
    }
}

/// Single writer of one tenant's log, as one task of this process, best on a thread of its own.
///
/// It wakes for batches, and at each full second while samples are in a window, because their figures change with time.
pub struct Aggregator {
    writer: LogWriter,
    clock: Clock,
    decider: Decider,
    batches: Batches,
}

impl Aggregator {
    /// Creates an aggregator for `writer`. Run it with [`Aggregator::run`].
    pub fn new(writer: LogWriter, clock: Clock, config: AggregatorConfig) -> (Self, AggregatorHandle) {
        let (handle, batches) = AggregatorHandle::new(None, watch::Sender::new(true).subscribe());
        let decider = Decider::new(clock.clone(), config);
        (Self { writer, clock, decider, batches }, handle)
    }

    /// Returns the log that it writes.
    pub fn log(&self) -> &Arc<Log> {
        self.writer.log()
    }

    /// Restores the last values of channels from history, with their times. Call it before [`Aggregator::run`]. Values
    /// beyond a limit are left out.
    pub fn restore(&mut self, values: Vec<Restored>) {
        let readings = vec![Reading::Restored(values)];
        let decided = self.decider.decide_all([(Origin::Internal, readings)]);
        // The snapshot is as old as its newest value.
        let newest = decided.restored.iter().map(|(_, at)| *at).max().unwrap_or_default();
        self.append(decided, newest);
    }

    /// Writes until all handles are dropped and the queue is empty.
    pub async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let wake = self.decider.wake();
            tokio::select! {
                batch = self.batches.recv() => match batch {
                    Some(batch) => group.push(batch),
                    None => return,
                },
                () = async { if let Some(wake) = wake { sleep_until(wake).await } }, if wake.is_some() => {}
            }
            self.gather(&mut group);
            self.write(group.drain(..));
            // The writers of all tenants share a thread.
            yield_now().await;
        }
    }

    /// Adds waiting batches to the group.
    fn gather(&mut self, group: &mut Vec<Batch>) {
        let mut bytes = group.iter().map(|batch| batch.bytes).sum::<usize>();
        while group.len() < GROUP && bytes < GROUP_BYTES {
            let Ok(batch) = self.batches.try_recv() else { return };
            bytes += batch.bytes;
            group.push(batch);
        }
    }

    fn write(&mut self, group: impl Iterator<Item = Batch>) {
        let mut replies = Vec::new();
        let mut readings = Vec::new();
        for batch in group.filter(Batch::take) {
            let origin = batch.origin;
            let (of_batch, reply) = batch.into_parts();
            readings.push((origin, of_batch));
            replies.push(reply);
        }
        self.decider.count_field_bytes(self.writer.log().field_bytes());
        let mut decided = self.decider.decide_all(readings);
        let verdicts = std::mem::take(&mut decided.verdicts);
        self.append(decided, self.clock.now());
        let position = self.writer.log().position();
        for (reply, verdicts) in replies.into_iter().zip(verdicts) {
            reply.send(verdicts, position.clone());
        }
    }

    fn append(&mut self, decided: Decided, now: Timestamp) {
        let Decided { changes, same, restored, parts, .. } = decided;
        if !same.is_empty() {
            self.writer.confirm(&same, &parts, now);
        }
        if !changes.is_empty() {
            let chunks = assign_offsets(self.writer.log().head(), changes);
            self.writer.apply_from(chunks, now, Origins { restored: &restored, parts: &parts });
        }
    }
}

#[cfg(test)]
mod tests;
