//! HTTP: errors, limits, and the plain routes. The streams are in `transport`.

pub mod access;
pub mod admission;
pub mod assets;
pub mod body;
pub mod channels;
pub mod client;
pub mod connection;
pub mod dashboards;
pub mod encoding;
pub mod etag;
pub mod exposition;
pub mod health;
pub mod me;
pub mod metrics_page;
pub mod middleware;
pub mod openapi;
pub mod orders;
pub mod pages;
pub mod precondition;
pub mod problem;
pub mod push;
pub mod route;
pub mod sessions;
pub mod state;
pub mod stats;
pub mod telemetry;
mod unread;
