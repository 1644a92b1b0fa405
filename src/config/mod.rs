//! The configuration: one typed struct, made of defaults, a file, the environment and flags, in that order.
//!
//! [`load`] reads and checks everything before a socket opens, and names every fault at once by its key. No other
//! module reads the environment or a file of settings; each gets its own part ready-made.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod layers;
mod reference;
mod validate;
mod values;

pub use layers::{Fault, Faults, Flags, load};
pub use reference::{SETTINGS, markdown, to_toml};
pub use validate::{origin_of, path_of};
pub use values::{Secret, Size, Span};

use std::time::Duration;

use crate::{
    alerts::{AlertConfig, MailTls, SmtpConfig, WebhookConfig},
    auth::AuthConfig,
    cluster::ClusterConfig,
    history::HistoryConfig,
    ids::random_u64,
    store::postgres::PostgresConfig,
    web::base_path::BasePath,
};

/// Most threads that serve connections.
pub const MOST_WORKERS: u16 = 1_024;

/// All settings. [`SETTINGS`] says what each is.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Config {
    pub listen: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "values::without_credentials")]
    pub public_url: Option<String>,
    pub base_path: String,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub forwarded_header: ForwardedHeader,
    pub allow_anonymous: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub database_url: Secret,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub bus: Secret,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    pub time_zone: String,
    pub currency: String,
    pub workers: usize,
    pub log_format: LogFormat,
    pub log_filter: String,
    pub long_poll_max: Span,
    pub drain_timeout: Span,
    pub max_connection_age: Span,
    pub compression: bool,
    pub auth: Auth,
    pub database: Database,
    pub cluster: Cluster,
    pub heartbeat: Heartbeat,
    pub limits: Limits,
    pub log: Log,
    pub alerts: Alerts,
    pub smtp: Smtp,
    pub webhook: Webhook,
    pub history: History,
    /// What was noticed while the settings were read and is no fault: for the log at the start.
    #[serde(skip)]
    pub notices: Vec<String>,
}

/// Tokens.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Auth {
    pub mode: AuthMode,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub secret: Secret,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "values::without_credentials")]
    pub jwks_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    pub leeway: Span,
}

/// Whether tokens are asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everybody is anonymous.
    #[default]
    None,
    /// JSON Web Tokens.
    Jwt,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which header the trusted proxies write.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, and `Forwarded` where there is none.
    #[default]
    Auto,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How PostgreSQL is spoken to.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Database {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    pub connections: usize,
    pub connect_timeout: Span,
    pub statement_timeout: Span,
}

/// How the bus is used that several nodes share.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Cluster {
    pub key_prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    pub lease: Span,
    pub push_timeout: Span,
}

/// The heartbeat of WebSockets.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Heartbeat {
    pub interval: Span,
    pub timeout: Span,
}

/// What one client, or all together, may use.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Limits {
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    pub max_connections_per_user: usize,
    pub handshakes_per_second_per_address: u32,
    pub changes_per_second_per_user: u32,
    pub auth_timeout: Span,
    pub max_subscriptions: usize,
    pub max_message: Size,
    pub max_bad_messages: usize,
    pub messages_per_second: u32,
    pub message_burst: u32,
    pub max_requests: usize,
    pub max_body: Size,
    pub max_lines: usize,
    pub max_channels: usize,
    pub max_state: Size,
    pub max_state_total: Size,
    pub max_snapshot: Size,
    pub max_tenants: usize,
    pub tenant_idle: Span,
    pub max_series: usize,
    pub channel_ttl: Span,
    pub max_store: Size,
    pub header_timeout: Span,
    pub keep_alive: Span,
    pub body_timeout: Span,
    pub stall_timeout: Span,
    pub slow_after: Span,
    pub slow_step: Span,
}

/// How far back events are kept.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Log {
    pub events: usize,
    pub bytes: Size,
    pub ends: usize,
}

/// Rules and alerts.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Alerts {
    pub max_rules: usize,
    pub retention: Span,
    pub max_kept: usize,
    pub max_outbox: usize,
    pub give_up_after: Span,
}

/// Alerts by mail.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Smtp {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub port: u16,
    pub tls: MailTls,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub to: Vec<String>,
    pub timeout: Span,
}

/// Alerts by HTTP.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct Webhook {
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub url: Secret,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub secret: Secret,
    pub timeout: Span,
}

