//! HTTP traffic of the server over the last 60 s: the channel `metrics.api`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Source, nodes::Nodes, round};

/// Window in seconds, with one slot for each.
const WINDOW: u64 = 60;

/// Source of `metrics.api`: the traffic of one tenant on this node.
pub(super) struct Api(pub(super) Arc<OwnHttp>);

impl Source for Api {
    fn channel(&self) -> &'static str {
        "metrics.api"
    }

    fn name(&self) -> &'static str {
        "traffic"
    }

    fn measure(&mut self) -> Value {
        serde_json::to_value(self.0.traffic()).unwrap_or_default()
    }

    fn merge(&mut self, nodes: &Nodes) -> Value {
        let all = nodes.of::<Traffic>(self.name()).into_iter().map(|(_, traffic)| traffic);
        all.sum::<Traffic>().to_json(nodes.users)
    }
}

/// Counter of requests, which workers share without a lock.
#[derive(Debug)]
pub struct OwnHttp {
    started: Instant,
    slots: [Slot; WINDOW as usize],
}

#[derive(Debug, Default)]
struct Slot {
    /// Second since the start that the slot counts, plus one; 0 for none.
    second: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    micros: AtomicU64,
}

impl Default for OwnHttp {
    fn default() -> Self {
        Self { started: Instant::now(), slots: std::array::from_fn(|_| Slot::default()) }
    }
}

impl OwnHttp {
    /// Counts an answered request. `elapsed` excludes the time that a long poll was held; an error is a status of 500 or more.
    pub fn count(&self, elapsed: Duration, error: bool) {
        self.count_at(self.started.elapsed().as_secs(), elapsed, error);
    }

    fn count_at(&self, second: u64, elapsed: Duration, error: bool) {
        let slot = &self.slots[(second % WINDOW) as usize];
        let stamp = second + 1;
        if slot.second.swap(stamp, Ordering::AcqRel) != stamp {
            // The first request of a second empties the slot of a minute ago; one counted in this very moment by
            // another worker may be lost, which is far below what the figures show.
            slot.requests.store(0, Ordering::Relaxed);
            slot.errors.store(0, Ordering::Relaxed);
            slot.micros.store(0, Ordering::Relaxed);
        }
        slot.requests.fetch_add(1, Ordering::Relaxed);
        slot.errors.fetch_add(u64::from(error), Ordering::Relaxed);
        slot.micros.fetch_add(elapsed.as_micros() as u64, Ordering::Relaxed);
    }

    /// Returns the traffic of the window.
    fn traffic(&self) -> Traffic {
        self.traffic_at(self.started.elapsed().as_secs())
    }

    fn traffic_at(&self, second: u64) -> Traffic {
        // The running second is left out, and before the first minute is over the window is shorter.
        let oldest = second.saturating_sub(WINDOW - 1);
        let (mut requests, mut errors, mut micros) = (0, 0, 0);
        for slot in &self.slots {
            let stamp = slot.second.load(Ordering::Acquire);
            if stamp > oldest && stamp <= second {
                requests += slot.requests.load(Ordering::Relaxed);
                errors += slot.errors.load(Ordering::Relaxed);
                micros += slot.micros.load(Ordering::Relaxed);
            }
        }
        let seconds = (second - oldest).max(1);
        Traffic { requests, errors, micros, per_second: requests as f64 / seconds as f64 }
    }
}

/// Requests of the last minute, of one node or of several.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Traffic {
    requests: u64,
    /// Requests answered with a status of 500 or more.
    errors: u64,
    /// Total duration in microseconds.
    micros: u64,
    /// Requests per second; of a node younger than the window over its age.
    per_second: f64,
}

impl Traffic {
    /// Returns the value of `metrics.api` with this number of active users.
    fn to_json(self, active_users: u64) -> Value {
        let per = |sum: u64, count: u64| if count == 0 { 0.0 } else { sum as f64 / count as f64 };
        json!({
            "requests_per_second": round(self.per_second, 2),
            "avg_response_time": round(per(self.micros, self.requests) / 1e3, 2),
            "error_rate": round(per(self.errors, self.requests), 4),
            "active_users": active_users,
        })
    }
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            requests: sum.requests + one.requests,
            errors: sum.errors + one.errors,
            micros: sum.micros + one.micros,
            per_second: sum.per_second + one.per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::nodes::Gathered, *};

    #[test]
    fn traffic_of_all_nodes_is_added_up() {
        let report = |node: &str, requests: u64, errors: u64| {
            let traffic = Traffic { requests, errors, micros: requests * 1_000, per_second: requests as f64 };
            (node.to_owned(), json!({"traffic": traffic}).to_string())
        };
        let reports = vec![report("a", 30, 0), report("c", 10, 4)];
        let api = Api(Arc::default()).merge(&Nodes::many(Gathered { users: 7, reports }));
        assert_eq!(api["requests_per_second"], 40.0);
        assert_eq!(api["error_rate"], 0.1);
        assert_eq!(api["avg_response_time"], 1.0);
        assert_eq!(api["active_users"], 7);
    }

    #[test]
    fn the_window_covers_the_last_minute() {
        let http = OwnHttp::default();
        for second in 0..100 {
            for _ in 0..4 {
                http.count_at(second, Duration::from_millis(2), false);
            }
        }
        http.count_at(99, Duration::from_millis(2), true);
        let read = http.traffic_at(100).to_json(3);
        assert_eq!(read["requests_per_second"], json!(4.02));
        assert_eq!(read["avg_response_time"], json!(2.0));
        assert_eq!(read["error_rate"], json!(0.0042));
        assert_eq!(read["active_users"], json!(3));
        assert_eq!(http.traffic_at(300).to_json(0)["requests_per_second"], json!(0.0));
    }

    #[test]
    fn a_young_server_counts_over_its_age() {
        let http = OwnHttp::default();
        http.count_at(0, Duration::from_millis(10), false);
        http.count_at(1, Duration::from_millis(10), false);
        assert_eq!(http.traffic_at(2).to_json(0)["requests_per_second"], json!(1.0));
        assert_eq!(http.traffic_at(0).to_json(0)["requests_per_second"], json!(0.0));
    }
}
