//! Rust client of a tricast server: it follows channels over the best transport that works, receives each event once over any
//! change of transport, and pushes values.
//!
//! | module | contents |
//! |---|---|
//! | `server` | [`Server`]: URL, token and HTTP client; single requests |
//! | `error` | [`Error`]: why a request or a connection failed, in words for users |
//! | `answer` | reads responses, and detects those that are not of a tricast server |
//! | `transport` | WebSocket, event stream, long poll and poll, each as a link that reports messages and never reconnects |
//! | `connection` | maintains one link: fallback, reconnecting, better transports |
//! | `position` | the cursor, and the filter that delivers each event once |
//! | `follow` | [`Follow`]: the updates of channels, in order and without duplicates |
//! | `push` | pushes lines and reads the result |
//!
//! The browser's library in `static/client/` works in the same way; the protocol is described in `docs/protocol.md`. This crate
//! knows none of the server's crates.

mod answer;
mod connection;
mod error;
mod follow;
mod position;
mod push;
mod server;
mod transport;

pub use connection::{Choice, Patience, Status};
pub use error::{Error, Problem};
pub use follow::{Follow, Request, Update};
pub use push::{Pushed, Refusal};
pub use server::{Options, Server, Token, TokenSource, parse_url};
pub use transport::Transport;
