//! Fixes of a proxied path: one table for the command line, the page and the documentation.

use serde::Serialize;

/// What has to change somewhere between a client and this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing leads from the proxy to the server.
    Passed,
    /// The handshake of a WebSocket loses its headers.
    Upgrade,
    /// `Host` is another one than the page's.
    Host,
    /// An answer is collected before it is given on.
    Buffering,
    /// An event stream is compressed on its way.
    StreamCompression,
    /// A silent event stream is cut too soon.
    EventsTimeout,
    /// A silent WebSocket is cut too soon.
    WebSocketTimeout,
    /// A held poll is cut too soon.
    PollTimeout,
    /// The proxy speaks HTTP/1.0 to the server.
    Version,
    /// Tags are removed from answers.
    Tags,
    /// Request headers are removed.
    RequestHeaders,
    /// Answers are kept and given to others, or said to be good for a while.
    Caching,
    /// Bodies are refused that the server would take.
    Body,
    /// Frames or pieces disappear, which nginx does not do by itself.
    Inspection,
    /// The client's address is not passed on.
    Forwarded,
    /// The client's address is passed on, and the server was not told to believe it.
    Trusted,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Line {
    /// Its name, which stays the same.
    pub id: &'static str,
    /// What to write into nginx's configuration; empty where nginx is not at fault.
    pub nginx: &'static str,
    /// What to write into the server's own configuration; empty where that is not at fault.
    pub setting: &'static str,
    /// The same for any other proxy, in a sentence.
    pub advice: &'static str,
}

impl Remedy {
    /// Every remedy.
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

    /// Its line of the table. The times are those of the configuration in `nginx/`.
    pub const fn line(self) -> Line {
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
        Line { id, nginx, setting, advice }
    }
}

impl Serialize for Remedy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.line().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_something_to_write() {
        let mut names: Vec<_> = Remedy::ALL.iter().map(|remedy| remedy.line().id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Remedy::ALL.len());
        for line in Remedy::ALL.map(Remedy::line) {
            assert!((line.nginx.is_empty() || line.setting.is_empty()) && line.advice.ends_with('.'), "{}", line.id);
        }
    }
}
