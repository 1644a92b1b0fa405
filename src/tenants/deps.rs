//! Dependencies and settings of tenants.

use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::runtime::Handle;

use tricast_cluster::Cluster;
use tricast_core::{
    aggregator::AggregatorConfig, clock::Clock, counters::Counters, lives::Lives, log::LogConfig, settings::Limits,
};
use tricast_domain::{
    alerts::Alerting,
    dashboards::DashboardStore,
    history::{HistoryConfig, HistoryStore},
    orders::OrderStore,
    relay::EventStore,
    sources::SharedMeasurements,
};

/// Dependencies and settings that all tenants share.
pub struct TenantDeps {
    /// Limits of each tenant, and of their number.
    pub limits: Limits,
    /// Capacity of each log.
    pub log: LogConfig,
    /// Earlier lives of this server, by which logs accept the cursors of its previous processes.
    pub lives: Lives,
    /// Limits of each aggregator.
    pub aggregator: AggregatorConfig,
    /// Store of orders, customers and visits.
    pub orders: Arc<dyn OrderStore>,
    /// Store of events that wait for publication.
    pub events: Arc<dyn EventStore>,
    /// Whether other processes also publish events of that store.
    pub shares_events: bool,
    /// Store of dashboards and their tiles.
    pub dashboards: Arc<dyn DashboardStore>,
    /// Store, limits and notifiers of alerts.
    pub alerting: Alerting,
    /// Store of the points and roll-ups of history.
    pub history_store: Arc<dyn HistoryStore>,
    /// Recorded channels and retention of history.
    pub history: HistoryConfig,
    /// Wall clock; in a cluster that of the bus.
    pub clock: Clock,
    /// Time of the store, which nodes may share. Orders and dashboards use it.
    pub store_clock: Clock,
    /// Time zone; a day starts at its midnight.
    pub zone: TimeZone,
    /// ISO 4217 code of the currency of revenue.
    pub currency: String,
    /// Metrics of the server itself.
    pub counters: Arc<Counters>,
    /// Measurements that the sources of all tenants share.
    pub measurements: SharedMeasurements,
    /// Connection to the other nodes, if there is a cluster.
    pub cluster: Option<Cluster>,
    /// Runtime of aggregators and sources.
    pub runtime: Handle,
    /// Runtime of internal readers, so that they never delay an aggregator or a worker.
    pub readers: Handle,
}
