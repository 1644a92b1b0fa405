//! All series of a tenant: which there are, which of them have something in the window, and whose numbers are due.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{Measure, Moment, Sample, SampleKind};
use crate::core::{channel::Channel, reading::Refusal};

/// Every series, by channel and field. Written by the aggregator alone.
///
/// Series stay as long as the process: their number is bounded, and so is what one of them keeps.
#[derive(Debug)]
pub struct SeriesTable {
    /// Most series; 0 means no limit.
    limit: usize,
    channels: HashMap<Channel, Fields>,
    series: Vec<Series>,
    /// Those with something in the window.
    live: Vec<usize>,
    /// Those that are to be read, in order; some may have been called off since.
    due: Vec<usize>,
    now: Option<Moment>,
    /// A sample came today.
    day_has_samples: bool,
}

/// The series of one channel.
#[derive(Debug, Default)]
struct Fields {
    by_name: HashMap<Arc<str>, usize>,
    /// The most bytes that all of them can take in the channel's value.
    room: usize,
    /// The bytes that they take at the moment.
    written: usize,
}

#[derive(Debug)]
struct Series {
    channel: Channel,
    field: Arc<str>,
    measure: Measure,
    /// What was read last.
    text: Box<str>,
    /// The bytes that it takes in the channel's value; 0 when a plain value replaced it.
    written: usize,
    is_live: bool,
    due: Due,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    No,
    /// Time passed: it is written if it reads differently.
    IfChanged,
    /// A sample came.
    Yes,
}

/// What a sample needs that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    whole: Option<usize>,
    labelled: Option<usize>,
    /// Bytes that the new series can take in the channel's value.
    pub room: usize,
}

/// New numbers of a series.
#[derive(Debug)]
pub struct Update {
    series: usize,
    /// The channel it is in.
    pub channel: Channel,
    /// Its field there.
    pub field: Arc<str>,
    /// Its numbers: an object.
    pub value: Value,
}

/// The most bytes that a series can take in its channel's value: the field's name, the numbers, a colon and a comma.
fn room(field: &str, kind: SampleKind) -> usize {
    key_bytes(field) + Measure::max_bytes(kind)
}

fn key_bytes(field: &str) -> usize {
    // Two quotes, a colon, a comma, and what is escaped.
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c.is_control() && c.is_ascii() => 6,
        c => c.len_utf8(),
    };
    field.chars().map(escaped).sum::<usize>() + 4
}

