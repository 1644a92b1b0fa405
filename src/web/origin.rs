//! Origins of pages, and names by which the server is addressed.

use actix_web::{
    HttpRequest,
    http::{Uri, header},
};

use super::{client, config::AccessConfig, problem::Problem, state::State};

/// Checks that a server for this machine only was addressed by a local name: with DNS rebinding a foreign page resolves
/// its own name to this machine and would count as same-origin.
///
/// # Errors
/// 403.
pub fn check_known_host(config: &AccessConfig, headers: &header::HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(_) => return Ok(()),
        None => host.split(':').next().unwrap_or_default(),
    };
    let public = config.public_origin.as_deref().and_then(|origin| origin.rsplit('/').next());
    let ours = !name.contains('.')
        || name.ends_with(".localhost")
        || name.parse::<std::net::Ipv4Addr>().is_ok()
        || public == Some(host);
    if ours || !config.local_only {
        return Ok(());
    }
    let shown: String = host.chars().take(100).collect();
    Err(Problem::forbidden(format!(
        "{shown:?} is no name of this machine, and a server without tokens that only this machine reaches takes no other \
         (DNS rebinding): set public_url to the address that people type"
    ))
    .and_close())
}

/// Relation of a request's `Origin` to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No origin: not a browser, or a plain navigation.
    Absent,
    /// A page of this server: the same scheme, host and port.
    Own,
    /// A page of an allowed site.
    Allowed,
    /// A page of any other site.
    Foreign,
}

/// Classifies the origin of the page that sent `request`.
pub fn of(config: &AccessConfig, request: &HttpRequest) -> Origin {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Origin::Absent };
    let Ok(origin) = origin.to_str() else { return Origin::Foreign };
    if is_own(config, request, origin) {
        Origin::Own
    } else if config.allowed_origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
        Origin::Allowed
    } else {
        Origin::Foreign
    }
}

/// Returns whether a page of `origin` is one of this server's own.
///
/// A page of `http://shop.example` is not one of `https://shop.example`: an attacker on the network could change it. This
/// server speaks plain HTTP; a trusted proxy or `public_url` states that TLS ends in front of it.
fn is_own(config: &AccessConfig, request: &HttpRequest, origin: &str) -> bool {
    if config.public_origin.as_deref().is_some_and(|public| same_origin(public, origin)) {
        return true;
    }
    let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let forwarded = client::scheme(&config.proxies, request);
    let scheme = forwarded.as_deref().unwrap_or("http");
    // The public URL is the only name for which another scheme is known.
    let public = config.public_origin.as_deref().filter(|_| forwarded.is_none()).and_then(|url| url.split_once("://"));
    let other_scheme = public.is_some_and(|(of, name)| of != scheme && name.eq_ignore_ascii_case(host));
    !other_scheme && same_origin(&format!("{scheme}://{host}"), origin)
}

/// Returns whether two http or https origins are equal; the default port of the scheme may be left out.
fn same_origin(ours: &str, theirs: &str) -> bool {
    let parts = |origin: &str| {
        let uri = origin.parse::<Uri>().ok()?;
        let scheme = uri.scheme_str()?.to_owned();
        let port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(port)))
    };
    let theirs = parts(theirs);
    theirs.is_some() && parts(ours) == theirs
}

/// Refuses pages of foreign sites: CORS does not apply to WebSockets, and a form can post anywhere.
///
/// # Errors
/// 403.
pub fn check(state: &State, request: &HttpRequest) -> Result<(), Problem> {
    match of(&state.shared.access, request) {
        Origin::Foreign => Err(foreign(request)),
        _ => Ok(()),
    }
}

/// Creates the problem for a page of a foreign site.
pub fn foreign(request: &HttpRequest) -> Problem {
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or("?");
    let shown: String = origin.chars().take(100).collect();
    Problem::forbidden(format!(
        "pages of {shown:?} may not use this server: name that origin in allowed_origins, or, if it is this server's own \
         behind TLS, set public_url or trusted_proxies"
    ))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::web::client::ProxyConfig;

    #[test]
    fn an_origin_is_own_allowed_or_foreign() {
        let config = AccessConfig {
            allowed_origins: vec!["https://shop.example".into()],
            public_origin: Some("https://live.example".into()),
            ..AccessConfig::default()
        };
        for (host, given, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080", Origin::Own),
            ("shop.example", "http://shop.example", Origin::Own),
            ("shop.example", "http://SHOP.example:80", Origin::Own),
            ("shop.local", "https://shop.local", Origin::Foreign),
            ("live.example", "http://live.example", Origin::Foreign),
            ("live.example", "https://live.example:443", Origin::Own),
            ("inner", "https://live.example", Origin::Own),
            ("inner", "https://SHOP.example", Origin::Allowed),
            ("127.0.0.1:8080", "http://127.0.0.1:8081", Origin::Foreign),
            ("shop.example", "https://shop.example.evil", Origin::Foreign),
            ("inner", "null", Origin::Foreign),
            ("inner", "", Origin::Foreign),
        ] {
            let request = TestRequest::default()
                .insert_header((header::HOST, host))
                .insert_header((header::ORIGIN, given))
                .to_http_request();
            assert_eq!(of(&config, &request), expected, "{given} at {host}");
        }
        assert_eq!(of(&config, &TestRequest::default().to_http_request()), Origin::Absent);
        let named = AccessConfig {
            allowed_origins: vec!["null".into(), "capacitor://localhost".into()],
            ..AccessConfig::default()
        };
        for given in ["null", "capacitor://localhost"] {
            let request = TestRequest::default().insert_header((header::ORIGIN, given)).to_http_request();
            assert_eq!(of(&named, &request), Origin::Allowed, "{given}");
        }
    }

    #[test]
    fn the_scheme_of_a_trusted_proxy_counts() {
        let trusting = AccessConfig {
            proxies: ProxyConfig { trusted: vec!["127.0.0.1/32".parse().unwrap()], ..ProxyConfig::default() },
            ..AccessConfig::default()
        };
        for (config, name, value, expected) in [
            (&trusting, "x-forwarded-proto", "https", Origin::Own),
            (&trusting, "x-forwarded-proto", "https, http", Origin::Own),
            (&trusting, "x-forwarded-proto", "http", Origin::Foreign),
            (&trusting, "forwarded", "for=192.0.2.1;Proto=\"https\"", Origin::Own),
            (&trusting, "x-other", "https", Origin::Foreign),
            (&AccessConfig::default(), "x-forwarded-proto", "https", Origin::Foreign),
        ] {
            let request = TestRequest::default()
                .peer_addr("127.0.0.1:1000".parse().unwrap())
                .insert_header((header::HOST, "shop.example"))
                .insert_header((header::ORIGIN, "https://shop.example"))
                .insert_header((name, value))
                .to_http_request();
            assert_eq!(of(config, &request), expected, "{name}: {value}");
        }
    }
}
