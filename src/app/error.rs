//! Reasons why a server does not start.

use std::io;

use crate::config::Listen;
use tricast_auth::KeyError;
use tricast_cluster::BusError;
use tricast_domain::alerts::TargetError;
use tricast_store::OpenError;

/// Reason why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, not of this machine, or not allowed.
    #[error("can't listen on {place}: {}", listening_fault(source))]
    Listen {
        /// Address to listen on.
        place: Listen,
        /// Error of the system.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("can't start a thread: {0}")]
    Thread(io::Error),
    /// The time zone is not known.
    #[error("time_zone: {0}")]
    TimeZone(jiff::Error),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The bus can't be used as it is configured.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The keys of tokens can't be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The settings of a notification target cannot be used.
    #[error("alerts can't be sent: {0}")]
    Target(#[from] TargetError),
    /// The system's random generator cannot be read, so that no secret can be made.
    #[error("the operating system's random generator cannot be read")]
    NoRandomBytes,
}

/// Describes an error of listening, and its remedy.
fn listening_fault(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it, or choose another address with --listen".into()
        }
        io::ErrorKind::AddrNotAvailable => format!("{error}: this machine does not have this address"),
        _ => error.to_string(),
    }
}
