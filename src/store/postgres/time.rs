//! The clock of the database.
//!
//! Nodes that share a database share its time, so that an order which a node with a wrong clock takes is of today on all of
//! them. It is read every second; in between, it goes on with this host's steady clock.

use std::time::{Duration, Instant};

use deadpool_postgres::Client;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::Failure;

/// An answer that took longer says too little about when it was given.
const PROMPT: Duration = Duration::from_secs(1);

/// The time of the database, once it was read.
#[derive(Debug, Default)]
pub(super) struct DatabaseTime {
    read: Mutex<Option<(Instant, Timestamp)>>,
}

impl DatabaseTime {
    /// What it shows now; `None` until it was read for the first time.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let (read_at, shown) = (*self.read.lock())?;
        shown.checked_add(SignedDuration::try_from(read_at.elapsed()).ok()?).ok()
    }

    /// Reads it, which is also the shortest question that shows whether the database answers.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn read(&self, client: &Client) -> Result<(), Failure> {
        let asked = Instant::now();
        let read = client.prepare_cached("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await?;
        let micros: i64 = client.query_one(&read, &[]).await?.get(0);
        let took = asked.elapsed();
        if took <= PROMPT
            && let Ok(shown) = Timestamp::from_microsecond(micros)
        {
            // The answer was given somewhere in between.
            *self.read.lock() = Some((asked + took / 2, shown));
        }
        Ok(())
    }
}
