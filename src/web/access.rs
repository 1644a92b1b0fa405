//! Access control: origins, tokens, identities.

use std::{net::IpAddr, rc::Rc, time::Duration};

use actix_web::{
    HttpMessage, HttpRequest,
    http::{Uri, header},
};

use super::{
    caller::Caller,
    client,
    config::AccessConfig,
    credential::{self, Accept, Credential},
    machine_keys,
    problem::Problem,
    state::State,
};
use tricast_auth::{Identity, KEY_PREFIX, TokenError};
use tricast_core::{
    channel::{Channel, Selector},
    counters::Limit,
};

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
pub fn origin(config: &AccessConfig, request: &HttpRequest) -> Origin {
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
pub fn check_origin(state: &State, request: &HttpRequest) -> Result<(), Problem> {
    match origin(&state.shared.access, request) {
        Origin::Foreign => Err(foreign_origin(request)),
        _ => Ok(()),
    }
}

/// Creates the problem for a page of a foreign site.
pub fn foreign_origin(request: &HttpRequest) -> Problem {
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or("?");
    let shown: String = origin.chars().take(100).collect();
    Problem::forbidden(format!(
        "pages of {shown:?} may not use this server: name that origin in allowed_origins, or, if it is this server's own \
         behind TLS, set public_url or trusted_proxies"
    ))
}

/// Identifies the caller by its token.
///
/// # Errors
/// 401 without a valid token; 429 if the server has reached its limit of tenants.
pub async fn identify(state: &State, request: &HttpRequest) -> Result<Caller, Problem> {
    known(authenticate(state, request, Accept::Tokens).await?)
}

/// Identifies the caller of a stream by its token or ticket.
///
/// # Errors
/// Those of [`identify`].
pub async fn identify_stream(state: &State, request: &HttpRequest) -> Result<Caller, Problem> {
    known(visitor(state, request).await?)
}

fn known<T>(caller: Option<T>) -> Result<T, Problem> {
    caller.ok_or_else(|| {
        Problem::unauthorized(None, "authentication is required: send an \"Authorization: Bearer\" header")
    })
}

/// Returns the identity of the caller of a server that requires tokens. Its tenant is not started, so this also works at
/// the limit of tenants.
///
/// # Errors
/// 401 without a valid token.
pub async fn identity(state: &State, request: &HttpRequest) -> Result<Identity, Problem> {
    known(read_identity(state, request, Accept::Tokens).await?)
}

/// Identifies the caller of a stream; `None` without credentials if a token is required.
///
/// # Errors
/// 401 for a token or ticket that is not valid; 429 if the server has reached its limit of tenants.
pub async fn visitor(state: &State, request: &HttpRequest) -> Result<Option<Caller>, Problem> {
    authenticate(state, request, Accept::Tickets).await
}

async fn authenticate(state: &State, request: &HttpRequest, accept: Accept) -> Result<Option<Caller>, Problem> {
    let address = state.address(request);
    if let Some(home) = state.single_tenant() {
        return Ok(Some(Caller::new(Identity::anonymous(address), Rc::clone(home))));
    }
    let Some(identity) = read_identity(state, request, accept).await? else { return Ok(None) };
    let caller = state.caller(identity.with_address(address))?;
    request.extensions_mut().insert(Rc::clone(&caller.local));
    Ok(Some(caller))
}

async fn read_identity(state: &State, request: &HttpRequest, accept: Accept) -> Result<Option<Identity>, Problem> {
    match credential::of(&state.shared.access, request, accept)? {
        None => Ok(None),
        Some(Credential::Ticket(ticket)) => {
            let redeemed = current(state, redeem(state, &ticket).await).await?;
            // The token behind it may have expired since.
            let good = redeemed.filter(|identity| identity.expires_at.is_none_or(|at| at > state.shared.clock.now()));
            let good = good.ok_or_else(|| {
                state.shared.counters.refused_tokens.inc();
                Problem::unauthorized(Some("invalid_token"), "this ticket was already used, has expired, or is unknown")
            });
            good.map(Some)
        }
        Some(Credential::Token(token)) => {
            verify(state, &token, state.address(request)).await.map(Some).map_err(token_problem)
        }
    }
}

/// Redeems a ticket. In a cluster another node may have issued it, so the bus decides who redeems it first; without a bus a
/// ticket is valid on the node that issued it.
async fn redeem(state: &State, ticket: &str) -> Option<Identity> {
    let here = state.shared.access.tickets.redeem(ticket, std::time::Instant::now());
    let Some(cluster) = state.shared.tenants.cluster() else { return here };
    match cluster.take_once(&tricast_auth::ticket_name(ticket)).await {
        Ok(kept) => kept.and_then(|kept| Identity::from_json(&kept)),
        Err(_) => here,
    }
}

/// Returns the identity behind a ticket as it is now: its key may have been revoked since.
async fn current(state: &State, redeemed: Option<Identity>) -> Result<Option<Identity>, Problem> {
    let Some(key) = redeemed.as_ref().and_then(Identity::key) else { return Ok(redeemed) };
    let Some(keys) = &state.shared.access.keys else { return Ok(None) };
    match keys.identity_of(key.id()).await {
        Ok(identity) => Ok(Some(identity)),
        Err(error @ TokenError::StoreUnavailable) => Err(token_problem(error)),
        Err(_) => Ok(None),
    }
}

/// Verifies a token or key that a client at `address` sent, and returns its identity.
///
/// # Errors
/// [`TokenError`]; the refusal is counted.
pub async fn verify(state: &State, token: &str, address: Option<IpAddr>) -> Result<Identity, TokenError> {
    let verified = match (&state.shared.access.keys, &state.shared.access.verifier) {
        (Some(keys), _) if token.starts_with(KEY_PREFIX) => keys.verify(token, address).await,
        (_, None) => Err(TokenError::UnknownKey),
        (_, Some(verifier)) => match verifier.verify(token) {
            Err(TokenError::UnknownKey | TokenError::KeysUnavailable) => verifier.verify_fetching(token).await,
            known => known,
        },
    };
    verified.inspect_err(|error| {
        state.shared.counters.refused_tokens.inc();
        if *error == TokenError::TooManyUnknown {
            state.shared.counters.limit(Limit::UnknownKeys).inc();
        }
        tracing::info!(%error, "a token was refused");
    })
}

/// Converts the refusal of a token to a problem.
pub fn token_problem(error: TokenError) -> Problem {
    match error {
        TokenError::StoreUnavailable => {
            return Problem::unavailable(format!("the key {error}"), Duration::from_secs(2));
        }
        TokenError::TooManyUnknown => return Problem::too_many(format!("the key {error}"), machine_keys::TRY_AGAIN),
        _ => {}
    }
    let detail = format!("the token {error}");
    Problem { may_pass: error.may_pass(), ..Problem::unauthorized(Some("invalid_token"), detail) }
}

/// Checks that `identity` may read all `selectors`.
///
/// # Errors
/// 403.
pub fn check_reading(identity: &Identity, selectors: &[Selector]) -> Result<(), Problem> {
    match selectors.iter().find(|selector| !tricast_auth::may_read(identity, selector)) {
        Some(selector) => Err(Problem::forbidden(format!("this token may not read {selector}"))),
        None => Ok(()),
    }
}

/// Checks that `identity` may push to `channel`, and end it.
///
/// # Errors
/// 403.
pub fn check_push(identity: &Identity, channel: &Channel) -> Result<(), Problem> {
    if tricast_auth::may_push(identity, channel) {
        return Ok(());
    }
    Err(Problem::forbidden(format!("this token may not push to {channel:?}")))
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
            assert_eq!(origin(&config, &request), expected, "{given} at {host}");
        }
        assert_eq!(origin(&config, &TestRequest::default().to_http_request()), Origin::Absent);
        let named = AccessConfig {
            allowed_origins: vec!["null".into(), "capacitor://localhost".into()],
            ..AccessConfig::default()
        };
        for given in ["null", "capacitor://localhost"] {
            let request = TestRequest::default().insert_header((header::ORIGIN, given)).to_http_request();
            assert_eq!(origin(&named, &request), Origin::Allowed, "{given}");
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
            assert_eq!(origin(config, &request), expected, "{name}: {value}");
        }
    }
}
