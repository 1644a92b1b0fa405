//! Web kit that the API and the transports share: guards, identity, bodies, queries, problems, entity tags, connections.

pub mod access;
pub mod admission;
pub mod base_path;
pub mod body;
mod body_drain;
pub mod client;
pub mod clocks;
pub mod connection;
pub mod connection_limit;
pub mod encoding;
pub mod etag;
mod framing;
mod malformed;
pub mod middleware;
pub mod precondition;
pub mod problem;
pub mod query;
pub mod request_counts;
pub mod route;
pub mod state;
pub mod telemetry;
mod timer;
pub mod watched;
