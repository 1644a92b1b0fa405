//! `GET /metrics`: metrics of the server itself for Prometheus.

use actix_web::{HttpRequest, HttpResponse, http::header};

use super::exposition::{self, Page};
use crate::{
    telemetry,
    web::{
        access, caller,
        problem::Problem,
        state::{Shared, WorkerState},
    },
};
use tricast_auth::{Permission, TenantName};
use tricast_cluster::Cluster;
use tricast_core::{
    channel::Gone,
    counters::{BackpressureLevel, Door, Limit, Passage, Transport, TransportCounters},
    pause,
    protocol::SERVER_VERSION,
};
use tricast_domain::{
    alerts::{Sent, Target},
    orders::RowCounts,
};

/// Handles `GET` and `HEAD /metrics`.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Operation",
    operation_id = "getPrometheus",
    summary = "Metrics for Prometheus",
    description = "Needs the permission `admin` where tokens are required, since it covers all tenants.",
    responses((status = 200, description = "Text format 0.0.4", body = String, content_type = "text/plain"))
)]
pub async fn get(request: HttpRequest, WorkerState(state): WorkerState) -> Result<HttpResponse, Problem> {
    if state.shared.access.requires_tokens() {
        // The page covers all tenants, so an administrator of one tenant may not read it. It has to work at the limit of
        // tenants, where it is needed.
        let identity = access::identity(&state, &request).await?;
        caller::check_permission(&identity, Permission::Admin)?;
        if identity.tenant != TenantName::default_name() {
            return Err(Problem::forbidden("this needs an admin of the tenant \"default\""));
        }
    }
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, exposition::CONTENT_TYPE))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(write(&state.shared)))
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
    page.counters("deliveries_total", "Values and events sent to clients", each(|of| of.deliveries.get()));
    let skipped = "Values of state channels that were skipped for a newer one";
    page.counters("conflations_total", skipped, each(|of| of.conflations.get()));
    page.counters("gaps_total", "Gaps reported to clients", each(|of| of.gaps.get()));
    let streams = [Transport::WebSocket, Transport::Sse];
    page.histograms(
        "delivery_latency_seconds",
        "Time from the acceptance of a change until its bytes are handed to the socket",
        streams.map(|transport| (Some(("transport", transport.as_str())), &counters.of(transport).delivery_latency)),
    );
    let publish = "Time from the arrival of a push until it is in the log";
    page.histograms("publish_latency_seconds", publish, [(None, &counters.publish_latency)]);

    let tenants = shared.tenants.all();
    let sizes: Vec<_> = tenants.iter().map(|tenant| tenant.log.sizes()).collect();
    page.gauge("log_events", "Events kept in the logs", sizes.iter().map(|of| of.events).sum::<usize>());
    page.gauge(
        "log_bytes",
        "Bytes of the events kept in the logs",
        sizes.iter().map(|of| of.event_bytes).sum::<usize>(),
    );
    page.gauge("state_bytes", "Bytes of the newest values", sizes.iter().map(|of| of.state_bytes).sum::<usize>());
    page.gauge("log_offset", "The newest offsets, added up", tenants.iter().map(|t| t.log.head()).sum::<u64>());
    page.gauge("channels", "Known channels", sizes.iter().map(|of| of.channels).sum::<usize>());
    page.gauge("ended_channels", "Ends of channels that are kept", sizes.iter().map(|of| of.ends).sum::<usize>());
    let reasons = Gone::ALL.map(|gone| (gone, [("reason", gone.as_str())]));
    let ended = reasons.iter().map(|(gone, label)| (&label[..], shared.tenants.ended().of(*gone)));
    page.counters("channels_ended_total", "Channels that ended by a decision of this process", ended);
    let waiting: usize = tenants.iter().map(|tenant| tenant.aggregator.waiting()).sum();
    page.gauge("queue_batches", "Batches that wait for the aggregators", waiting);
    page.counter("readings_accepted_total", "Readings accepted", counters.accepted.get());
    page.counter("readings_refused_total", "Readings refused", counters.refused.get());
    let values: Vec<_> = Door::ALL
        .iter()
        .flat_map(|door| Passage::ALL.iter().map(move |passage| (*door, *passage)))
        .map(|(door, passage)| {
            ([("door", door.as_str()), ("result", passage.as_str())], counters.door(door, passage).get())
        })
        .collect();
    let help = "Values that other programs sent in their own protocols, by result";
    page.counters("door_values_total", help, values.iter().map(|(labels, count)| (&labels[..], *count)));
    page.counter("bad_messages_total", "WebSocket messages that got an error", counters.bad_messages.get());
    page.counter("not_modified_total", "Polls with the response 304", counters.not_modified.get());
    page.gauge("sockets", "Connections of any kind that are open", counters.sockets.get());
    page.counter("tokens_refused_total", "Tokens refused", counters.refused_tokens.get());
    let limits = Limit::ALL.map(|limit| (limit, [("limit", limit.as_str())]));
    let refused = limits.iter().map(|(limit, label)| (&label[..], counters.limit(*limit).get()));
    page.counters("limit_reached_total", "Times a limit refused something, by its setting", refused);
    let levels = BackpressureLevel::ALL.map(|level| (level, [("step", level.as_str())]));
    let slowed = levels.iter().map(|(level, label)| (&label[..], counters.backpressure(*level).get()));
    page.counters("slow_clients_total", "Times a slow client reached a backpressure level", slowed);
    let rows: Vec<_> = tenants.iter().map(|tenant| tenant.orders.rows()).collect();
    let most = |of: fn(&RowCounts) -> i64| rows.iter().map(of).max().unwrap_or_default();
    page.gauge("orders", "Orders in the store, of the tenants in memory", rows.iter().map(|of| of.orders).sum::<i64>());
    page.gauge("orders_largest_tenant", "Orders of the tenant that has the most", most(|of| of.orders));
    let customers = rows.iter().map(|of| of.customers).sum::<i64>();
    page.gauge("customers", "Customers in the store, of the tenants in memory", customers);
    page.gauge("customers_largest_tenant", "Customers of the tenant that has the most", most(|of| of.customers));
    let pending: u64 = tenants.iter().map(|tenant| tenant.relay.waiting()).sum();
    page.gauge("pending_events", "Events that are stored and wait to be published", pending);
    let (activity, store) = (shared.store.activity(), shared.store.gauges());
    let work = [(Some(("operation", "read")), &activity.reads), (Some(("operation", "write")), &activity.writes)];
    page.histograms("store_latency_seconds", "Time from the request of a read or a change until its result", work);
    page.counter(
        "store_slow_queries_total",
        "Reads and changes of the store that took more than 100 ms",
        activity.slow.get(),
    );
    page.gauge("store_queue", "Reads and changes that wait for the store", store.waiting);
    page.gauge("store_connections", "Connections of the store that are open", store.connections);
    page.gauge("store_connections_in_use", "Connections of the store that are in use", store.in_use);
    let available = shared.store.is_available();
    page.gauge("store_available", "1 while the store can be read and written", u8::from(available));
    page.gauge("tenants", "Tenants in memory", tenants.len());
    page.counter("tenants_released_total", "Unused tenants that were released", shared.tenants.released());
    let users: usize = tenants.iter().map(|tenant| tenant.presence.online().current).sum();
    page.gauge("users_online", "Users on any transport, of all tenants", users);
    page.gauge("draining", "1 while the server is shutting down", u8::from(shared.shutdown.is_draining()));
    let dropped = "Log lines that were dropped because standard error was not read in time";
    page.counter("log_lines_dropped_total", dropped, telemetry::dropped());
    page.counter("pauses_total", "Pauses of the process of a second or more", pause::count());
    let lag = counters.lag_ms.get() as f64 / 1e3;
    page.gauge("worker_lag_seconds", "Lag of the slowest worker", lag);

    if let Some(cluster) = shared.tenants.cluster() {
        write_bus(cluster, &mut page);
    }
    if shared.clocks.are_compared() {
        let ahead = "Lead of this node's clock over that of the bus or the database; NaN while it is unknown";
        let seconds = shared.clocks.ahead().map_or(f64::NAN, |ahead| ahead.as_secs_f64());
        page.gauge("clock_offset_seconds", ahead, seconds);
    }
    write_alerts(shared, &mut page);
    let history = &counters.history;
    page.counter("history_points_total", "Points of history written to the store", history.written.get());
    let lost = [
        (&[("reason", "buffer_full")][..], history.dropped.get()),
        (&[("reason", "max_series")][..], history.refused.get()),
        (&[("reason", "store")][..], history.refused_by_store.get()),
        (&[("reason", "max_points_per_second")][..], history.beyond.get()),
    ];
    page.counters("history_points_lost_total", "Points of history that were not recorded", lost);
    let waiting: usize = tenants.iter().map(|tenant| tenant.history.waiting()).sum();
    page.gauge("history_buffer_points", "Points of history that wait for the store", waiting);
    let bytes = tenants.iter().map(|tenant| tenant.history.bytes()).max().unwrap_or_default();
    page.gauge("history_store_bytes", "Size of the store of history at the last measurement", bytes);
    let kept = tenants.iter().map(|tenant| tenant.history.points_kept().as_secs()).min().unwrap_or_default();
    page.gauge("history_points_kept_seconds", "Current retention of points, 0 without a limit", kept);
    let series: usize = tenants.iter().map(|tenant| tenant.history.series()).sum();
    page.gauge("history_series", "Series that were recorded in the last hour, or wait for the store", series);
    let lag = tenants.iter().map(|tenant| tenant.history.lag()).max().unwrap_or_default();
    page.gauge(
        "history_rollup_lag_seconds",
        "Age of the newest minute that is not rolled up, at the last measurement",
        lag.as_secs_f64(),
    );
    let work =
        [(Some(("work", "write")), &history.write_latency), (Some(("work", "roll_up")), &history.roll_up_latency)];
    page.histograms("history_store_seconds", "Time of one transaction of history in the store", work);

    let routes = shared.requests.sum();
    let routes: Vec<_> =
        routes.iter().map(|((route, method, status), count)| (route, *method, status.to_string(), *count)).collect();
    let routes: Vec<_> = routes
        .iter()
        .map(|(route, method, status, count)| {
            ([("route", &***route), ("method", method), ("status", status.as_str())], *count)
        })
        .collect();
    let samples = routes.iter().map(|(labels, count)| (&labels[..], *count));
    page.counters("http_requests_total", "Responses by route, method and status", samples);
    page.finish()
}

