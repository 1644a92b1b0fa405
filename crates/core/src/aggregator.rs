//! The single writer: readings in, publications out. Nothing else decides what is true.
//!
//! A reading is accepted or refused ([`super::decider`]); an accepted one is in the log before the sender is answered. A
//! value equal to the current one is accepted and makes no new version.
//!
//! [`AggregatorHandle`] is the way in, and the same for everybody. Behind it is either an [`Aggregator`], one task of this
//! process, or a cluster, which carries the batches to the one of its nodes that decides.

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
    channel::Channel,
    clock::Clock,
    decider::{Decided, Decider, Verdicts},
    log::{Change, Log, LogWriter, place},
    position::Position,
    reading::{Origin, Reading, Restored},
};

pub use super::decider::{AggregatorConfig, EndCounts, StateBudget};

/// Batches that wait for the writer; a sender waits for room after that.
const QUEUE: usize = 1_024;

/// Kibibytes of pushed bodies of one tenant that are not answered yet; its senders wait for room after that, and those of
/// other tenants do not.
const QUEUE_KIB: usize = 16 * 1024;

/// A small batch counts as so many kibibytes, so that one tenant alone does not fill the queue that all share in a cluster.
const SMALLEST_KIB: usize = 32;

/// Batches that are written together: one wake-up of the readers for all of them.
const GROUP: usize = 64;

/// Bytes of pushed bodies that are written together, or one batch. After each group the writers of other tenants have
/// their turn.
const GROUP_BYTES: usize = 1 << 20;

/// How long somebody waits for the answer to a batch that is on its way to another process.
const UNTIL_UNKNOWN: Duration = Duration::from_secs(20);

/// The answer to a batch.
#[derive(Debug)]
pub struct Outcome {
    /// One for each reading, in order.
    pub verdicts: Verdicts,
    /// At or after every change of the batch: a reader at this position has seen them.
    pub position: Position,
}

/// Readings on their way to whoever decides about them.
pub struct Batch {
    /// Whose log they are for.
    pub tenant: Arc<str>,
    /// What was handed in.
    pub readings: Vec<Reading>,
    /// By whom.
    pub origin: Origin,
    /// As large as the body that it came in, in bytes.
    bytes: usize,
    claim: Arc<Claim>,
    reply: oneshot::Sender<Outcome>,
    /// Its part of its tenant's bytes, given back when it is answered.
    _room: OwnedSemaphorePermit,
}

impl Batch {
    /// Takes it, so that it is carried out whatever its sender does; false when the sender was told already that it is
    /// not.
    pub fn take(&self) -> bool {
        self.claim.settle(TAKEN)
    }

    /// Splits off what is answered later.
    pub fn into_parts(self) -> (Vec<Reading>, Reply) {
        (self.readings, Reply { claim: self.claim, reply: self.reply, _room: self._room })
    }
}

/// Answers the sender of a batch.
pub struct Reply {
    claim: Arc<Claim>,
    reply: oneshot::Sender<Outcome>,
    _room: OwnedSemaphorePermit,
}

impl Reply {
    /// Says what became of it. A sender that went away does not want to know.
    pub fn send(self, verdicts: Verdicts, position: Position) {
        drop(self.reply.send(Outcome { verdicts, position }));
    }

    /// Gives a batch that was taken back: it is not carried out for now, and its sender may be told so.
    pub fn release(&self) {
        self.claim.0.store(FREE, Ordering::Release);
    }

    /// Takes a batch again after [`Reply::release`]; false when its sender was told meanwhile that it is not carried out.
    pub fn retake(&self) -> bool {
        self.claim.settle(TAKEN)
    }
}

/// Who was first: whoever carries a batch out, or the sender who has waited long enough.
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

/// Why a batch has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The aggregator has ended, the server is shutting down. Nothing was accepted.
    #[error("the aggregator has stopped")]
    Stopped,
    /// Whoever decides can't be reached. Nothing was accepted.
    #[error("the log can't be written at the moment; nothing was accepted")]
    Unavailable,
    /// It is on its way to whoever decides, who can't be reached: it will be carried out when that is possible again.
    #[error("it is not known yet whether this was accepted")]
    Unknown,
}

/// The aggregator has ended: the server is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the aggregator has stopped")]
pub struct Stopped;

impl PublishError {
    /// For what this program itself hands in: that it is not known what became of it is no reason to end.
    ///
    /// # Errors
    /// [`Stopped`] when nothing can be handed in any more.
    pub fn unless_stopped(self) -> Result<(), Stopped> {
        match self {
            Self::Stopped => Err(Stopped),
            Self::Unavailable | Self::Unknown => Ok(()),
        }
    }
}

/// Where batches come out.
pub type Batches = mpsc::Receiver<Batch>;

