//! Counts of HTTP requests by route, method and status.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use actix_web::{HttpRequest, http::StatusCode};
use parking_lot::Mutex;

use super::route;

/// Requests by route, method and status code.
pub type Counts = BTreeMap<(Cow<'static, str>, &'static str, u16), u64>;

/// Counts of requests by route, method and status: one table per worker, so that workers share no lock.
#[derive(Debug, Default)]
pub struct RequestCounts {
    workers: Mutex<Vec<Arc<WorkerRequestCounts>>>,
}

/// Request counts of one worker; only that worker writes them.
#[derive(Debug, Default)]
pub struct WorkerRequestCounts {
    counts: Mutex<Counts>,
}

impl RequestCounts {
    /// Adds and returns the table of a new worker.
    pub fn worker(&self) -> Arc<WorkerRequestCounts> {
        let worker = Arc::<WorkerRequestCounts>::default();
        self.workers.lock().push(Arc::clone(&worker));
        worker
    }

    /// Returns the number of workers that have started.
    pub fn workers(&self) -> usize {
        self.workers.lock().len()
    }

    /// Returns the sum of all workers.
    pub fn sum(&self) -> Counts {
        let mut sum = Counts::new();
        for worker in &*self.workers.lock() {
            for (key, count) in &*worker.counts.lock() {
                *sum.entry(key.clone()).or_default() += count;
            }
        }
        sum
    }
}

impl WorkerRequestCounts {
    /// Counts one response by the pattern of its route, which bounds the number of keys; paths would not.
    pub fn count(&self, request: &HttpRequest, status: StatusCode) {
        // Looking up the pattern walks the routes; the paths of polls are their own patterns.
        let route = match request.path() {
            "/api/metrics" => Cow::Borrowed("/api/metrics"),
            "/socket.io/" => Cow::Borrowed("/socket.io/"),
            path if route::channel_in(path).is_some() => Cow::Borrowed("/api/metrics/{channel}"),
            _ => request.match_pattern().map_or(Cow::Borrowed("none"), Cow::Owned),
        };
        let method = match request.method().as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            _ => "other",
        };
        *self.counts.lock().entry((route, method, status.as_u16())).or_default() += 1;
    }
}
