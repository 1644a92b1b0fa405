//! Tells readers of `system` what a node of a cluster finds out about the bus.

use std::{collections::HashSet, time::Duration};

use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::{tenants::Tenants, web::clocks::Clocks};
use tricast_cluster::Fault;
use tricast_domain::sources::{self, round};

/// How often the clocks are looked at, and whether there is another tenant.
const LOOK: Duration = Duration::from_secs(1);

/// Gives this node's readers a notice when the bus goes, and when it is back, once each: beside the log, which can't be
/// written. Readers that come while it is away are given the first one, too.
pub(super) async fn of_bus(mut fault: watch::Receiver<Option<Fault>>, tenants: Tenants) {
    let mut was = true;
    loop {
        let is = fault.borrow_and_update().is_none();
        if is != was {
            tenants.notice(if is { "recovered" } else { "degraded" }, &json!({"reason": "bus"}), !is);
            was = is;
        }
        if fault.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the readers of every tenant when this node's clock is off, also those of tenants that begin meanwhile, and when it
/// is right again.
pub(super) async fn of_clock(clocks: Clocks, tenants: Tenants) {
    // By name: to keep more would keep tenants that are to be released.
    let mut told = HashSet::new();
    let mut was = false;
    loop {
        sleep(LOOK).await;
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
                if told.insert(tenant.name.clone()) {
                    // The writers may be gone already.
                    let _ = sources::announce(&tenant.aggregator, "degraded", details.clone()).await;
                }
            }
        } else {
            let told = std::mem::take(&mut told);
            for tenant in tenants.all().into_iter().filter(|tenant| told.contains(&tenant.name)) {
                let details = json!({"reason": "clock", "node": node});
                let _ = sources::announce(&tenant.aggregator, "recovered", details).await;
            }
        }
    }
}

/// Tells all readers when Redis lost samples that nobody knows any more. That is final: nothing tells of a recovery.
pub(super) async fn of_samples(mut lost: watch::Receiver<u64>, tenants: Tenants) {
    while lost.changed().await.is_ok() {
        // The writers may be gone already.
        let _ = tenants.announce_here("degraded", &json!({"reason": "samples"})).await;
    }
}
