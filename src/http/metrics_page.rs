//! `GET /metrics`: the server's own numbers for Prometheus.

use std::{collections::BTreeMap, fmt, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{
    problem::Problem,
    state::{Shared, State},
};
use crate::{
    counters::{Latency, Transport, TransportCounters},
    protocol::SERVER_VERSION,
};

/// Requests by route, method and status.
#[derive(Debug, Default)]
pub struct Routes {
    counts: Mutex<BTreeMap<(String, &'static str, u16), u64>>,
}

impl Routes {
    /// Counts one answer. The route is the pattern, not the path, so that there are as many as there are routes.
    pub fn count(&self, request: &HttpRequest, status: StatusCode) {
        // Looking the pattern up walks the routes; the path that is polled all day is its own pattern.
        let route = match request.path() {
            "/api/metrics" => "/api/metrics".to_owned(),
            _ => request.match_pattern().unwrap_or_else(|| "none".into()),
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

/// `GET` and `HEAD /metrics`: OpenMetrics text.
pub async fn get(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let mut registry = Registry::with_prefix("tricast");
    registry.register_collector(Box::new(Page(Arc::new((**state).clone()))));
    let mut page = String::new();
    text::encode(&mut page, &registry).map_err(|_| Problem::internal("the metrics page could not be written"))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(page))
}

struct Page(Arc<Shared>);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

type Encoded = Result<(), fmt::Error>;

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Encoded {
        let shared = &*self.0;
        let counters = &shared.counters;
        let mut page = Writer(&mut encoder);

        page.family("build", "The running version", MetricType::Info, |mut metric| {
            metric.encode_info(&[("version", SERVER_VERSION)])
        })?;
        page.per_transport(shared, "connections", "Streams and held polls that are open", MetricType::Gauge, |mut metric, of| {
            metric.encode_gauge(&of.connections.get())
        })?;
        page.count_per_transport(shared, "connections_opened", "Streams and held polls opened", |of| of.opened.get())?;
        page.count_per_transport(shared, "deliveries", "States and events handed to clients", |of| of.deliveries.get())?;
        page.count_per_transport(shared, "conflations", "State versions skipped because a newer one was there", |of| {
            of.conflations.get()
        })?;
        page.count_per_transport(shared, "gaps", "Times a client was told that events are lost", |of| of.gaps.get())?;
        page.latency_per_transport(shared)?;
        page.latency("publish_latency", "From the arrival of a push until it is in the log", &counters.publish_latency)?;

        let (events, bytes, channels) = shared.log.sizes();
        page.gauge("log_events", "Events kept in the ring", events as i64)?;
        page.gauge("log_bytes", "Bytes of the events kept in the ring", bytes as i64)?;
        page.gauge("log_offset", "The newest offset", shared.log.head() as i64)?;
        page.gauge("channels", "Known channels", channels as i64)?;
        page.gauge("queue_batches", "Batches that wait for the aggregator", shared.aggregator.waiting() as i64)?;
        page.count("readings_accepted", "Readings accepted", counters.accepted.get())?;
        page.count("readings_refused", "Readings refused", counters.refused.get())?;
        page.count("bad_messages", "WebSocket messages answered with an error", counters.bad_messages.get())?;
        page.count("not_modified", "Polls answered 304", counters.not_modified.get())?;
        page.count("connections_refused", "Streams refused because of a limit", counters.refused_connections.get())?;
        page.gauge("users_online", "Users on any transport", shared.presence.online().current as i64)?;
        page.gauge("draining", "1 while the server is going away", shared.shutdown.is_draining().into())?;
        page.gauge("worker_lag_milliseconds", "By how much the slowest worker was late", counters.lag_ms.get())?;
        page.family("http_requests", "Answers by route, method and status", MetricType::Counter, |mut metric| {
            for ((route, method, status), count) in &*shared.routes.counts.lock() {
                let labels = [("route", route.as_str()), ("method", method), ("status", &status.to_string())];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
            Ok(())
        })
    }
}

struct Writer<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Writer<'_, '_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(MetricEncoder<'_>) -> Encoded,
    ) -> Encoded {
        write(self.0.encode_descriptor(name, help, None, kind)?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: i64) -> Encoded {
        self.family(name, help, MetricType::Gauge, |mut metric| metric.encode_gauge(&value))
    }

    fn count(&mut self, name: &str, help: &str, value: u64) -> Encoded {
        self.family(name, help, MetricType::Counter, |mut metric| metric.encode_counter::<NoLabelSet, _, u64>(&value, None))
    }

    fn per_transport(
        &mut self,
        shared: &Shared,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl Fn(MetricEncoder<'_>, &TransportCounters) -> Encoded,
    ) -> Encoded {
        self.family(name, help, kind, |mut metric| {
            Transport::ALL.into_iter().try_for_each(|transport| {
                write(metric.encode_family(&[("transport", transport.as_str())])?, shared.counters.of(transport))
            })
        })
    }

    fn count_per_transport(
        &mut self,
        shared: &Shared,
        name: &str,
        help: &str,
        read: impl Fn(&TransportCounters) -> u64,
    ) -> Encoded {
        self.per_transport(shared, name, help, MetricType::Counter, |mut metric, of| {
            metric.encode_counter::<NoLabelSet, _, u64>(&read(of), None)
        })
    }

    fn latency_per_transport(&mut self, shared: &Shared) -> Encoded {
        let help = "From the acceptance of a change until its bytes were handed to the socket";
        let mut metric = self.0.encode_descriptor("delivery_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        [Transport::WebSocket, Transport::Sse].into_iter().try_for_each(|transport| {
            let (sum, count, buckets) = shared.counters.of(transport).delivery_latency.read();
            metric.encode_family(&[("transport", transport.as_str())])?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    fn latency(&mut self, name: &str, help: &str, latency: &Latency) -> Encoded {
        let (sum, count, buckets) = latency.read();
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}
