//! Access control: origins, tokens, identities.

use std::rc::Rc;

use actix_web::{
    HttpMessage, HttpRequest,
    http::{Uri, header},
};

use super::{
    caller::Caller,
    client,
    config::{AccessConfig, SESSION_COOKIE},
    problem::Problem,
    query::Params,
    state::State,
};
use tricast_auth::{Identity, TokenError};
use tricast_core::channel::Selector;

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

/// Credential of a request.
enum Credential {
    Token(String),
    Ticket(String),
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

/// Credentials that a route accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accept {
    /// Tokens, but not tickets.
    Tokens,
    /// Tickets too: they are valid for streams only, and not for issuing another ticket.
    Tickets,
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
    match credential(&state.shared.access, request, accept)? {
        None => Ok(None),
        Some(Credential::Ticket(ticket)) => {
            let redeemed = redeem(state, &ticket).await;
            // The token behind it may have expired since.
            let good = redeemed.filter(|identity| identity.expires_at.is_none_or(|at| at > state.shared.clock.now()));
            let good = good.ok_or_else(|| {
                state.shared.counters.refused_tokens.inc();
                Problem::unauthorized(Some("invalid_token"), "this ticket was already used, has expired, or is unknown")
            });
            good.map(Some)
        }
        Some(Credential::Token(token)) => verify(state, &token).await.map(Some).map_err(token_problem),
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

/// Verifies a token and returns its identity.
///
/// # Errors
/// [`TokenError`]; the refusal is counted.
pub async fn verify(state: &State, token: &str) -> Result<Identity, TokenError> {
    let Some(verifier) = &state.shared.access.verifier else { return Err(TokenError::KeysUnavailable) };
    let verified = match verifier.verify(token) {
        Err(TokenError::UnknownKey | TokenError::KeysUnavailable) => verifier.verify_fetching(token).await,
        known => known,
    };
    verified.inspect_err(|error| {
        state.shared.counters.refused_tokens.inc();
        tracing::info!(%error, "a token was refused");
    })
}

/// Converts the refusal of a token to a problem.
pub fn token_problem(error: TokenError) -> Problem {
    let detail = format!("the token {error}");
    Problem { may_pass: error.may_pass(), ..Problem::unauthorized(Some("invalid_token"), detail) }
}

/// Returns the credential of a request: `Authorization`, else `?ticket=` or `?token=`, else the cookie, which was not
/// meant for this request in particular.
fn credential(access: &AccessConfig, request: &HttpRequest, accept: Accept) -> Result<Option<Credential>, Problem> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    match (headers.next(), headers.next()) {
        (Some(header), None) => {
            let text = header.to_str().unwrap_or_default().trim();
            let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
            // Other schemes are meant for others, such as a proxy in front.
            if scheme.eq_ignore_ascii_case("bearer") {
                return match token.trim() {
                    "" => Err(Problem::unauthorized(
                        Some("invalid_request"),
                        "Authorization is \"Bearer\" without a token",
                    )),
                    token => Ok(Some(Credential::Token(token.to_owned()))),
                };
            }
        }
        (Some(_), Some(_)) => {
            return Err(Problem::unauthorized(Some("invalid_request"), "Authorization occurs twice"));
        }
        (None, _) => {}
    }
    let params = Params::read_any(request)?;
    if accept == Accept::Tickets
        && let Some(ticket) = params.one("ticket")?
    {
        return Ok(Some(Credential::Ticket(ticket.to_owned())));
    }
    if let Some(token) = params.one("token")? {
        return Ok(Some(Credential::Token(token.to_owned())));
    }
    // A page of another origin may have a token of its own, but not the one of this server's pages.
    let session = access.cookie.is_none() && matches!(origin(access, request), Origin::Own | Origin::Absent);
    let Some(name) = access.cookie.as_deref().or(session.then_some(SESSION_COOKIE)) else { return Ok(None) };
    let fields = request.headers().get_all(header::COOKIE).filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let token =
        pairs.into_iter().find(|(known, _)| *known == name).map(|(_, token)| token.trim_matches('"').to_owned());
    Ok(token.filter(|token| !token.is_empty()).map(Credential::Token))
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
