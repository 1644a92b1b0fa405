//! The configuration: one typed struct, made of defaults, a file, the environment and flags, in that order.
//!
//! [`load`] reads and checks everything before a socket opens, and reports every fault at once by its key. No other module reads
//! the environment or a file of settings; each gets its own configuration ready-made.
//!
//! A setting is a field of a section, declared with `section!` of `setting`: its documentation, range, type and default are in one
//! place, and the reference page, the help of flags and the names in the environment are made from it.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

mod alerts;
mod auth;
mod cluster;
mod database;
mod history;
mod layers;
mod limits;
mod listen;
mod origin;
mod reference;
mod setting;
#[cfg(test)]
mod tests;
mod values;

pub use alerts::{Alerts, Smtp, Webhook};
pub use auth::{Auth, AuthMode};
pub use cluster::Cluster;
pub use database::Database;
pub use history::History;
pub use layers::{Fault, Faults, Flags, load};
pub use limits::{Heartbeat, Limits, Log};
pub use listen::Listen;
pub use origin::{origin_of, path_of};
pub use reference::{markdown, to_toml};
pub use setting::{SETTINGS, Setting};
pub use values::{Secret, Size};

use self::setting::{FaultList, OrZero, Section, section};
use crate::web::base_path::BasePath;
use tricast_auth::AuthConfig;
use tricast_cluster::ClusterConfig;
pub use tricast_core::span::Span;
use tricast_domain::{
    alerts::{AlertConfig, SmtpConfig, WebhookConfig},
    history::HistoryConfig,
};
use tricast_store::postgres::PostgresConfig;

/// Most threads that serve connections.
pub const MOST_WORKERS: u16 = 1_024;

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines of text for people, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

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
        #[serde(serialize_with = "values::without_credentials")]
        public_url: Option<String> = None,
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
        /// Authentication by tokens.
        auth: Auth,
        /// Connections to PostgreSQL, if it is used.
        database: Database,
        /// Use of the bus that several nodes share.
        cluster: Cluster,
        /// The heartbeat of WebSockets.
        heartbeat: Heartbeat,
        /// Limits of a client, an address, a user, a tenant and the server.
        limits: Limits,
        /// Events that are kept for clients that resume.
        log: Log,
        /// Alert rules and alerts.
        alerts: Alerts,
        /// Mail server, sender and recipients of alerts.
        smtp: Smtp,
        /// HTTP request that is sent for each alert.
        webhook: Webhook,
        /// Recording of history, and the times that it is stored.
        history: History,
    }
    other {
        /// Remarks about the settings that are no faults, for the log at the start.
        #[serde(skip)]
        notices: Vec<String>,
    }
}

