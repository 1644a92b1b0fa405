//! The threads that talk to SQLite: one writes, in groups; a few read.

use std::{fs::File, io, sync::Arc, thread, time::Instant};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Abort, Failure, failure, health::Health};
use crate::store::{abort::FromFailure, activity::Note};

/// Changes that are written together. A group is one flush of the disk; more would make the first wait for the last.
const GROUP: usize = 512;

/// A change to make inside a group's transaction.
pub(super) struct Write {
    /// Answers how to tell the caller, once it is known whether the group was committed.
    work: Box<dyn FnOnce(&Connection) -> Reply + Send>,
    /// It has to be on the disk when the caller is told.
    synced: bool,
}

/// Tells the caller; false: nothing was committed.
pub(super) type Reply = Box<dyn FnOnce(bool) + Send>;

/// Something to read.
pub(super) type Read = Box<dyn FnOnce(&Connection) + Send>;

/// `work` as a change: it is made whole or not at all.
pub(super) fn write<T, E>(
    work: impl FnOnce(&Connection) -> Result<T, Abort<E>> + Send + 'static,
    reply: oneshot::Sender<Result<T, E>>,
    note: Note,
    synced: bool,
) -> Write
where
    T: Send + 'static,
    E: FromFailure<Failure> + Send + 'static,
{
    let work = Box::new(move |connection: &Connection| -> Reply {
        let result = in_savepoint(connection, work).map_err(Abort::report);
        Box::new(move |committed| {
            note.done();
            let answer =
                if committed { result } else { result.and_then(|_| Err(E::from_failure(Failure::NotCommitted))) };
            // A caller that went away does not want it.
            drop(reply.send(answer));
        })
    });
    Write { work, synced }
}

/// `work` as a read.
pub(super) fn read<T, E>(
    work: impl FnOnce(&Connection) -> Result<T, Abort<E>> + Send + 'static,
    reply: oneshot::Sender<Result<T, E>>,
    note: Note,
) -> Read
where
    T: Send + 'static,
    E: FromFailure<Failure> + Send + 'static,
{
    Box::new(move |connection| {
        // Nobody waits any more: not worth the work.
        if !reply.is_closed() {
            let answer = work(connection).map_err(Abort::report);
            note.done();
            drop(reply.send(answer));
        }
    })
}

fn in_savepoint<T, E>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Abort<E>>,
) -> Result<T, Abort<E>> {
    let say = |text: &str| -> Result<(), Failure> { Ok(connection.prepare_cached(text)?.execute([]).map(drop)?) };
    say("SAVEPOINT change")?;
    let result = work(connection);
    // After some errors (disk full, I/O) SQLite has rolled back everything by itself; there is no savepoint then.
    if result.is_err() && !connection.is_autocommit() {
        say("ROLLBACK TO change")?;
    }
    if !connection.is_autocommit() {
        say("RELEASE change")?;
    }
    result
}

/// Starts the thread that writes. It ends, and with it the lock, when the queue does.
pub(super) fn start_writer(
    connection: Connection,
    mut writes: mpsc::Receiver<Write>,
    lock: Option<File>,
    health: Arc<Health>,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("store-writer".into()).spawn(move || {
        let mut group = Vec::with_capacity(GROUP);
        while writes.blocking_recv_many(&mut group, GROUP) > 0 {
            let begun = Instant::now();
            let changes = group.len();
            let unsynced = group.iter().all(|write| !write.synced);
            if unsynced {
                synchronous(&connection, "NORMAL");
            }
            let fine = commit(&connection, group.drain(..));
            if unsynced {
                synchronous(&connection, "FULL");
            }
            if !fine {
                health.doubt();
            }
            tracing::trace!(changes, micros = begun.elapsed().as_micros() as u64, "a group was written");
        }
        if let Err(error) = close(connection) {
            tracing::warn!(%error, "the database was not closed tidily; it is mended at the next start");
        }
        drop(lock);
    })
}

/// Starts a thread that reads. It ends when the queue does.
pub(super) fn start_reader(
    connection: Connection,
    reads: Arc<Mutex<mpsc::Receiver<Read>>>,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("store-reader".into()).spawn(move || {
        loop {
            // The one that holds the lock waits for work, the others for the lock.
            let Some(work) = reads.lock().blocking_recv() else { return };
            work(&connection);
        }
    })
}

/// Makes all changes of a group in one transaction, and tells all callers how it ended. Returns whether it was committed,
/// and SQLite refused no part of it.
fn commit(connection: &Connection, group: impl Iterator<Item = Write>) -> bool {
    let mut replies: Vec<Reply> = Vec::new();
    let failures = failure::count();
    let mut began = true;
    for change in group {
        if connection.is_autocommit() {
            // The first one, or SQLite has rolled back what came before.
            replies.drain(..).for_each(|reply| reply(false));
            if let Err(error) = begin(connection) {
                tracing::error!(%error, "the store can't write");
                began = false;
                // The change is dropped, by which its caller knows.
                continue;
            }
        }
        replies.push((change.work)(connection));
    }
    let committed = !connection.is_autocommit() && end(connection);
    replies.into_iter().for_each(|reply| reply(committed));
    began && committed && failure::count() == failures
}

/// Whether commits wait for the disk: FULL, or NORMAL, with which they survive the end of the process all the same.
fn synchronous(connection: &Connection, mode: &str) {
    if let Err(error) = connection.pragma_update(None, "synchronous", mode) {
        tracing::error!(%error, mode, "the store can't change how it waits for the disk");
    }
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
}

fn end(connection: &Connection) -> bool {
    let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    let Err(error) = ended else { return true };
    tracing::error!(%error, "the store could not commit");
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "the store could not roll back");
    }
    false
}

fn close(connection: Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA optimize")?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}
