//! Settings of several nodes.

use std::path::PathBuf;

use super::{
    Config, Span,
    setting::{FaultList, section},
};
use tricast_cluster::{ClusterConfig, check_bus_url};
use tricast_core::ids::random_u64;

section! {
    /// Use of the bus that several nodes share.
    pub struct Cluster {
        /// Prefix of all keys on `bus`, so that several clusters can share one Redis.
        key_prefix: String = "tricast".into(),
        /// File with the certificates, in PEM, of the authorities that may vouch for Redis; without it those of the system.
        ca_file: Option<PathBuf> = None,
        /// Time without a sign of the leader after which another node takes its place.
        #[range(Span::from_secs(1)..=Span::from_secs(60))]
        lease: Span = Span::from_secs(4),
        /// Longest time that a push waits for Redis before it is refused.
        #[range(Span::from_millis(100)..=Span::from_secs(60))]
        push_timeout: Span = Span::from_secs(5),
    }
}

impl Cluster {
    /// Reports settings of `config` that contradict each other or make no sense.
    pub(super) fn check(&self, config: &Config, faults: &mut FaultList) {
        if config.bus.is_empty() {
            if self.ca_file.is_some() {
                faults.add("cluster.ca_file", "is set, but there is no bus: it would never be used");
            }
            if config.node_id.is_some() {
                faults.add("node_id", "is set, but there is no bus: this server is the only node");
            }
        } else {
            faults.add_err("bus", check_bus_url(config.bus.expose()));
        }
        let is_name = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
        };
        for (key, text) in [("node_id", config.node_id.as_deref()), ("cluster.key_prefix", Some(&*self.key_prefix))] {
            if text.is_some_and(|text| !is_name(text)) {
                faults.add(key, "has to be 1 to 64 of A-Z a-z 0-9 _ . : -");
            }
        }
    }

    /// Returns the configuration of the bus of `config`; `None` if this process is alone.
    pub(super) fn bus(&self, config: &Config) -> Option<ClusterConfig> {
        let Self { key_prefix, ca_file, lease, push_timeout } = self.clone();
        (!config.bus.is_empty()).then(|| ClusterConfig {
            url: config.bus.expose().to_owned(),
            key_prefix,
            ca_file,
            node: config.node_name(),
            lease: lease.0,
            push_timeout: push_timeout.0,
        })
    }
}

/// Returns a name for a node without `node_id`: the host's name and four hexadecimal digits, since a host may have several nodes.
pub(super) fn random_node_name() -> String {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "node".into());
    format!("{host}-{:04x}", random_u64() >> 48)
}
