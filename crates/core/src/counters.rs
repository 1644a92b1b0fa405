//! Metrics of the server itself: plain atomics that any thread can update without waiting.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

/// Number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n` to the counter.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one to the counter.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Returns the count since the start of the process.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative, and returns the new value.
    pub fn add(&self, n: i64) -> i64 {
        self.0.fetch_add(n, Ordering::Relaxed) + n
    }

    /// Sets the gauge to `n`.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Returns the current value of the gauge.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the histogram's buckets, in seconds.
pub const LATENCY_BUCKETS: [f64; 12] =
    [0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The same in nanoseconds.
const BUCKET_NANOS: [u64; LATENCY_BUCKETS.len()] = {
    let mut nanos = [0; LATENCY_BUCKETS.len()];
    let mut number = 0;
    while number < nanos.len() {
        nanos[number] = (LATENCY_BUCKETS[number] * 1e9 + 0.5) as u64;
        number += 1;
    }
    nanos
};

/// Histogram of latencies, with the buckets [`LATENCY_BUCKETS`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LATENCY_BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// Latency with its bucket, which may be counted many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    bucket: usize,
    micros: u64,
}

impl Latency {
    /// Returns the latency `elapsed` with its bucket.
    pub fn of(elapsed: Duration) -> Self {
        let nanos = elapsed.as_nanos() as u64;
        // From the first one: most latencies are small.
        let bucket = BUCKET_NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(BUCKET_NANOS.len());
        Self { bucket, micros: nanos / 1_000 }
    }
}

impl Histogram {
    /// Counts `times` observations of `elapsed`.
    pub fn observe(&self, elapsed: Duration, times: u64) {
        self.add(Latency::of(elapsed), times);
    }

    /// Counts `times` observations of `latency`.
    #[inline]
    pub fn add(&self, latency: Latency, times: u64) {
        self.buckets[latency.bucket].fetch_add(times, Ordering::Relaxed);
        self.micros.fetch_add(latency.micros.saturating_mul(times), Ordering::Relaxed);
    }

    /// Returns the sum in seconds, the number of observations, and for each bound the observations in its bucket (not
    /// cumulative; the last bucket has no bound).
    pub fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let bounds = LATENCY_BUCKETS.into_iter().chain([f64::MAX]);
        let sum = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        (sum, counts.iter().sum(), bounds.zip(counts).collect())
    }
}

/// Transport of a connection, as `/metrics` labels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket at `/ws` and `/v1/dashboard/ws`.
    WebSocket,
    /// Server-Sent Events at `/events`.
    Sse,
    /// A poll that waits for a change.
    LongPoll,
    /// A poll with an immediate response.
    Poll,
    /// Socket.IO, over either of its transports.
    SocketIo,
}

impl Transport {
    /// All transports, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::WebSocket, Self::Sse, Self::LongPoll, Self::Poll, Self::SocketIo];

    /// Returns the value of the label `transport` in `/metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::LongPoll => "long_poll",
            Self::Poll => "poll",
            Self::SocketIo => "socketio",
        }
    }
}

/// Limit that can refuse a request, as `/metrics` labels it: the name of its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named after its setting")]
pub enum Limit {
    Connections,
    ConnectionsPerAddress,
    ConnectionsPerUser,
    Handshakes,
    Changes,
    AuthTimeout,
    Subscriptions,
    Messages,
    Message,
    BadMessages,
    Requests,
    Body,
    Lines,
    BodyTimeout,
    HeaderTimeout,
    Channels,
    State,
    StateTotal,
    Snapshot,
    Series,
    Tenants,
    Tickets,
    SlowClients,
    PendingEvents,
    Orders,
    Customers,
    Dashboards,
    Rules,
    Keys,
    UnknownKeys,
}

