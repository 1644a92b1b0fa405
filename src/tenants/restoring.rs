//! Restores the last values of channels into a new log. They are read from history and sent to the aggregator like a push, so
//! that a push that arrives first takes precedence. A log accepts them once.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use tricast_core::{aggregator::AggregatorHandle, reading::Reading};
use tricast_domain::history::History;

/// First and longest pause between two attempts.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Reads the last values and sends them to the aggregator. Retries while the store fails, until `is_done` (another node did
/// it) or the tenant is released.
pub(super) async fn restore(
    history: History,
    aggregator: AggregatorHandle,
    mut gone: watch::Receiver<()>,
    is_done: impl Fn() -> bool,
) {
    let (mut pause, longest) = PAUSE;
    while !is_done() {
        match history.last_values().await {
            Ok(values) => {
                // An error means that the server is shutting down.
                let _ = aggregator.publish_own(vec![Reading::Restored(values)]).await;
                return;
            }
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot read the last values from history; retrying");
                tokio::select! {
                    () = sleep(pause) => {}
                    // No value is ever sent; the end of the sender is the signal.
                    _ = gone.changed() => return,
                }
                pause = (pause * 2).min(longest);
            }
        }
    }
}