fn write_bus(cluster: &Cluster, page: &mut Page) {
    let metrics = cluster.metrics();
    let fine = cluster.fault().borrow().is_none();
    page.gauge("bus_available", "1 while the bus can be read and written", u8::from(fine));
    page.gauge("bus_leads", "1 while this node is the leader", u8::from(*cluster.leads().borrow()));
    let silent = metrics.silent_for().unwrap_or(f64::NAN);
    page.gauge("bus_silent_seconds", "Time since the last response of the bus", silent);
    let behind = metrics.entries_behind().map_or(f64::NAN, |behind| behind as f64);
    let help = "Entries of the shared log that were not read at the last check; NaN while the bus does not respond";
    page.gauge("bus_entries_behind", help, behind);
    page.gauge("bus_pending_groups", "Groups of batches that wait for the leader's reply", cluster.pending());
    page.counter("bus_groups_total", "Groups of batches that were sent to the inbox", metrics.enqueued.get());
    page.counter("bus_entries_read_total", "Entries of the shared log that were read", metrics.applied.get());
    page.counter("bus_entries_written_total", "Entries that this node wrote as leader", metrics.appended.get());
    page.counter("bus_elections_total", "Times that this node was elected", metrics.elections.get());
    let surrenders = "Times that this node gave up the lease because it could not write the log";
    page.counter("bus_surrenders_total", surrenders, metrics.surrenders.get());
    let unreadable = "Groups of batches that could not be read, as a whole or in part, and were refused";
    page.counter("bus_unreadable_groups_total", unreadable, metrics.unreadable.get());
    page.counter("bus_loads_total", "Times that the whole log was loaded", metrics.loads.get());
    page.counter("bus_failures_total", "Failed requests to the bus", metrics.failures.get());
}

