//! Settings of the guards and of request bodies.

use std::time::Duration;

use super::client::ProxyConfig;
use tricast_auth::{Tickets, Verifier};

/// Name of the cookie of the server's own pages, where `auth.cookie` names none.
pub const SESSION_COOKIE: &str = "tricast_session";

/// Authentication, and the origins, hosts and proxies that the server trusts.
#[derive(Default)]
pub struct AccessConfig {
    /// Verifier of tokens; `None` where every client is anonymous.
    pub verifier: Option<Verifier>,
    /// Issued tickets.
    pub tickets: Tickets,
    /// Name of a cookie that may hold the token.
    pub cookie: Option<String>,
    /// Proxies in front of this server.
    pub proxies: ProxyConfig,
    /// Origins of other sites and apps that may use this server (`https://shop.example`, `capacitor://localhost`), or
    /// `*`. Default none: only pages of the server's own origin.
    pub allowed_origins: Vec<String>,
    /// The origin under which the server is reached from outside, if a proxy changes `Host` or ends TLS.
    pub public_origin: Option<String>,
    /// Path of the server's own pages as browsers see it, with a slash at its end: where the cookie of a session goes.
    pub pages_path: String,
    /// The server is for this machine only and asks for no token: other names than this machine's are refused.
    pub local_only: bool,
}

/// Bounds of a request's body.
#[derive(Clone, Copy, Debug)]
pub struct BodyConfig {
    /// Largest body, in bytes. Default 1 MiB.
    pub max_bytes: usize,
    /// Longest time from its first byte to its last. Default 15 s.
    pub timeout: Duration,
    /// Most lines of a push. Default 10,000; 0 means no limit.
    pub max_lines: usize,
}
