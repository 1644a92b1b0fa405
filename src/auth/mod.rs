//! Who asks, and what they may read. With authentication off everybody is anonymous and may do everything.

mod identity;

pub use identity::{Identity, Permission, capabilities, reading};
