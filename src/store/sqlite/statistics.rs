//! What can be known of SQLite: it keeps no counters of statements, so those of this store are its own.

use futures_util::future::BoxFuture;

use super::SqliteStore;
use crate::sources::store::{Slow, StoreCounters, StoreTotals};

impl StoreCounters for SqliteStore {
    /// The page cache is counted per connection (`sqlite3_db_status`), which the safe interface to SQLite does not give
    /// out: its ratio is not known.
    fn totals(&self) -> BoxFuture<'static, Option<StoreTotals>> {
        let activity = self.activity();
        let totals = StoreTotals {
            connections: Some(self.gauges().connections as u64),
            queries: Some(activity.queries()),
            slow: Some(Slow::Total(activity.slow.get())),
            cache: None,
        };
        Box::pin(std::future::ready(Some(totals)))
    }
}