/// What is recorded, and how long it is kept.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "SETTINGS documents each key, and a test compares the two")]
pub struct History {
    pub enabled: bool,
    pub resolution: Span,
    pub buffer: usize,
    pub max_series: usize,
    pub max_points_per_second: usize,
    pub max_bytes: Size,
    pub raw: Span,
    pub minute: Span,
    pub hour: Span,
    pub day: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:8080".into()],
            public_url: None,
            base_path: String::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::Auto,
            allow_anonymous: false,
            data_dir: None,
            database_url: Secret::default(),
            bus: Secret::default(),
            node_id: None,
            time_zone: "UTC".into(),
            currency: "EUR".into(),
            workers: 0,
            log_format: LogFormat::Text,
            log_filter: "info,actix_server=warn,actix_http=off".into(),
            long_poll_max: Span(Duration::from_secs(25)),
            drain_timeout: Span(Duration::from_secs(20)),
            max_connection_age: Span(Duration::ZERO),
            compression: false,
            auth: Auth::default(),
            database: Database::default(),
            cluster: Cluster::default(),
            heartbeat: Heartbeat::default(),
            limits: Limits::default(),
            log: Log::default(),
            alerts: Alerts::default(),
            smtp: Smtp::default(),
            webhook: Webhook::default(),
            history: History::default(),
            notices: Vec::new(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::None,
            secret: Secret::default(),
            public_key_file: None,
            jwks_file: None,
            jwks_url: None,
            issuer: None,
            audience: None,
            cookie: None,
            leeway: Span(AuthConfig::default().leeway),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        let PostgresConfig { connections, connect_timeout, statement_timeout, .. } = PostgresConfig::default();
        Self {
            ca_file: None,
            connections,
            connect_timeout: Span(connect_timeout),
            statement_timeout: Span(statement_timeout),
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            key_prefix: "tricast".into(),
            ca_file: None,
            lease: Span(Duration::from_secs(4)),
            push_timeout: Span(Duration::from_secs(5)),
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Span(Duration::from_secs(25)), timeout: Span(Duration::from_secs(60)) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 0,
            max_connections_per_address: 1_000,
            max_connections_per_user: 50,
            handshakes_per_second_per_address: 50,
            changes_per_second_per_user: 500,
            auth_timeout: Span(Duration::from_secs(10)),
            max_subscriptions: 100,
            max_message: Size(64 << 10),
            max_bad_messages: 20,
            messages_per_second: 20,
            message_burst: 40,
            max_requests: 32,
            max_body: Size(1 << 20),
            max_lines: 10_000,
            max_channels: 10_000,
            max_state: Size(256 << 20),
            max_state_total: Size(1 << 30),
            max_snapshot: Size(4 << 20),
            max_tenants: 1_000,
            tenant_idle: Span(Duration::from_secs(600)),
            max_series: 10_000,
            channel_ttl: Span(Duration::ZERO),
            max_store: Size(32 << 30),
            header_timeout: Span(Duration::from_secs(5)),
            keep_alive: Span(Duration::from_secs(75)),
            body_timeout: Span(Duration::from_secs(15)),
            stall_timeout: Span(Duration::from_secs(60)),
            slow_after: Span(Duration::from_secs(2)),
            slow_step: Span(Duration::from_secs(5)),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { events: 10_000, bytes: Size(16 << 20), ends: 10_000 }
    }
}

impl Default for Alerts {
    fn default() -> Self {
        let AlertConfig { max_rules, retention, max_kept, max_outbox, give_up_after } = AlertConfig::default();
        Self { max_rules, retention: Span(retention), max_kept, max_outbox, give_up_after: Span(give_up_after) }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: None,
            port: 0,
            tls: MailTls::default(),
            username: None,
            password: Secret::default(),
            from: None,
            to: Vec::new(),
            timeout: Span(Duration::from_secs(30)),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        let HistoryConfig { enabled, resolution, buffer, max_series, max_points_per_second, max_bytes, keep } =
            HistoryConfig::default();
        let [raw, minute, hour, day] = keep;
        Self {
            enabled,
            resolution: Span(resolution),
            buffer,
            max_series,
            max_points_per_second,
            max_bytes: Size(usize::try_from(max_bytes).unwrap_or(usize::MAX)),
            raw: Span(raw),
            minute: Span(minute),
            hour: Span(hour),
            day: Span(day),
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self { url: Secret::default(), secret: Secret::default(), timeout: Span(Duration::from_secs(10)) }
    }
}

/// One place where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `127.0.0.1:8080`, `[::1]:8080`.
    Tcp(std::net::SocketAddr),
    /// `unix:/run/tricast.sock`.
    Unix(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Config {
    /// Where the server is below its host, of a configuration that was checked.
    pub fn base_path(&self) -> BasePath {
        BasePath::parse(&self.base_path).unwrap_or_default()
    }

    /// The networks of `trusted_proxies`, of a configuration that was checked.
    pub fn trusted_networks(&self) -> Vec<ipnet::IpNet> {
        self.trusted_proxies.iter().filter_map(|text| validate::parse_network(text)).collect()
    }

    /// The places of `listen`, of a configuration that was checked.
    pub fn listen_places(&self) -> Vec<Listen> {
        self.listen.iter().filter_map(|text| validate::parse_listen(text).ok()).flatten().collect()
    }

    /// The keys whose values differ in `other`, such as `limits.max_body`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        reference::differences(self, other)
    }

    /// The bounds of alerts.
    pub fn alerts(&self) -> AlertConfig {
        let Alerts { max_rules, retention, max_kept, max_outbox, give_up_after } = self.alerts.clone();
        AlertConfig { max_rules, retention: retention.0, max_kept, max_outbox, give_up_after: give_up_after.0 }
    }

    /// The mail server, of a configuration that was checked; `None` without one.
    pub fn smtp(&self) -> Option<SmtpConfig> {
        let Smtp { host, port, tls, username, password, from, to, timeout } = self.smtp.clone();
        Some(SmtpConfig {
            host: host?,
            port,
            tls,
            credentials: username.map(|user| (user, password.expose().to_owned())),
            from: from?,
            to,
            timeout: timeout.0,
        })
    }

    /// Where alerts are posted to, of a configuration that was checked; `None` if nowhere.
    pub fn webhook(&self) -> Option<WebhookConfig> {
        let Webhook { url, secret, timeout } = self.webhook.clone();
        (!url.is_empty()).then(|| WebhookConfig {
            url: url.expose().to_owned(),
            secret: secret.expose().to_owned(),
            timeout: timeout.0,
        })
    }

    /// Where PostgreSQL is; `None` where the store is embedded.
    pub fn database(&self) -> Option<PostgresConfig> {
        let Database { ca_file, connections, connect_timeout, statement_timeout } = self.database.clone();
        (!self.database_url.is_empty()).then(|| PostgresConfig {
            url: self.database_url.expose().to_owned(),
            ca_file,
            connections,
            connect_timeout: connect_timeout.0,
            shares_log: !self.bus.is_empty(),
            statement_timeout: statement_timeout.0,
        })
    }

    /// The bus that several nodes share; `None` where this process is alone.
    pub fn cluster(&self) -> Option<ClusterConfig> {
        let Cluster { key_prefix, ca_file, lease, push_timeout } = self.cluster.clone();
        (!self.bus.is_empty()).then(|| ClusterConfig {
            url: self.bus.expose().to_owned(),
            key_prefix,
            ca_file,
            node: self.node_name(),
            lease: lease.0,
            push_timeout: push_timeout.0,
        })
    }

    /// The name of this process among several, for people; another one at each call where none is set.
    pub fn node_name(&self) -> String {
        self.node_id.clone().unwrap_or_else(some_name)
    }

    /// What tokens are verified with; `None` where none are asked for.
    pub fn auth(&self) -> Option<AuthConfig> {
        let Auth { mode, secret, public_key_file, jwks_file, jwks_url, issuer, audience, cookie: _, leeway } =
            self.auth.clone();
        (mode == AuthMode::Jwt).then(|| AuthConfig {
            secret: (!secret.is_empty()).then(|| secret.expose().as_bytes().to_vec()),
            public_key_file,
            jwks_file,
            jwks_url,
            issuer,
            audience,
            leeway: leeway.0,
            ..AuthConfig::default()
        })
    }
}

/// A name for a node that was given none: the host's, and a few letters, for there may be several on it.
fn some_name() -> String {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "node".into());
    format!("{host}-{:04x}", random_u64() >> 48)
}
