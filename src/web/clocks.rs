//! Comparison of this node's clock with those of the bus and the database.

use jiff::SignedDuration;

use tricast_cluster::{CLOCK_TOLERANCE, Cluster};
use tricast_core::clock::Clock;
use tricast_store::Store;

/// Clocks that this node's clock is compared with. Cheap to clone.
#[derive(Clone)]
pub struct Clocks {
    /// Clock of this machine.
    pub own: Clock,
    /// Display name of the node.
    pub node: String,
    /// Cluster, whose bus has the clock that all nodes use.
    pub cluster: Option<Cluster>,
    /// Store, whose clock orders and alerts use if it has one.
    pub store: Store,
}

impl Clocks {
    /// Returns whether there is another clock.
    pub fn are_compared(&self) -> bool {
        self.cluster.is_some() || self.by_database().is_some()
    }

    /// Returns the lead of this node's clock over the one that differs most; `None` while no other one is known.
    pub fn ahead(&self) -> Option<SignedDuration> {
        let bus = self.cluster.as_ref().and_then(Cluster::clock_ahead);
        [bus, self.by_database()].into_iter().flatten().max_by_key(|ahead| ahead.unsigned_abs())
    }

    /// Returns the lead of this node's clock if it is too large.
    pub fn off(&self) -> Option<SignedDuration> {
        let bus = self.cluster.as_ref().and_then(|cluster| *cluster.clock_off().borrow());
        bus.or_else(|| self.by_database().filter(|ahead| ahead.unsigned_abs() > CLOCK_TOLERANCE))
    }

    /// Returns whether this node's clock agrees with the others; `None` if there is no other one.
    pub fn is_right(&self) -> Option<bool> {
        self.are_compared().then(|| self.off().is_none())
    }

    fn by_database(&self) -> Option<SignedDuration> {
        self.store.clock_offset(&self.own).map(|ahead| -ahead)
    }
}
