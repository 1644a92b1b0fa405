//! Socket.IO over real sockets: both transports, the upgrade, namespaces, the documented events, errors, limits and recovery.

mod client;
mod closing;
mod cluster;
mod events;
mod handover;
mod limits;
mod malformed;
mod recovery;
mod sessions;

pub(crate) use client::Client;
