//! Clock of the database.
//!
//! Nodes that share a database use its time, so that an order counts for the same day on all of them, even if a node's
//! clock is wrong. It is read every second; in between, this host's monotonic clock is added.

use std::time::{Duration, Instant};

use deadpool_postgres::Client;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::Failure;

/// Longest duration of a reading: a slower one is too inexact.
const PROMPT: Duration = Duration::from_secs(1);

/// Time of the database, once it was read.
#[derive(Debug, Default)]
pub(super) struct DatabaseTime {
    read: Mutex<Option<(Instant, Timestamp)>>,
}

impl DatabaseTime {
    /// Returns the current time of the database; `None` until it was read for the first time.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let (read_at, shown) = (*self.read.lock())?;
        shown.checked_add(SignedDuration::try_from(read_at.elapsed()).ok()?).ok()
    }

    /// Reads the clock, which is also the shortest query that shows whether the database works.
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
            // The answer was made somewhere in between.
            *self.read.lock() = Some((asked + took / 2, shown));
        }
        Ok(())
    }
}
