//! The board of `tricast top`: the fields of channels with their values and trends, as lines of text. Pure.

use std::collections::BTreeMap;

use serde_json::Value;
use tricast_client::Update;

use super::{
    chart::{self, Series},
    fields,
    output::{Paint, Style, printable},
};

/// Most fields that are shown; more are counted.
const MOST_ROWS: usize = 5_000;

/// Most charts above each other.
const MOST_CHARTS: usize = 6;

/// Width of the column of trends.
const TREND: usize = 20;

/// How the fields are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Table,
    Chart,
}

/// One field.
struct Row {
    value: Value,
    series: Series,
    /// Time of the last change, in seconds.
    changed: f64,
}

/// The fields, by channel and path.
#[derive(Default)]
pub(super) struct Board {
    rows: BTreeMap<(String, String), Row>,
    /// Fields beyond the limit.
    left_out: usize,
    /// Fields to show; all of them if there are none.
    selected: Vec<String>,
    /// Part of the names to show.
    pub(super) filter: String,
    /// Number of rows above the first one that is shown.
    pub(super) offset: usize,
}

/// Size and time of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Present time, in seconds of the clock of the updates.
    pub(super) now: f64,
    /// Time that trends and charts cover, in seconds.
    pub(super) span: f64,
    pub(super) paint: Paint,
}

impl Board {
    pub(super) fn new(selected: Vec<String>) -> Self {
        Self { selected, ..Self::default() }
    }

    /// Moves the first row that is shown.
    pub(super) fn scroll(&mut self, rows: isize) {
        self.offset = self.offset.saturating_add_signed(rows).min(self.rows.len().saturating_sub(1));
    }

    /// Returns whether there is nothing to show yet.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Records an update that arrived at `now`. An event counts in a field `events` of its channel.
    pub(super) fn take(&mut self, update: &Update, now: f64) {
        match update {
            Update::State { channel, data, .. } => {
                let found = fields::select(data, &self.selected);
                let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
                self.rows.retain(|(of, name), _| of != channel || names.contains(&&**name));
                let found: Vec<_> = found.into_iter().map(|(name, value)| (name, value.clone())).collect();
                for (name, value) in found {
                    self.set(channel, name, value, now);
                }
            }
            Update::Event { channel, event, .. } => {
                let key = (channel.clone(), "events".to_owned());
                let count = self.rows.get(&key).and_then(|row| row.value.as_u64()).unwrap_or_default() + 1;
                self.set(channel, "events".into(), count.into(), now);
                self.set(channel, "last event".into(), event.clone().into(), now);
            }
            Update::Gone { channel, .. } => self.rows.retain(|(of, _), _| of != channel),
            _ => {}
        }
    }

    fn set(&mut self, channel: &str, name: String, value: Value, now: f64) {
        let key = (channel.to_owned(), name);
        let is_full = self.rows.len() >= MOST_ROWS;
        let row = match self.rows.get_mut(&key) {
            Some(row) => row,
            None if is_full => {
                self.left_out += 1;
                return;
            }
            None => {
                let row = Row { value: Value::Null, series: Series::default(), changed: now };
                self.rows.entry(key).or_insert(row)
            }
        };
        if let Some(number) = value.as_f64() {
            row.series.push(now, number);
        }
        if row.value != value {
            (row.value, row.changed) = (value, now);
        }
    }

    /// Records the history of a channel (`docs/protocol.md`, section 6.4). `time` converts a time of the server.
    pub(super) fn take_history(&mut self, channel: &str, history: &Value, time: impl Fn(&str) -> Option<f64>) {
        for (name, buckets) in history["fields"].as_object().into_iter().flatten() {
            if !self.selected.is_empty() && !self.selected.contains(name) {
                continue;
            }
            for bucket in buckets.as_array().into_iter().flatten() {
                let number = bucket["average"].as_f64().or(bucket["last"].as_f64());
                if let (Some(time), Some(number)) = (bucket["period"].as_str().and_then(&time), number) {
                    self.set(channel, name.clone(), number.into(), time);
                }
            }
        }
    }

    /// Returns the rows that the filter lets through.
    fn shown(&self) -> Vec<(&str, &str, &Row)> {
        let fits = |channel: &str, name: &str| format!("{channel} {name}").contains(&self.filter);
        let rows = self.rows.iter().map(|((channel, name), row)| (&**channel, &**name, row));
        rows.filter(|(channel, name, _)| fits(channel, name)).collect()
    }

    /// Returns the lines of a frame, at most `height` of them.
    pub(super) fn lines(&self, view: View, frame: Frame) -> Vec<String> {
        match view {
            View::Table => self.table(frame),
            View::Chart => self.charts(frame),
        }
    }

