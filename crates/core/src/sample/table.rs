//! Table of all series of a tenant, with those that have data in the window and those whose figures are due.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use slab::Slab;

use super::{Measure, Moment, Sample, SampleKind};
use crate::{
    channel::Channel,
    clock::millis,
    expiry::{Expiry, Lifetime},
    reading::Refusal,
};

/// Table of series by channel and field. Only the aggregator writes it.
///
/// Series end with their channel, or one by one after a time without samples. Their number is bounded, and
/// [`SeriesTable::bytes`] returns their memory.
#[derive(Debug)]
pub struct SeriesTable {
    /// Most series; 0 means no limit.
    limit: usize,
    channels: HashMap<Channel, Fields>,
    series: Slab<Series>,
    /// Ended series. Their slots are reused once nothing refers to them any more.
    ended: Vec<usize>,
    /// Ends of the other series.
    expiry: Expiry<usize>,
    /// Memory of the data of all series, in bytes.
    bytes: usize,
    /// Series with data in the window.
    live: Vec<usize>,
    /// Series to read, in order; some may have been cancelled since.
    due: Vec<usize>,
    now: Option<Moment>,
    /// Whether there was a sample today.
    day_has_samples: bool,
}

/// Series of one channel.
#[derive(Debug, Default)]
struct Fields {
    by_name: HashMap<Arc<str>, usize>,
    /// Most bytes that all of them can take in the channel's value.
    room: usize,
    /// Bytes that they take at the moment.
    written: usize,
}

#[derive(Debug)]
struct Series {
    channel: Channel,
    field: Arc<str>,
    measure: Measure,
    /// Memory of its data, as counted in [`SeriesTable::bytes`].
    bytes: usize,
    /// Text that was last read.
    text: Box<str>,
    /// Bytes that it takes in the channel's value; 0 if a plain value replaced it.
    written: usize,
    is_live: bool,
    has_ended: bool,
    /// Time of the last sample since the start of time for [`Moment::elapsed`].
    used: Duration,
    due: Due,
    /// Whether there are samples since the last dump.
    is_new: bool,
}

/// Series in the form in which another table can continue it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Dump {
    /// Channel of the series.
    pub channel: Channel,
    /// Field in the channel's value.
    pub field: Box<str>,
    day: Date,
    measure: Measure,
    /// Own time to live in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    /// Time of the last sample in milliseconds, as [`Moment::elapsed`] counts; `None` if another version wrote it.
    #[serde(default)]
    used: Option<u64>,
}

/// Life of a series that is continued: see [`SeriesTable::restore`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Continued {
    /// Time to live of a series without an own one; `None`: no end.
    pub usual: Option<Duration>,
    /// Time up to which the other table received samples, as [`Moment::elapsed`] counts.
    pub known_to: Duration,
    /// Earliest end.
    pub earliest: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    No,
    /// Time passed: it is written if its figures changed.
    IfChanged,
    /// There was a sample.
    Yes,
}

/// New series and room that a sample needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    whole: Option<usize>,
    labelled: Option<usize>,
    /// Bytes that the new series can take in the channel's value.
    pub room: usize,
}

/// Series without samples for its lifetime.
#[derive(Debug)]
pub struct Idle {
    series: usize,
    /// Channel of the series.
    pub channel: Channel,
    /// Field in the channel's value.
    pub field: Arc<str>,
    /// Whether the channel's value contains the field, written by the series.
    pub is_written: bool,
}

/// New figures of a series.
#[derive(Debug)]
pub struct Update {
    series: usize,
    /// Channel of the series.
    pub channel: Channel,
    /// Field in the channel's value.
    pub field: Arc<str>,
    /// Figures of the series as a JSON object.
    pub value: Value,
    /// Whether there was a sample. Otherwise the figures changed because time passed.
    pub is_written: bool,
}

/// Returns the most bytes that a series can take in its channel's value: the field's name, the figures, a colon and a comma.
fn room(field: &str, kind: SampleKind) -> usize {
    key_bytes(field) + Measure::max_bytes(kind)
}

/// Returns the name of a stored series.
fn name(channel: &Channel, field: &str) -> String {
    format!("{channel} {field}")
}

fn key_bytes(field: &str) -> usize {
    // Two quotes, a colon, a comma, and escapes.
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c.is_control() && c.is_ascii() => 6,
        c => c.len_utf8(),
    };
    field.chars().map(escaped).sum::<usize>() + 4
}

