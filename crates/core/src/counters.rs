//! The server's own numbers: plain atomics that anybody may count with, and nobody waits for.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    /// Adds `n`, which may be negative; answers the new level.
    pub fn add(&self, n: i64) -> i64 {
        self.0.fetch_add(n, Ordering::Relaxed) + n
    }

    /// Sets it.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The level now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the latency buckets, in seconds.
pub const LATENCY_BUCKETS: [f64; 12] =
    [0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// A latency histogram with [`LATENCY_BUCKETS`].
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; LATENCY_BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Latency {
    /// Counts `times` observations of `elapsed`.
    pub fn observe(&self, elapsed: std::time::Duration, times: u64) {
        let seconds = elapsed.as_secs_f64();
        let bucket = LATENCY_BUCKETS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        self.micros.fetch_add((elapsed.as_micros() as u64).saturating_mul(times), Ordering::Relaxed);
    }

    /// Sum in seconds, count, and for each bound how many were in its bucket (not cumulative; the last has no bound).
    pub fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let bounds = LATENCY_BUCKETS.into_iter().chain([f64::MAX]);
        let sum = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        (sum, counts.iter().sum(), bounds.zip(counts).collect())
    }
}

/// The ways out, as `/metrics` labels them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket.
    WebSocket,
    /// Server-Sent Events.
    Sse,
    /// A held poll.
    LongPoll,
    /// A poll answered at once.
    Poll,
    /// Socket.IO, on whichever of its transports.
    SocketIo,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 5] = [Self::WebSocket, Self::Sse, Self::LongPoll, Self::Poll, Self::SocketIo];

    /// The label.
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

/// The limits that can refuse somebody something, as `/metrics` labels them: by the name of their setting.
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
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 28] = [
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
    ];

    /// The label.
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
    /// Its stream is ended.
    Closed,
}

impl BackpressureLevel {
    /// Every level.
    pub const ALL: [Self; 4] = [Self::Conflated, Self::Stretched, Self::SnapshotOnly, Self::Closed];

    /// The label, and the reason that the client is told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflated => "conflated",
            Self::Stretched => "interval_stretched",
            Self::SnapshotOnly => "snapshot_only",
            Self::Closed => "closed",
        }
    }
}

/// What is counted per transport.
#[derive(Debug, Default)]
pub struct TransportCounters {
    /// Open now.
    pub connections: Level,
    /// Opened since the start.
    pub opened: Count,
    /// States and events handed to clients.
    pub deliveries: Count,
    /// State versions skipped because a newer one was there.
    pub conflations: Count,
    /// Gaps told.
    pub gaps: Count,
    /// From the aggregator's acceptance until the bytes were handed to the socket.
    pub delivery_latency: Latency,
}

/// What is counted of history, of all tenants.
#[derive(Debug, Default)]
pub struct HistoryCounters {
    /// Points that are in the store.
    pub written: Count,
    /// How long the store took for a batch of points.
    pub write_latency: Latency,
    /// How long it took for a step of a roll-up.
    pub roll_up_latency: Latency,
    /// Points that were dropped because the store did not take them in time.
    pub dropped: Count,
    /// Points of fields beyond the limit of series.
    pub refused: Count,
    /// Points that the store does not take.
    pub refused_by_store: Count,
    /// Points beyond the limit of points a second.
    pub beyond: Count,
}

/// All counters of one server.
#[derive(Debug, Default)]
pub struct Counters {
    transports: [TransportCounters; Transport::ALL.len()],
    /// Of history.
    pub history: HistoryCounters,
    /// Readings accepted.
    pub accepted: Count,
    /// Readings refused.
    pub refused: Count,
    /// From the arrival of a push until its changes are in the log.
    pub publish_latency: Latency,
    /// Messages of WebSocket clients that were answered with an error.
    pub bad_messages: Count,
    /// Polls answered 304.
    pub not_modified: Count,
    limits: [Count; Limit::ALL.len()],
    backpressure: [Count; BackpressureLevel::ALL.len()],
    /// Connections of any kind that are open.
    pub sockets: Level,
    /// Tokens refused, for whatever reason.
    pub refused_tokens: Count,
    /// Milliseconds by which the slowest worker's timer was late in the last second.
    pub lag_ms: Level,
    /// Host CPU in permille, for the load level.
    pub cpu_permille: Level,
}

impl Counters {
    /// The counters of one transport.
    pub fn of(&self, transport: Transport) -> &TransportCounters {
        &self.transports[transport as usize]
    }

    /// How often a limit refused something.
    pub fn limit(&self, limit: Limit) -> &Count {
        &self.limits[limit as usize]
    }

    /// Number of times that a slow client reached a level.
    pub fn backpressure(&self, level: BackpressureLevel) -> &Count {
        &self.backpressure[level as usize]
    }

    /// Open streams: WebSockets, event streams and held polls.
    pub fn streams(&self) -> i64 {
        Transport::ALL.iter().map(|transport| self.of(*transport).connections.get()).sum()
    }

    /// `normal`, `high` or `critical`, from the measured CPU and the lag of the workers.
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_bounds_it() {
        let latency = Latency::default();
        latency.observe(Duration::from_micros(100), 1);
        latency.observe(Duration::from_micros(101), 2);
        latency.observe(Duration::from_secs(60), 1);
        let (sum, count, buckets) = latency.read();
        assert_eq!(count, 4);
        assert!((sum - 60.000_302).abs() < 1e-9, "{sum}");
        assert_eq!((buckets[0].1, buckets[1].1, buckets[12].1), (1, 2, 1));
    }

    #[test]
    fn every_limit_and_level_has_its_own_place() {
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
