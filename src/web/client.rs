//! Address of a client: through trusted proxies, and no others.
//!
//! Each trusted proxy appends the address of its client to the list. Everything before the last address that is not a
//! trusted proxy was written by the client itself and is ignored (RFC 7239, section 8.1).

use std::net::IpAddr;

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderName},
};
use ipnet::IpNet;
use serde::Serialize;

/// Header that a trusted proxy writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`, and `Forwarded` if that is missing. A proxy that writes `Forwarded` has to remove the other
    /// one, or be configured as [`ForwardedBy::Forwarded`]: clients can send both.
    #[default]
    Either,
    /// `X-Forwarded-For` only, the de facto standard.
    XForwardedFor,
    /// `Forwarded` (RFC 7239) only.
    Forwarded,
}

/// Proxies whose forwarding headers are trusted.
#[derive(Clone, Debug, Default)]
pub struct ProxyConfig {
    /// Networks of proxies in front of this server. Default none.
    pub trusted: Vec<IpNet>,
    /// Whether clients on a Unix socket are trusted proxies.
    pub trust_unix: bool,
    /// Header that the proxies write.
    pub header: ForwardedBy,
}

impl ProxyConfig {
    /// Returns whether `address` is that of a trusted proxy.
    pub fn trusts(&self, address: &IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }
}

/// Use of the forwarding headers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Forwarded {
    /// The request has no forwarding header.
    Absent,
    /// They came from an untrusted client.
    Ignored,
    /// They came from a trusted proxy.
    Believed,
}

/// Returns the address as [`address`] does, and whether forwarding headers were used.
pub fn forwarded(config: &ProxyConfig, request: &HttpRequest) -> (Forwarded, Option<IpAddr>) {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let trusted = |address: &IpAddr| config.trusts(address);
    let source = match peer.as_ref().map_or(config.trust_unix, trusted) {
        _ if hops(config.header, request).is_empty() => Forwarded::Absent,
        true => Forwarded::Believed,
        false => Forwarded::Ignored,
    };
    (source, address(config, request))
}

/// Returns the address of the client; `None` for a Unix socket whose peer is not trusted or sends no header.
pub fn address(config: &ProxyConfig, request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let trusted = |address: &IpAddr| config.trusts(address);
    if !peer.as_ref().map_or(config.trust_unix, trusted) {
        return peer;
    }
    // From last to first: the first one that is not a trusted proxy is the client. An unreadable one ends the search.
    let mut nearest = peer;
    for hop in hops(config.header, request).into_iter().rev() {
        let Some(hop) = hop else { break };
        nearest = Some(hop);
        if !trusted(&hop) {
            break;
        }
    }
    nearest
}

/// Returns the scheme of the client's request to a trusted proxy, `http` or `https`; `None` without the header. Of
/// several the first one counts, which the proxy nearest to the client wrote.
pub fn scheme(config: &ProxyConfig, request: &HttpRequest) -> Option<String> {
    const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let trusted = |address: &IpAddr| config.trusted.iter().any(|network| network.contains(address));
    if !peer.as_ref().map_or(config.trust_unix, trusted) {
        return None;
    }
    let first = |name: HeaderName| {
        let field = request.headers().get(name)?.to_str().ok()?;
        Some(field.split(',').next().unwrap_or_default().trim().to_owned())
    };
    let plain = || first(X_FORWARDED_PROTO);
    let standard = || {
        let element = first(header::FORWARDED)?;
        let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let (_, scheme) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("proto"))?;
        Some(scheme.trim().trim_matches('"').to_owned())
    };
    let scheme = match config.header {
        ForwardedBy::Either => plain().or_else(standard),
        ForwardedBy::XForwardedFor => plain(),
        ForwardedBy::Forwarded => standard(),
    };
    scheme.map(|scheme| scheme.to_ascii_lowercase()).filter(|scheme| matches!(scheme.as_str(), "http" | "https"))
}

/// Returns the address by which a client is counted: an IPv6 client can use a whole network of 64 bits.
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// Returns the addresses that the proxies wrote, in order; `None` for a value that is not an address (`unknown`, `_hidden`).
fn hops(by: ForwardedBy, request: &HttpRequest) -> Vec<Option<IpAddr>> {
    const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let list = |name: HeaderName| -> Vec<String> {
        // A value that is not text counts as a present one without an address, so that the other header is not used instead.
        let fields = request.headers().get_all(name).map(|field| String::from_utf8_lossy(field.as_bytes()));
        fields.flat_map(|field| field.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>()).collect()
    };
    let plain = if by == ForwardedBy::Forwarded { Vec::new() } else { list(X_FORWARDED_FOR) };
    if !plain.is_empty() || by == ForwardedBy::XForwardedFor {
        return plain.iter().map(|text| node(text)).collect();
    }
    let of = |element: &String| {
        let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
        node(value.trim().trim_matches('"'))
    };
    list(header::FORWARDED).iter().map(of).collect()
}

/// Parses `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn seen(trusted: &[&str], header: ForwardedBy, peer: &str, headers: &[(&str, &str)]) -> String {
        let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let config = ProxyConfig { trusted, trust_unix: false, header };
        let mut request = TestRequest::default().peer_addr(format!("{peer}:1000").parse().unwrap());
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        address(&config, &request.to_http_request()).unwrap().to_string()
    }

    #[test]
    fn a_forged_forwarded_header_of_a_stranger_is_ignored() {
        let forged = [("X-Forwarded-For", "10.0.0.9"), ("Forwarded", "for=10.0.0.9")];
        assert_eq!(seen(&[], ForwardedBy::Either, "203.0.113.7", &forged), "203.0.113.7");
        assert_eq!(seen(&["127.0.0.0/8"], ForwardedBy::Either, "203.0.113.7", &forged), "203.0.113.7");
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_is_the_client() {
        let ours = ["127.0.0.0/8", "10.0.0.0/8"];
        for (header, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
            ("198.51.100.1, unknown, 10.1.1.1", "10.1.1.1"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("nonsense", "127.0.0.1"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(
                seen(&ours, ForwardedBy::Either, "127.0.0.1", &[("X-Forwarded-For", header)]),
                expected,
                "{header}"
            );
        }
        let garbled = [("X-Forwarded-For", "\u{fffd}, 203.0.113.7"), ("Forwarded", "for=198.51.100.1")];
        assert_eq!(seen(&ours, ForwardedBy::Either, "127.0.0.1", &garbled), "203.0.113.7");
        let split = [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.7")];
        assert_eq!(seen(&ours, ForwardedBy::Either, "127.0.0.1", &split), "203.0.113.7");
    }

    #[test]
    fn the_standard_header_is_read_if_the_other_one_is_missing() {
        let ours = ["127.0.0.0/8"];
        for (header, expected) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("For=\"[2001:db8::1]:47\";proto=https;by=10.0.0.1", "2001:db8::1"),
            ("for=198.51.100.1, for=203.0.113.7;host=a", "203.0.113.7"),
            ("for=_hidden", "127.0.0.1"),
            ("proto=http", "127.0.0.1"),
        ] {
            assert_eq!(seen(&ours, ForwardedBy::Either, "127.0.0.1", &[("Forwarded", header)]), expected, "{header}");
        }
        let both = [("Forwarded", "for=198.51.100.1"), ("X-Forwarded-For", "203.0.113.7")];
        assert_eq!(seen(&ours, ForwardedBy::Either, "127.0.0.1", &both), "203.0.113.7");
        assert_eq!(seen(&ours, ForwardedBy::Forwarded, "127.0.0.1", &both), "198.51.100.1");
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let of = |text: &str| counted(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
