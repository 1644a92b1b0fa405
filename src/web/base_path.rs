//! Where the server is below its host: `base_path`.
//!
//! ```text
//! base_path = "/live"      GET /live/events ─▶ /events      GET /live ─▶ 308 /live/      GET /events ─▶ 404
//! ```
//!
//! For a proxy that passes paths on as they are. One that takes the path off needs no `base_path`. What watches the process
//! (`/healthz`, `/readyz`, `/metrics`) finds it at the root, too.

use std::{fmt, sync::Arc};

use actix_web::{
    dev::ServiceRequest,
    http::{
        Uri,
        header::{HeaderMap, HeaderValue, LOCATION},
        uri::PathAndQuery,
    },
};

/// Paths that are at the root as well.
const WATCHED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Below the path, which was taken off.
    Inside,
    /// The path itself, without the slash that pages need.
    Edge,
    /// Elsewhere.
    Outside,
}

/// A path below which the server is: empty, or `/live`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// Reads `/live`, `/live/`, `/` or nothing.
    ///
    /// # Errors
    /// What is wrong with it.
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

    /// Without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says where `request` is, and takes the path off.
    pub fn enter(&self, request: &mut ServiceRequest) -> Place {
        if self.0.is_empty() {
            return Place::Inside;
        }
        let Some(rest) = request.path().strip_prefix(&*self.0) else {
            return if WATCHED.contains(&request.path()) { Place::Inside } else { Place::Outside };
        };
        if rest.is_empty() {
            return Place::Edge;
        }
        if !rest.starts_with('/') {
            return Place::Outside;
        }
        let below = match request.query_string() {
            "" => rest.to_owned(),
            query => format!("{rest}?{query}"),
        };
        let mut parts = request.uri().clone().into_parts();
        let Ok(below) = PathAndQuery::try_from(below) else { return Place::Outside };
        parts.path_and_query = Some(below);
        let Ok(uri) = Uri::from_parts(parts) else { return Place::Outside };
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
        Place::Inside
    }

    /// Puts the path in front of where an answer leads to.
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
    fn a_path_is_one_or_it_is_said_why_not() {
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
    fn what_is_below_it_is_inside() {
        let base = BasePath::parse("/live").unwrap();
        for (uri, place, path) in [
            ("/live/events?channels=a&x=%2F", Place::Inside, "/events?channels=a&x=%2F"),
            ("/live/", Place::Inside, "/"),
            ("/live/live/x", Place::Inside, "/live/x"),
            ("/live", Place::Edge, "/live"),
            ("/lively/x", Place::Outside, "/lively/x"),
            ("/events", Place::Outside, "/events"),
            ("/healthz", Place::Inside, "/healthz"),
            ("/live/healthz", Place::Inside, "/healthz"),
        ] {
            let mut request = TestRequest::with_uri(uri).to_srv_request();
            assert_eq!(base.enter(&mut request), place, "{uri}");
            assert_eq!(request.uri(), path, "{uri}");
        }
    }
}
