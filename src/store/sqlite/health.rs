//! Whether SQLite takes changes, judged by writing: a full disk, a file system that became read-only and a database that
//! is full can all still be read.
//!
//! A group that was not committed, or in which a change was refused, raises a doubt; a probe then decides. Without a doubt
//! a smaller probe runs from time to time, for nobody may be writing.

use std::time::Duration;

use rusqlite::Connection;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{Failure, SqliteStore};

/// How often the store is probed while nothing points at a fault.
const CALM: Duration = Duration::from_secs(10);

/// Shortest time between two probes, and the time between probes while the store does not take changes.
const DOUBT: Duration = Duration::from_secs(1);

/// Longest time that a probe may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that a probe has to find room for: more than a change of an order or a board takes.
const ROOM: usize = 64 * 1_024;

/// What is known of a store's ability to write.
#[derive(Debug)]
pub(super) struct Health {
    available: watch::Sender<bool>,
    doubt: Notify,
}

impl Default for Health {
    fn default() -> Self {
        Self { available: watch::Sender::new(true), doubt: Notify::new() }
    }
}

impl Health {
    /// Something was not written: the next probe comes now.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }
}

impl SqliteStore {
    /// True while changes are committed.
    pub fn available(&self) -> watch::Receiver<bool> {
        self.inner.health.available.subscribe()
    }

    /// Probes the store until it is closed, and keeps [`SqliteStore::available`] true to the outcome.
    pub async fn watch(self) {
        let health = &self.inner.health;
        loop {
            let fine = *health.available.borrow();
            let doubted = tokio::select! {
                () = sleep(if fine { CALM } else { DOUBT }) => !fine,
                () = health.doubt.notified() => true,
            };
            let probe = async { if doubted { self.find_room().await } else { self.touch().await } };
            let outcome = timeout(PATIENCE, probe).await;
            match outcome {
                Ok(Err(Failure::Closed)) if self.is_closed() => return,
                // Too much waits, which says nothing about the disk.
                Ok(Err(Failure::QueueFull)) => {}
                Ok(Ok(())) => {
                    if !health.available.send_replace(true) {
                        tracing::info!("the store takes changes again");
                    }
                }
                Ok(Err(error)) => self.failed(&error.to_string()),
                Err(_) => self.failed("it did not answer in time"),
            }
            if doubted {
                // Many refusals are one doubt.
                sleep(DOUBT).await;
            }
        }
    }

    fn failed(&self, problem: &str) {
        if self.inner.health.available.send_replace(false) {
            tracing::error!(problem, "the store does not take changes; trying again");
        }
    }

    /// Commits the smallest change there is: a number in the header of the file, which has no other use.
    async fn touch(&self) -> Result<(), Failure> {
        let change = |connection: &Connection| {
            let number: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            Ok(connection.pragma_update(None, "user_version", number ^ 1)?)
        };
        self.write(change).await
    }

    /// Commits a table that needs new pages, then drops it.
    async fn find_room(&self) -> Result<(), Failure> {
        let run = |sql: String| self.write::<_, Failure>(move |connection| Ok(connection.execute_batch(&sql)?));
        run("DROP TABLE IF EXISTS room".into()).await?;
        run(format!("CREATE TABLE room (filler BLOB) STRICT; INSERT INTO room VALUES (zeroblob({ROOM}))")).await?;
        run("DROP TABLE room".into()).await
    }

    fn is_closed(&self) -> bool {
        self.inner.queues.read().is_none()
    }
}
