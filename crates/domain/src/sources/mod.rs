//! Built-in sources: the host, the server's own HTTP traffic, presence, and the store.

use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use self::host::HostReading;
use tricast_core::{
    aggregator::{AggregatorHandle, Stopped},
    channel::{Channel, EventName},
    clock::Clock,
    log::Log,
    presence::Presence,
    reading::Reading,
    span::iso_8601,
};

pub mod demo;
pub mod host;
mod merged;
pub mod own_http;
pub mod store;

pub use merged::{Gathered, Peers};

/// Interval at which the built-in sources are read.
const EVERY: Duration = Duration::from_secs(1);

/// Inputs and output of the built-in sources of one tenant.
pub struct Sources {
    /// Aggregator that takes the readings.
    pub aggregator: AggregatorHandle,
    /// HTTP traffic of the tenant.
    pub own_http: Arc<own_http::OwnHttp>,
    /// Users online on this node.
    pub presence: Presence,
    /// Newest reading of the host; the same for every tenant.
    pub host: watch::Receiver<Option<HostReading>>,
    /// Newest value of `metrics.database`; the same for every tenant.
    pub store: watch::Receiver<Value>,
    /// Wall clock, for midnight.
    pub clock: Clock,
    /// Time zone of midnight.
    pub zone: TimeZone,
    /// Log of the tenant.
    pub log: Arc<Log>,
    /// The other nodes of the cluster, if there is one.
    pub peers: Option<Box<dyn Peers>>,
}

impl Sources {
    /// Publishes the sources every second until the aggregator stops. Blocking measurements run on a thread of their own.
    pub async fn run(mut self) {
        if let Some(peers) = self.peers.take() {
            return merged::run(self, peers).await;
        }
        let database = self.store.borrow_and_update().clone();
        let host = HostReading::default().to_json();
        if self.publish([("metrics.database", database), ("metrics.infrastructure", host)]).await.is_err() {
            return;
        }
        self.host.mark_changed();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut today = self.clock.now_in(&self.zone).date();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // Disabled where the host can't be measured.
                Ok(()) = self.host.changed() => {
                    let host = *self.host.borrow_and_update();
                    if let Some(host) = host
                        && self.publish([("metrics.infrastructure", host.to_json())]).await.is_err()
                    {
                        return;
                    }
                    continue;
                }
                Ok(()) = self.store.changed() => {
                    let store = self.store.borrow_and_update().clone();
                    if self.publish([("metrics.database", store)]).await.is_err() {
                        return;
                    }
                    continue;
                }
            }
            let date = self.clock.now_in(&self.zone).date();
            if date != today {
                today = date;
                self.presence.new_day();
            }
            let online = self.presence.online();
            let users = users_online(online.current as u64, online.peak_today as u64, online.average_session);
            let api = self.own_http.traffic().to_json(online.current as u64);
            if self.publish([("metrics.api", api), ("metrics.users_online", users)]).await.is_err() {
                return;
            }
        }
    }

    async fn publish<const N: usize>(&self, values: [(&str, Value); N]) -> Result<(), Stopped> {
        publish(&self.aggregator, values).await
    }
}

/// Publishes values of built-in channels.
///
/// # Errors
/// [`Stopped`] when the server is shutting down.
pub async fn publish<const N: usize>(aggregator: &AggregatorHandle, values: [(&str, Value); N]) -> Result<(), Stopped> {
    let reading = |(name, value): (&str, Value)| {
        let channel = Channel::parse(name).ok()?;
        let data = if let Value::Object(data) = value { data } else { Map::new() };
        Some(Reading::value(channel, data))
    };
    aggregator.publish_own(values.into_iter().filter_map(reading).collect()).await
}

/// Publishes an event of the channel `system`.
///
/// # Errors
/// [`Stopped`] when the server is shutting down.
pub async fn announce(aggregator: &AggregatorHandle, event: &str, details: Value) -> Result<(), Stopped> {
    let (Ok(channel), Ok(event)) = (Channel::parse("system"), EventName::parse(event)) else { return Ok(()) };
    let data = if let Value::Object(data) = details { data } else { Map::new() };
    aggregator.publish_own(vec![Reading::Event { channel, event, data }]).await
}

/// Returns the value of `metrics.users_online`.
fn users_online(current: u64, peak_today: u64, average_session: Duration) -> Value {
    json!({
        "currentUsers": current,
        "peakToday": peak_today,
        "averageSessionDuration": iso_8601(average_session.as_secs()),
    })
}

/// Rounds to `digits` decimals, so that noise does not make new versions.
pub fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
