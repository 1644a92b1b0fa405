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

use super::{Bucket, HistoryConfig, SeriesId, SeriesName, config::ms, numeric_fields::numeric_fields};
use tricast_core::{channel::Channel, publication::Publication};

/// Points of one tenant that are recorded and not known to be stored yet.
#[derive(Debug)]
pub(super) struct WriteBuffer {
    resolution: i64,
    capacity: usize,
    max_series: usize,
    /// Names of series by index; `None` for an index that is free.
    series: Vec<Option<Series>>,
    free: Vec<u32>,
    by_channel: HashMap<Channel, HashMap<Box<str>, u32>>,
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

/// Limit of points per second, on average over a window.
#[derive(Debug)]
struct Rate {
    /// Largest number of points in a window; zero means any number.
    most: usize,
    /// Window that is counted.
    window: i64,
    points: usize,
    /// Number of points beyond the limit.
    beyond: u64,
}

/// Milliseconds over which the rate is averaged.
const WINDOW: i64 = 10_000;

impl Rate {
    fn new(per_second: usize) -> Self {
        Self { most: per_second.saturating_mul(WINDOW as usize / 1_000), window: 0, points: 0, beyond: 0 }
    }

    /// Returns whether a point at the time `at` is within the limit.
    fn admits(&mut self, at: i64) -> bool {
        let window = at.div_euclid(WINDOW);
        if window != self.window {
            (self.window, self.points) = (window, 0);
        }
        self.points += 1;
        let takes = self.most == 0 || self.points <= self.most;
        self.beyond += u64::from(!takes);
        takes
    }
}

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

#[derive(Debug)]
struct Series {
    name: SeriesName,
    id: Option<SeriesId>,
    /// Whether the store has no room for it.
    refused: bool,
    /// Time of its last point in milliseconds since 1970; long ago if its channel has ended.
    last: i64,
}

/// Point that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waiting {
    /// Index of the series.
    series: u32,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) value: f64,
}

