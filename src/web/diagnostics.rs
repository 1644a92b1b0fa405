//! Description of a request after all proxies, and permits of probe streams, for the path doctor.

use std::{net::IpAddr, sync::Arc};

use actix_web::{
    HttpRequest,
    http::{Version, header},
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    client::{self, Forwarded},
    problem::Problem,
    state::State,
};
use crate::shutdown::reconnect_after;

/// Most probe streams at the same time, on the whole server: one holds a connection for up to five minutes and needs no
/// token.
const MAX_PROBES: usize = 64;

/// Properties of a request after all proxies.
#[derive(Debug, Serialize)]
pub struct Seen {
    /// Version of HTTP that the nearest proxy speaks.
    pub http: &'static str,
    /// `Host`, as it came.
    pub host: Option<String>,
    /// Whether a proxy told the client's address, and whether it was believed.
    pub forwarded: Forwarded,
    /// Where the address lies that the client is counted by.
    pub range: Option<Range>,
    /// That address, unless it may be one of the network inside.
    pub address: Option<IpAddr>,
}

/// Range that an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// This machine.
    Loopback,
    /// A network that is not reached from outside.
    Private,
    /// Any other.
    Public,
}

impl Range {
    /// Returns the range of `address`.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let private = match address {
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        match (address.is_loopback(), private) {
            (true, _) => Self::Loopback,
            (_, true) => Self::Private,
            _ => Self::Public,
        }
    }
}

/// Describes `request` as it arrived.
pub fn seen(state: &State, request: &HttpRequest) -> Seen {
    let (forwarded, address) = client::forwarded(&state.shared.access.proxies, request);
    let range = address.map(Range::of);
    Seen {
        http: if request.version() == Version::HTTP_10 { "1.0" } else { "1.1" },
        host: request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
        forwarded,
        range,
        // Of a proxy that says nothing the address would be shown, and that is nobody's business.
        address: address.filter(|_| forwarded == Forwarded::Believed || range == Some(Range::Public)),
    }
}

/// Creates the permits of probe streams.
pub fn probe_permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_PROBES))
}

/// Takes the permit of a probe stream.
///
/// # Errors
/// 503 when all are taken.
pub fn probe_permit(state: &State) -> Result<OwnedSemaphorePermit, Problem> {
    let permit = Arc::clone(&state.shared.doctors).try_acquire_owned();
    permit.map_err(|_| Problem::unavailable("other doctors are at work here: try again later", reconnect_after()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_here_inside_or_outside() {
        for (address, expected) in [
            ("127.0.0.1", Range::Loopback),
            ("::1", Range::Loopback),
            ("::ffff:127.0.0.1", Range::Loopback),
            ("10.1.2.3", Range::Private),
            ("169.254.1.1", Range::Private),
            ("fd00::1", Range::Private),
            ("203.0.113.7", Range::Public),
            ("2001:db8::1", Range::Public),
        ] {
            assert_eq!(Range::of(address.parse().unwrap()), expected, "{address}");
        }
    }
}