impl Config {
    /// Returns everything that is wrong with the settings as a whole: ranges, and settings that contradict each other.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = FaultList::default();
        self.check(&mut faults);
        self.auth.check(&mut faults);
        self.database.check(self, &mut faults);
        self.cluster.check(self, &mut faults);
        self.heartbeat.check(&mut faults);
        self.smtp.check(&mut faults);
        self.webhook.check(&mut faults);
        self.check_ranges("", &mut faults);
        faults.0
    }

    /// Reports faults of the settings that are in no section.
    fn check(&self, faults: &mut FaultList) {
        self.check_listen(faults);
        self.check_origins(faults);
        if self.data_dir.as_ref().is_some_and(|directory| directory.as_os_str().is_empty()) {
            faults.add("data_dir", "is empty: name a directory, or leave it out to keep nothing");
        }
        faults.add_err("base_path", BasePath::parse(&self.base_path));
        for text in self.trusted_proxies.iter().filter(|text| *text != "unix:") {
            if listen::parse_network(text).is_none() {
                let problem = format!("{text:?} is not a network: write 10.0.0.0/8, 192.0.2.1 or unix:");
                faults.add("trusted_proxies", problem);
            }
        }
        faults.add_err("time_zone", TimeZone::get(&self.time_zone).map_err(|error| error.to_string()));
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            faults.add("currency", format!("{:?} is not a code of ISO 4217, such as EUR", self.currency));
        }
        let filter = self.log_filter.parse::<tracing_subscriber::filter::Targets>();
        faults.add_err("log_filter", filter.map_err(|error| error.to_string()));
    }

    fn check_listen(&self, faults: &mut FaultList) {
        if self.listen.is_empty() {
            faults.add("listen", "is empty: name at least one address");
        }
        let is_protected = self.auth.mode != AuthMode::None || self.allow_anonymous;
        let is_remote = |place: &&Listen| matches!(place, Listen::Tcp(address) if !address.ip().is_loopback());
        for text in &self.listen {
            match listen::parse_listen(text) {
                Err(problem) => faults.add("listen", problem),
                Ok(places) => {
                    if let Some(address) = places.iter().find(is_remote).filter(|_| !is_protected) {
                        let problem = format!(
                            "{address} can be reached from other machines, and auth.mode is \"none\": set auth.mode = \
                             \"jwt\" and a key, or set --allow-anonymous if every client may read and write"
                        );
                        faults.add("listen", problem);
                    }
                }
            }
        }
    }

    fn check_origins(&self, faults: &mut FaultList) {
        match self.public_url.as_deref().map(origin_of) {
            // The URL is not repeated, since it may hold a password.
            Some(None) => faults.add("public_url", "is not an http or https URL"),
            Some(Some(origin)) if origin.contains('@') => {
                faults.add("public_url", "contains user information: write the URL that users type");
            }
            _ => {}
        }
        for origin in self.allowed_origins.iter().filter(|origin| *origin != "*" && !origin::is_origin(origin)) {
            let problem = format!(
                "{origin:?} is not an origin: write \"https://shop.example\" or \"capacitor://localhost\", without a path, \
                 \"null\" for pages of files, or \"*\""
            );
            faults.add("allowed_origins", problem);
        }
        // A page of any site can have a frame whose origin is "null".
        let is_any = |origin: &&String| matches!(origin.as_str(), "*" | "null");
        if let Some(origin) = self.allowed_origins.iter().find(is_any).filter(|_| self.auth.cookie.is_some()) {
            let problem = format!(
                "{origin:?} together with auth.cookie lets any page use the cookie of its visitor: name the origins"
            );
            faults.add("allowed_origins", problem);
        }
    }

    // The methods below take a configuration that was checked.

    /// Returns the path of the server below its host.
    pub fn base_path(&self) -> BasePath {
        BasePath::parse(&self.base_path).unwrap_or_default()
    }

    /// Returns the networks of `trusted_proxies`.
    pub fn trusted_networks(&self) -> Vec<ipnet::IpNet> {
        self.trusted_proxies.iter().filter_map(|text| listen::parse_network(text)).collect()
    }

    /// Returns the addresses of `listen`.
    pub fn listen_places(&self) -> Vec<Listen> {
        self.listen.iter().filter_map(|text| listen::parse_listen(text).ok()).flatten().collect()
    }

    /// Returns the keys whose values differ in `other`, such as `limits.max_body`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        reference::differences(self, other)
    }

    /// Returns the configuration of alerts.
    pub fn alerts(&self) -> AlertConfig {
        self.alerts.limits()
    }

    /// Returns the configuration of the mail server; `None` without one.
    pub fn smtp(&self) -> Option<SmtpConfig> {
        self.smtp.server()
    }

    /// Returns the configuration of the webhook; `None` without one.
    pub fn webhook(&self) -> Option<WebhookConfig> {
        self.webhook.target()
    }

    /// Returns the configuration of the PostgreSQL store; `None` if the store is embedded.
    pub fn database(&self) -> Option<PostgresConfig> {
        self.database.postgres(self)
    }

    /// Returns the configuration of the bus; `None` if this process is the only node.
    pub fn cluster(&self) -> Option<ClusterConfig> {
        self.cluster.bus(self)
    }

    /// Returns the name of this node, for people. Without `node_id` each call makes a new one.
    pub fn node_name(&self) -> String {
        self.node_id.clone().unwrap_or_else(cluster::random_node_name)
    }

    /// Returns the configuration of the verifier of tokens; `None` if clients need no tokens.
    pub fn auth(&self) -> Option<AuthConfig> {
        self.auth.verifier()
    }

    /// Returns the configuration of history.
    pub fn history(&self) -> HistoryConfig {
        self.history.recording(self)
    }
}
