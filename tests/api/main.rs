//! Tests of the whole server over real sockets. Each starts its own on a free port; they share nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod helpers;

mod command_line;
mod conditional;
mod conflation;
mod dashboards;
mod doctor;
mod drain;
mod hardening;
mod ladder;
mod limits;
mod malformed;
mod openapi;
mod orders;
mod parity;
mod poll;
mod push;
mod resume;
mod rfc6455;
mod samples;
mod side_channel;
mod sse;
mod tenants;
mod tokens;
mod websocket;
