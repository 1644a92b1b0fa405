//! The configuration: one typed struct, made of defaults, a file, the environment and flags, in that order.
//!
//! [`load`] reads and checks everything before a socket opens, and reports every fault at once by its key. No other module reads
//! the environment or a file of settings; each gets its own configuration ready-made.
//!
//! A setting is a field of a section, declared with [`section!`]: its documentation, range, type and default are in one place, and
//! the reference page, the help of flags and the names in the environment are made from it. A section is the configuration of the
//! part that uses it, and is declared there; limits are in [`tricast_core::settings`].

use std::{path::PathBuf, sync::LazyLock};

use serde::{Deserialize, Serialize};

mod checks;
mod layers;
mod listen;
mod origin;
mod reference;
#[cfg(test)]
mod tests;

pub use layers::{Faults, Flags, load};
pub use listen::Listen;
pub use origin::{origin_of, path_of};
pub use reference::{markdown, to_toml};

pub use crate::telemetry::LogFormat;
use crate::web::base_path::BasePath;
use tricast_auth::AuthConfig;
pub use tricast_auth::AuthMode;
use tricast_cluster::{BusConfig, ClusterConfig};
use tricast_core::{
    decider::ChannelTtls,
    ids::random_u64,
    log::LogConfig,
    section,
    settings::{OrZero, RedactedUrl, Section},
};
pub use tricast_core::{
    settings::{Fault, Heartbeat, Limits, Secret, Setting, Size},
    span::Span,
};
use tricast_domain::{
    alerts::{AlertConfig, SmtpConfig, WebhookConfig},
    history::HistoryConfig,
};
use tricast_store::postgres::{DatabaseConfig, PostgresConfig};

/// Most threads that serve connections.
pub const MOST_WORKERS: u16 = 1_024;

/// Header in which the trusted proxies name the client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, or `Forwarded` if it is missing.
    #[default]
    Auto,
    /// `X-Forwarded-For` only, which most proxies send.
    XForwardedFor,
    /// `Forwarded` only (RFC 7239).
    Forwarded,
}

section! {
    /// Settings of the server, one section per subject.
    pub struct Config {
        /// Addresses to listen on: addresses or names with port, or `unix:/path`; a list, or one text. Flag `--listen`,
        /// repeatable; `--port 9000` is `127.0.0.1:9000`.
        listen: Vec<String> = vec!["127.0.0.1:8080".into()],
        /// URL under which people reach the server, if a proxy ends TLS or changes `Host`. Its pages are not foreign.
        public_url: Option<RedactedUrl> = None,
        /// Path below which the server is, such as `/live`, if a proxy passes paths on unchanged. `/healthz`, `/readyz` and
        /// `/metrics` are at the root, too.
        base_path: String = String::new(),
        /// Origins of other sites, apps and extensions that may use this server (`https://shop.example`,
        /// `capacitor://localhost`, `chrome-extension://ID`, `null` for pages of files), or `*`. WebSockets of any other are
        /// refused.
        allowed_origins: Vec<String> = Vec::new(),
        /// Networks of proxies in front, such as `127.0.0.1/32` or `10.0.0.0/8`; `unix:` for those that connect over a Unix
        /// socket. Only they are trusted to name a client's address and scheme.
        trusted_proxies: Vec<String> = Vec::new(),
        /// Header that those proxies write: `x-forwarded-for`, `forwarded` (RFC 7239), or `auto`: the first, and the second where
        /// the first is missing. Name it for a proxy that writes only `Forwarded`, since clients can send both.
        forwarded_header: ForwardedHeader = ForwardedHeader::Auto,
        /// Allow listening beyond this machine while `auth.mode` is `none`: every client may read and write. Flag
        /// `--allow-anonymous`.
        allow_anonymous: bool = false,
        /// Directory of the database of orders, dashboards, history and alerts, created if it does not exist. Without one they
        /// are in memory and end with the process. Flag `--data-dir`.
        data_dir: Option<PathBuf> = None,
        /// A PostgreSQL in place of `data_dir`, which several servers may share:
        /// `postgres://user:password@host:5432/database?sslmode=verify-full`. Holds a password, and is never printed: keep it in
        /// the environment.
        database_url: Secret = Secret::default(),
        /// A Redis that makes several servers one: `redis://user:password@host:6379/0`, `rediss://` with TLS,
        /// `redis+sentinel://a:26379,b:26379/MASTER`, `redis+cluster://a:7000,b:7001`. Holds a password, and is never printed:
        /// keep it in the environment.
        bus: Secret = Secret::default(),
        /// Name of this node among those of `bus`, for people; without one the host's name and some letters.
        node_id: Option<String> = None,
        /// Time zone whose midnight begins "today": a name of the IANA database.
        time_zone: String = "UTC".into(),
        /// Times without a write after which pushed channels of a pattern end, and series of samples in them, in place of
        /// `limits.channel_ttl`: `metrics.ci.*=5m`; the most specific pattern counts, and 0 means that its channels stay.
        channel_ttls: Vec<String> = Vec::new(),
        /// Currency of revenue, ISO 4217.
        currency: String = "EUR".into(),
        /// Threads that serve connections, 0 to 1024; 0 means one per core. Flag `--workers`.
        #[range(0..=usize::from(MOST_WORKERS))]
        workers: usize = 0,
        /// Format of log lines: `text` or `json`. Flag `--log-format`.
        log_format: LogFormat = LogFormat::Text,
        /// Log lines that are written: a level, or `target=level` pairs separated by commas.
        log_filter: String = "info,actix_server=warn,actix_http=off".into(),
        /// Longest time that a poll is held. Common proxies cut at 60 s.
        #[range(Span::from_secs(1)..=Span::from_secs(300))]
        long_poll_max: Span = Span::from_secs(25),
        /// Longest time that a stopping server waits for its clients to leave.
        #[range(Span::ZERO..=Span::from_secs(600))]
        drain_timeout: Span = Span::from_secs(20),
        /// Time after which streams are ended, with some jitter, so that clients spread over nodes; 0 means never.
        #[range(OrZero(Span::from_secs(1)..))]
        max_connection_age: Span = Span::ZERO,
        /// Accept permessage-deflate (RFC 7692) on WebSockets when a client offers it.
        compression: bool = false,
    }
    sections {
        /// Tokens that clients need, and the keys that they are verified with.
        auth: AuthConfig,
        /// Connections to PostgreSQL, if it is used.
        database: PostgresConfig,
        /// Use of the bus that several nodes share.
        cluster: ClusterConfig,
        /// The heartbeat of WebSockets.
        heartbeat: Heartbeat,
        /// Limits of a client, an address, a user, a tenant and the server.
        limits: Limits,
        /// Events that are kept for clients that resume.
        log: LogConfig,
        /// Alert rules and alerts.
        alerts: AlertConfig,
        /// Mail server, sender and recipients of alerts.
        smtp: SmtpConfig,
        /// HTTP request that is sent for each alert.
        webhook: WebhookConfig,
        /// Recording of history, and the times that it is stored.
        history: HistoryConfig,
    }
    other {
        /// Remarks about the settings that are no faults, for the log at the start.
        #[serde(skip)]
        notices: Vec<String>,
    }
}

