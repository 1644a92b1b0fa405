//! Tests of the commands that speak to a server: the built program against servers of its own, through pipes, terminals and proxies.
//! They share nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_proxy;
mod command;
#[path = "../api/program.rs"]
#[expect(dead_code, reason = "tests/api uses the rest")]
mod program;

mod commands;
mod connections;
mod docs;
mod input;
mod messages;
mod paths;
mod shells;
mod waiting;