fn write_alerts(shared: &Shared, page: &mut Page) {
    let sizes = shared.tenants.all().iter().map(|tenant| tenant.alerts.sizes()).collect::<Vec<_>>();
    page.gauge("alert_rules", "Alert rules that are evaluated", sizes.iter().map(|of| of.0).sum::<i64>());
    page.gauge("alerts_open", "Alerts that are not resolved", sizes.iter().map(|of| of.1).sum::<i64>());
    let metrics = &shared.tenants.alerting().metrics;
    let looks = "Evaluations of all rules of a tenant";
    page.counter("alert_evaluations_total", looks, metrics.evaluations.get());
    page.counter("alerts_raised_total", "Alerts raised", metrics.raised.get());
    page.counter("alerts_resolved_total", "Alerts resolved", metrics.resolved.get());
    let failures = "Failed writes of alerts to the store";
    page.counter("alert_store_failures_total", failures, metrics.store_failures.get());
    let results = Target::ALL.iter().flat_map(|target| Sent::ALL.iter().map(move |result| (*target, *result)));
    let results: Vec<_> = results
        .map(|(target, result)| {
            ([("target", target.as_str()), ("result", result.as_str())], metrics.sent(target, result).get())
        })
        .collect();
    let help = "Attempts to deliver mails and webhooks of alerts, by result";
    page.counters("notifications_total", help, results.iter().map(|(labels, count)| (&labels[..], *count)));
    let now = shared.clock.now();
    let waiting = Target::ALL.map(|target| ([("target", target.as_str())], metrics.waiting(target, now)));
    let length = waiting.iter().map(|(label, waiting)| (&label[..], waiting.0));
    page.gauges("outbox_length", "Mails and webhooks of alerts that wait for delivery", length);
    let age = waiting.iter().map(|(label, waiting)| (&label[..], waiting.1));
    page.gauges("outbox_age_seconds", "Age of the oldest waiting mail or webhook", age);
}
