//! Who may come in: origins, identities.

use actix_web::{
    HttpRequest,
    http::{Uri, header},
};

use super::{problem::Problem, state::State};
use crate::auth::{self, Identity};
use crate::core::channel::Selector;

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub struct AccessConfig {
    /// Origins of other sites whose pages may use this server (`https://shop.example`), or `*`. Default none: only
    /// pages of the server's own host.
    pub allowed_origins: Vec<String>,
    /// The origin under which the server is reached from outside, if a proxy changes `Host`.
    pub public_origin: Option<String>,
}

/// What a request's `Origin` means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// None: not a browser, or a plain navigation.
    Absent,
    /// A page of this very host.
    Own,
    /// A page of a site that was allowed.
    Allowed,
    /// A page of any other site.
    Foreign,
}

/// Where the page that makes this request came from.
pub fn origin(config: &AccessConfig, request: &HttpRequest) -> Origin {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Origin::Absent };
    let Ok(origin) = origin.to_str() else { return Origin::Foreign };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.parse::<Uri>().ok().is_some_and(|uri| {
        uri.authority().is_some_and(|authority| host.is_some_and(|host| authority.as_str().eq_ignore_ascii_case(host)))
    });
    if own || config.public_origin.as_deref() == Some(origin) {
        Origin::Own
    } else if config.allowed_origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
        Origin::Allowed
    } else {
        Origin::Foreign
    }
}

/// Refuses pages of foreign sites: a WebSocket knows no CORS, and a form can post anywhere.
///
/// # Errors
/// 403.
pub fn check_origin(state: &State, request: &HttpRequest) -> Result<(), Problem> {
    match origin(&state.access, request) {
        Origin::Foreign => Err(Problem::forbidden("pages of this origin may not use this server; see allowed_origins")),
        _ => Ok(()),
    }
}

/// Who asks.
///
/// # Errors
/// None yet: authentication is off, and everybody is anonymous. Tokens will be refused here.
pub fn identify(_state: &State, request: &HttpRequest) -> Result<Identity, Problem> {
    Ok(Identity::anonymous(request.peer_addr().map(|address| address.ip())))
}

/// Refuses a reader that may not read one of `selectors`.
///
/// # Errors
/// 403.
pub fn check_reading(identity: &Identity, selectors: &[Selector]) -> Result<(), Problem> {
    let denied = |selector: &&Selector| auth::reading(selector).is_some_and(|permission| !identity.may(permission));
    match selectors.iter().find(denied) {
        Some(selector) => Err(Problem::forbidden(format!("this token may not read {selector}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_origin_is_own_allowed_or_foreign() {
        let config = AccessConfig {
            allowed_origins: vec!["https://shop.example".into()],
            public_origin: Some("https://live.example".into()),
        };
        for (host, given, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080", Origin::Own),
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
    }
}
