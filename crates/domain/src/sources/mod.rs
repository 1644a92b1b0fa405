//! Built-in sources: measurements of the server itself, each of which is the value of a built-in channel.
//!
//! One loop serves one node and many: every second each source measures this node, the measurements of all nodes are gathered
//! (those of a single node are there already), and each source makes the value of its channel from them. In a cluster the leader
//! publishes the values.

use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use self::{host::HostReading, nodes::Nodes, own_http::OwnHttp, store::StoreCounters};
use tricast_core::{aggregator::AggregatorHandle, clock::Clock, counters::Counters, log::Log, presence::Presence};

pub mod demo;
pub mod host;
mod nodes;
pub mod own_http;
mod publish;
pub mod store;
mod users;

pub use nodes::{Gathered, Peers};
pub use publish::{announce, publish};

/// Interval at which the built-in sources are read.
const EVERY: Duration = Duration::from_secs(1);

/// A built-in source: the only writer of one built-in channel.
trait Source: Send {
    /// Returns the name of its channel, a row of [`tricast_core::built_in::CHANNELS`].
    fn channel(&self) -> &'static str;

    /// Returns the name of its measurements in node reports.
    fn name(&self) -> &'static str;

    /// Returns the newest measurement of this node. It does not block: slow measurements are made by a thread or task of their own.
    fn measure(&mut self) -> Value;

    /// Returns the value of the channel, made from the measurements of all nodes.
    fn merge(&mut self, nodes: &Nodes) -> Value;
}

/// Measurements of the process, which all tenants share. Cheap to clone.
#[derive(Clone)]
pub struct SharedMeasurements {
    host: watch::Receiver<Option<HostReading>>,
    store: watch::Receiver<Value>,
}

impl SharedMeasurements {
    /// Starts measuring the host on a thread, and `store` on `runtime`. `counters` get the CPU usage for the load level.
    pub fn start(counters: Arc<Counters>, store: Arc<dyn StoreCounters>, runtime: &Handle) -> Self {
        Self { host: host::start(counters), store: store::start(store, runtime) }
    }
}

/// Inputs and output of the built-in sources of one tenant.
pub struct Sources {
    /// Measurements of the process.
    pub shared: SharedMeasurements,
    /// HTTP traffic of the tenant.
    pub own_http: Arc<OwnHttp>,
    /// Users online on this node.
    pub presence: Presence,
    /// Wall clock, for midnight.
    pub clock: Clock,
    /// Time zone of midnight.
    pub zone: TimeZone,
    /// Log of the tenant.
    pub log: Arc<Log>,
    /// Aggregator that takes the values.
    pub aggregator: AggregatorHandle,
    /// The other nodes of the cluster, if there is one.
    pub peers: Option<Box<dyn Peers>>,
}

impl Sources {
    /// Returns every source. A new one is a line here.
    fn all(&self) -> Vec<Box<dyn Source>> {
        vec![
            Box::new(host::Infrastructure(self.shared.host.clone())),
            Box::new(own_http::Api(Arc::clone(&self.own_http))),
            Box::new(store::Database(self.shared.store.clone())),
            Box::new(users::UsersOnline::new(
                self.presence.clone(),
                self.clock.clone(),
                self.zone.clone(),
                Arc::clone(&self.log),
            )),
        ]
    }

    /// Publishes the values of the sources every second until the aggregator stops.
    pub async fn run(mut self) {
        let mut sources = self.all();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let report = sources.iter_mut().map(|source| (source.name().to_owned(), source.measure())).collect();
            // A node that does not lead, or can't reach the others, has nothing to publish.
            let Some(nodes) = self.gather(report).await else { continue };
            let values = sources.iter_mut().map(|source| (source.channel(), source.merge(&nodes)));
            if publish(&self.aggregator, values).await.is_err() {
                return;
            }
        }
    }

    /// Returns the measurements of all nodes, given those of this one; `None` if this node does not lead, or can't reach the others.
    async fn gather(&mut self, report: Map<String, Value>) -> Option<Nodes> {
        let Some(peers) = &mut self.peers else {
            return Some(Nodes::one(report, self.presence.online().current as u64));
        };
        let report = Value::Object(report).to_string();
        let gathered = peers.exchange(report, self.presence.users(), self.aggregator.leads()).await;
        gathered.filter(|_| self.aggregator.leads()).map(Nodes::many)
    }
}

/// Rounds to `digits` decimals, so that noise does not make new versions.
pub fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tricast_core::{
        built_in::{self, Kind},
        log::LogConfig,
    };

    use super::*;

    #[tokio::test]
    async fn every_source_writes_the_fields_of_its_row() {
        let (_writer, log) = Log::create(LogConfig::default());
        let (_, leads) = watch::channel(true);
        let sources = Sources {
            shared: SharedMeasurements {
                host: watch::channel(Some(HostReading::default())).1,
                store: watch::channel(store::unknown()).1,
            },
            own_http: Arc::default(),
            presence: Presence::default(),
            clock: Clock::system(),
            zone: TimeZone::UTC,
            log,
            aggregator: AggregatorHandle::new(None, leads).0,
            peers: None,
        };
        let mut all = sources.all();
        let report: Map<_, _> = all.iter_mut().map(|source| (source.name().to_owned(), source.measure())).collect();
        assert_eq!(report.len(), all.len(), "two sources with the same name");
        let nodes = Nodes::one(report, 0);
        for source in &mut all {
            let channel = source.channel();
            let row = built_in::CHANNELS.iter().find(|row| row.name == channel).unwrap();
            assert_eq!(row.kind, Kind::State, "{channel}");
            let value = source.merge(&nodes);
            let fields: BTreeSet<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, built_in::field_names(channel).collect(), "{channel}");
        }
    }
}
