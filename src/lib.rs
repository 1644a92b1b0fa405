//! tricast: one metrics aggregator and three ways out of it, WebSocket, Server-Sent Events and polling.
//!
//! One log; every client is a position in it. Readings go to one writer, which gives each accepted change an offset;
//! every transport is a way to hold a position in that log and to ask "what is newer?".
//!
//! | module | what it says |
//! |---|---|
//! | [`core`] | the domain: log, aggregator, hub, readers; knows no transport |
//! | [`protocol`] | wire shapes that transports share: messages, error codes, close codes |
//! | [`sources`] | what feeds the aggregator from inside: host, own HTTP traffic, the demo shop |
//! | [`cluster`] | several nodes with one log |
//! | [`auth`] | who asks, and what they may do |
//! | [`relay`] | the transactional outbox: publishes events that are stored with their change |
//! | [`orders`] | the business side: orders and the numbers made of them |
//! | [`dashboards`] | boards of tiles |
//! | [`history`] | what the numbers were: points, rolled up by minute, hour and day |
//! | [`alerts`] | rules, the engine that watches the log for them, mails and webhooks |
//! | [`store`] | where orders, dashboards, history and alerts are kept |
//! | [`tenants`] | the owners of data, each with a log and orders of its own |
//! | [`web`] | web kit: guards, identity, bodies, problems, entity tags, connections |
//! | [`api`] | REST resources and pages, with their OpenAPI descriptions |
//! | [`transport`] | one folder per way out |
//! | [`config`], [`app`], [`cli`] | settings, the composition root, the command line |
//! | [`doctor`] | looks at the path to a server from the outside |
//! | [`counters`], [`ids`], [`pause`], [`presence`], [`service`], [`shutdown`], [`spelling`], [`telemetry`] | leaves that any module may use |
//!
//! A module imports only from its left: `core -> protocol -> {sources, auth, cluster} -> relay -> {orders, dashboards, history,
//! alerts} -> store -> tenants -> web -> {api, transport} -> config, app -> doctor -> cli -> main`. `counters`, `ids`, `pause`, `presence`,
//! `service`, `shutdown` and `spelling` are leaves.

pub mod alerts;
pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod core;
pub mod counters;
pub mod dashboards;
pub mod doctor;
pub mod history;
pub mod ids;
pub mod orders;
pub mod pause;
pub mod presence;
pub mod protocol;
pub mod relay;
pub mod service;
pub mod shutdown;
pub mod sources;
pub mod spelling;
pub mod store;
pub mod telemetry;
pub mod tenants;
pub mod transport;
pub mod web;
