//! Limits of bytes: of one value, the snapshot, one tenant and all tenants.

use super::{Decider, Known, Staged};
use crate::{
    built_in,
    channel::Channel,
    reading::Refusal,
    snapshot::{Place, place},
};

/// Bytes of pushed values, each counted with the largest size that its series can reach.
#[derive(Default)]
pub(super) struct Usage {
    /// Bytes of values in the snapshot.
    pub(super) snapshot: usize,
    /// Bytes of all values.
    pub(super) states: usize,
    /// Bytes of series besides their values (sketches and members), when last counted.
    pub(super) series: usize,
    /// Bytes of the times of fields that the log keeps beside the values, as of the last count.
    pub(super) fields: usize,
}

impl Usage {
    /// Returns the bytes that count in the budget of states.
    pub(super) fn sum(&self) -> usize {
        self.states + self.series + self.fields
    }
}

impl Decider {
    /// Counts the current memory of the series.
    pub(super) fn count_series_bytes(&mut self) {
        let bytes = self.series.bytes();
        self.config.all_states.replace(self.usage.series, bytes);
        self.usage.series = bytes;
    }

    /// Counts the memory of the times of fields: [`Log::field_bytes`](crate::log::Log::field_bytes).
    pub fn count_field_bytes(&mut self, bytes: usize) {
        self.config.all_states.replace(self.usage.fields, bytes);
        self.usage.fields = bytes;
    }

    /// Returns the current value of a state channel; empty if there is none.
    pub(super) fn current_text(&self, channel: &Channel) -> &[u8] {
        match self.known.get(channel) {
            Some(Known::State(current)) => &current.data,
            _ => &[],
        }
    }

    /// Returns the largest size that the value of `channel` can reach with its series.
    pub(super) fn bound(&self, channel: &Channel, staged: &Staged) -> usize {
        let staged = staged.states.get(channel).map(|state| state.bound);
        staged.unwrap_or_else(|| self.series.bound(channel, self.current_text(channel).len()))
    }

    pub(super) fn check_value(&self, channel: &Channel, bytes: usize) -> Result<(), Refusal> {
        let limit = self.config.limits.max_body.0;
        if limit > 0 && bytes > limit {
            return Err(Refusal::TooLarge { channel: channel.clone(), bytes, limit });
        }
        Ok(())
    }

    /// Checks that there is room for a value whose largest size changes from `before` to `bound` bytes.
    pub(super) fn check_room(&self, channel: &Channel, before: usize, bound: usize) -> Result<(), Refusal> {
        let more = bound.saturating_sub(before);
        let limit = self.config.limits.max_snapshot.0;
        if is_custom(channel) && is_beyond(limit, self.usage.snapshot, more) {
            return Err(Refusal::SnapshotFull(limit));
        }
        self.check_states(more)
    }

    /// Checks that there is room for `more` bytes of values or series.
    pub(super) fn check_states(&self, more: usize) -> Result<(), Refusal> {
        let (max_state, all_states) = (self.config.limits.max_state.0, &self.config.all_states);
        if is_beyond(max_state, self.usage.sum(), more) {
            return Err(Refusal::StatesFull(max_state));
        }
        if is_beyond(all_states.limit(), all_states.used(), more) {
            return Err(Refusal::ServerFull(all_states.limit()));
        }
        Ok(())
    }

    /// Replaces the reserved room `before` of a value by `bound`.
    pub(super) fn reserve(&mut self, channel: &Channel, before: usize, bound: usize) {
        if is_custom(channel) {
            self.usage.snapshot = (self.usage.snapshot + bound).saturating_sub(before);
        }
        if !built_in::contains(channel) {
            let states = (self.usage.states + bound).saturating_sub(before);
            self.config.all_states.replace(self.usage.states, states);
            self.usage.states = states;
        }
    }
}

/// Returns whether `more` bytes in addition to `used` exceed `limit`; 0 means no limit. Zero bytes are never refused.
fn is_beyond(limit: usize, used: usize, more: usize) -> bool {
    limit > 0 && more > 0 && used + more > limit
}

/// Returns whether it is in the pushed part of the snapshot.
fn is_custom(channel: &Channel) -> bool {
    matches!(place(channel), Some(Place::Custom(_)))
}
