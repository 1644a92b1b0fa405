//! Shutdown in phases: one signal that every part of the server can await.

use std::time::Duration;

use tokio::sync::watch;

/// Signal that the server is stopping. Cheap to clone; all clones share it.
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
    /// Starts draining: the server is not ready, refuses new streams and asks the open ones to disconnect.
    pub fn start_draining(&self) {
        self.draining.send_replace(true);
    }

    /// Returns whether draining has started.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Returns a receiver that turns true when draining starts.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}

/// Window over which the reconnects of disconnected clients are spread.
pub const RECONNECT_WINDOW: Duration = Duration::from_secs(10);

/// Returns the time after which a client should reconnect: random within [`RECONNECT_WINDOW`], at least 1 s, so that clients do not
/// reconnect at once.
pub fn reconnect_after() -> Duration {
    let window_ms = RECONNECT_WINDOW.as_millis() as u64;
    Duration::from_millis(fastrand::u64(1_000..window_ms))
}

/// Returns the time after which a client should reconnect whose connection alone ended, for example by age: soon.
pub fn reconnect_soon() -> Duration {
    Duration::from_millis(fastrand::u64(100..1_000))
}
