//! Base path of the server below its host: `base_path`.
//!
//! ```text
//! base_path = "/live"      GET /live/events ─▶ /events      GET /live ─▶ 308 /live/      GET /events ─▶ 404
//! ```
//!
//! It is for proxies that pass paths on unchanged; a proxy that strips the path needs none. Monitoring (`/healthz`,
//! `/readyz`, `/metrics`) works at the root too.

use std::{fmt, sync::Arc};

use actix_web::{
    dev::ServiceRequest,
    http::{
        Uri,
        header::{HeaderMap, HeaderValue, LOCATION},
        uri::PathAndQuery,
    },
};

/// Paths that exist at the root as well.
const WATCHED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Location of a request relative to the base path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Below the base path, which was stripped.
    Inside,
    /// The base path itself, without the slash that pages need.
    Root,
    /// Outside of the base path.
    Outside,
}

/// Base path: empty, or `/live`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// Parses `/live`, `/live/`, `/` or an empty text.
    ///
    /// # Errors
    /// Description of the fault.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if !path.is_empty() && !path.starts_with('/') {
            return Err("has to begin with a slash");
        }
        if path.contains("//") || path.ends_with('/') || path.split('/').any(|part| part == "." || part == "..") {
            return Err("has an empty or a relative part");
        }
        if !path.bytes().all(allowed) {
            return Err("has a character besides A-Z a-z 0-9 - . _ ~ /");
        }
        Ok(Self(path.into()))
    }

    /// Returns the path without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Strips the path of `request` and returns its location.
    pub fn enter(&self, request: &mut ServiceRequest) -> Location {
        if self.0.is_empty() {
            return Location::Inside;
        }
        let Some(rest) = request.path().strip_prefix(&*self.0) else {
            return if WATCHED.contains(&request.path()) { Location::Inside } else { Location::Outside };
        };
        if rest.is_empty() {
            return Location::Root;
        }
        if !rest.starts_with('/') {
            return Location::Outside;
        }
        let below = match request.query_string() {
            "" => rest.to_owned(),
            query => format!("{rest}?{query}"),
        };
        let mut parts = request.uri().clone().into_parts();
        let Ok(below) = PathAndQuery::try_from(below) else { return Location::Outside };
        parts.path_and_query = Some(below);
        let Ok(uri) = Uri::from_parts(parts) else { return Location::Outside };
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
        Location::Inside
    }

    /// Adds the path to the `Location` of a response.
    pub fn leave(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        let led = headers.get(LOCATION).and_then(|to| to.to_str().ok()).filter(|to| to.starts_with('/'));
        if let Some(Ok(location)) = led.map(|to| HeaderValue::try_from(format!("{self}{to}"))) {
            headers.insert(LOCATION, location);
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_path_is_parsed_or_refused_with_the_fault() {
        for (text, path) in
            [("", ""), ("/", ""), ("/live", "/live"), ("/live/", "/live"), ("/a/b-c_d.e~f", "/a/b-c_d.e~f")]
        {
            assert_eq!(BasePath::parse(text).map(|path| path.to_string()), Ok(path.into()), "{text}");
        }
        for bad in ["live", "/a b", "/a//b", "//", "/a/../b", "/.", "/é", "/a?b", "/a%20b"] {
            assert!(BasePath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_below_it_are_inside() {
        let base = BasePath::parse("/live").unwrap();
        for (uri, place, path) in [
            ("/live/events?channels=a&x=%2F", Location::Inside, "/events?channels=a&x=%2F"),
            ("/live/", Location::Inside, "/"),
            ("/live/live/x", Location::Inside, "/live/x"),
            ("/live", Location::Root, "/live"),
            ("/lively/x", Location::Outside, "/lively/x"),
            ("/events", Location::Outside, "/events"),
            ("/healthz", Location::Inside, "/healthz"),
            ("/live/healthz", Location::Inside, "/healthz"),
        ] {
            let mut request = TestRequest::with_uri(uri).to_srv_request();
            assert_eq!(base.enter(&mut request), place, "{uri}");
            assert_eq!(request.uri(), path, "{uri}");
        }
    }
}
