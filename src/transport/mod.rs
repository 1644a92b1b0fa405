//! The ways out of the server. Each holds positions in the log for its clients and sends what is newer.
//!
//! The streaming transports share the engine in `stream`; polling compares representations and needs none.

pub mod poll;
pub mod socketio;
pub mod sse;
mod stream;
pub mod websocket;

pub use stream::slow_client::SlowClientConfig;
