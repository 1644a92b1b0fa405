//! Settings of authentication by tokens.

use std::path::PathBuf;

use super::{MIN_SECRET, check_url};
use tricast_core::{
    section,
    settings::{FaultList, RedactedUrl, Secret},
    span::Span,
};

/// Whether clients need tokens.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, serde::Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// All clients are anonymous.
    #[default]
    None,
    /// Clients need a JSON Web Token or a machine key.
    Jwt,
    /// Clients need a machine key.
    Keys,
}

section! {
    /// Tokens that clients need, and the keys that they are verified with.
    pub struct AuthConfig {
        /// Whether clients need tokens. `none`: all clients are anonymous. `jwt`: JSON Web Tokens; at least one of the next four
        /// settings names their keys. `keys`: the keys that `tricast key create` makes, which `jwt` accepts too.
        mode: AuthMode = AuthMode::None,
        /// Secret of tokens signed with HS256, at least 32 bytes. Never printed.
        secret: Secret = Secret::default(),
        /// File with public keys in PEM: RSA, EC (P-256, P-384) or Ed25519. Read again when it changes.
        public_key_file: Option<PathBuf> = None,
        /// File with a JWK Set. Read again when it changes.
        jwks_file: Option<PathBuf> = None,
        /// URL of a JWK Set: https, or http on this machine. Fetched every 5 minutes, and when a token names an unknown key.
        jwks_url: Option<RedactedUrl> = None,
        /// Required value of a token's `iss`; without it any issuer is accepted.
        issuer: Option<String> = None,
        /// Value that a token's `aud` has to contain; without it any is accepted, even tokens made for other programs.
        audience: Option<String> = None,
        /// Name of a cookie that may hold the token, besides header and address. Default: `tricast_session`, which the dashboard
        /// sets, and which is accepted from the server's own pages only.
        cookie: Option<String> = None,
        /// Allowed clock difference to the token issuer: widens the validity by this much at both ends.
        #[range(Span::ZERO..=Span::from_secs(300))]
        leeway: Span = Span::from_secs(5),
    }
}

impl AuthConfig {
    /// Returns whether clients need a token or a key.
    pub fn is_required(&self) -> bool {
        self.mode != AuthMode::None
    }

    /// Returns whether JSON Web Tokens are accepted.
    pub fn accepts_tokens(&self) -> bool {
        self.mode == AuthMode::Jwt
    }

    /// Reports settings that contradict each other or make no sense.
    pub fn check(&self, faults: &mut FaultList) {
        let keys = [
            ("auth.secret", !self.secret.is_empty()),
            ("auth.public_key_file", self.public_key_file.is_some()),
            ("auth.jwks_file", self.jwks_file.is_some()),
            ("auth.jwks_url", self.jwks_url.is_some()),
        ];
        if self.mode != AuthMode::Jwt {
            let mode = if self.mode == AuthMode::None { "none" } else { "keys" };
            for (key, _) in keys.iter().filter(|(_, is_set)| *is_set) {
                faults.add(key, format!("is set, but auth.mode is \"{mode}\": no token would ever be checked"));
            }
        } else if !keys.iter().any(|(_, is_set)| *is_set) {
            let [secret, pem, file, url] = keys.map(|(key, _)| key);
            faults.add("auth.mode", format!("is \"jwt\", but there is no key: set {secret}, {pem}, {file} or {url}"));
        }
        if self.mode == AuthMode::Jwt && !self.secret.is_empty() && self.secret.expose().len() < MIN_SECRET {
            let problem =
                format!("has to be at least {MIN_SECRET} bytes long, or it can be guessed: openssl rand -hex 32");
            faults.add("auth.secret", problem);
        }
        if let Some(url) = &self.jwks_url {
            faults.add_err("auth.jwks_url", check_url(url));
        }
        for (key, value) in [("auth.issuer", &self.issuer), ("auth.audience", &self.audience)] {
            if value.as_ref().is_some_and(String::is_empty) {
                faults.add(key, "is empty: leave it out if any is accepted");
            }
        }
        // A token of RFC 9110, section 5.6.2.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if self.cookie.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(is_plain)) {
            faults.add("auth.cookie", "is not a valid name of a cookie");
        }
    }
}
