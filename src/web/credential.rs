//! Credentials of a request: where a token or a ticket is taken from.

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderMap},
};
use data_encoding::BASE64;

use tricast_auth::KEY_PREFIX;

use super::{
    config::{AccessConfig, SESSION_COOKIE},
    origin::{self, Origin},
    problem::Problem,
    query::Params,
};

/// Header in which machines send their key.
const API_KEY: &str = "x-api-key";

/// Beginning of every JSON Web Token: `{"` in base64url.
const JWT: &str = "eyJ";

/// Credential of a request.
pub(super) enum Credential {
    /// A token.
    Token(String),
    /// A ticket of `POST /api/tickets`.
    Ticket(String),
}

/// Credentials that a route accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// Tokens, but not tickets.
    Tokens,
    /// Tickets too: they are valid for streams only, and not for issuing another ticket.
    Tickets,
}

/// Returns the credential of a request: from a header, else `?ticket=` or `?token=`, else the cookie, which was not meant for
/// this request in particular.
///
/// # Errors
/// 401 for a header that can't be meant for a proxy and holds no token.
pub(super) fn of(access: &AccessConfig, request: &HttpRequest, accept: Accept) -> Result<Option<Credential>, Problem> {
    if let Some(token) = in_headers(request.headers())? {
        return Ok(Some(Credential::Token(token)));
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
    Ok(in_cookie(access, request).map(Credential::Token))
}

/// Returns the token of `Authorization`, by the schemes that programs use, or of `X-API-Key`.
///
/// `Bearer` is always ours. The other headers are used by proxies and gateways in front too: they count if they hold a token,
/// and are left alone otherwise.
fn in_headers(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut authorization = headers.get_all(header::AUTHORIZATION);
    let header = authorization.next();
    if authorization.next().is_some() {
        return Err(Problem::unauthorized(Some("invalid_request"), "Authorization occurs twice"));
    }
    if let Some(header) = header {
        let text = header.to_str().unwrap_or_default().trim();
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return match rest {
                "" => {
                    Err(Problem::unauthorized(Some("invalid_request"), "Authorization is \"Bearer\" without a token"))
                }
                token => Ok(Some(token.to_owned())),
            };
        }
        let found = if scheme.eq_ignore_ascii_case("token") {
            Some(rest.to_owned())
        } else if scheme.eq_ignore_ascii_case("basic") {
            password(rest)
        } else {
            None
        };
        if let Some(token) = found.filter(|token| is_token(token)) {
            return Ok(Some(token));
        }
    }
    let mut keys =
        headers.get_all(API_KEY).filter_map(|key| key.to_str().ok()).map(str::trim).filter(|key| is_token(key));
    let key = keys.next().map(str::to_owned);
    if keys.next().is_some() {
        return Err(Problem::unauthorized(Some("invalid_request"), "X-API-Key occurs twice"));
    }
    Ok(key)
}

/// Returns the password of Basic credentials (RFC 7617, section 2). The user's name is ignored: the token has its own.
fn password(credentials: &str) -> Option<String> {
    let decoded = BASE64.decode(credentials.as_bytes()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

/// Returns whether a text looks like a token or a key of this server.
fn is_token(text: &str) -> bool {
    text.starts_with(KEY_PREFIX) || text.starts_with(JWT) && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn in_cookie(access: &AccessConfig, request: &HttpRequest) -> Option<String> {
    // A page of another origin may have a token of its own, but not the one of this server's pages.
    let session = access.cookie.is_none() && matches!(origin::of(access, request), Origin::Own | Origin::Absent);
    let name = access.cookie.as_deref().or(session.then_some(SESSION_COOKIE))?;
    let fields = request.headers().get_all(header::COOKIE).filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let token =
        pairs.into_iter().find(|(known, _)| *known == name).map(|(_, token)| token.trim_matches('"').to_owned());
    token.filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";

    fn found(fields: &[(&'static str, String)]) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        in_headers(&headers).map_err(drop)
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", BASE64.encode(credentials.as_bytes()))
    }

    #[test]
    fn a_token_is_taken_from_every_header_that_programs_use() {
        for (name, value) in [
            ("authorization", format!("Bearer {TOKEN}")),
            ("authorization", format!("bearer  {TOKEN} ")),
            ("authorization", format!("Token {TOKEN}")),
            ("authorization", basic(&format!("anyone:{TOKEN}"))),
            ("authorization", basic(&format!(":{TOKEN}")).replace("Basic", "basic")),
            ("x-api-key", TOKEN.to_owned()),
        ] {
            assert_eq!(found(&[(name, value.clone())]), Ok(Some(TOKEN.into())), "{name}: {value}");
        }
        let both = [("authorization", "Bearer x".into()), ("x-api-key", TOKEN.into())];
        assert_eq!(found(&both), Ok(Some("x".into())), "the first one counts, even if it is wrong");
    }

    #[test]
    fn credentials_for_a_proxy_are_left_alone() {
        for (name, value) in [
            ("authorization", basic("proxy:secret")),
            ("authorization", basic(TOKEN)),
            ("authorization", "Basic ???".into()),
            ("authorization", "Token token=\"abc\"".into()),
            ("authorization", format!("Digest {TOKEN}")),
            ("authorization", "Basic".into()),
            ("x-api-key", "gateway".into()),
            ("x-api-key", "eyJ.x".into()),
        ] {
            assert_eq!(found(&[(name, value.clone())]), Ok(None), "{name}: {value}");
        }
        let proxied = [("authorization", basic("proxy:secret")), ("x-api-key", TOKEN.into())];
        assert_eq!(found(&proxied), Ok(Some(TOKEN.into())));
    }

    #[test]
    fn a_header_without_a_token_or_twice_is_refused() {
        let bearer = || ("authorization", format!("Bearer {TOKEN}"));
        let key = || ("x-api-key", TOKEN.to_owned());
        for fields in [vec![bearer(), bearer()], vec![("authorization", "Bearer ".into())], vec![key(), key()]] {
            assert_eq!(found(&fields), Err(()), "{fields:?}");
        }
    }
}
