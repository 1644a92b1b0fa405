//! Names of series, by an index that the points in the buffer hold.

use std::collections::HashMap;

use crate::history::{SeriesId, SeriesLimits, SeriesName};
use tricast_core::channel::Channel;

/// Series that have points in the buffer, or had some lately.
#[derive(Debug)]
pub(super) struct SeriesTable {
    limits: SeriesLimits,
    /// Series by index; `None` for an index that is free.
    all: Vec<Option<Series>>,
    free: Vec<u32>,
    by_channel: HashMap<Channel, HashMap<Box<str>, u32>>,
}

#[derive(Debug)]
struct Series {
    name: SeriesName,
    id: Option<SeriesId>,
    /// Whether the store has no room for it.
    refused: bool,
    /// Time of its last point in milliseconds since 1970; long ago if its channel has ended.
    last: i64,
}

impl SeriesTable {
    /// Creates an empty table.
    pub(super) fn new(limits: SeriesLimits) -> Self {
        Self { limits, all: Vec::new(), free: Vec::new(), by_channel: HashMap::new() }
    }

    /// Returns the index of a series that gets a point at the time `at`; `None` without room for it.
    pub(super) fn note(&mut self, channel: &Channel, field: &str, at: i64) -> Option<u32> {
        if let Some(index) = self.by_channel.get(channel).and_then(|fields| fields.get(field)) {
            let series = self.all[*index as usize].as_mut().filter(|series| !series.refused)?;
            series.last = at;
            return Some(*index);
        }
        let of_channel = self.by_channel.get(channel).map_or(0, HashMap::len);
        if self.limits.room(self.len()) == 0 || self.limits.room_of_channel(of_channel) == 0 {
            return None;
        }
        let name = SeriesName { channel: channel.clone(), field: field.into() };
        let series = Some(Series { name, id: None, refused: false, last: at });
        let index = match self.free.pop() {
            Some(index) => {
                self.all[index as usize] = series;
                index
            }
            None => {
                let index = u32::try_from(self.all.len()).ok()?;
                self.all.push(series);
                index
            }
        };
        self.by_channel.entry(channel.clone()).or_default().insert(field.into(), index);
        Some(index)
    }

    /// Marks the series of an ended channel, so that they are released at the next call of [`Self::release`].
    pub(super) fn end(&mut self, channel: &Channel) {
        for series in self.by_channel.get(channel).into_iter().flat_map(HashMap::values) {
            if let Some(series) = &mut self.all[*series as usize] {
                series.last = i64::MIN;
            }
        }
    }

    /// Forgets the names of series without a point since `before`, except those that are `waiting` for the store.
    pub(super) fn release(&mut self, before: i64, waiting: impl Iterator<Item = u32>) {
        let mut waits = vec![false; self.all.len()];
        waiting.for_each(|series| waits[series as usize] = true);
        let Self { all, free, by_channel, .. } = self;
        for (index, (place, waits)) in all.iter_mut().zip(waits).enumerate() {
            if waits || place.as_ref().is_none_or(|series| series.last >= before) {
                continue;
            }
            if let Some(Series { name, .. }) = place.take()
                && let Some(fields) = by_channel.get_mut(&name.channel)
            {
                fields.remove(&*name.field);
                if fields.is_empty() {
                    by_channel.remove(&name.channel);
                }
            }
            free.extend(u32::try_from(index));
        }
    }

    /// Returns the series in `asked` whose ids are unknown, with their names.
    pub(super) fn unresolved(&self, asked: impl Iterator<Item = u32>) -> Vec<(u32, SeriesName)> {
        let mut asked: Vec<u32> = asked.collect();
        asked.sort_unstable();
        asked.dedup();
        let series = |index: u32| self.all[index as usize].as_ref().map(|series| (index, series));
        let unknown = asked.into_iter().filter_map(series);
        let unknown = unknown.filter(|(_, series)| series.id.is_none() && !series.refused);
        unknown.map(|(index, series)| (index, series.name.clone())).collect()
    }

    /// Sets an id; `None` if the store has no room for the series.
    pub(super) fn set_id(&mut self, series: u32, id: Option<SeriesId>) {
        if let Some(series) = &mut self.all[series as usize] {
            (series.id, series.refused) = (id, id.is_none());
        }
    }

    /// Discards all ids. Series without room are tried again.
    pub(super) fn forget_ids(&mut self) {
        self.all.iter_mut().flatten().for_each(|series| (series.id, series.refused) = (None, false));
    }

    /// Returns the id of a series, if it is known.
    pub(super) fn id_of(&self, series: u32) -> Option<SeriesId> {
        self.all[series as usize].as_ref().and_then(|series| series.id)
    }

    /// Returns the indices of a channel's series by field.
    pub(super) fn fields_of(&self, channel: &Channel) -> Option<&HashMap<Box<str>, u32>> {
        self.by_channel.get(channel)
    }

    /// Returns the number of channels that have a series.
    #[cfg(test)]
    pub(super) fn channels(&self) -> usize {
        self.by_channel.len()
    }

    /// Returns the number of series.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }
}
