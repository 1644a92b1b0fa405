//! tricast
pub mod core;