impl Limit {
    /// All limits, in the order of their counters.
    pub const ALL: [Self; 30] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::ConnectionsPerUser,
        Self::Handshakes,
        Self::Changes,
        Self::AuthTimeout,
        Self::Subscriptions,
        Self::Messages,
        Self::Message,
        Self::BadMessages,
        Self::Requests,
        Self::Body,
        Self::Lines,
        Self::BodyTimeout,
        Self::HeaderTimeout,
        Self::Channels,
        Self::State,
        Self::StateTotal,
        Self::Snapshot,
        Self::Series,
        Self::Tenants,
        Self::Tickets,
        Self::SlowClients,
        Self::PendingEvents,
        Self::Orders,
        Self::Customers,
        Self::Dashboards,
        Self::Rules,
        Self::Keys,
        Self::UnknownKeys,
    ];

    /// Returns the name of the setting, which is the value of the label `limit` in `/metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::ConnectionsPerAddress => "max_connections_per_address",
            Self::ConnectionsPerUser => "max_connections_per_user",
            Self::Handshakes => "handshakes_per_second_per_address",
            Self::Changes => "changes_per_second_per_user",
            Self::AuthTimeout => "auth_timeout",
            Self::Subscriptions => "max_subscriptions",
            Self::Messages => "messages_per_second",
            Self::Message => "max_message",
            Self::BadMessages => "max_bad_messages",
            Self::Requests => "max_requests",
            Self::Body => "max_body",
            Self::Lines => "max_lines",
            Self::BodyTimeout => "body_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::Channels => "max_channels",
            Self::State => "max_state",
            Self::StateTotal => "max_state_total",
            Self::Snapshot => "max_snapshot",
            Self::Series => "max_series",
            Self::Tenants => "max_tenants",
            Self::Tickets => "max_tickets",
            Self::SlowClients => "slow_after",
            Self::PendingEvents => "max_pending_events",
            Self::Orders => "max_orders",
            Self::Customers => "max_customers",
            Self::Dashboards => "max_dashboards",
            Self::Rules => "max_rules",
            Self::Keys => "max_keys",
            Self::UnknownKeys => "unknown_keys_per_address",
        }
    }
}

/// Protocol of other programs by which metrics arrive, as `/metrics` labels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// InfluxDB line protocol.
    Influx,
}

impl Door {
    /// All doors, in the order of their counters.
    pub const ALL: [Self; 1] = [Self::Influx];

    /// Returns the value of the label `door` in `/metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Influx => "influx",
        }
    }
}

/// What became of a value that arrived through a [`Door`], as `/metrics` labels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passage {
    /// It is in the log.
    Accepted,
    /// It is not valid, or beyond a limit.
    Refused,
    /// It is too old to be a current value.
    Late,
}

impl Passage {
    /// All results, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Late];

    /// Returns the value of the label `result` in `/metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Late => "late",
        }
    }
}

/// Backpressure level of a slow client, as `/metrics` labels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BackpressureLevel {
    /// The client receives the newest values only.
    Conflated,
    /// It receives them less often.
    Stretched,
    /// It receives states only, and rarely; events wait.
    SnapshotOnly,
    /// The server closes the stream with [`CloseReason::TooSlow`](crate::protocol::close::CloseReason::TooSlow).
    Closed,
}

impl BackpressureLevel {
    /// All levels in rising order, which is that of their counters.
    pub const ALL: [Self; 4] = [Self::Conflated, Self::Stretched, Self::SnapshotOnly, Self::Closed];

    /// Returns the label, which is also the reason in messages to the client.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflated => "conflated",
            Self::Stretched => "interval_stretched",
            Self::SnapshotOnly => "snapshot_only",
            Self::Closed => "closed",
        }
    }
}

/// Counters of one transport.
#[derive(Debug, Default)]
pub struct TransportCounters {
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections opened since the start.
    pub opened: Counter,
    /// Values and events sent to clients.
    pub deliveries: Counter,
    /// Values of state channels that were skipped for a newer one.
    pub conflations: Counter,
    /// Gaps reported to clients.
    pub gaps: Counter,
    /// Time from the acceptance by the aggregator until the bytes are handed to the socket.
    pub delivery_latency: Histogram,
}

