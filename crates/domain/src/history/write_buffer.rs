//! Write buffer: points that are recorded and not known to be stored yet. Pure: time is an argument.
//!
//! ```text
//! version ─▶ open: per channel the last version of its span of `resolution`
//!              └─ the span is over ─▶ points, in the order of time ─▶ a group that is being written ─▶ the store
//! ```

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use self::{rate::Rate, series::SeriesTable};
use super::{Bucket, HistoryConfig, SeriesId, SeriesName, config::ms, numeric_fields::numeric_fields};
use tricast_core::{channel::Channel, publication::Publication};

mod rate;
mod series;

/// Points of one tenant that are recorded and not known to be stored yet.
#[derive(Debug)]
pub(super) struct WriteBuffer {
    resolution: i64,
    capacity: usize,
    series: SeriesTable,
    open: HashMap<Channel, Arc<Publication>>,
    points: VecDeque<Waiting>,
    /// Number of the first points that are being written.
    writing: usize,
    /// Number of points that did not fit.
    dropped: u64,
    /// Number of points of fields beyond the limit of series.
    refused: u64,
    rate: Rate,
    /// Times at which channels ended, which are not known to be stored yet.
    ends: HashMap<Channel, i64>,
    /// Offset up to which the log was read.
    read_to: u64,
}

/// Ends of channels that the store should record.
#[derive(Debug)]
pub(super) struct Ends {
    /// The channels, with the times of their ends in milliseconds since 1970.
    pub(super) channels: Vec<(Channel, i64)>,
    /// Offset of the log up to which they are all ends.
    pub(super) read_to: u64,
}

/// Largest number of ends that wait for the store. Beyond that a channel may have a value again after a restart.
const ENDS: usize = 100_000;

/// Points that were not recorded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Points that the store did not accept in time.
    pub(super) dropped: u64,
    /// Points of fields beyond the limit of series.
    pub(super) refused: u64,
    /// Points beyond the limit per second.
    pub(super) beyond: u64,
}

/// A point that is recorded and not yet stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waiting {
    /// Index of the series.
    series: u32,
    /// Time of the point, in milliseconds since 1970.
    pub(super) at: i64,
    pub(super) value: f64,
}

impl WriteBuffer {
    pub(super) fn new(config: &HistoryConfig) -> Self {
        Self {
            resolution: ms(config.resolution.0).max(1),
            capacity: config.buffer,
            series: SeriesTable::new(config.series_limits()),
            open: HashMap::new(),
            points: VecDeque::new(),
            writing: 0,
            dropped: 0,
            refused: 0,
            rate: Rate::new(config.max_points_per_second),
            ends: HashMap::new(),
            read_to: 0,
        }
    }

    /// Adds a version of a state channel.
    pub(super) fn take(&mut self, version: Arc<Publication>) {
        let span = self.span_of(&version);
        if let Some(before) = self.open.insert(version.channel.clone(), version)
            && self.span_of(&before) != span
        {
            self.make_points(&before);
        }
    }

    /// Adds the end of a channel. Its open version becomes points, which are before the end in the queue to the store.
    pub(super) fn end(&mut self, channel: &Channel, at: i64) {
        if let Some(version) = self.open.remove(channel) {
            self.make_points(&version);
        }
        self.series.end(channel);
        self.put_ends(vec![(channel.clone(), at)]);
    }

    /// Records that the log was read up to the offset `head`.
    pub(super) fn read_to(&mut self, head: u64) {
        self.read_to = head;
    }

    /// Takes the ends that the store should record, once all points that wait now are stored.
    pub(super) fn take_ends(&mut self) -> Ends {
        Ends { channels: self.ends.drain().collect(), read_to: self.read_to }
    }

    /// Puts ends back that the store did not record. A later end of the same channel stays.
    pub(super) fn put_ends(&mut self, ends: Vec<(Channel, i64)>) {
        for (channel, at) in ends {
            if self.ends.len() < ENDS || self.ends.contains_key(&channel) {
                let last = self.ends.entry(channel).or_insert(at);
                *last = at.max(*last);
            }
        }
    }

    /// Makes points of open versions whose span is over at `now`, of at most `most` channels. Returns whether there are
    /// more.
    pub(super) fn close_spans(&mut self, now: i64, most: usize) -> bool {
        let span = now.div_euclid(self.resolution);
        let over = self.open.iter().filter(|(_, version)| self.span_of(version) != span);
        let over: Vec<Channel> = over.take(most).map(|(channel, _)| channel.clone()).collect();
        for channel in &over {
            if let Some(version) = self.open.remove(channel) {
                self.make_points(&version);
            }
        }
        over.len() == most
    }

