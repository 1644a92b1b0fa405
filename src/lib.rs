//! tricast: one metrics aggregator with several transports: WebSocket, Server-Sent Events,
//! Socket.IO and polling.
//!
//! One log; every client is a position in it. Readings go to one writer, which assigns each accepted change an offset;
//! a transport holds positions in that log and delivers what is newer.
//!
//! | crate | contents |
//! |---|---|
//! | [`tricast_core`] | log, aggregator, hub, readers, and the shapes that transports share; knows no transport |
//! | [`tricast_auth`] | tokens, identities, permissions |
//! | [`tricast_domain`] | orders, dashboards, history, alerts, and the sources that measure the server itself |
//! | [`tricast_cluster`] | several nodes with one log |
//! | [`tricast_store`] | SQLite and PostgreSQL |
//!
//! | module | contents |
//! |---|---|
//! | [`tenants`] | owners of data, each with its own log and services |
//! | [`web`] | web kit: guards, identity, bodies, problems, entity tags, connections |
//! | [`api`] | REST resources and pages, with their OpenAPI descriptions |
//! | [`transport`] | one folder per transport |
//! | [`config`], [`app`], [`cli`] | settings, composition root, command line |
//! | [`doctor`] | tests of the path to a server |
//! | [`shutdown`], [`spelling`], [`telemetry`] | leaves that any module may use |
//!
//! Imports go one way: `tenants -> web -> {api, transport} -> config, app -> doctor -> cli -> main`. See `docs/architecture.md`.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod doctor;
#[cfg(test)]
mod layers;
pub mod shutdown;
pub mod spelling;
pub mod telemetry;
pub mod tenants;
pub mod transport;
pub mod web;