/// Counters of the history of all tenants.
#[derive(Debug, Default)]
pub struct HistoryCounters {
    /// Points written to the store.
    pub written: Counter,
    /// Time that the store takes for a batch of points.
    pub write_latency: Histogram,
    /// Time of one step of a roll-up.
    pub roll_up_latency: Histogram,
    /// Points that were dropped because the store did not accept them in time.
    pub dropped: Counter,
    /// Points of fields beyond the limit of series.
    pub refused: Counter,
    /// Points that the store refused.
    pub refused_by_store: Counter,
    /// Points beyond the limit of points per second.
    pub beyond: Counter,
}

/// All counters of one server.
#[derive(Debug, Default)]
pub struct Counters {
    transports: [TransportCounters; Transport::ALL.len()],
    /// Counters of recording and rolling up history.
    pub history: HistoryCounters,
    /// Number of readings that the aggregators accepted.
    pub accepted: Counter,
    /// Number of readings that the aggregators refused.
    pub refused: Counter,
    /// Time from the arrival of a push until its changes are in the log.
    pub publish_latency: Histogram,
    /// Messages of WebSocket clients to which the server responded with an error.
    pub bad_messages: Counter,
    /// Number of polls with the response 304.
    pub not_modified: Counter,
    doors: [[Counter; Passage::ALL.len()]; Door::ALL.len()],
    limits: [Counter; Limit::ALL.len()],
    backpressure: [Counter; BackpressureLevel::ALL.len()],
    /// Connections of any kind that are open.
    pub sockets: Gauge,
    /// Tokens that were refused for any reason.
    pub refused_tokens: Counter,
    /// Delay in milliseconds of the slowest worker's timer in the last second.
    pub lag_ms: Gauge,
    /// CPU utilization of the host in permille, for the load level.
    pub cpu_permille: Gauge,
}

impl Counters {
    /// Returns the counters of one transport.
    pub fn of(&self, transport: Transport) -> &TransportCounters {
        &self.transports[transport as usize]
    }

    /// Returns the counter of values with this result that arrived through a door.
    pub fn door(&self, door: Door, passage: Passage) -> &Counter {
        &self.doors[door as usize][passage as usize]
    }

    /// Returns the counter of refusals by a limit.
    pub fn limit(&self, limit: Limit) -> &Counter {
        &self.limits[limit as usize]
    }

    /// Returns the counter of slow clients that reached a level.
    pub fn backpressure(&self, level: BackpressureLevel) -> &Counter {
        &self.backpressure[level as usize]
    }

    /// Returns the number of open streams: WebSockets, event streams and held polls.
    pub fn streams(&self) -> i64 {
        Transport::ALL.iter().map(|transport| self.of(*transport).connections.get()).sum()
    }

    /// Returns the load level `normal`, `high` or `critical`, from the CPU utilization and the lag of the workers.
    pub fn load(&self) -> &'static str {
        match (self.cpu_permille.get(), self.lag_ms.get()) {
            (980.., _) | (_, 1_000..) => "critical",
            (850.., _) | (_, 100..) => "high",
            _ => "normal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_in_the_bucket_that_bounds_it() {
        let latency = Histogram::default();
        latency.observe(Duration::from_micros(100), 1);
        latency.observe(Duration::from_micros(101), 2);
        latency.observe(Duration::from_secs(60), 1);
        let (sum, count, buckets) = latency.read();
        assert_eq!(count, 4);
        assert!((sum - 60.000_302).abs() < 1e-9, "{sum}");
        assert_eq!((buckets[0].1, buckets[1].1, buckets[12].1), (1, 2, 1));
    }

    #[test]
    fn every_limit_and_level_has_its_own_counter() {
        assert!(Limit::ALL.iter().enumerate().all(|(place, limit)| *limit as usize == place));
        assert!(BackpressureLevel::ALL.iter().enumerate().all(|(place, level)| *level as usize == place));
    }

    #[test]
    fn load_is_the_worse_of_cpu_and_lag() {
        let counters = Counters::default();
        assert_eq!(counters.load(), "normal");
        counters.lag_ms.set(150);
        assert_eq!(counters.load(), "high");
        counters.cpu_permille.set(990);
        assert_eq!(counters.load(), "critical");
    }
}
