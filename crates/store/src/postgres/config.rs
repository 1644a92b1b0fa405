//! Address of PostgreSQL and settings of its connections: the URL as libpq knows it; unsupported parameters are
//! refused.

use std::{path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::config::{Host, SslMode};
use tricast_core::{section, span::Span};

/// Smallest number of connections that a store works with.
pub const MIN_CONNECTIONS: usize = 3;

section! {
    /// Connections to PostgreSQL, if it is used.
    pub struct PostgresConfig {
        /// File with the certificates, in PEM, of the authorities that may vouch for PostgreSQL; without it those of the system.
        /// With it `sslmode=require` means `verify-ca`, as for libpq.
        ca_file: Option<PathBuf> = None,
        /// Connections to PostgreSQL at once, 3 at least: one writes, one checks availability, the others read.
        #[range(MIN_CONNECTIONS..=1_000)]
        connections: usize = 8,
        /// Longest time to get a connection, a new one or a free one.
        #[range(Span::from_millis(100)..=Span::from_secs(60))]
        connect_timeout: Span = Span::from_secs(5),
        /// Longest time of a statement: PostgreSQL ends it, and a second later its connection is closed.
        #[range(Span::from_millis(100)..=Span::from_secs(60))]
        statement_timeout: Span = Span::from_secs(5),
    }
}

/// A database of PostgreSQL, and its use.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// URL: `postgres://user:password@host:port/database?sslmode=verify-full`. It contains a password and must not be
    /// printed.
    pub url: String,
    /// Whether the processes that share the database have one log, by a bus. Without a bus each has a log of its own
    /// and publishes the events of its own changes.
    pub shares_log: bool,
    /// Settings of the connections.
    pub connections: PostgresConfig,
}

/// Check of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Accept the certificate of any server.
    AnyServer,
    /// Require a certificate of a trusted authority.
    Authority,
    /// Require a certificate of a trusted authority for the requested name.
    Name,
}

/// URL after parsing, with the certificates to trust.
#[derive(Clone)]
pub(super) struct Target {
    /// Configuration of the driver, without time limits.
    pub(super) config: tokio_postgres::Config,
    /// Required check of the certificate, if the connection is encrypted.
    pub(super) trust: Trust,
}

/// Parameters of libpq that the driver lacks, with advice for each.
const UNSUPPORTED: [(&str, &str); 5] = [
    ("sslrootcert", "name the file by database.ca_file"),
    ("sslcert", "certificates of clients are not supported"),
    ("sslkey", "certificates of clients are not supported"),
    (
        "passfile",
        "put the password into the URL, and the URL into the environment or a file that other users cannot read",
    ),
    ("service", "put host, port and database into the URL"),
];

/// Checks a URL without connecting.
///
/// # Errors
/// The problem, without the text of the URL: it may contain a password.
pub fn check_database_url(url: &str) -> Result<(), String> {
    target(url, false).map(drop)
}

/// Parses the URL. libpq's `sslmode` has more values than the driver's: `verify-ca` and `verify-full` are removed from
/// the URL here and stored beside it. As with libpq, `require` together with a CA file means `verify-ca`.
pub(super) fn target(url: &str, has_ca_file: bool) -> Result<Target, String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("has to begin with postgres:// or postgresql://".into());
    }
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let mut trust = Trust::AnyServer;
    let mut supported = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if let Some((_, advice)) = UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == name) {
            return Err(format!("{name} is not supported in the URL: {advice}"));
        }
        match (name, value) {
            ("sslmode", "require") => {
                trust = if has_ca_file { Trust::Authority } else { Trust::AnyServer };
                supported.push(part);
            }
            ("sslmode", "verify-ca") => {
                trust = Trust::Authority;
                supported.push("sslmode=require");
            }
            ("sslmode", "verify-full") => {
                trust = Trust::Name;
                supported.push("sslmode=require");
            }
            ("sslmode", "disable" | "prefer") => supported.push(part),
            ("sslmode", _) => {
                return Err("sslmode: disable, prefer, require, verify-ca or verify-full".into());
            }
            _ => supported.push(part),
        }
    }
    let plain = if supported.is_empty() { place.to_owned() } else { format!("{place}?{}", supported.join("&")) };
    // The driver's message names the parameter, not its value; it follows its first sentence.
    let mut config = tokio_postgres::Config::from_str(&plain).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        source.unwrap_or_else(|| error.to_string())
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err("contains no host".into());
    }
    if config.get_user().is_none() {
        return Err("contains no user".into());
    }
    if config.get_dbname().is_none() {
        return Err("contains no database".into());
    }
    if trust != Trust::AnyServer && config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
        return Err("sslmode=verify-ca and verify-full are not possible on a Unix socket".into());
    }
    if config.get_application_name().is_none() {
        config.application_name("tricast");
    }
    Ok(Target { config, trust })
}

