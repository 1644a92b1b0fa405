//! Threads that access SQLite: one writes, in groups; a few read.

use std::{fs::File, io, sync::Arc, thread, time::Instant};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Abort, Failure, failure, health::Health};
use crate::{abort::FromFailure, activity::PendingQuery};

/// Largest number of changes that are written together. A group is one flush of the disk; in a larger one the first
/// change would wait for the last.
const GROUP: usize = 512;

/// Change to make inside the transaction of a group.
pub(super) struct Write {
    /// Makes the change and returns how to send its result, once it is known whether the group was committed.
    work: Box<dyn FnOnce(&Connection) -> Reply + Send>,
    /// Whether it has to be on the disk before the caller gets the result.
    synced: bool,
}

/// Sends the result to the caller; `false`: nothing was committed.
pub(super) type Reply = Box<dyn FnOnce(bool) + Send>;

/// Read that waits for a thread.
pub(super) type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Wraps `work` as a change: it is made completely or not at all.
pub(super) fn write<T, E>(
    work: impl FnOnce(&Connection) -> Result<T, Abort<E>> + Send + 'static,
    reply: oneshot::Sender<Result<T, E>>,
    pending: PendingQuery,
    synced: bool,
) -> Write
where
    T: Send + 'static,
    E: FromFailure<Failure> + Send + 'static,
{
    let work = Box::new(move |connection: &Connection| -> Reply {
        let result = in_savepoint(connection, work).map_err(Abort::report);
        Box::new(move |committed| {
            pending.done();
            let result =
                if committed { result } else { result.and_then(|_| Err(E::from_failure(Failure::NotCommitted))) };
            // The caller may have stopped waiting.
            drop(reply.send(result));
        })
    });
    Write { work, synced }
}

/// Wraps `work` as a read.
pub(super) fn read<T, E>(
    work: impl FnOnce(&Connection) -> Result<T, Abort<E>> + Send + 'static,
    reply: oneshot::Sender<Result<T, E>>,
    pending: PendingQuery,
) -> Read
where
    T: Send + 'static,
    E: FromFailure<Failure> + Send + 'static,
{
    Box::new(move |connection| {
        // Skipped if the caller has stopped waiting.
        if !reply.is_closed() {
            let result = work(connection).map_err(Abort::report);
            pending.done();
            drop(reply.send(result));
        }
    })
}

fn in_savepoint<T, E>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Abort<E>>,
) -> Result<T, Abort<E>> {
    let execute = |text: &str| -> Result<(), Failure> { Ok(connection.prepare_cached(text)?.execute([]).map(drop)?) };
    execute("SAVEPOINT change")?;
    let result = work(connection);
    // After some errors (disk full, I/O) SQLite has rolled back the whole transaction; there is no savepoint then.
    if result.is_err() && !connection.is_autocommit() {
        execute("ROLLBACK TO change")?;
    }
    if !connection.is_autocommit() {
        execute("RELEASE change")?;
    }
    result
}

/// Starts the writing thread. It ends with its queue, and then releases the lock.
pub(super) fn start_writer(
    connection: Connection,
    mut writes: mpsc::Receiver<Write>,
    lock: Option<File>,
    health: Arc<Health>,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("store-writer".into()).spawn(move || {
        let mut group = Vec::with_capacity(GROUP);
        while writes.blocking_recv_many(&mut group, GROUP) > 0 {
            let start = Instant::now();
            let changes = group.len();
            let unsynced = group.iter().all(|write| !write.synced);
            if unsynced {
                synchronous(&connection, "NORMAL");
            }
            let committed = commit(&connection, group.drain(..));
            if unsynced {
                synchronous(&connection, "FULL");
            }
            if !committed {
                health.doubt();
            }
            tracing::trace!(changes, micros = start.elapsed().as_micros() as u64, "a group was written");
        }
        if let Err(error) = close(connection) {
            tracing::warn!(%error, "the database could not be closed cleanly; SQLite recovers it at the next start");
        }
        drop(lock);
    })
}

/// Starts a reading thread. It ends with its queue.
pub(super) fn start_reader(
    connection: Connection,
    reads: Arc<Mutex<mpsc::Receiver<Read>>>,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("store-reader".into()).spawn(move || {
        loop {
            // The thread that holds the lock waits for work, the others for the lock.
            let Some(work) = reads.lock().blocking_recv() else { return };
            work(&connection);
        }
    })
}

/// Makes all changes of a group in one transaction and sends the results. Returns whether the group was committed and
/// no change failed in SQLite.
fn commit(connection: &Connection, group: impl Iterator<Item = Write>) -> bool {
    let mut replies: Vec<Reply> = Vec::new();
    let failures = failure::count();
    let mut started = true;
    for change in group {
        if connection.is_autocommit() {
            // The first change, or SQLite has rolled back those before it.
            replies.drain(..).for_each(|reply| reply(false));
            if let Err(error) = begin(connection) {
                tracing::error!(%error, "cannot begin a transaction");
                started = false;
                // Dropping the change reports the failure to its caller.
                continue;
            }
        }
        replies.push((change.work)(connection));
    }
    let committed = !connection.is_autocommit() && end(connection);
    replies.into_iter().for_each(|reply| reply(committed));
    started && committed && failure::count() == failures
}

/// Sets whether commits wait for the disk: FULL, or NORMAL, with which they still survive the end of the process.
fn synchronous(connection: &Connection, mode: &str) {
    if let Err(error) = connection.pragma_update(None, "synchronous", mode) {
        tracing::error!(%error, mode, "cannot set `synchronous`");
    }
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
}

fn end(connection: &Connection) -> bool {
    let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    let Err(error) = ended else { return true };
    tracing::error!(%error, "cannot commit");
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "cannot roll back");
    }
    false
}

fn close(connection: Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA optimize")?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}
