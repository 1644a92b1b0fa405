//! Authentication and authorization of clients. With authentication off, all clients are anonymous and may do everything.
//!
//! A [`Verifier`] turns a JSON Web Token into an [`Identity`]. [`Tickets`] replace tokens where a credential can only be part
//! of a URL. [`mint`] makes tokens for development. This crate handles no requests: extracting the token and the response to
//! a refusal are the task of the package `tricast` (`src/web/`).
//!
//! ```text
//! token ─▶ length ─▶ cache ─▶ shape, header ─▶ key by name ─▶ signature ─▶ claims ─▶ time ─▶ Identity
//!                      └──────────────────────────────────────────────────────────▶ time ─▶ Identity
//! ```
//!
//! # Accepted tokens
//!
//! | key | source | algorithms |
//! |---|---|---|
//! | secret, at least 32 bytes | `auth.secret`, `kty: oct` in `auth.jwks_file` | HS256 |
//! | RSA, at least 2048 bits | PEM | RS256, RS384, RS512, PS256, PS384, PS512 |
//! | RSA, at least 2048 bits | JWK Set | the one that `alg` names; RS256, RS384, RS512 without `alg` |
//! | EC P-256, P-384 | PEM, JWK Set | ES256, ES384 |
//! | Ed25519 | PEM, JWK Set | EdDSA |
//!
//! Claims: `sub` (1 to 128 bytes), `exp`, both required; `tenantId` (without it `default`), `permissions` or `scope`, `nbf`,
//! and `iss` and `aud` if they are configured; `channels` binds the token to channels, in place of permissions.
//! `auth.leeway`, 5 s by default, extends the validity at both ends.
//!
//! # Refused tokens
//!
//! | attempt | defence | error |
//! |---|---|---|
//! | `alg: none` in any spelling, HS256 with a public key as secret, RS256 on an EC key | the algorithms come from the key, the token only chooses among them | [`BadAlgorithm`](TokenError::BadAlgorithm) |
//! | another payload or signature, an empty one, one of zeros | the signature is checked before claims are read | [`BadSignature`](TokenError::BadSignature) |
//! | a `kid` that is a path, SQL, or huge | it is compared with the names of keys, nothing else | [`UnknownKey`](TokenError::UnknownKey) |
//! | many invented `kid`s | the URL is asked once in 10 s for all of them | [`UnknownKey`](TokenError::UnknownKey) |
//! | `jwk`, `jku`, `x5u`, `x5c` in the header | not read, never fetched | that of the signature |
//! | `crit` | no critical extension is supported | [`Malformed`](TokenError::Malformed) |
//! | a header field twice, other shapes (JWE), padding, spaces, more than 8 KiB | strict parsing: a token has one
//! spelling | [`Malformed`](TokenError::Malformed) |
//! | a claim twice, of another type, `null`, 1e300, negative | strict types, bounded times | [`BadClaims`](TokenError::BadClaims) |
//! | no `exp` | tokens without an end are refused | [`BadClaims`](TokenError::BadClaims) |
//! | a token that was accepted before and has expired | the time is checked at each use | [`Expired`](TokenError::Expired) |
//! | a token of a removed key | the cache of verified tokens is dropped with their keys |
//! [`UnknownKey`](TokenError::UnknownKey) |
//! | a secret in a JWK Set behind a URL, `use: enc`, weak keys | skipped; without a usable key the last good set stays in
//! force | |
//! | a key server that is down, slow, or sends nonsense, a redirect away from this machine | the last good set stays in
//! force | [`KeysUnavailable`](TokenError::KeysUnavailable) if there is none |
//!
//! Errors, log lines and `Debug` output contain no part of a token, a secret or a key file.

mod binding;
mod cache;
mod channel_access;
mod claims;
mod config;
mod crypto;
mod error;
mod fetch;
mod files;
mod identity;
mod jwks;
mod key;
mod key_set;
mod machine_key;
pub mod mint;
mod permission;
mod tenant;
mod ticket;
mod token;
mod verifier;

pub use binding::{BadBinding, Binding, BindingLists};
pub use channel_access::{
    capabilities, may_push, may_read, may_read_alert, may_read_channel, may_read_event, required_permission, sees_all,
    view,
};
pub use config::{AuthConfig, AuthMode};
pub use error::{KeyError, TokenError};
pub use fetch::check_url;
pub use identity::{Grant, Identity};
pub use key::MIN_SECRET;
pub use machine_key::{KEY_PREFIX, KeyInUse, NewMachineKey, SentKey};
pub use permission::{Permission, Permissions};
pub use tenant::{BadTenant, TenantName};
pub use ticket::{LIFETIME as TICKET_LIFETIME, Tickets, TooMany, ticket_name, unguessable};
pub use verifier::Verifier;

#[cfg(test)]
mod tests;
