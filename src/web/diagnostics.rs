//! Description of a request after all proxies, and permits of probe streams, for the path doctor.

use std::{net::IpAddr, sync::Arc};

use actix_web::{
    HttpRequest,
    http::{Version, header},
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

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
    /// Version of HTTP that the nearest proxy uses: `1.0` or `1.1`.
    pub http: &'static str,
    /// `Host` as it arrived.
    pub host: Option<String>,
    /// Use of the forwarding headers.
    pub forwarded: Forwarded,
    /// Range of the address by which the client is counted.
    pub range: Option<Range>,
    /// That address, unless it may belong to the internal network.
    pub address: Option<IpAddr>,
}

/// Range of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AddressRange)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// The loopback address of this machine.
    Loopback,
    /// A network that is not reachable from outside.
    Private,
    /// Any other address, which may be reachable from outside.
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
        // Without a forwarding header this is the address of a proxy, which is not disclosed.
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
/// 503 if all are in use.
pub fn probe_permit(state: &State) -> Result<OwnedSemaphorePermit, Problem> {
    let permit = Arc::clone(&state.shared.doctors).try_acquire_owned();
    permit.map_err(|_| Problem::unavailable("too many tests of paths are running: try again later", reconnect_after()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_local_private_or_public() {
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
