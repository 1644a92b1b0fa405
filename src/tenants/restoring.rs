//! The last values of channels, for a log that begins without any: read from history and handed in like a push, so that a push
//! that comes first wins. A log takes them once.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use tricast_core::{aggregator::AggregatorHandle, reading::Reading};
use tricast_domain::history::History;

/// First and longest time between two tries to read them.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Reads the last values and hands them in. Tries again while the store does not answer, until `is_done`, since another node
/// did, or the tenant is gone.
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
                // An error means that the server is going away.
                let _ = aggregator.publish_own(vec![Reading::Restored(values)]).await;
                return;
            }
            Err(error) => {
                tracing::warn!(%error, ?pause, "can't read the last values from history; trying again");
                tokio::select! {
                    () = sleep(pause) => {}
                    // Nothing is ever sent: the sender is gone.
                    _ = gone.changed() => return,
                }
                pause = (pause * 2).min(longest);
            }
        }
    }
}
