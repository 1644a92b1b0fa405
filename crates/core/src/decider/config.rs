//! Limits of a decider.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{EndCounts, StateBudget};

/// Limits of one tenant's data, and its day.
#[derive(Clone, Debug)]
pub struct AggregatorConfig {
    /// Most channels besides the built-in ones. Default 10,000; 0 means no limit.
    pub max_channels: usize,
    /// Largest value of one channel, also after a merge, in bytes. Default 1 MiB; 0 means no limit.
    pub max_value: usize,
    /// Most bytes of pushed values in the snapshot, which every reader of it receives as a whole. Default 4 MiB; 0 means
    /// no limit.
    pub max_snapshot: usize,
    /// Most bytes of pushed values of state channels, and of the data of series of samples, all channels together.
    /// Default 256 MiB; 0 means no limit.
    pub max_state: usize,
    /// The same limit for all tenants together.
    pub all_states: StateBudget,
    /// Most series of samples. Default 10,000; 0 means no limit.
    pub max_series: usize,
    /// Time without a write after which a channel or a series of samples ends; `None`, the default: never.
    pub channel_ttl: Option<Duration>,
    /// Number of ended channels of all tenants.
    pub ended: EndCounts,
    /// Time zone whose midnight starts "today" for samples. Default UTC.
    pub zone: TimeZone,
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self {
            max_channels: 10_000,
            max_value: 1 << 20,
            max_snapshot: 4 << 20,
            max_state: 256 << 20,
            all_states: StateBudget::default(),
            max_series: 10_000,
            channel_ttl: None,
            ended: EndCounts::default(),
            zone: TimeZone::UTC,
        }
    }
}
