//! Transports. Each one holds positions in the log for its clients and sends newer data.
//!
//! The streaming transports share the engine in `stream`; polling compares representations and needs none.

pub mod poll;
pub mod socketio;
pub mod sse;
mod stream;
pub mod websocket;