impl WriteBuffer {
    pub(super) fn new(config: &HistoryConfig) -> Self {
        Self {
            resolution: ms(config.resolution).max(1),
            capacity: config.buffer,
            max_series: if config.max_series == 0 { usize::MAX } else { config.max_series },
            series: Vec::new(),
            free: Vec::new(),
            by_channel: HashMap::new(),
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
        for series in self.by_channel.get(channel).into_iter().flat_map(HashMap::values) {
            if let Some(series) = &mut self.series[*series as usize] {
                series.last = i64::MIN;
            }
        }
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
            let Some(series) = self.series_of(&version.channel, &field, at) else {
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

    /// Returns the index of a series that gets a point at the time `at`.
    fn series_of(&mut self, channel: &Channel, field: &str, at: i64) -> Option<u32> {
        if let Some(index) = self.by_channel.get(channel).and_then(|fields| fields.get(field)) {
            let series = self.series[*index as usize].as_mut().filter(|series| !series.refused)?;
            series.last = at;
            return Some(*index);
        }
        if self.series() >= self.max_series {
            return None;
        }
        let name = SeriesName { channel: channel.clone(), field: field.into() };
        let series = Some(Series { name, id: None, refused: false, last: at });
        let index = match self.free.pop() {
            Some(index) => {
                self.series[index as usize] = series;
                index
            }
            None => {
                let index = u32::try_from(self.series.len()).ok()?;
                self.series.push(series);
                index
            }
        };
        self.by_channel.entry(channel.clone()).or_default().insert(field.into(), index);
        Some(index)
    }

    /// Forgets the names of series without a point since `before`, and of ended channels, once no point of theirs waits.
    /// One that gets a point again is added again.
    pub(super) fn release_series(&mut self, before: i64) {
        let mut waits = vec![false; self.series.len()];
        self.points.iter().for_each(|point| waits[point.series as usize] = true);
        let Self { series, free, by_channel, .. } = self;
        for (index, (place, waits)) in series.iter_mut().zip(waits).enumerate() {
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
        let mut asked: Vec<u32> = points.iter().map(|point| point.series).collect();
        asked.sort_unstable();
        asked.dedup();
        let series = |index: u32| self.series[index as usize].as_ref().map(|series| (index, series));
        let unknown = asked.into_iter().filter_map(series);
        let unknown = unknown.filter(|(_, series)| series.id.is_none() && !series.refused);
        unknown.map(|(index, series)| (index, series.name.clone())).collect()
    }

    /// Sets an id; `None` if the store has no room for the series.
    pub(super) fn set_id(&mut self, series: u32, id: Option<SeriesId>) {
        if let Some(series) = &mut self.series[series as usize] {
            (series.id, series.refused) = (id, id.is_none());
        }
    }

    /// Discards all ids, because some are invalid now. Series without room are tried again.
    pub(super) fn forget_ids(&mut self) {
        self.series.iter_mut().flatten().for_each(|series| (series.id, series.refused) = (None, false));
    }

    /// Returns the id of the series of `point`.
    pub(super) fn id_of(&self, point: &Waiting) -> Option<SeriesId> {
        self.series[point.series as usize].as_ref().and_then(|series| series.id)
    }

    /// Returns the points of `channel` before `until`, by field.
    pub(super) fn of_channel(&self, channel: &Channel, until: i64) -> HashMap<Box<str>, Vec<Bucket>> {
        let mut found: HashMap<Box<str>, Vec<Bucket>> = HashMap::new();
        let Some(fields) = self.by_channel.get(channel) else { return self.open_of(channel, until, found) };
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
        self.series.len() - self.free.len()
    }

    /// Returns the numbers of points that were not recorded.
    pub(super) fn lost(&self) -> Lost {
        Lost { dropped: self.dropped, refused: self.refused, beyond: self.rate.beyond }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use tricast_core::position::Epoch;

    fn buffer(resolution_ms: u64, buffer: usize, max_series: usize) -> WriteBuffer {
        let resolution = Duration::from_millis(resolution_ms);
        WriteBuffer::new(&HistoryConfig { resolution, buffer, max_series, ..HistoryConfig::default() })
    }

    fn version(channel: &str, at: i64, data: &str) -> Arc<Publication> {
        let channel = Channel::parse(channel).unwrap();
        let at = Timestamp::from_millisecond(at).unwrap();
        Arc::new(Publication::new(Epoch::random(), channel, None, 1, at, Bytes::copy_from_slice(data.as_bytes())))
    }

    fn points_of(buffer: &WriteBuffer, field: &str, until: i64) -> Vec<(i64, f64)> {
        let found = buffer.of_channel(&Channel::parse("a").unwrap(), until);
        found.get(field).map(|points| points.iter().map(|p| (p.at, p.last)).collect()).unwrap_or_default()
    }

    #[test]
    fn the_last_version_of_a_span_is_the_point() {
        let mut buffer = buffer(1_000, 10, 0);
        for (at, n) in [(100, 1), (900, 2), (1_000, 3), (1_999, 4)] {
            buffer.take(version("a", at, &format!(r#"{{"n":{n}}}"#)));
        }
        assert_eq!(points_of(&buffer, "n", 9_999), [(900, 2.0), (1_999, 4.0)], "including open versions");
        assert_eq!((buffer.len(), buffer.oldest()), (1, Some(900)));
        assert_eq!(points_of(&buffer, "n", 1_999), [(900, 2.0)], "up to but not including");
        buffer.close_spans(1_999, 9);
        assert_eq!(buffer.len(), 1);
        assert!(buffer.close_spans(2_000, 1), "there may be more");
        assert_eq!(buffer.len(), 2);
        assert_eq!(points_of(&buffer, "n", 1_999), [(900, 2.0)], "up to but not including, also of closed spans");
        assert!(!buffer.close_spans(2_000, 1));
        assert_eq!(points_of(&buffer, "n", 9_999).len(), 2);
    }

    #[test]
    fn the_oldest_points_are_dropped_but_not_those_being_written() {
        let mut buffer = buffer(0, 4, 0);
        for at in 0..4 {
            buffer.take(version("a", at, &format!(r#"{{"n":{at}}}"#)));
        }
        buffer.close_all();
        let written = buffer.begin_writing(2);
        assert_eq!(written.iter().map(|point| point.at).collect::<Vec<_>>(), [0, 1]);
        buffer.take(version("a", 4, r#"{"n":4}"#));
        buffer.close_all();
        assert_eq!(buffer.lost(), Lost { dropped: 1, ..Lost::default() });
        let kept = |buffer: &WriteBuffer| points_of(buffer, "n", 99).iter().map(|point| point.0).collect::<Vec<_>>();
        assert_eq!(kept(&buffer), [0, 1, 3, 4]);
        buffer.end_writing(false);
        assert_eq!(kept(&buffer), [0, 1, 3, 4], "points of a failed write wait again");
        buffer.begin_writing(2);
        buffer.end_writing(true);
        assert_eq!(kept(&buffer), [3, 4]);
    }

    #[test]
    fn points_of_a_second_are_bounded_on_average() {
        let config = HistoryConfig { resolution: Duration::ZERO, max_points_per_second: 2, ..HistoryConfig::default() };
        let mut buffer = WriteBuffer::new(&config);
        for at in (0..10_000).step_by(100) {
            buffer.take(version("a", at, &format!(r#"{{"n":{at}}}"#)));
        }
        buffer.close_all();
        assert_eq!((buffer.len(), buffer.lost().beyond), (20, 80));
        buffer.take(version("a", 10_000, r#"{"n":1}"#));
        buffer.close_all();
        assert_eq!((buffer.len(), buffer.lost().beyond), (21, 80), "with the next window there is room again");
    }

    #[test]
    fn series_are_bounded() {
        let mut buffer = buffer(0, 10, 2);
        buffer.take(version("a", 1, r#"{"x":1,"y":2,"z":3}"#));
        buffer.close_all();
        assert_eq!((buffer.series(), buffer.len(), buffer.lost()), (2, 2, Lost { refused: 1, ..Lost::default() }));
        let points = buffer.begin_writing(9);
        let names = buffer.unresolved_series(&points);
        assert_eq!(names.len(), 2);
        buffer.set_id(names[0].0, Some(SeriesId(7)));
        buffer.set_id(names[1].0, None);
        assert_eq!((buffer.id_of(&points[0]), buffer.id_of(&points[1])), (Some(SeriesId(7)), None));
        assert!(buffer.unresolved_series(&points).is_empty());
        buffer.end_writing(true);
        buffer.take(version("a", 2, r#"{"x":1,"y":2}"#));
        buffer.close_all();
        assert_eq!(buffer.len(), 1, "one without room is not kept");
        buffer.forget_ids();
        assert_eq!(buffer.unresolved_series(&points).len(), 2);
    }

    #[test]
    fn names_of_series_without_points_are_released() {
        let mut buffer = buffer(0, 10, 2);
        let channel = Channel::parse("a").unwrap();
        buffer.take(version("a", 10, r#"{"x":1,"y":2}"#));
        buffer.end(&channel, 11);
        let points = buffer.begin_writing(9);
        let names = buffer.unresolved_series(&points);
        names.iter().for_each(|(series, _)| buffer.set_id(*series, Some(SeriesId(7))));
        buffer.release_series(0);
        assert_eq!(buffer.series(), 2, "their points are being written");
        buffer.take(version("b", 12, r#"{"x":1}"#));
        buffer.close_all();
        assert_eq!((buffer.series(), buffer.lost().refused), (2, 1), "there is no room yet");
        buffer.end_writing(true);
        buffer.release_series(0);
        assert_eq!((buffer.series(), buffer.by_channel.len()), (0, 0));
        // A channel that begins again, and another one, are recorded again, under ids that are asked for again.
        buffer.take(version("a", 20, r#"{"x":3}"#));
        buffer.take(version("b", 21, r#"{"x":4}"#));
        buffer.close_all();
        let points = buffer.begin_writing(9);
        assert_eq!((buffer.series(), points.len(), buffer.unresolved_series(&points).len()), (2, 2, 2));
        assert_eq!(points_of(&buffer, "x", 99), [(20, 3.0)]);
        buffer.end_writing(true);
        buffer.release_series(21);
        assert_eq!(buffer.series(), 1, "one whose last point is old enough");
        assert!(buffer.by_channel.contains_key(&Channel::parse("b").unwrap()));
    }
}