impl SeriesTable {
    /// Creates an empty table with at most `limit` series; 0 means no limit.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            channels: HashMap::new(),
            series: Slab::new(),
            ended: Vec::new(),
            expiry: Expiry::default(),
            bytes: 0,
            live: Vec::new(),
            due: Vec::new(),
            now: None,
            day_has_samples: false,
        }
    }

    /// Returns the number of series.
    pub fn len(&self) -> usize {
        self.series.len() - self.ended.len()
    }

    /// Returns whether there are no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the memory of the data of all series in bytes. It shrinks as seconds leave the windows and when the day ends.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the time since the start at which figures change by themselves: the next second, if some window has data.
    pub fn next_second(&self) -> Option<Duration> {
        self.now.filter(|_| !self.live.is_empty()).map(|now| Duration::from_secs(now.second() + 1))
    }

    /// Returns whether midnight will change a figure.
    pub fn waits_for_midnight(&self) -> bool {
        self.day_has_samples
    }

    /// Advances to `moment`: data that leave a window or end with the day make a series due.
    pub fn advance(&mut self, moment: Moment) {
        let Some(before) = self.now.replace(moment) else { return };
        if before.second() != moment.second() {
            let (series, due, bytes) = (&mut self.series, &mut self.due, &mut self.bytes);
            self.live.retain(|&at| {
                let one = &mut series[at];
                one.is_live = !one.has_ended && one.measure.forget(moment);
                if !one.has_ended {
                    one.weigh(bytes);
                    one.make_due(Due::IfChanged, at, due);
                }
                one.is_live
            });
        }
        if before.day != moment.day && self.day_has_samples {
            self.day_has_samples = false;
            for (at, one) in self.series.iter_mut().filter(|(_, one)| !one.has_ended) {
                one.measure.begin_day();
                one.weigh(&mut self.bytes);
                one.make_due(Due::IfChanged, at, &mut self.due);
            }
        }
    }

    /// Returns the new series and room that `sample` needs.
    ///
    /// # Errors
    /// [`Refusal::OtherType`] if its series has another type, [`Refusal::TooManySeries`] beyond the limit.
    pub fn need(&self, sample: &Sample) -> Result<Need, Refusal> {
        let fields = self.channels.get(&sample.channel);
        let find = |field: &str| fields.and_then(|fields| fields.by_name.get(field).copied());
        let mut need = Need { whole: find(&sample.field), labelled: None, room: 0 };
        let mut more = 0;
        match need.whole {
            // The type of the total is that of all its parts: it is created with the first of them.
            Some(at) if self.series[at].measure.kind() != sample.kind => {
                let (channel, field) = (sample.channel.clone(), sample.field.clone());
                return Err(Refusal::OtherType { channel, field, kind: self.series[at].measure.kind() });
            }
            Some(_) => {}
            None => {
                need.room += room(&sample.field, sample.kind);
                more += 1;
            }
        }
        if let Some(field) = &sample.labelled {
            need.labelled = find(field);
            if need.labelled.is_none() {
                need.room += room(field, sample.kind);
                more += 1;
            }
        }
        if more > 0 && self.limit > 0 && self.len() + more > self.limit {
            return Err(Refusal::TooManySeries(self.limit));
        }
        Ok(need)
    }

    /// Adds a sample to its series, which are created according to `need`, and have `life` from `awake` on: the time to which
    /// [`SeriesTable::idle`] compares.
    pub fn add(&mut self, sample: Sample, need: Need, life: Lifetime, awake: Duration) {
        let Some(now) = self.now else { return };
        let Sample { channel, field, labelled, kind, measured, .. } = sample;
        let whole = need.whole.unwrap_or_else(|| self.create(&channel, field, kind));
        let labelled = need.labelled.or_else(|| labelled.map(|field| self.create(&channel, field, kind)));
        self.day_has_samples = true;
        for at in [Some(whole), labelled].into_iter().flatten() {
            let one = &mut self.series[at];
            one.measure.add(measured, now);
            one.weigh(&mut self.bytes);
            one.is_new = true;
            one.used = now.elapsed;
            let before = self.expiry.own(&at).map(|(_, ends)| ends).filter(|_| at == whole);
            self.expiry.used(&at, life, awake);
            if let (Some(before), Some((_, ends))) = (before, self.expiry.own(&at)) {
                // The total has the longest time to live of its parts.
                self.expiry.set_end(&at, before.max(ends));
            }
            if !one.is_live {
                one.is_live = true;
                self.live.push(at);
            }
            one.make_due(Due::Yes, at, &mut self.due);
        }
    }

    fn create(&mut self, channel: &Channel, field: Box<str>, kind: SampleKind) -> usize {
        let field: Arc<str> = field.into();
        let fields = self.channels.entry(channel.clone()).or_default();
        fields.room += room(&field, kind);
        let at = self.series.insert(Series {
            channel: channel.clone(),
            field: field.clone(),
            measure: Measure::new(kind),
            bytes: 0,
            text: Box::default(),
            written: 0,
            is_live: false,
            has_ended: false,
            used: Duration::ZERO,
            due: Due::No,
            is_new: false,
        });
        fields.by_name.insert(field, at);
        at
    }

    /// Returns the time of the next [`SeriesTable::idle`].
    pub fn next_idle(&self) -> Option<Duration> {
        self.expiry.next()
    }

    /// Returns whether `channel` has series.
    pub fn has_channel(&self, channel: &Channel) -> bool {
        self.channels.contains_key(channel)
    }

    /// Returns the latest end among the series of `channel` with a time to live of their own.
    pub fn last_own_end(&self, channel: &Channel) -> Option<Duration> {
        let series = self.channels.get(channel)?.by_name.values();
        series.filter_map(|at| self.expiry.own(at).map(|(_, ends)| ends)).max()
    }

    /// Ends all series of `channel`; returns their names in [`SeriesTable::dump`].
    pub fn end_channel(&mut self, channel: &Channel) -> Vec<String> {
        let Some(fields) = self.channels.remove(channel) else { return Vec::new() };
        fields.by_name.into_values().map(|at| self.end(at)).collect()
    }

    /// Returns the series without samples for their lifetime, and whether their fields are in their channels' values.
    /// Call [`SeriesTable::end_series`] for each.
    pub fn idle(&mut self, now: Duration) -> Vec<Idle> {
        let ended = self.expiry.ended(now).into_iter();
        ended
            .filter_map(|at| {
                let one = self.series.get(at)?;
                let (channel, field) = (one.channel.clone(), one.field.clone());
                Some(Idle { series: at, channel, field, is_written: one.written > 0 })
            })
            .collect()
    }

    /// Ends one series; returns its name in [`SeriesTable::dump`].
    pub fn end_series(&mut self, idle: &Idle) -> String {
        if let Some(fields) = self.channels.get_mut(&idle.channel)
            && fields.by_name.remove(&idle.field).is_some()
        {
            let one = &self.series[idle.series];
            fields.room -= room(&idle.field, one.measure.kind());
            fields.written -= one.written;
            if fields.by_name.is_empty() {
                self.channels.remove(&idle.channel);
            }
        }
        self.end(idle.series)
    }

    fn end(&mut self, at: usize) -> String {
        self.expiry.remove(&at);
        let one = &mut self.series[at];
        one.measure = Measure::new(one.measure.kind());
        self.bytes -= std::mem::take(&mut one.bytes);
        (one.text, one.written) = (Box::default(), 0);
        (one.has_ended, one.is_new, one.due) = (true, false, Due::No);
        self.ended.push(at);
        name(&one.channel, &one.field)
    }

    /// Returns the series that changed since the last call, or with `all` all of them, for continuation by another table:
    /// a name for each series, and the JSON of a [`Dump`].
    pub fn dump(&mut self, all: bool) -> Vec<(String, String)> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            channel: &'a Channel,
            field: &'a str,
            day: Date,
            measure: &'a Measure,
            #[serde(skip_serializing_if = "Option::is_none")]
            ttl: Option<u64>,
            used: u64,
        }
        let (Some(now), expiry) = (self.now, &self.expiry) else { return Vec::new() };
        let text = self.series.iter_mut().filter_map(|(at, one)| {
            let Series { channel, field, measure, is_new, has_ended, used, .. } = one;
            if *has_ended || (!std::mem::take(is_new) && !all) {
                return None;
            }
            let (ttl, used) = (expiry.own(&at).map(|(own, _)| millis(own)), millis(*used));
            let dump = Borrowed { channel, field, day: now.day, measure, ttl, used };
            let dump = serde_json::to_string(&dump).ok()?;
            Some((name(channel, field), dump))
        });
        text.collect()
    }

    /// Continues a series of another table, at `moment`, whose figures in the channel's value are `present`. Its time to live,
    /// `usual` or its own, starts at the time 0 of [`SeriesTable::idle`], less the time from its last sample to `known_to`, up
    /// to which that table received samples. It ends at `earliest` or later.
    pub fn restore(&mut self, dump: Dump, present: Option<&Value>, moment: Moment, life: Continued) {
        let Continued { usual, known_to, earliest } = life;
        self.now = Some(moment);
        let Dump { channel, field, day, mut measure, ttl, used } = dump;
        let at = self.create(&channel, field, measure.kind());
        let used = used.map_or(moment.elapsed, Duration::from_millis);
        self.expiry.used(&at, Lifetime { own: ttl.map(Duration::from_millis), keeps: false, usual }, Duration::ZERO);
        self.expiry.spend(&at, known_to.saturating_sub(used), earliest);
        measure.forget(moment);
        if day == moment.day {
            self.day_has_samples = true;
        } else {
            measure.begin_day();
        }
        let one = &mut self.series[at];
        one.is_live = measure.is_live();
        one.measure = measure;
        one.used = used;
        one.weigh(&mut self.bytes);
        if one.is_live {
            self.live.push(at);
        }
        if let Some(present) = present {
            one.text = present.to_string().into();
            one.written = key_bytes(&one.field) + one.text.len();
            if let Some(fields) = self.channels.get_mut(&channel) {
                fields.written += one.written;
            }
        }
        one.make_due(Due::IfChanged, at, &mut self.due);
    }

    /// Records that a plain value was written to `channel`: the whole value, or the named fields. A series that it
    /// replaced is written again at its next change.
    pub fn overwritten(&mut self, channel: &Channel, named: Option<&Map<String, Value>>) {
        let Some(fields) = self.channels.get_mut(channel) else { return };
        let written = &mut fields.written;
        let mut gone = |at: usize, series: &mut Slab<Series>| {
            let one = &mut series[at];
            *written -= one.written;
            (one.written, one.due) = (0, Due::No);
        };
        match named {
            None => fields.by_name.values().for_each(|at| gone(*at, &mut self.series)),
            Some(named) => {
                let found = named.keys().filter_map(|name| fields.by_name.get(name.as_str()));
                found.for_each(|at| gone(*at, &mut self.series));
            }
        }
    }

    /// Returns the largest size of a value of `channel` with now `bytes` bytes: its other bytes, and the most that its
    /// series can take.
    pub fn bound(&self, channel: &Channel, bytes: usize) -> usize {
        self.channels.get(channel).map_or(bytes, |fields| bytes.saturating_sub(fields.written) + fields.room)
    }

    /// Returns the most bytes that the series of `channel` can take.
    pub fn room(&self, channel: &Channel) -> usize {
        self.channels.get(channel).map_or(0, |fields| fields.room)
    }

    /// Reads the due series, each once. Call [`SeriesTable::written`] for each that was put into its channel.
    pub fn read_due(&mut self) -> Vec<Update> {
        let Some(now) = self.now else { return Vec::new() };
        let mut updates = Vec::with_capacity(self.due.len());
        for at in std::mem::take(&mut self.due) {
            let one = &mut self.series[at];
            let due = std::mem::replace(&mut one.due, Due::No);
            if due == Due::No {
                continue;
            }
            let value = one.measure.read(now);
            let text = value.to_string();
            if due == Due::IfChanged && *one.text == *text {
                continue;
            }
            one.text = text.into();
            let (channel, field) = (one.channel.clone(), one.field.clone());
            updates.push(Update { series: at, channel, field, value, is_written: due == Due::Yes });
        }
        // No series is due any more, so only those in a window are referred to.
        let series = &mut self.series;
        self.ended.retain(|at| {
            let is_live = series[*at].is_live;
            if !is_live {
                series.remove(*at);
            }
            is_live
        });
        updates
    }

    /// Records that the channel's value now contains `update`.
    pub fn written(&mut self, update: &Update) {
        let one = &mut self.series[update.series];
        let bytes = key_bytes(&one.field) + one.text.len();
        if let Some(fields) = self.channels.get_mut(&one.channel) {
            fields.written = fields.written - one.written + bytes;
        }
        one.written = bytes;
    }
}

impl Series {
    /// Updates `total` with the current memory of its data.
    fn weigh(&mut self, total: &mut usize) {
        let bytes = self.measure.bytes();
        *total = *total + bytes - self.bytes;
        self.bytes = bytes;
    }

    fn make_due(&mut self, how: Due, at: usize, due: &mut Vec<usize>) {
        match (self.due, how) {
            (Due::No, _) => {
                self.due = how;
                due.push(at);
            }
            (_, Due::Yes) => self.due = Due::Yes,
            (_, Due::IfChanged | Due::No) => {}
        }
    }
}

#[cfg(test)]
mod tests;
