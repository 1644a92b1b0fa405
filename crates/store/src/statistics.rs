//! Statistics of the store for `metrics.database`.

use futures_util::future::BoxFuture;

use super::Store;
use tricast_domain::sources::store::{Slow, StoreCounters, StoreTotals};

impl StoreCounters for Store {
    /// SQLite has no statistics of statements, so those of the embedded store are its own. The page cache is counted
    /// per connection (`sqlite3_db_status`), which the safe interface to SQLite does not offer, so its hit ratio is
    /// unknown.
    fn totals(&self) -> BoxFuture<'static, Option<StoreTotals>> {
        if let Self::Postgres(store) = self {
            return store.totals();
        }
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
