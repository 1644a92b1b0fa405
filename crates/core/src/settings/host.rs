//! Hosts in settings.

use std::net::IpAddr;

/// Returns whether a host of a URL or setting is this machine: `localhost` or a loopback address, an IPv6 address with or
/// without its brackets.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn names_and_addresses_of_this_machine() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "localhost.example", "10.0.0.1", "[fe80::1]", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
