//! Notices on the channel `system`: the store hangs, or there are too many points, and the end of both.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use crate::{
    history::{HistoryError, StoreFuture, shared::Shared},
    sources,
};
use tricast_core::aggregator::AggregatorHandle;

/// Time without a point beyond the rate after which `recovered` is published.
const CALM: Duration = Duration::from_secs(60);

/// Time for one batch after which the store is considered to hang.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Publishes notices of the writer, each once.
pub(super) struct Notices {
    shared: Arc<Shared>,
    aggregator: AggregatorHandle,
    /// While `degraded` is published for the store: number of points dropped before.
    degraded: Option<u64>,
    /// Points beyond the rate, as of the last check.
    beyond: u64,
    /// While a rate limit is announced: number of points beyond the rate before, and when it ends.
    limited: Option<(u64, Instant)>,
}

impl Notices {
    pub(super) fn new(shared: Arc<Shared>, aggregator: AggregatorHandle) -> Self {
        Self { shared, aggregator, degraded: None, beyond: 0, limited: None }
    }

    /// Waits for the store, and publishes `degraded` when that takes long.
    pub(super) async fn with_degraded_notice<T>(&mut self, mut answer: StoreFuture<T>) -> Result<T, HistoryError> {
        if let Ok(result) = tokio::time::timeout(STANDSTILL, &mut answer).await {
            return result;
        }
        self.degraded().await;
        answer.await
    }

    /// Publishes when points are not recorded because there are too many per second, and when that is over.
    pub(super) async fn report_rate(&mut self) {
        let beyond = self.shared.buffer.lock().lost().beyond;
        let before = std::mem::replace(&mut self.beyond, beyond);
        let (now, tenant) = (Instant::now(), &*self.shared.tenant);
        match self.limited {
            None if beyond > before => {
                tracing::warn!(tenant, "history.max_points_per_second is reached: some points are not recorded");
                self.limited = Some((before, now + CALM));
                let details = json!({"reason": "history_limit", "setting": "history.max_points_per_second"});
                // Fails when the server is shutting down.
                let _ = sources::announce(&self.aggregator, "degraded", details).await;
            }
            Some((first, _)) if beyond > before => self.limited = Some((first, now + CALM)),
            Some((first, until)) if now >= until => {
                let dropped = beyond - first;
                tracing::info!(tenant, dropped, "all points are recorded again");
                self.limited = None;
                let _ = sources::announce(
                    &self.aggregator,
                    "recovered",
                    json!({"reason": "history_limit", "dropped": dropped}),
                )
                .await;
            }
            _ => {}
        }
    }

    /// Publishes `degraded` on `system`, unless that was done since the last recovery.
    pub(super) async fn degraded(&mut self) {
        if self.degraded.is_none() {
            self.degraded = Some(self.shared.buffer.lock().lost().dropped);
            tracing::error!(tenant = &*self.shared.tenant, "the store does not accept points: they are kept in memory");
            // Fails when the server is shutting down.
            let _ = sources::announce(&self.aggregator, "degraded", json!({"reason": "history"})).await;
        }
    }

    /// Publishes `recovered`, if `degraded` was published.
    pub(super) async fn recovered(&mut self) {
        if let Some(before) = self.degraded.take() {
            let dropped = self.shared.buffer.lock().lost().dropped - before;
            tracing::info!(tenant = &*self.shared.tenant, dropped, "the store accepts points again");
            let details = json!({"reason": "history", "dropped": dropped});
            let _ = sources::announce(&self.aggregator, "recovered", details).await;
        }
    }
}
