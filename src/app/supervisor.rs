//! Notifications of the service manager (`sd_notify(3)`): readiness, liveness and stopping.
//!
//! ```text
//! READY=1       the sockets are bound and served
//! WATCHDOG=1    twice per `WatchdogSec=`, each time after the runtime of the aggregators has responded
//! STOPPING=1    draining has started
//! ```

use std::time::Duration;

use sd_notify::NotifyState;

use crate::tenants::Tenants;

/// Service manager that requested notifications. A failed notification is no reason to stop serving.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor {
    /// Time without a notification after which it kills the server.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Returns the service manager named by `NOTIFY_SOCKET`, with the timeout of `WATCHDOG_USEC`; `None` if there is none.
    pub fn from_environment() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        Some(Self { watchdog: sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()) })
    }

    pub(super) async fn ready(self) {
        notify(NotifyState::Ready).await;
    }

    pub(super) async fn stopping(self) {
        notify(NotifyState::Stopping).await;
    }

    /// Sends liveness notifications as long as the aggregators respond. Ends when it is dropped.
    pub(super) async fn keep_alive(self, tenants: Tenants) {
        let Some(timeout) = self.watchdog else { return };
        let mut interval = tokio::time::interval(timeout / 2);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            // A stuck aggregator never responds: then no notification is sent, and the manager acts.
            if tenants.respond().await {
                notify(NotifyState::Watchdog).await;
            }
        }
    }
}

/// Sends a notification away from the runtime: a manager that does not read its socket would block it.
async fn notify(state: NotifyState<'static>) {
    let sent = tokio::task::spawn_blocking(move || sd_notify::notify(&[state])).await;
    if let Ok(Err(error)) = sent {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
