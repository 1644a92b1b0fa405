//! Settings of a decider.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{EndCounts, StateBudget};
use crate::settings::Limits;

/// Limits of one tenant's data, and its day.
#[derive(Clone, Debug)]
pub struct AggregatorConfig {
    /// Limits of the tenant.
    pub limits: Limits,
    /// The limit of [`Limits::max_state_total`], which all tenants share. Default: no limit.
    pub all_states: StateBudget,
    /// Number of ended channels of all tenants.
    pub ended: EndCounts,
    /// Time zone whose midnight starts "today" for samples. Default UTC.
    pub zone: TimeZone,
}

impl AggregatorConfig {
    /// Creates the configuration of the tenants of one server. Its clones share the limit of all tenants.
    pub fn new(limits: Limits, zone: TimeZone) -> Self {
        Self { limits, all_states: StateBudget::new(limits.max_state_total.0), ended: EndCounts::default(), zone }
    }

    /// Returns the time without a write after which a channel or a series of samples ends; `None`: never.
    pub(super) fn channel_ttl(&self) -> Option<Duration> {
        Some(self.limits.channel_ttl.0).filter(|ttl| !ttl.is_zero())
    }
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            all_states: StateBudget::default(),
            ended: EndCounts::default(),
            zone: TimeZone::UTC,
        }
    }
}
