//! Conversion of the configuration into the settings of parts that combine several sections.

use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::sync::watch;

use crate::{
    config::{AuthMode, Config, ForwardedHeader, Listen},
    web::{
        admission::AdmissionConfig,
        client::{ForwardedBy, ProxyConfig},
        config::{AccessConfig, BodyConfig},
    },
};
use tricast_auth::{Tickets, Verifier};
use tricast_core::{
    aggregator::{AggregatorConfig, EndCounts, StateBudget},
    log::LogConfig,
};
use tricast_domain::alerts::{Alerting, Target};
use tricast_store::Store;

/// Returns the capacity of each log.
pub(super) fn log(config: &Config) -> LogConfig {
    LogConfig { events: config.log.events, bytes: config.log.bytes.0, ends: config.log.ends }
}

/// Returns the limits of each aggregator, with one memory budget for all of them.
pub(super) fn aggregator(config: &Config, zone: &TimeZone) -> AggregatorConfig {
    AggregatorConfig {
        max_channels: config.limits.max_channels,
        max_value: config.limits.max_body.0,
        max_snapshot: config.limits.max_snapshot.0,
        max_state: config.limits.max_state.0,
        all_states: StateBudget::new(config.limits.max_state_total.0),
        max_series: config.limits.max_series,
        channel_ttl: Some(config.limits.channel_ttl.0).filter(|ttl| !ttl.is_zero()),
        ended: EndCounts::default(),
        zone: zone.clone(),
    }
}

/// Returns the parts of alerting that all tenants share.
pub(super) fn alerting(config: &Config, store: &Store) -> Alerting {
    let targets = [config.smtp().map(|_| Target::Email), config.webhook().map(|_| Target::Webhook)];
    Alerting {
        store: store.alerts(),
        config: config.alerts(),
        targets: targets.into_iter().flatten().collect(),
        metrics: Arc::default(),
        outgoing: watch::Sender::new(()),
    }
}

/// Returns the limits of request bodies.
pub(super) fn body(config: &Config) -> BodyConfig {
    BodyConfig {
        max_bytes: config.limits.max_body.0,
        timeout: config.limits.body_timeout.0,
        max_lines: config.limits.max_lines,
    }
}

/// Returns the configuration of access: tokens, tickets, proxies and origins.
pub(super) fn access(config: &Config, verifier: Option<Verifier>) -> AccessConfig {
    AccessConfig {
        verifier,
        tickets: Tickets::default(),
        cookie: config.auth.cookie.clone(),
        proxies: ProxyConfig {
            trusted: config.trusted_networks(),
            trust_unix: config.trusted_proxies.iter().any(|text| text == "unix:"),
            header: match config.forwarded_header {
                ForwardedHeader::Auto => ForwardedBy::Either,
                ForwardedHeader::XForwardedFor => ForwardedBy::XForwardedFor,
                ForwardedHeader::Forwarded => ForwardedBy::Forwarded,
            },
        },
        allowed_origins: config.allowed_origins.clone(),
        public_origin: config.public_url.as_deref().and_then(crate::config::origin_of),
        pages_path: (config.public_url.as_deref().and_then(crate::config::path_of))
            .unwrap_or_else(|| format!("{}/", config.base_path())),
        local_only: config.auth.mode == AuthMode::None
            && config.trusted_proxies.is_empty()
            && config.listen_places().iter().all(|place| match place {
                Listen::Tcp(address) => address.ip().is_loopback(),
                Listen::Unix(_) => false,
            }),
    }
}

/// Returns the limit of open files and sockets of this process.
pub(super) fn descriptors() -> usize {
    let now = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(now, _)| now);
    usize::try_from(now).unwrap_or(usize::MAX)
}

/// Returns the limits of admission. Without a configured limit of connections it follows from that of open files.
pub(super) fn admission(config: &Config) -> AdmissionConfig {
    let limits = &config.limits;
    // Some descriptors are for polls, files and the server itself.
    let descriptors = descriptors();
    let most = (descriptors - descriptors / 10).saturating_sub(64).max(64);
    AdmissionConfig {
        max_connections: if limits.max_connections == 0 { most } else { limits.max_connections },
        max_connections_per_address: limits.max_connections_per_address,
        max_connections_per_user: limits.max_connections_per_user,
        handshakes_per_second_per_address: limits.handshakes_per_second_per_address,
        changes_per_second_per_user: limits.changes_per_second_per_user,
    }
}
