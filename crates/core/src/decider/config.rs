//! Settings of a decider.

use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;

use super::{ChannelTtls, EndCounts, StateBudget};
use crate::{channel::Channel, settings::Limits};

/// Limits of one tenant's data, and its day.
#[derive(Clone, Debug)]
pub struct AggregatorConfig {
    /// Limits of the tenant.
    pub limits: Limits,
    /// Times to live of channels by pattern, which precede [`Limits::channel_ttl`].
    pub channel_ttls: Arc<ChannelTtls>,
    /// The limit of [`Limits::max_state_total`], which all tenants share. Default: no limit.
    pub all_states: StateBudget,
    /// Number of ended channels of all tenants.
    pub ended: EndCounts,
    /// Time zone whose midnight starts "today" for samples. Default UTC.
    pub zone: TimeZone,
}

impl AggregatorConfig {
    /// Creates the configuration of the tenants of one server. Its clones share the limit of all tenants.
    pub fn new(limits: Limits, channel_ttls: ChannelTtls, zone: TimeZone) -> Self {
        Self {
            limits,
            channel_ttls: Arc::new(channel_ttls),
            all_states: StateBudget::new(limits.max_state_total.0),
            ended: EndCounts::default(),
            zone,
        }
    }

    /// Returns the time without a write after which a channel or a series of its samples ends, unless a push set another one;
    /// `None`: never.
    pub(super) fn channel_ttl(&self, channel: &Channel) -> Option<Duration> {
        let by_pattern = self.channel_ttls.of(channel);
        Some(by_pattern.unwrap_or(self.limits.channel_ttl.0)).filter(|ttl| !ttl.is_zero())
    }
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            channel_ttls: Arc::default(),
            all_states: StateBudget::default(),
            ended: EndCounts::default(),
            zone: TimeZone::UTC,
        }
    }
}