impl SeriesTable {
    /// No series yet, and at most `limit` of them; 0 means no limit.
    pub fn new(limit: usize) -> Self {
        let (channels, series, live, due) = (HashMap::new(), Vec::new(), Vec::new(), Vec::new());
        Self { limit, channels, series, live, due, now: None, day_has_samples: false }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// When, since the aggregator began, the numbers change by themselves: at the next second while something is in a
    /// window.
    pub fn next_second(&self) -> Option<Duration> {
        self.now.filter(|_| !self.live.is_empty()).map(|now| Duration::from_secs(now.second() + 1))
    }

    /// Whether midnight will change something.
    pub fn waits_for_midnight(&self) -> bool {
        self.day_has_samples
    }

    /// Lets time pass until `moment`: what leaves a window and what ends with the day makes a series due.
    pub fn advance(&mut self, moment: Moment) {
        let Some(before) = self.now.replace(moment) else { return };
        if before.second() != moment.second() {
            let (series, due) = (&mut self.series, &mut self.due);
            self.live.retain(|&at| {
                let one = &mut series[at];
                one.is_live = one.measure.forget(moment);
                one.make_due(Due::IfChanged, at, due);
                one.is_live
            });
        }
        if before.day != moment.day && self.day_has_samples {
            self.day_has_samples = false;
            for (at, one) in self.series.iter_mut().enumerate() {
                one.measure.begin_day();
                one.make_due(Due::IfChanged, at, &mut self.due);
            }
        }
    }

    /// What `sample` needs that is not there yet.
    ///
    /// # Errors
    /// [`Refusal::OtherType`] when its series has another type, [`Refusal::TooManySeries`] beyond the limit.
    pub fn need(&self, sample: &Sample) -> Result<Need, Refusal> {
        let fields = self.channels.get(&sample.channel);
        let find = |field: &str| fields.and_then(|fields| fields.by_name.get(field).copied());
        let mut need = Need { whole: find(&sample.field), labelled: None, room: 0 };
        let mut more = 0;
        match need.whole {
            // The type of the whole is that of all its parts: it comes into being with the first of them.
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
        if more > 0 && self.limit > 0 && self.series.len() + more > self.limit {
            return Err(Refusal::TooManySeries(self.limit));
        }
        Ok(need)
    }

    /// Counts a sample in its series, which come into being where `need` says so.
    pub fn add(&mut self, sample: Sample, need: Need) {
        let Some(now) = self.now else { return };
        let Sample { channel, field, labelled, kind, measured } = sample;
        let whole = need.whole.unwrap_or_else(|| self.create(&channel, field, kind));
        let labelled = need.labelled.or_else(|| labelled.map(|field| self.create(&channel, field, kind)));
        self.day_has_samples = true;
        for at in [Some(whole), labelled].into_iter().flatten() {
            let one = &mut self.series[at];
            one.measure.add(measured, now);
            if !one.is_live {
                one.is_live = true;
                self.live.push(at);
            }
            one.make_due(Due::Yes, at, &mut self.due);
        }
    }

    fn create(&mut self, channel: &Channel, field: Box<str>, kind: SampleKind) -> usize {
        let at = self.series.len();
        let field: Arc<str> = field.into();
        let fields = self.channels.entry(channel.clone()).or_default();
        fields.by_name.insert(field.clone(), at);
        fields.room += room(&field, kind);
        self.series.push(Series {
            channel: channel.clone(),
            field,
            measure: Measure::new(kind),
            text: Box::default(),
            written: 0,
            is_live: false,
            due: Due::No,
        });
        at
    }

    /// A plain value was written to `channel`: the whole of it, or the named fields. A series that is gone by it is
    /// written again at its next change.
    pub fn overwritten(&mut self, channel: &Channel, named: Option<&Map<String, Value>>) {
        let Some(fields) = self.channels.get_mut(channel) else { return };
        let written = &mut fields.written;
        let mut gone = |at: usize, series: &mut Vec<Series>| {
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

    /// The bytes of a value of `channel` that are not a series' and those that its series can take at most, of a value of
    /// `bytes` bytes.
    pub fn bound(&self, channel: &Channel, bytes: usize) -> usize {
        self.channels.get(channel).map_or(bytes, |fields| bytes.saturating_sub(fields.written) + fields.room)
    }

    /// The bytes that the series of `channel` can take at most.
    pub fn room(&self, channel: &Channel) -> usize {
        self.channels.get(channel).map_or(0, |fields| fields.room)
    }

    /// Reads the series that are due, each once. Say [`SeriesTable::written`] of each that was put into its channel.
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
            updates.push(Update { series: at, channel: one.channel.clone(), field: one.field.clone(), value });
        }
        updates
    }

    /// What `update` says is in its channel's value now.
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
mod tests {
    use serde_json::json;

    use super::*;

    fn moment(ms: u64, day: i8) -> Moment {
        Moment { elapsed: Duration::from_millis(ms), day: jiff::civil::date(2026, 3, day) }
    }

    fn sample(metric: &str, kind: &str, value: Value, labels: Value) -> Sample {
        Sample::parse(metric, kind, &value, labels.as_object().unwrap()).unwrap()
    }

    fn add(table: &mut SeriesTable, sample: Sample) -> Result<(), Refusal> {
        table.need(&sample).map(|need| table.add(sample, need))
    }

    fn read(table: &mut SeriesTable) -> Vec<(String, Value)> {
        let updates = table.read_due();
        updates.iter().for_each(|update| table.written(update));
        updates.into_iter().map(|update| (format!("{}.{}", update.channel, update.field), update.value)).collect()
    }

    #[test]
    fn a_label_set_is_a_series_of_its_own_and_counts_in_the_whole() {
        let mut table = SeriesTable::new(0);
        table.advance(moment(0, 1));
        for (region, value) in [("eu", 1), ("us", 2), ("eu", 3)] {
            add(&mut table, sample("shop.sold", "counter", json!(value), json!({"region": region}))).unwrap();
        }
        let totals: Vec<_> = read(&mut table).into_iter().map(|(name, value)| (name, value["total"].clone())).collect();
        let expected = [("", 6), ("{region=\"eu\"}", 4), ("{region=\"us\"}", 2)];
        assert_eq!(totals, expected.map(|(labels, total)| (format!("metrics.shop.sold{labels}"), json!(total))));
        assert!(read(&mut table).is_empty(), "read once");
    }

    #[test]
    fn the_number_of_series_is_bounded_and_the_known_ones_go_on() {
        let mut table = SeriesTable::new(3);
        table.advance(moment(0, 1));
        let labelled = |region: &str| sample("shop.sold", "counter", json!(1), json!({"region": region}));
        add(&mut table, labelled("eu")).unwrap();
        add(&mut table, labelled("us")).unwrap();
        for n in 0..1_000 {
            assert_eq!(add(&mut table, labelled(&format!("r{n}"))), Err(Refusal::TooManySeries(3)));
        }
        add(&mut table, labelled("us")).unwrap();
        add(&mut table, sample("shop.sold", "counter", json!(1), json!({}))).unwrap();
        assert_eq!((table.len(), read(&mut table)[0].1["total"].clone()), (3, json!(4)));
        // A first sample with labels makes two: neither is made when only one fits.
        let mut table = SeriesTable::new(1);
        table.advance(moment(0, 1));
        assert!(add(&mut table, labelled("eu")).is_err() && table.is_empty());
    }

    #[test]
    fn the_first_sample_fixes_the_type() {
        let mut table = SeriesTable::new(0);
        table.advance(moment(0, 1));
        add(&mut table, sample("a.b", "gauge", json!(1), json!({}))).unwrap();
        for labels in [json!({}), json!({"x": "y"})] {
            let refused = add(&mut table, sample("a.b", "counter", json!(1), labels)).unwrap_err();
            assert!(refused.to_string().contains("is a gauge"), "{refused}");
        }
        add(&mut table, sample("a.c", "counter", json!(1), json!({}))).unwrap();
    }

    #[test]
    fn nothing_is_due_once_the_windows_are_empty_and_the_day_has_begun() {
        let mut table = SeriesTable::new(0);
        table.advance(moment(1_500, 1));
        assert_eq!((table.next_second(), table.waits_for_midnight()), (None, false));
        add(&mut table, sample("a.b", "gauge", json!(5), json!({}))).unwrap();
        assert_eq!(read(&mut table)[0].1["min"], json!(5));
        for second in 2..=11 {
            assert_eq!(table.next_second(), Some(Duration::from_secs(second)));
            table.advance(moment(second * 1_000, 1));
            assert!(read(&mut table).is_empty(), "it reads the same in second {second}");
        }
        table.advance(moment(12_000, 1));
        let expected = json!({"type": "gauge", "last": 5, "min": null, "max": null, "avg": null, "today": {"min": 5, "max": 5, "avg": 5}});
        assert_eq!(read(&mut table)[0].1, expected);
        assert_eq!((table.next_second(), table.waits_for_midnight()), (None, true));
        table.advance(moment(20_000, 2));
        assert_eq!(read(&mut table)[0].1["today"], json!({"min": null, "max": null, "avg": null}));
        assert_eq!((table.next_second(), table.waits_for_midnight()), (None, false));
    }

    #[test]
    fn what_a_series_takes_is_known_before() {
        let mut table = SeriesTable::new(0);
        table.advance(moment(0, 1));
        let one = sample("a.b", "timing", json!(1.0 / 3.0), json!({"x": "\"\\\n\u{1}é"}));
        let need = table.need(&one).unwrap();
        let channel = one.channel.clone();
        table.add(one, need);
        assert_eq!((table.room(&channel), table.bound(&channel, 0)), (need.room, need.room));
        let fields: Map<String, Value> = {
            let updates = table.read_due();
            updates.iter().for_each(|update| table.written(update));
            updates.into_iter().map(|update| (update.field.to_string(), update.value)).collect()
        };
        let bytes = Value::Object(fields.clone()).to_string().len();
        assert!(bytes <= need.room + 2);
        assert_eq!(table.bound(&channel, bytes), need.room + 1, "braces, less the comma that the last field has not");
        table.overwritten(&channel, Some(&fields));
        assert_eq!(table.bound(&channel, 2), need.room + 2);
    }
}
