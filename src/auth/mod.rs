//! Who asks, and what they may read. With authentication off everybody is anonymous and may do everything.

mod cache;
mod claims;
mod crypto;
mod error;
mod identity;
mod key;
pub mod mint;
mod permission;
mod tenant;
mod ticket;
mod token;
mod verifier;

pub use error::{KeyError, TokenError};
pub use identity::{Identity, capabilities, reading};
pub use permission::{Permission, Permissions};
pub use tenant::{BadTenant, TenantName};
pub use ticket::{LIFETIME as TICKET_LIFETIME, Tickets, TooMany};
pub use verifier::{AuthConfig, Verifier};
