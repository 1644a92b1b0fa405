//! Tests of the whole server over real sockets. Each starts its own server on a free port; they share nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cluster;
mod helpers;
mod json_schema;
mod process;
mod program;
mod proxy;
mod redis;
mod stall;

mod alerts;
mod base_path;
mod behind;
mod bound_tokens;
mod bus;
mod bus_and_store;
mod command_line;
mod conditional;
mod conflation;
mod dashboards;
mod doctor;
mod doors_influx;
mod drain;
mod ends;
mod foreign_clients;
mod hardening;
mod history;
mod keys;
mod limits;
mod malformed;
mod notifications;
mod openapi;
mod openapi_responses;
mod orders;
mod parity;
mod poll;
mod postgres;
mod push;
mod refusals;
mod relay;
mod resume;
mod revenue;
mod rfc6455;
mod samples;
mod side_channel;
mod slow_client;
mod socketio;
mod sse;
mod stored_limits;
mod tenants;
mod tokens;
mod unparsable;
mod websocket;
