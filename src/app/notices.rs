//! Events and notices for subscribers of `system`: about the store, the bus and the clock of this node, and about notifications.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::{tenants::Tenants, web::clocks::Clocks};
use tricast_cluster::Fault;
use tricast_domain::{
    alerts::Announce,
    sources::{self, round},
};

/// Interval of checks of the clocks, and for new tenants.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sends this node's readers a notice when the bus becomes unavailable, and when it is back, once each, outside of the
/// log, which cannot be written. Later readers get the first one too, as long as it is in force.
pub(super) async fn of_bus(mut fault: watch::Receiver<Option<Fault>>, tenants: Tenants) {
    let mut was = true;
    loop {
        let is = fault.borrow_and_update().is_none();
        if is != was {
            tenants.notice("bus", !is);
            was = is;
        }
        if fault.changed().await.is_err() {
            return;
        }
    }
}

/// Publishes to every tenant that this node's clock is off, also to tenants that start meanwhile, and that it is right again.
pub(super) async fn of_clock(clocks: Clocks, tenants: Tenants) {
    // By name: references would prevent the release of tenants.
    let mut notified = HashSet::new();
    let mut was = false;
    loop {
        sleep(INTERVAL).await;
        let ahead = clocks.off().map(|ahead| round(ahead.as_secs_f64(), 3));
        match ahead {
            Some(seconds_ahead) if !was => {
                tracing::error!(
                    seconds_ahead,
                    "the clock of this node differs from that of Redis or the database, which counts: set both by NTP"
                );
            }
            None if was => tracing::info!("the clock of this node is right again"),
            _ => {}
        }
        was = ahead.is_some();
        let node = &clocks.node;
        if let Some(ahead) = ahead {
            let details = json!({"reason": "clock", "node": node, "secondsAhead": ahead});
            for tenant in tenants.all() {
                if notified.insert(tenant.name.clone()) {
                    // The aggregators may have stopped.
                    let _ = sources::announce(&tenant.aggregator, "degraded", details.clone()).await;
                }
            }
        } else {
            let notified = std::mem::take(&mut notified);
            for tenant in tenants.all().into_iter().filter(|tenant| notified.contains(&tenant.name)) {
                let details = json!({"reason": "clock", "node": node});
                let _ = sources::announce(&tenant.aggregator, "recovered", details).await;
            }
        }
    }
}

/// Publishes that Redis lost samples for good; there is no recovery from that.
pub(super) async fn of_samples(mut lost: watch::Receiver<u64>, tenants: Tenants) {
    while lost.changed().await.is_ok() {
        // The aggregators may have stopped.
        let _ = tenants.announce_here("degraded", &json!({"reason": "samples"})).await;
    }
}

/// Publishes to every tenant that the store is unavailable, and that it is available again, once each. Later readers of this
/// node get a notice as long as it is unavailable.
pub(super) async fn of_store(mut available: watch::Receiver<bool>, tenants: Tenants) {
    let mut was = true;
    loop {
        let is = *available.borrow_and_update();
        if is != was {
            // The aggregators may have stopped.
            let _ = tenants.announce_condition("store", !is).await;
            was = is;
        }
        if available.changed().await.is_err() {
            return;
        }
    }
}

/// Returns the function that publishes an event of `system` to all tenants.
pub(super) fn announcer(tenants: &Tenants) -> Announce {
    let tenants = tenants.clone();
    Arc::new(move |event, details| {
        let tenants = tenants.clone();
        Box::pin(async move {
            // Without an aggregator there is no subscriber left.
            let _ = tenants.announce(event, &details).await;
        })
    })
}
