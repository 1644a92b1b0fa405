//! Ends of channels that are stored in Redis, so that they can be removed when they are discarded.

use std::collections::{BTreeMap, HashMap};

use tricast_core::{channel::Channel, log::StoredPublication};

/// Ends of one tenant.
#[derive(Default)]
pub(super) struct Ends {
    by_offset: BTreeMap<u64, Channel>,
    offsets: HashMap<Channel, u64>,
}

impl Ends {
    /// Collects the ends among `states`.
    pub(super) fn of(states: &[StoredPublication]) -> Self {
        let mut ends = Self::default();
        for state in states.iter().filter(|state| state.change.gone.is_some()) {
            ends.record(&state.change.channel, Some(state.offset));
        }
        ends
    }

    /// Records a change of `channel`: its end, or with `None` a new value.
    pub(super) fn record(&mut self, channel: &Channel, end: Option<u64>) {
        let before = match end {
            Some(offset) => {
                self.by_offset.insert(offset, channel.clone());
                self.offsets.insert(channel.clone(), offset)
            }
            None => self.offsets.remove(channel),
        };
        before.and_then(|before| self.by_offset.remove(&before));
    }

    /// Discards the ends up to `offset` and returns their channels.
    pub(super) fn discard(&mut self, offset: u64) -> Vec<Channel> {
        let mut discarded = Vec::new();
        while let Some(first) = self.by_offset.first_entry().filter(|first| *first.key() <= offset) {
            let channel = first.remove();
            self.offsets.remove(&channel);
            discarded.push(channel);
        }
        discarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_exists_again_is_not_removed() {
        let channel = |name: &str| Channel::parse(name).unwrap();
        let mut ends = Ends::default();
        for (name, end) in [("a", Some(1)), ("b", Some(2)), ("a", None), ("c", Some(4)), ("b", Some(5)), ("d", Some(9))]
        {
            ends.record(&channel(name), end);
        }
        assert_eq!(ends.discard(4), [channel("c")]);
        assert_eq!(ends.discard(8), [channel("b")]);
        assert_eq!((ends.by_offset.len(), ends.offsets.len()), (1, 1));
    }
}
