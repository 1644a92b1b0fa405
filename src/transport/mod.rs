//! The ways out: each is a way to hold a position in the log and to ask what is newer.

mod outbox;
pub mod poll;
pub mod sse;
pub mod websocket;
