//! Measurements of the store: the channel `metrics.database`.
//!
//! A store has running totals and gauges; rates over the last minute are computed here, in the same way for every store.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Source, nodes::Nodes, round};

/// Interval at which the store is read.
const EVERY: Duration = Duration::from_secs(2);

/// Time over which rates and slow queries are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Totals of a store. `None` stands for unknown, for example if a privilege is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreTotals {
    /// Connections to the database, of all its clients.
    pub connections: Option<u64>,
    /// Queries since its start.
    pub queries: Option<u64>,
    /// Slow queries, as far as the store knows them.
    pub slow: Option<Slow>,
    /// Pages found in memory and pages read since its start.
    pub cache: Option<(u64, u64)>,
}

/// Measure of slow queries, depending on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Total since its start.
    Total(u64),
    /// Number of slow queries that run now.
    Now(u64),
}

/// A store whose totals can be read.
pub trait StoreCounters: Send + Sync {
    /// Returns the totals; `None` if the store is unavailable. It may take as long as a query.
    fn totals(&self) -> BoxFuture<'static, Option<StoreTotals>>;
}

/// Source of `metrics.database`: the newest value of the channel.
pub(super) struct Database(pub(super) watch::Receiver<Value>);

impl Source for Database {
    fn channel(&self) -> &'static str {
        "metrics.database"
    }

    fn name(&self) -> &'static str {
        "store"
    }

    /// Returns null: nodes measure the same store, or each has its own, so there is nothing to merge.
    fn measure(&mut self) -> Value {
        Value::Null
    }

    fn merge(&mut self, _nodes: &Nodes) -> Value {
        self.0.borrow_and_update().clone()
    }
}

/// Totals read within the last minute.
#[derive(Debug, Default)]
struct History {
    past: VecDeque<(Instant, StoreTotals)>,
}

/// Starts reading the store every two seconds on `runtime` and returns the values of the channel. It ends with the runtime.
pub(super) fn start(counters: Arc<dyn StoreCounters>, runtime: &Handle) -> watch::Receiver<Value> {
    let (values, reading) = watch::channel(unknown());
    runtime.spawn(async move {
        let mut history = History::default();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let value = match counters.totals().await {
                Some(totals) => history.note(Instant::now(), totals),
                None => {
                    // Totals may restart from zero.
                    history.past.clear();
                    unknown()
                }
            };
            if values.send(value).is_err() {
                return;
            }
        }
    });
    reading
}

/// Returns the value of a store that is not measured: null, since unknown is not zero.
pub(super) fn unknown() -> Value {
    json!({"connections": null, "queries_per_second": null, "slow_queries": null, "cache_hit_ratio": null})
}

impl History {
    /// Adds `totals` and returns the value of the channel.
    fn note(&mut self, now: Instant, totals: StoreTotals) -> Value {
        if let Some((_, last)) = self.past.back()
            && last.went_back(&totals)
        {
            // The database's counters were reset.
            self.past.clear();
        }
        self.past.push_back((now, totals));
        // One reading before the window is kept, so that all of the window is covered.
        while self.past.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.past.pop_front();
        }
        let (since, before) = self.past.front().map_or((now, totals), |(at, totals)| (*at, *totals));
        let seconds = (now - since).as_secs_f64();
        let queries = totals.queries.zip(before.queries).filter(|_| seconds > 0.0);
        let slow = match (totals.slow, before.slow) {
            (Some(Slow::Now(count)), _) => Some(count),
            (Some(Slow::Total(count)), Some(Slow::Total(before))) => Some(count - before),
            _ => None,
        };
        // A minute without reads has no ratio; that of all time takes its place.
        let cache = totals.cache.zip(before.cache).map(|(now, before)| (now.0 - before.0, now.1 - before.1));
        let cache = cache.filter(|(hits, reads)| hits + reads > 0).or(totals.cache);
        let cache = cache.filter(|(hits, reads)| hits + reads > 0);
        json!({
            "connections": totals.connections,
            "queries_per_second": queries.map(|(now, before)| round((now - before) as f64 / seconds, 2)),
            "slow_queries": slow,
            "cache_hit_ratio": cache.map(|(hits, reads)| round(hits as f64 / (hits + reads) as f64, 4)),
        })
    }
}

impl StoreTotals {
    fn went_back(&self, next: &Self) -> bool {
        let slow = |totals: &Self| match totals.slow {
            Some(Slow::Total(count)) => Some(count),
            _ => None,
        };
        let less = |(before, after): (u64, u64)| after < before;
        self.queries.zip(next.queries).is_some_and(less)
            || slow(self).zip(slow(next)).is_some_and(less)
            || self.cache.zip(next.cache).is_some_and(|(before, after)| after.0 < before.0 || after.1 < before.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(queries: u64, slow: u64, cache: (u64, u64)) -> StoreTotals {
        StoreTotals { connections: Some(3), queries: Some(queries), slow: Some(Slow::Total(slow)), cache: Some(cache) }
    }

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let (mut history, start) = (History::default(), Instant::now());
        let first = history.note(start, totals(1_000, 5, (90, 10)));
        let expected = json!({"connections": 3, "queries_per_second": null, "slow_queries": 0, "cache_hit_ratio": 0.9});
        assert_eq!(first, expected, "no rate of one reading, but a ratio");
        for step in 1..=60_u64 {
            let now = start + EVERY * step as u32;
            // 50 a second; the slow ones are all in the first minute.
            let value = history.note(now, totals(1_000 + step * 100, 5 + step.min(30), (90 + step * 3, 10 + step)));
            assert_eq!(value["queries_per_second"], json!(50.0), "{step}");
            assert_eq!(value["cache_hit_ratio"], json!(0.75));
            if step == 60 {
                assert_eq!(value["slow_queries"], json!(0));
            }
        }
        assert_eq!(history.past.len(), 31);
    }

    #[test]
    fn rates_restart_after_a_reset_of_the_counters() {
        let (mut history, start) = (History::default(), Instant::now());
        history.note(start, totals(1_000, 5, (90, 10)));
        let value = history.note(start + EVERY, totals(3, 0, (0, 0)));
        assert_eq!(value["queries_per_second"], Value::Null);
        assert_eq!(value["cache_hit_ratio"], Value::Null);
        assert_eq!(history.note(start + EVERY * 2, totals(23, 2, (0, 0)))["queries_per_second"], json!(10.0));
    }

    #[test]
    fn unknown_values_are_null() {
        let mut history = History::default();
        history.note(Instant::now(), StoreTotals::default());
        assert_eq!(history.note(Instant::now() + EVERY, StoreTotals::default()), unknown());
        let now = StoreTotals { slow: Some(Slow::Now(2)), ..StoreTotals::default() };
        assert_eq!(history.note(Instant::now() + EVERY * 2, now)["slow_queries"], json!(2));
    }
}