impl Target {
    /// Sets the time limits that the URL leaves open.
    pub(super) fn bounded(mut self, settings: &PostgresConfig) -> Self {
        const KEEPALIVE: Duration = Duration::from_secs(30);
        const DEFAULT_IDLE: Duration = Duration::from_secs(2 * 60 * 60);
        let config = &mut self.config;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(settings.connect_timeout.0);
        }
        // Detects a peer that vanished after something was sent to it,
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(settings.statement_timeout.0.saturating_mul(2));
        }
        // and when nothing was sent.
        if config.get_keepalives_idle() == DEFAULT_IDLE {
            config.keepalives_idle(KEEPALIVE);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(Duration::from_secs(10));
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(3);
        }
        self
    }

    /// Returns the address for the log, without user and password.
    pub(super) fn address(&self) -> String {
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<_> = self.config.get_hosts().iter().map(host).collect();
        format!("{} on {}", self.config.get_dbname().unwrap_or_default(), hosts.join(", "))
    }

    /// Returns whether a connection may be encrypted.
    pub(super) fn may_encrypt(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str, has_ca_file: bool) -> Result<(SslMode, Trust), String> {
        let target = target(&format!("postgres://ada:secret@db.example/shop{query}"), has_ca_file)?;
        Ok((target.config.get_ssl_mode(), target.trust))
    }

    #[test]
    fn sslmode_is_read_as_libpq_reads_it() {
        use SslMode::{Disable, Prefer, Require};
        for (query, mode, trust) in [
            ("", Prefer, Trust::AnyServer),
            ("?sslmode=disable", Disable, Trust::AnyServer),
            ("?sslmode=prefer", Prefer, Trust::AnyServer),
            ("?sslmode=require", Require, Trust::AnyServer),
            ("?sslmode=verify-ca", Require, Trust::Authority),
            ("?application_name=x&sslmode=verify-full", Require, Trust::Name),
        ] {
            assert_eq!(read(query, false), Ok((mode, trust)), "{query}");
        }
        assert_eq!(read("?sslmode=require", true), Ok((Require, Trust::Authority)));
        assert_eq!(read("?sslmode=prefer", true), Ok((Prefer, Trust::AnyServer)));
    }

    #[test]
    fn unsupported_parameters_are_refused_without_showing_the_password() {
        for (query, part) in [
            ("?sslmode=allow", "sslmode"),
            ("?sslrootcert=/ca.pem", "database.ca_file"),
            ("?sslcert=/me.pem", "sslcert"),
            ("?colour=red", "colour"),
            ("?connect_timeout=soon", "connect_timeout"),
        ] {
            let problem = read(query, false).unwrap_err();
            assert!(problem.contains(part) && !problem.contains("secret"), "{query}: {problem}");
        }
        for url in [
            "mysql://a@b/c",
            "",
            "host=db user=ada",
            "postgres:///shop?user=ada",
            "postgres://db.example/shop",
            "postgres://ada@db.example",
            "postgres://ada@db.example:port/shop",
            "postgres:///shop?host=/run/postgresql&user=ada&sslmode=verify-full",
        ] {
            assert!(check_database_url(url).is_err(), "{url}");
        }
        assert_eq!(check_database_url("postgres:///shop?host=/run/postgresql&user=ada"), Ok(()));
        assert_eq!(check_database_url("postgresql://ada@a:5432,b:5433/shop?target_session_attrs=read-write"), Ok(()));
    }

    #[test]
    fn every_wait_has_a_limit_and_the_address_shows_no_password() {
        let target = target("postgres://ada:secret@db.example/shop?connect_timeout=2", false).unwrap();
        let target = target.bounded(&PostgresConfig::default());
        assert_eq!(target.config.get_connect_timeout(), Some(&Duration::from_secs(2)));
        assert_eq!(target.config.get_tcp_user_timeout(), Some(&Duration::from_secs(10)));
        assert_eq!(target.config.get_keepalives_idle(), Duration::from_secs(30));
        assert_eq!(target.address(), "shop on db.example");
    }
}