/// Hands readings to the aggregator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AggregatorHandle {
    tenant: Arc<str>,
    batches: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
    /// How long a client's batch waits to be taken; `None`: as long as it takes.
    patience: Option<Duration>,
    leads: watch::Receiver<bool>,
}

impl AggregatorHandle {
    /// A handle whose batches come out of the other end. With `patience` a client's batch that nobody took in that time is
    /// refused. `leads` says whether this process is the one that publishes what is the same for all nodes.
    pub fn new(patience: Option<Duration>, leads: watch::Receiver<bool>) -> (Self, Batches) {
        let (sender, batches) = mpsc::channel(QUEUE);
        let room = Arc::new(Semaphore::new(QUEUE_KIB));
        (Self { tenant: Arc::from(""), batches: sender, room, patience, leads }, batches)
    }

    /// The same queue for the log of another tenant, who has a part of it.
    pub fn of_tenant(&self, tenant: &str) -> Self {
        Self { tenant: tenant.into(), room: Arc::new(Semaphore::new(QUEUE_KIB)), ..self.clone() }
    }

    /// Whether this process publishes what is the same for all nodes: always, where there is only one.
    pub fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Hands in `readings`, which came in `bytes` bytes, and waits until they are in the log.
    ///
    /// Not cancel safe in one sense: a dropped call may or may not have been carried out.
    ///
    /// # Errors
    /// [`PublishError::Stopped`]; for what a client pushed in a cluster also the others. What this program itself hands in
    /// waits until it can be carried out.
    pub async fn publish(&self, origin: Origin, readings: Vec<Reading>, bytes: usize) -> Result<Outcome, PublishError> {
        let claim = Arc::<Claim>::default();
        let work = self.hand_in(origin, readings, bytes, Arc::clone(&claim));
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

    /// Hands in what this program itself reads or decides, and waits until it is in the log.
    ///
    /// # Errors
    /// [`Stopped`] when the server is shutting down.
    pub async fn publish_own(&self, readings: Vec<Reading>) -> Result<(), Stopped> {
        match self.publish(Origin::Internal, readings, 0).await {
            Ok(_) => Ok(()),
            Err(error) => error.unless_stopped(),
        }
    }

    async fn hand_in(
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
        // Whoever took it may have lost sight of it, but only where somebody else decides.
        let lost = if self.is_clustered() { PublishError::Unknown } else { PublishError::Stopped };
        outcome.await.map_err(|_| lost)
    }

    /// Whether other processes have a part in the log.
    pub fn is_clustered(&self) -> bool {
        self.patience.is_some()
    }

    /// Batches that wait at the moment.
    pub fn waiting(&self) -> usize {
        self.batches.max_capacity() - self.batches.capacity()
    }
}

/// The single writer of one tenant's log, as one task of this process, best on a thread of its own.
///
/// It wakes for batches, and, while samples are in a window, at each full second: their numbers change as time passes.
pub struct Aggregator {
    writer: LogWriter,
    clock: Clock,
    decider: Decider,
    batches: Batches,
}

impl Aggregator {
    /// An aggregator that will write `writer`; drive it with [`Aggregator::run`].
    pub fn new(writer: LogWriter, clock: Clock, config: AggregatorConfig) -> (Self, AggregatorHandle) {
        let (handle, batches) = AggregatorHandle::new(None, watch::Sender::new(true).subscribe());
        let decider = Decider::new(clock.clone(), config);
        (Self { writer, clock, decider, batches }, handle)
    }

    /// The log it writes.
    pub fn log(&self) -> &Arc<Log> {
        self.writer.log()
    }

    /// Gives channels their last values from history, each with the time that it had then: before [`Aggregator::run`], so
    /// that what is handed in comes after. Values that are beyond a limit are left out.
    pub fn restore(&mut self, values: Vec<Restored>) {
        let readings = vec![Reading::Restored(values)];
        let Decided { changes, restored, .. } = self.decider.decide_all([(Origin::Internal, readings)]);
        // The snapshot is as old as its newest value.
        let newest = restored.iter().map(|(_, at)| *at).max().unwrap_or_default();
        self.append(changes, newest, &restored);
    }

    /// Writes until every handle is gone; what was handed in before is written first.
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

    /// Adds what waits behind the first of the group.
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
        let Decided { verdicts, changes, same, restored, ended: _ } = self.decider.decide_all(readings);
        if !same.is_empty() {
            self.writer.confirm(&same, self.clock.now());
        }
        self.append(changes, self.clock.now(), &restored);
        let position = self.writer.log().position();
        for (reply, verdicts) in replies.into_iter().zip(verdicts) {
            reply.send(verdicts, position.clone());
        }
    }

    fn append(&mut self, changes: Vec<Change>, now: Timestamp, restored: &[(Channel, Timestamp)]) {
        if !changes.is_empty() {
            let chunks = place(self.writer.log().head(), changes);
            self.writer.apply_restored(chunks, now, restored);
        }
    }
}

#[cfg(test)]
mod tests;
