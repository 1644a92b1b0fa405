//! The ways out: each is a way to hold a position in the log and to ask what is newer.

mod backfill;
mod expiry;
mod ladder;
mod outbox;
pub mod poll;
pub mod sse;
mod subscriptions;
pub mod websocket;

pub use ladder::LadderConfig;
