//! Test writes that show whether SQLite accepts changes: with a full disk, a read-only file system or a full database,
//! reads still succeed.
//!
//! A group that was not committed, or in which a change failed, triggers a test. A smaller test runs periodically,
//! because there may be no other writes.

use std::time::Duration;

use rusqlite::Connection;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{Failure, SqliteStore};

/// Interval of tests while nothing indicates a fault.
const CALM: Duration = Duration::from_secs(10);

/// Shortest time between two tests, and their interval while changes fail.
const DOUBT: Duration = Duration::from_secs(1);

/// Longest time that a test may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that a test has to find room for: more than a change of an order or a board takes.
const ROOM: usize = 64 * 1_024;

/// Whether a store accepts changes.
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
    /// Requests a test, because a change was not written.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }
}

impl SqliteStore {
    /// Returns whether changes are committed.
    pub fn is_available(&self) -> bool {
        *self.inner.health.available.borrow()
    }

    /// Returns a watch that is true while changes are committed.
    pub fn available(&self) -> watch::Receiver<bool> {
        self.inner.health.available.subscribe()
    }

    /// Tests the store until it is closed, and keeps [`SqliteStore::available`] up to date.
    pub async fn watch(self) {
        let health = &self.inner.health;
        loop {
            let is_available = *health.available.borrow();
            let doubted = tokio::select! {
                () = sleep(if is_available { CALM } else { DOUBT }) => !is_available,
                () = health.doubt.notified() => true,
            };
            let probe = async { if doubted { self.find_room().await } else { self.touch().await } };
            let outcome = timeout(PATIENCE, probe).await;
            match outcome {
                Ok(Err(Failure::Closed)) if self.is_closed() => return,
                // A full queue shows nothing about the disk.
                Ok(Err(Failure::QueueFull)) => {}
                Ok(Ok(())) => {
                    if !health.available.send_replace(true) {
                        tracing::info!("the store accepts changes again");
                    }
                }
                Ok(Err(error)) => self.failed(&error.to_string()),
                Err(_) => self.failed("no response in time"),
            }
            if doubted {
                // Many failures need one test.
                sleep(DOUBT).await;
            }
        }
    }

    fn failed(&self, problem: &str) {
        if self.inner.health.available.send_replace(false) {
            tracing::error!(problem, "the store refuses changes; retrying");
        }
    }

    /// Commits the smallest possible change: a number in the header of the file, which is not used otherwise.
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