    /// Makes points of all open versions.
    pub(super) fn close_all(&mut self) {
        for (_, version) in std::mem::take(&mut self.open) {
            self.make_points(&version);
        }
    }

    fn span_of(&self, version: &Publication) -> i64 {
        version.timestamp.as_millisecond().div_euclid(self.resolution)
    }

    fn make_points(&mut self, version: &Publication) {
        let at = version.timestamp.as_millisecond();
        for (field, value) in numeric_fields(&version.data) {
            let Some(series) = self.series.note(&version.channel, &field, at) else {
                self.refused += 1;
                continue;
            };
            if !self.rate.admits(at) {
                continue;
            }
            if self.points.len() >= self.capacity.max(self.writing + 1) {
                // The oldest point that is not being written.
                self.points.remove(self.writing);
                self.dropped += 1;
            }
            self.points.push_back(Waiting { series, at, value });
        }
    }

    /// Forgets the names of series without a point since `before`, and of ended channels, once no point of theirs waits.
    /// One that gets a point again is added again.
    pub(super) fn release_series(&mut self, before: i64) {
        self.series.release(before, self.points.iter().map(|point| point.series));
    }

    /// Returns the first points, at most `most`, and marks them as being written.
    pub(super) fn begin_writing(&mut self, most: usize) -> Vec<Waiting> {
        self.writing = self.points.len().min(most);
        self.points.range(..self.writing).copied().collect()
    }

    /// Ends the write: the points are removed if they were `written`, and wait again otherwise.
    pub(super) fn end_writing(&mut self, written: bool) {
        let writing = std::mem::take(&mut self.writing);
        if written {
            self.points.drain(..writing);
        }
    }

    /// Discards the points before `before` that are not being written, because another node writes them.
    pub(super) fn discard_before(&mut self, before: i64) {
        if self.writing == 0 {
            self.points.retain(|point| point.at >= before);
        }
    }

    /// Returns the series in `points` whose ids are unknown, with their names.
    pub(super) fn unresolved_series(&self, points: &[Waiting]) -> Vec<(u32, SeriesName)> {
        self.series.unresolved(points.iter().map(|point| point.series))
    }

    /// Sets an id; `None` if the store has no room for the series.
    pub(super) fn set_id(&mut self, series: u32, id: Option<SeriesId>) {
        self.series.set_id(series, id);
    }

    /// Discards all ids, because some are invalid now. Series without room are tried again.
    pub(super) fn forget_ids(&mut self) {
        self.series.forget_ids();
    }

    /// Returns the id of the series of `point`.
    pub(super) fn id_of(&self, point: &Waiting) -> Option<SeriesId> {
        self.series.id_of(point.series)
    }

    /// Returns the points of `channel` before `until`, by field.
    pub(super) fn of_channel(&self, channel: &Channel, until: i64) -> HashMap<Box<str>, Vec<Bucket>> {
        let mut found: HashMap<Box<str>, Vec<Bucket>> = HashMap::new();
        let Some(fields) = self.series.fields_of(channel) else { return self.open_of(channel, until, found) };
        let names: HashMap<u32, &Box<str>> = fields.iter().map(|(field, series)| (*series, field)).collect();
        for point in self.points.iter().filter(|point| point.at < until) {
            if let Some(field) = names.get(&point.series) {
                let points = found.entry((*field).clone()).or_default();
                points.push(Bucket::of_point(point.at, point.value));
            }
        }
        self.open_of(channel, until, found)
    }

    fn open_of(
        &self,
        channel: &Channel,
        until: i64,
        mut found: HashMap<Box<str>, Vec<Bucket>>,
    ) -> HashMap<Box<str>, Vec<Bucket>> {
        if let Some(version) = self.open.get(channel) {
            let at = version.timestamp.as_millisecond();
            for (field, value) in numeric_fields(&version.data).into_iter().filter(|_| at < until) {
                found.entry(field.into()).or_default().push(Bucket::of_point(at, value));
            }
        }
        found
    }

    /// Returns the time of the oldest point that is not known to be stored.
    pub(super) fn oldest(&self) -> Option<i64> {
        let open = self.open.values().map(|version| version.timestamp.as_millisecond());
        self.points.iter().map(|point| point.at).chain(open).min()
    }

    /// Returns the number of points that wait or are being written.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Returns the number of series whose names are kept.
    pub(super) fn series(&self) -> usize {
        self.series.len()
    }

    /// Returns the numbers of points that were not recorded.
    pub(super) fn lost(&self) -> Lost {
        Lost { dropped: self.dropped, refused: self.refused, beyond: self.rate.beyond }
    }
}

#[cfg(test)]
mod tests;
