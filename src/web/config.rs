//! Settings of access control.

use super::{client::ProxyConfig, machine_keys::MachineKeys};
use tricast_auth::{Tickets, Verifier};

/// Default name of the cookie of the server's own pages, if `auth.cookie` is not set.
pub const SESSION_COOKIE: &str = "tricast_session";

/// Authentication, and the origins, hosts and proxies that the server trusts.
#[derive(Default)]
pub struct AccessConfig {
    /// Verifier of tokens; `None` if none is accepted.
    pub verifier: Option<Verifier>,
    /// Machine keys; `None` if every client is anonymous.
    pub keys: Option<MachineKeys>,
    /// Tickets that this node issued and that were not redeemed.
    pub tickets: Tickets,
    /// Name of a cookie that may hold the token.
    pub cookie: Option<String>,
    /// Proxies in front of this server.
    pub proxies: ProxyConfig,
    /// Origins of other sites and apps that may use this server (`https://shop.example`, `capacitor://localhost`), or
    /// `*`. Default none: only pages of the server's own origin.
    pub allowed_origins: Vec<String>,
    /// Origin under which the server is reached from outside, if a proxy changes `Host` or ends TLS.
    pub public_origin: Option<String>,
    /// Path of the server's own pages in browsers, with a slash at its end: the path of the session cookie.
    pub pages_path: String,
    /// Set if the server is for this machine only and needs no token: other host names than those of this machine are
    /// refused.
    pub local_only: bool,
}

impl AccessConfig {
    /// Returns whether clients need a token or a key.
    pub fn requires_tokens(&self) -> bool {
        self.verifier.is_some() || self.keys.is_some()
    }
}
