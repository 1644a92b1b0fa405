//! Who asks, and what they may read. With authentication off everybody is anonymous and may do everything.

mod cache;
mod claims;
mod crypto;
mod error;
mod fetch;
mod files;
mod identity;
mod jwks;
mod key;
mod key_set;
pub mod mint;
mod permission;
mod reading;
mod tenant;
mod ticket;
mod token;
mod verifier;

pub use error::{KeyError, TokenError};
pub use fetch::check_url;
pub use identity::Identity;
pub use key::MIN_SECRET;
pub use permission::{Permission, Permissions};
pub use reading::{capabilities, may_read, may_read_channel, reading, sees_all};
pub use tenant::{BadTenant, TenantName};
pub use ticket::{LIFETIME as TICKET_LIFETIME, Tickets, TooMany};
pub use verifier::{AuthConfig, Verifier};
