//! tricast: one metrics aggregator with several transports: WebSocket, Server-Sent Events,
//! Socket.IO and polling.
//!
//! One log; every client is a position in it. Readings go to one writer, which assigns each accepted change an offset;
//! a transport holds positions in that log and delivers what is newer.
//!
//! | module | contents |
//! |---|---|
//! | [`core`] | log, aggregator, hub, readers; knows no transport |
//! | [`protocol`] | shapes that transports share: commands, messages, error codes, close codes |
//! | [`sources`] | measurements of the server itself: host, own HTTP traffic, store, the demo shop |
//! | [`cluster`] | several nodes with one log |
//! | [`auth`] | tokens, identities, permissions |
//! | [`relay`] | transactional outbox: publishes events that are stored with their change |
//! | [`orders`], [`dashboards`] | business data |
//! | [`history`] | recorded values: points, and roll-ups by minute, hour and day |
//! | [`alerts`] | rules, the engine that evaluates them, mails and webhooks |
//! | [`store`] | SQLite and PostgreSQL |
//! | [`tenants`] | owners of data, each with its own log and services |
//! | [`web`] | web kit: guards, identity, bodies, problems, entity tags, connections |
//! | [`api`] | REST resources and pages, with their OpenAPI descriptions |
//! | [`transport`] | one folder per transport |
//! | [`config`], [`app`], [`cli`] | settings, composition root, command line |
//! | [`doctor`] | tests of the path to a server |
//! | [`counters`], [`ids`], [`pause`], [`presence`], [`service`], [`shutdown`], [`spelling`], [`telemetry`] | leaves that any module may use |
//!
//! Imports go one way: `core -> protocol -> {sources, auth, cluster} -> relay -> {orders, dashboards, history, alerts} -> store ->
//! tenants -> web -> {api, transport} -> config, app -> doctor -> cli -> main`. `counters`, `ids`, `pause`, `presence`, `service`,
//! `shutdown` and `spelling` are leaves. See `docs/architecture.md`.

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
