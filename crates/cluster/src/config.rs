//! Address of the bus and settings of its connections.
//!
//! ```text
//! redis://user:password@host:6379/0                        one Redis; rediss:// with TLS, unix:///path for a socket
//! redis+sentinel://user:password@a:26379,b:26379/mymaster  the master named by sentinels; rediss+sentinel://
//! redis+cluster://user:password@a:7000,b:7001              a Redis Cluster; rediss+cluster://
//! ```

use std::{path::PathBuf, time::Duration};

use redis::{
    Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates, TlsMode,
    cluster::ClusterClient,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tricast_core::{section, span::Span};
use url::Url;

section! {
    /// Use of the bus that several nodes share.
    pub struct ClusterConfig {
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

/// The bus, and this node among those that share it.
#[derive(Clone)]
pub struct BusConfig {
    /// URL of the bus, as in the module documentation. It contains a password and must not be printed.
    pub url: String,
    /// Display name of this node. Default: the host's name and a few random letters.
    pub node: String,
    /// Settings of the cluster.
    pub cluster: ClusterConfig,
}

impl BusConfig {
    /// Returns the URL without login and query, for the log.
    pub(super) fn url_without_login(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let place = place.split_once('?').map_or(place, |(place, _)| place);
        format!("{scheme}://{place}")
    }
}

/// Longest time to get a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// Longest time to wait for a reply, in addition to the requested blocking time.
pub(super) const RESPONSE: Duration = Duration::from_secs(5);

/// Default ports of a Redis and of a sentinel.
const PORTS: (u16, u16) = (6379, 26379);

/// Bus to connect to.
pub(super) enum Target {
    /// A single Redis server, by TCP, TLS or a Unix socket.
    One(Box<Client>),
    /// Master named by sentinels. Querying them needs a client of its own.
    Sentinel(Box<tokio::sync::Mutex<SentinelClient>>),
    /// A Redis Cluster, in which all keys of tricast are on one server.
    Cluster(Box<ClusterClient>),
    /// A server of the simulation.
    #[cfg(test)]
    Simulated(super::simulation::Network),
}

/// Checks the URL of a bus without connecting.
///
/// # Errors
/// Description of the fault, without the URL: it may contain a password.
pub fn check_bus_url(url: &str) -> Result<(), String> {
    target(url, None).map(drop)
}

/// Parses the URL. `ca` is PEM.
pub(super) fn target(url: &str, ca: Option<Vec<u8>>) -> Result<Target, String> {
    let (scheme, rest) =
        url.split_once("://").ok_or("has to begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")?;
    let certificates = || TlsCertificates { client_tls: None, root_cert: ca.clone() };
    match scheme {
        "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+unix" => {
            let info = url.into_connection_info().map_err(description)?;
            let tls = matches!(scheme, "rediss" | "valkeys");
            if tls {
                // Reports invalid certificates at the start.
                return Client::build_with_tls(info, certificates())
                    .map(|client| Target::One(Box::new(client)))
                    .map_err(description);
            }
            Client::open(info).map(|client| Target::One(Box::new(client))).map_err(description)
        }
        "redis+sentinel" | "rediss+sentinel" => {
            let tls = scheme == "rediss+sentinel";
            let places = Places::parse(rest, PORTS.1)?;
            let mut path = places.path.trim_matches('/').split('/');
            let service = path.next().filter(|name| !name.is_empty());
            let service = service.ok_or("contains no master: redis+sentinel://host:26379/NAME")?;
            let database = path.next().map_or(Ok(0), str::parse).map_err(|_| "the database has to be a number")?;
            let sentinels = places.hosts.iter().map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
            let builder = SentinelClientBuilder::new(sentinels, service, SentinelServerType::Master);
            let mut builder = builder.map_err(description)?.set_client_to_redis_db(database);
            if tls {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_redis_certificates(certificates());
            }
            if let Some((user, password)) = places.login {
                if !user.is_empty() {
                    builder = builder.set_client_to_redis_username(user);
                }
                builder = builder.set_client_to_redis_password(password);
            }
            let client = builder.build().map_err(description)?;
            Ok(Target::Sentinel(Box::new(tokio::sync::Mutex::new(client))))
        }
        "redis+cluster" | "rediss+cluster" => {
            let tls = scheme == "rediss+cluster";
            let places = Places::parse(rest, PORTS.0)?;
            let scheme = if tls { "rediss" } else { "redis" };
            let nodes = places.hosts.iter().map(|(host, port)| format!("{scheme}://{}:{port}", bracketed(host)));
            let mut builder = ClusterClient::builder(nodes)
                .connection_timeout(CONNECT)
                .response_timeout(RESPONSE)
                .overall_response_timeout(Some(RESPONSE))
                .retries(3);
            if tls {
                builder = builder.tls(TlsMode::Secure).certs(certificates());
            }
            if let Some((user, password)) = places.login {
                if !user.is_empty() {
                    builder = builder.username(user);
                }
                builder = builder.password(password);
            }
            builder.build().map(|client| Target::Cluster(Box::new(client))).map_err(description)
        }
        _ => Err("has to begin with redis://, rediss://, redis+sentinel:// or redis+cluster://".into()),
    }
}

/// Returns the configuration of connections to a single server.
pub(super) fn connection_config(response: Duration) -> redis::AsyncConnectionConfig {
    redis::AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(response))
}

/// Returns the library's description of an error, which never contains the URL.
fn description(error: redis::RedisError) -> String {
    error.to_string()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Hosts of a URL.
struct Places {
    hosts: Vec<(String, u16)>,
    login: Option<(String, String)>,
    path: String,
}

impl Places {
    /// Parses the part of a URL after the scheme: `user:password@host:port,host:port/path`.
    fn parse(text: &str, port: u16) -> Result<Self, String> {
        let (login, rest) = text.rsplit_once('@').map_or(("", text), |(login, rest)| (login, rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let read = |place: &str| {
            // Parsed as a URL of its own, so that IPv6 addresses and escapes are handled as elsewhere.
            let url = Url::parse(&format!("redis://{login}{}{place}", if login.is_empty() { "" } else { "@" }));
            let url = url.map_err(|_| "contains an invalid host")?;
            let host = url.host_str().ok_or("contains no host")?.trim_matches(['[', ']']).to_owned();
            let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            let login = url.password().map(|password| (decode(url.username()), decode(password)));
            Ok::<_, &str>(((host, url.port().unwrap_or(port)), login))
        };
        let read = hosts.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
        let login = read.first().and_then(|(_, login)| login.clone());
        let hosts = read.into_iter().map(|(host, _)| host).collect();
        Ok(Self { hosts, login, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_bus_has_its_url() {
        let kind = |url: &str| match target(url, None) {
            Ok(Target::One(_)) => "one".to_owned(),
            Ok(Target::Sentinel(_)) => "sentinel".to_owned(),
            Ok(Target::Simulated(_)) => unreachable!("no URL names it"),
            Ok(Target::Cluster(_)) => "cluster".to_owned(),
            Err(fault) => fault,
        };
        assert_eq!(kind("redis://127.0.0.1"), "one");
        assert_eq!(kind("redis://user:p%40ss@redis.example:6380/3"), "one");
        assert_eq!(kind("unix:///run/redis.sock"), "one");
        assert_eq!(kind("redis+sentinel://a,b:26380/mymaster"), "sentinel");
        assert_eq!(kind("redis+sentinel://:secret@a/mymaster/2"), "sentinel");
        assert_eq!(kind("redis+cluster://user:secret@[::1]:7000,b:7001"), "cluster");
        for (bad, part) in [
            ("127.0.0.1:6379", "has to begin with"),
            ("http://127.0.0.1", "has to begin with"),
            ("redis+sentinel://a,b", "contains no master"),
            ("redis+sentinel://a/m/x", "has to be a number"),
            ("redis+cluster://a b", "invalid host"),
        ] {
            assert!(kind(bad).contains(part), "{bad}: {}", kind(bad));
        }
    }

    #[test]
    fn the_address_has_no_login() {
        for (url, place) in [
            ("redis://user:p@ss@redis.example:6380/3?protocol=resp3", "redis://redis.example:6380/3"),
            ("redis+sentinel://:secret@a,b:26380/mymaster", "redis+sentinel://a,b:26380/mymaster"),
            ("unix:///run/redis.sock?pass=secret", "unix:///run/redis.sock"),
            ("redis://127.0.0.1", "redis://127.0.0.1"),
        ] {
            let config = BusConfig { url: url.into(), node: String::new(), cluster: ClusterConfig::default() };
            assert_eq!(config.url_without_login(), place);
        }
    }

    #[test]
    fn escapes_in_a_login_are_decoded() {
        let places = Places::parse("u%3A:p%40@a:1,[::1]/m", 9).unwrap();
        assert_eq!(places.login, Some(("u:".into(), "p@".into())));
        assert_eq!(places.hosts, [("a".into(), 1), ("::1".into(), 9)]);
    }
}
