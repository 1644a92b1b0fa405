//! Fixes of a proxied path: one table for the command line, the page and the documentation.

use serde::Serialize;

/// Required change between a client and this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The proxy does not forward the path to the server.
    Passed,
    /// The handshake of a WebSocket loses its headers.
    Upgrade,
    /// `Host` differs from that of the page.
    Host,
    /// The proxy buffers responses.
    Buffering,
    /// The proxy compresses an event stream.
    StreamCompression,
    /// The proxy cuts an idle event stream too early.
    EventsTimeout,
    /// The proxy cuts an idle WebSocket too early.
    WebSocketTimeout,
    /// The proxy cuts a held poll too early.
    PollTimeout,
    /// The proxy uses HTTP/1.0 to the server.
    Version,
    /// The proxy removes entity tags.
    Tags,
    /// The proxy removes request headers.
    RequestHeaders,
    /// The proxy caches responses, or allows others to.
    Caching,
    /// The proxy refuses bodies that the server accepts.
    Body,
    /// Frames or chunks disappear, which nginx does not cause.
    Inspection,
    /// The proxy does not send the client's address.
    Forwarded,
    /// The proxy sends the client's address, but the server does not trust it.
    Trusted,
}

/// Fix of a faulty path: a directive of nginx or a setting of the server, and an explanation.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Remedy))]
pub struct RemedyEntry {
    /// Stable name, such as in the results of `tricast doctor`.
    #[cfg_attr(feature = "openapi", schema(example = "buffering"))]
    pub id: &'static str,
    /// Directive for the configuration of nginx; empty if nginx is not the cause.
    #[cfg_attr(feature = "openapi", schema(example = "proxy_buffering off;"))]
    pub nginx: &'static str,
    /// Setting of the server; empty if it is not the cause.
    pub setting: &'static str,
    /// The fix for any other proxy, in a sentence.
    pub advice: &'static str,
}

impl Remedy {
    /// All remedies that the path doctor can recommend.
    pub const ALL: [Self; 16] = [
        Self::Passed,
        Self::Upgrade,
        Self::Host,
        Self::Buffering,
        Self::StreamCompression,
        Self::EventsTimeout,
        Self::WebSocketTimeout,
        Self::PollTimeout,
        Self::Version,
        Self::Tags,
        Self::RequestHeaders,
        Self::Caching,
        Self::Body,
        Self::Inspection,
        Self::Forwarded,
        Self::Trusted,
    ];

    /// Returns its entry of the table. The times are those of the configuration in `nginx/`.
    pub const fn entry(self) -> RemedyEntry {
        let (id, nginx, advice) = match self {
            Self::Passed => ("passed", "proxy_pass http://tricast;", "Forward this path to the server."),
            Self::Upgrade => (
                "upgrade",
                "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";",
                "Forward Upgrade and Connection to the server, over HTTP/1.1.",
            ),
            Self::Host => (
                "host",
                "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;",
                "Forward Host unchanged with its port, and the scheme, from an address in trusted_proxies; or set public_url to \
                 the external URL.",
            ),
            Self::Buffering => ("buffering", "proxy_buffering off;", "Forward each part of an event stream at once."),
            Self::StreamCompression => ("stream_compression", "gzip off;", "Don't compress text/event-stream."),
            Self::EventsTimeout => {
                ("events_timeout", "proxy_read_timeout 60s;", "Allow an event stream to be silent for 60 s.")
            }
            Self::WebSocketTimeout => (
                "websocket_timeout",
                "proxy_read_timeout 6m; proxy_send_timeout 6m;",
                "Allow a WebSocket to be silent for at least 60 s.",
            ),
            Self::PollTimeout => {
                ("poll_timeout", "proxy_read_timeout 40s;", "Allow 40 s for a response: a poll is held for up to 25 s.")
            }
            Self::Version => ("version", "proxy_http_version 1.1;", "Use HTTP/1.1 to the server."),
            Self::Tags => (
                "tags",
                "proxy_pass_header ETag; gzip off;",
                "Keep ETag: don't change bodies (sub_filter, gzip) and don't hide the header (proxy_hide_header).",
            ),
            Self::RequestHeaders => (
                "request_headers",
                "proxy_pass_request_headers on; proxy_cache off;",
                "Forward If-None-Match and Prefer unchanged, and don't answer from a cache.",
            ),
            Self::Caching => (
                "caching",
                "proxy_cache off; expires off;",
                "Don't cache responses of this server, and keep its Cache-Control.",
            ),
            Self::Body => ("body", "client_max_body_size 1m;", "Allow bodies as large as limits.max_body."),
            Self::Inspection => (
                "inspection",
                "",
                "Allow WebSockets in the inspecting device (a scanner, a corporate proxy), or connect to the server over TLS.",
            ),
            Self::Forwarded => (
                "forwarded",
                "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
                "Send the client's address in X-Forwarded-For, and list the proxy in trusted_proxies.",
            ),
            Self::Trusted => ("trusted", "", "List the proxy's address, as the server sees it, in trusted_proxies."),
        };
        let setting = match self {
            Self::Trusted => "trusted_proxies = [\"127.0.0.1\"]",
            _ => "",
        };
        RemedyEntry { id, nginx, setting, advice }
    }
}

impl Serialize for Remedy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entry().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_remedy_has_a_unique_name_and_a_fix() {
        let mut names: Vec<_> = Remedy::ALL.iter().map(|remedy| remedy.entry().id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Remedy::ALL.len());
        for line in Remedy::ALL.map(Remedy::entry) {
            assert!((line.nginx.is_empty() || line.setting.is_empty()) && line.advice.ends_with('.'), "{}", line.id);
        }
    }
}
