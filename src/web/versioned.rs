//! Responses that carry the version of a stored resource (RFC 9110, sections 8.8.3 and 13).

use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::{Method, StatusCode, header},
};
use serde::Serialize;

use super::precondition;
use tricast_core::version::Version;

/// Resource with the strong entity tag of its version. A GET or HEAD whose `If-None-Match` names that version gets
/// 304 and no body.
pub struct Versioned<T> {
    version: Version,
    status: StatusCode,
    location: Option<String>,
    cache: &'static str,
    body: Option<T>,
}

impl<T: Serialize> Versioned<T> {
    /// Creates a response with 200.
    pub fn ok(version: Version, body: T) -> Self {
        Self { version, status: StatusCode::OK, location: None, cache: "no-cache", body: Some(body) }
    }

    /// Creates a response with 201 and `Location`.
    pub fn created(version: Version, location: String, body: T) -> Self {
        Self { status: StatusCode::CREATED, location: Some(location), ..Self::ok(version, body) }
    }

    /// Sets `Cache-Control: no-store` in place of `no-cache`.
    pub fn no_store(self) -> Self {
        Self { cache: "no-store", ..self }
    }
}

impl Versioned<()> {
    /// Creates a response with 204 and the tag.
    pub fn no_content(version: Version) -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, ..Self::ok(version, ()) }
    }
}

impl<T: Serialize> Responder for Versioned<T> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_fresh = is_read && precondition::is_fresh(request.headers(), self.version);
        let mut response = HttpResponse::build(if is_fresh { StatusCode::NOT_MODIFIED } else { self.status });
        response.insert_header((header::ETAG, precondition::tag(self.version)));
        response.insert_header((header::CACHE_CONTROL, self.cache));
        if let Some(location) = self.location {
            response.insert_header((header::LOCATION, location));
        }
        match self.body.filter(|_| !is_fresh) {
            Some(body) => response.json(body),
            None => response.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn respond(method: Method, if_none_match: &str) -> HttpResponse {
        let version = Version { number: 1, made: jiff::Timestamp::UNIX_EPOCH };
        let tag = precondition::tag(version);
        let given = if if_none_match == "current" { tag.to_str().unwrap() } else { if_none_match };
        let request =
            TestRequest::default().method(method).insert_header((header::IF_NONE_MATCH, given)).to_http_request();
        Versioned::ok(version, "body").respond_to(&request)
    }

    #[test]
    fn a_read_with_the_current_tag_returns_304_with_the_tag() {
        let response = respond(Method::GET, "current");
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(response.headers().contains_key(header::ETAG));
        assert_eq!(respond(Method::HEAD, "current").status(), StatusCode::NOT_MODIFIED);
        assert_eq!(respond(Method::GET, "\"other\"").status(), StatusCode::OK);
    }

    #[test]
    fn a_change_never_returns_304() {
        assert_eq!(respond(Method::PATCH, "current").status(), StatusCode::OK);
    }
}