    fn table(&self, frame: Frame) -> Vec<String> {
        let rows = self.shown();
        let fitting = frame.height.saturating_sub(1);
        let offset = self.offset.min(rows.len().saturating_sub(fitting));
        let visible = &rows[offset..rows.len().min(offset + fitting)];
        let longest = |width: &dyn Fn(&(&str, &str, &Row)) -> usize, least: usize, most: usize| {
            visible.iter().map(width).max().unwrap_or_default().clamp(least, most.max(least))
        };
        let share = frame.width / 3;
        let channel = longest(&|(channel, ..)| channel.chars().count(), 7, share);
        let name = longest(&|(_, name, _)| name.chars().count(), 5, share);
        let value = longest(&|(.., row)| shown_value(&row.value).chars().count(), 5, share);
        let line = |cells: [&str; 5]| {
            let [a, b, c, d, e] = cells;
            let text =
                format!("{}  {}  {:>value$}  {}  {e}", fit(a, channel), fit(b, name), cut(c, value), fit(d, TREND));
            cut(text.trim_end(), frame.width)
        };
        let header = line(["CHANNEL", "FIELD", "VALUE", "TREND", "CHANGED"]);
        let mut lines = vec![frame.paint.paint(Style::Dim, &header)];
        let mut before = "";
        for (of, name, row) in visible {
            let trend = chart::sparkline(&row.series.columns(frame.now, frame.span, TREND));
            let shown = if *of == before { "" } else { *of };
            before = of;
            let age = age(frame.now - row.changed);
            let text = line([&printable(shown), &printable(name), &shown_value(&row.value), &trend, &age]);
            let is_fresh = frame.now - row.changed < 1.0;
            lines.push(if is_fresh { frame.paint.paint(Style::Bold, &text) } else { text });
        }
        if self.left_out > 0 && lines.len() < frame.height {
            lines.push("more fields are left out; name the channels".into());
        }
        lines
    }

    fn charts(&self, frame: Frame) -> Vec<String> {
        let rows: Vec<_> = self.shown().into_iter().filter(|(.., row)| row.value.is_number()).collect();
        let shown = rows.len().min(MOST_CHARTS).min((frame.height / 4).max(1));
        if shown == 0 {
            return vec!["no numbers yet".into()];
        }
        let visible = &rows[self.offset.min(rows.len() - shown)..][..shown];
        let height = (frame.height / shown).saturating_sub(1).clamp(2, 12);
        let mut lines = Vec::new();
        for (channel, name, row) in visible {
            let title = format!("{} {}  {}", printable(channel), printable(name), shown_value(&row.value));
            lines.push(frame.paint.paint(Style::Bold, &cut(&title, frame.width)));
            let chart = chart::chart(&row.series, frame.now, frame.span, frame.width, height);
            lines.extend(chart.iter().map(|line| frame.paint.paint(Style::Cyan, line)));
        }
        lines.truncate(frame.height);
        lines
    }
}

/// Returns a value in a few characters.
fn shown_value(value: &Value) -> String {
    match value.as_f64() {
        Some(number) => chart::number(number),
        None => fields::bare(value),
    }
}

/// Shortens a text to a width.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Shortens or fills a text to a width.
fn fit(text: &str, width: usize) -> String {
    format!("{:width$}", cut(text, width))
}

/// Writes the time since a change.
fn age(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(channel: &str, data: Value) -> Update {
        Update::State { channel: channel.into(), data, timestamp: None, cursor: None }
    }

    fn frame(width: usize, height: usize) -> Frame {
        Frame { width, height, now: 10.0, span: 10.0, paint: Paint::OFF }
    }

    fn board() -> Board {
        let mut board = Board::new(Vec::new());
        board.take(&state("metrics.shop", json!({"carts": 3, "state": "ok\u{1b}"})), 1.0);
        board.take(&state("metrics.shop", json!({"carts": 7, "state": "ok\u{1b}"})), 9.5);
        board.take(&state("metrics.api", json!({"latency": {"p95": 12.5}})), 4.0);
        board
    }

    #[test]
    fn a_table_has_a_row_for_each_field() {
        let lines = board().lines(View::Table, frame(90, 10));
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[0].starts_with("CHANNEL "));
        assert!(lines[1].starts_with("metrics.api   latency.p95") && lines[1].ends_with("6 s"), "{lines:#?}");
        assert!(lines[2].contains("carts") && lines[2].contains(" 7 ") && lines[2].ends_with("0 s"), "{lines:#?}");
        assert!(lines[3].starts_with("   ") && lines[3].contains("ok\\u{1b}"), "{lines:#?}");
    }

    #[test]
    fn every_line_fits_and_there_are_not_too_many() {
        for (width, height) in [(20, 2), (40, 3), (1, 1), (200, 50)] {
            for view in [View::Table, View::Chart] {
                let lines = board().lines(view, frame(width, height));
                assert!(lines.len() <= height.max(1), "{lines:#?}");
                if width > 12 {
                    assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
                }
            }
        }
    }

    #[test]
    fn rows_end_with_their_field_and_their_channel() {
        let mut board = board();
        board.take(&state("metrics.shop", json!({"carts": 8})), 10.0);
        let ended =
            Update::Gone { channel: "metrics.api".into(), reason: "deleted".into(), timestamp: None, cursor: None };
        board.take(&ended, 10.0);
        assert_eq!(board.lines(View::Table, frame(90, 10)).len(), 2);
        board.filter = "nothing".into();
        assert_eq!(board.lines(View::Table, frame(90, 10)).len(), 1);
    }
}
