//! Conversion of the configuration into the settings of parts that combine several sections.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    config::{Config, ForwardedHeader, Limits, Listen},
    web::{
        client::{ForwardedBy, ProxyConfig},
        config::AccessConfig,
        machine_keys::MachineKeys,
    },
};
use tricast_auth::{Tickets, Verifier};
use tricast_domain::alerts::{Alerting, Target};
use tricast_store::Store;

/// Returns the parts of alerting that all tenants share.
pub(super) fn alerting(config: &Config, store: &Store) -> Alerting {
    let targets = [(Target::Email, config.smtp.is_set()), (Target::Webhook, config.webhook.is_set())];
    Alerting {
        store: store.alerts(),
        config: config.alerts,
        targets: targets.into_iter().filter(|(_, is_set)| *is_set).map(|(target, _)| target).collect(),
        metrics: Arc::default(),
        outgoing: watch::Sender::new(()),
    }
}

/// Returns the configuration of access: tokens, tickets, proxies and origins.
pub(super) fn access(config: &Config, verifier: Option<Verifier>, keys: Option<MachineKeys>) -> AccessConfig {
    AccessConfig {
        verifier,
        keys,
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
        local_only: !config.auth.is_required()
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
pub(super) fn admission(config: &Config) -> Limits {
    let limits = config.limits;
    // Some descriptors are for polls, files and the server itself.
    let descriptors = descriptors();
    let most = (descriptors - descriptors / 10).saturating_sub(64).max(64);
    Limits { max_connections: if limits.max_connections == 0 { most } else { limits.max_connections }, ..limits }
}
