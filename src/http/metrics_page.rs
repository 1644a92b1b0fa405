//! `GET /metrics`: the server's own numbers for Prometheus.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use parking_lot::Mutex;

use super::{
    exposition::{self, Page},
    problem::Problem,
    state::{Shared, State},
};
use crate::{
    counters::{Transport, TransportCounters},
    protocol::SERVER_VERSION,
};

type Counts = BTreeMap<(Cow<'static, str>, &'static str, u16), u64>;

/// Requests by route, method and status: one table per worker, added up for the page.
#[derive(Debug, Default)]
pub struct Routes {
    workers: Mutex<Vec<Arc<WorkerRoutes>>>,
}

/// The table of one worker; nobody else writes it.
#[derive(Debug, Default)]
pub struct WorkerRoutes {
    counts: Mutex<Counts>,
}

impl Routes {
    /// The table of a new worker.
    pub fn worker(&self) -> Arc<WorkerRoutes> {
        let worker = Arc::<WorkerRoutes>::default();
        self.workers.lock().push(Arc::clone(&worker));
        worker
    }

    fn sum(&self) -> Counts {
        let mut sum = Counts::new();
        for worker in &*self.workers.lock() {
            for (key, count) in &*worker.counts.lock() {
                *sum.entry(key.clone()).or_default() += count;
            }
        }
        sum
    }
}

impl WorkerRoutes {
    /// Counts one answer. The route is the pattern, not the path, so that there are as many as there are routes.
    pub fn count(&self, request: &HttpRequest, status: StatusCode) {
        // Looking the pattern up walks the routes; the path that is polled all day is its own pattern.
        let route = match request.path() {
            "/api/metrics" => Cow::Borrowed("/api/metrics"),
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

/// `GET` and `HEAD /metrics`.
pub async fn get(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, exposition::CONTENT_TYPE))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(write(&state)))
}

fn write(shared: &Shared) -> String {
    let counters = &shared.counters;
    let mut page = Page::default();
    page.gauges("build_info", "The running version", [(&[("version", SERVER_VERSION)][..], 1)]);

    let labels = Transport::ALL.map(|transport| (transport, [("transport", transport.as_str())]));
    let each = |read: fn(&TransportCounters) -> u64| {
        labels.iter().map(move |(transport, label)| (&label[..], read(counters.of(*transport))))
    };
    let open = labels.iter().map(|(transport, label)| (&label[..], counters.of(*transport).connections.get()));
    page.gauges("connections", "Streams and held polls that are open", open);
    page.counters("connections_opened_total", "Streams and held polls opened", each(|of| of.opened.get()));
    page.counters("deliveries_total", "States and events handed to clients", each(|of| of.deliveries.get()));
    let skipped = "State versions skipped because a newer one was there";
    page.counters("conflations_total", skipped, each(|of| of.conflations.get()));
    page.counters("gaps_total", "Times a client was told that events are lost", each(|of| of.gaps.get()));
    let streams = [Transport::WebSocket, Transport::Sse];
    page.histograms(
        "delivery_latency_seconds",
        "From the acceptance of a change until its bytes were handed to the socket",
        streams.map(|transport| (Some(("transport", transport.as_str())), &counters.of(transport).delivery_latency)),
    );
    let publish = "From the arrival of a push until it is in the log";
    page.histograms("publish_latency_seconds", publish, [(None, &counters.publish_latency)]);

    let (events, bytes, channels) = shared.log.sizes();
    page.gauge("log_events", "Events kept in the ring", events);
    page.gauge("log_bytes", "Bytes of the events kept in the ring", bytes);
    page.gauge("log_offset", "The newest offset", shared.log.head());
    page.gauge("channels", "Known channels", channels);
    page.gauge("queue_batches", "Batches that wait for the aggregator", shared.aggregator.waiting());
    page.counter("readings_accepted_total", "Readings accepted", counters.accepted.get());
    page.counter("readings_refused_total", "Readings refused", counters.refused.get());
    page.counter("bad_messages_total", "WebSocket messages answered with an error", counters.bad_messages.get());
    page.counter("not_modified_total", "Polls answered 304", counters.not_modified.get());
    page.counter("connections_refused_total", "Streams refused because of a limit", counters.refused_connections.get());
    page.gauge("users_online", "Users on any transport", shared.presence.online().current);
    page.gauge("draining", "1 while the server is going away", u8::from(shared.shutdown.is_draining()));
    let lag = counters.lag_ms.get() as f64 / 1e3;
    page.gauge("worker_lag_seconds", "By how much the slowest worker was late", lag);

    let routes = shared.routes.sum();
    let routes: Vec<_> =
        routes.iter().map(|((route, method, status), count)| (route, *method, status.to_string(), *count)).collect();
    let routes: Vec<_> = routes
        .iter()
        .map(|(route, method, status, count)| {
            ([("route", &***route), ("method", method), ("status", status.as_str())], *count)
        })
        .collect();
    let samples = routes.iter().map(|(labels, count)| (&labels[..], *count));
    page.counters("http_requests_total", "Answers by route, method and status", samples);
    page.finish()
}
