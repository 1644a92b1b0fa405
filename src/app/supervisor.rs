//! What the service manager is told (`sd_notify(3)`): that the server is ready, that it lives, that it is going away.
//!
//! ```text
//! READY=1       the sockets are bound and served
//! WATCHDOG=1    twice per `WatchdogSec=`, each time after the writer has taken its turn
//! STOPPING=1    draining has begun
//! ```

use std::time::Duration;

use sd_notify::NotifyState;

use crate::tenants::Tenants;

/// A service manager that wants to know. One that does not listen any more is no reason to stop serving.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor {
    /// It ends the server when it hears nothing for this long.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one named by `NOTIFY_SOCKET`, with the patience of `WATCHDOG_USEC`; `None` when nobody asked to be told.
    pub fn from_environment() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        Some(Self { watchdog: sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) })
    }

    pub(super) async fn ready(self) {
        tell(NotifyState::Ready).await;
    }

    pub(super) async fn stopping(self) {
        tell(NotifyState::Stopping).await;
    }

    /// Says again and again that the server lives, as long as the writer answers. Ends by being dropped.
    pub(super) async fn keep_alive(self, tenants: Tenants) {
        let Some(patience) = self.watchdog else { return };
        let mut beat = tokio::time::interval(patience / 2);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            // A writer that is stuck never answers: then nothing is said any more, and the manager acts.
            if tenants.respond().await {
                tell(NotifyState::Watchdog).await;
            }
        }
    }
}

/// Away from the runtime: a manager that does not read its socket makes the sender wait.
async fn tell(state: NotifyState<'static>) {
    let told = tokio::task::spawn_blocking(move || sd_notify::notify(&[state])).await;
    if let Ok(Err(error)) = told {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
