//! Going away in phases: told once, heard everywhere.

use std::time::Duration;

use tokio::sync::watch;

/// Tells every part that the server is going away. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    draining: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { draining: watch::Sender::new(false) }
    }
}

impl Shutdown {
    /// From now on: not ready, no new streams, the present ones are told to go.
    pub fn start_draining(&self) {
        self.draining.send_replace(true);
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Turns true when draining begins.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}

/// Clients that are sent away come back at different times within this.
pub const RECONNECT_WINDOW: Duration = Duration::from_secs(10);

/// When one client should come back: differs per client, so that they don't come back at once. At least 1 s.
pub fn reconnect_after() -> Duration {
    let window_ms = RECONNECT_WINDOW.as_millis() as u64;
    Duration::from_millis(fastrand::u64(1_000..window_ms))
}

/// When a client should come back whose connection ended at a time of its own, as by age: soon, for the others did not.
pub fn reconnect_soon() -> Duration {
    Duration::from_millis(fastrand::u64(100..1_000))
}