/// Every setting, in the order of the reference page.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let mut settings = Vec::new();
    Config::describe("", &mut settings);
    settings
});

/// Returns the setting of this key, if there is one.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

impl Config {
    // The methods below take a configuration that was checked.

    /// Returns the path of the server below its host.
    pub fn base_path(&self) -> BasePath {
        BasePath::parse(&self.base_path).unwrap_or_default()
    }

    /// Returns the networks of `trusted_proxies`.
    pub fn trusted_networks(&self) -> Vec<ipnet::IpNet> {
        self.trusted_proxies.iter().filter_map(|text| listen::parse_network(text)).collect()
    }

    /// Returns the times to live of `channel_ttls`.
    pub fn channel_ttls(&self) -> ChannelTtls {
        ChannelTtls::parse(&self.channel_ttls).unwrap_or_default()
    }

    /// Returns the addresses of `listen`.
    pub fn listen_places(&self) -> Vec<Listen> {
        self.listen.iter().filter_map(|text| listen::parse_listen(text).ok()).flatten().collect()
    }

    /// Returns the keys whose values differ in `other`, such as `limits.max_body`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        reference::differences(self, other)
    }

    /// Returns the PostgreSQL database; `None` if the store is embedded.
    pub fn database(&self) -> Option<DatabaseConfig> {
        (!self.database_url.is_empty()).then(|| DatabaseConfig {
            url: self.database_url.expose().to_owned(),
            shares_log: !self.bus.is_empty(),
            connections: self.database.clone(),
        })
    }

    /// Returns the bus; `None` if this process is the only node.
    pub fn bus(&self) -> Option<BusConfig> {
        (!self.bus.is_empty()).then(|| BusConfig {
            url: self.bus.expose().to_owned(),
            node: self.node_name(),
            cluster: self.cluster.clone(),
        })
    }

    /// Returns the name of this node, for people. Without `node_id` each call makes a new one: the host's name and four hexadecimal
    /// digits, since a host may have several nodes.
    pub fn node_name(&self) -> String {
        self.node_id.clone().unwrap_or_else(|| {
            let host = sysinfo::System::host_name().unwrap_or_else(|_| "node".into());
            format!("{host}-{:04x}", random_u64() >> 48)
        })
    }

    /// Returns the settings of history, which is kept for less time without `data_dir` and `database_url`.
    pub fn history(&self) -> HistoryConfig {
        let is_stored = self.data_dir.is_some() || !self.database_url.is_empty();
        if is_stored { self.history } else { self.history.in_memory() }
    }
}
