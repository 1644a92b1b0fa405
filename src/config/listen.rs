//! Addresses to listen on, and networks of proxies.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use ipnet::IpNet;

/// An address that the server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP address with its port: `127.0.0.1:8080`, `[::1]:8080`.
    Tcp(SocketAddr),
    /// Path of a Unix socket: `unix:/run/tricast.sock`.
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

/// Reads one entry of `listen`. A name (`localhost:8080`) is looked up now: its IPv4 addresses, or where it has none its
/// IPv6 addresses.
pub(super) fn parse_listen(text: &str) -> Result<Vec<Listen>, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(vec![Listen::Unix(path.into())])
        } else {
            Err(format!("{text:?} is not an absolute path: write, unix:/run/tricast.sock"))
        };
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![Listen::Tcp(address)]);
    }
    let is_name = |host: &str| {
        host.starts_with(|char: char| char.is_ascii_alphanumeric())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            // Or an IPv4 address with a slip in it would be looked up.
            && host.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    match text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) {
        Some((host, port)) if is_name(host) => {
            let found =
                (host, port).to_socket_addrs().map_err(|error| format!("{text:?}: {host} cannot be resolved: {error}"));
            let (v4, v6): (BTreeSet<_>, BTreeSet<_>) = found?.partition(SocketAddr::is_ipv4);
            let addresses = if v4.is_empty() { v6 } else { v4 };
            Ok(addresses.into_iter().map(Listen::Tcp).collect())
        }
        _ => Err(format!(
            "{text:?} is not an address: write 127.0.0.1:8080, [::1]:8080, localhost:8080 or unix:/run/tricast.sock"
        )),
    }
}

/// Reads one network of `trusted_proxies`; an address alone is a network of one.
pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
