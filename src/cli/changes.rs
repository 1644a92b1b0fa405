//! Updates as text: lines for people, values, JSON lines, CSV.

use std::collections::HashMap;

use clap::ValueEnum;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use tricast_client::Update;

use super::{
    fields::{bare, flatten, inline, select},
    output::{self, Paint, Style},
};

/// Form in which updates are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// `14:00:05 metrics.checkout latency=180`
    #[default]
    Lines,
    /// The value of one field, alone.
    Values,
    /// One JSON object per line.
    Json,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
}

/// Prints updates.
pub(super) struct Printer {
    format: Format,
    /// Fields to print; all of them if there are none.
    fields: Vec<String>,
    paint: Paint,
    /// Whether a person reads: short times of the local time zone.
    is_terminal: bool,
    zone: TimeZone,
    has_header: bool,
    /// The selected fields of each channel as they were printed last.
    last: HashMap<String, Vec<(String, Value)>>,
}

impl Printer {
    pub(super) fn new(format: Format, fields: Vec<String>) -> Self {
        let (paint, is_terminal) = (Paint::of_stdout(), output::is_terminal());
        Self { format, fields, paint, is_terminal, zone: TimeZone::system(), has_header: false, last: HashMap::new() }
    }

    /// Returns the text of an update with its line ends; `None` if it has nothing to print.
    pub(super) fn text(&mut self, update: &Update) -> Option<String> {
        let fields = match update {
            Update::State { channel, data, .. } => {
                let fields: Vec<_> = owned(select(data, &self.fields));
                if fields.is_empty() || (!self.fields.is_empty() && self.last.get(channel) == Some(&fields)) {
                    return None;
                }
                self.last.insert(channel.clone(), fields.clone());
                fields
            }
            Update::Event { data, .. } => owned(select(data, &self.fields)),
            Update::Gone { channel, .. } => {
                self.last.remove(channel);
                Vec::new()
            }
            Update::Gap { .. } => Vec::new(),
            Update::Denied { .. } | Update::Status(_) => return None,
        };
        match self.format {
            Format::Lines => self.line(update, &fields),
            Format::Values => values(&fields),
            Format::Json => Some(json_line(update, &self.fields, &fields)),
            Format::Csv => self.csv(update, &fields),
        }
    }

    /// Returns the header, unless it was printed.
    fn header(&mut self) -> String {
        if std::mem::replace(&mut self.has_header, true) {
            return String::new();
        }
        match &self.fields[..] {
            [] => "time,channel,event,field,value\n".into(),
            fields => {
                format!("time,channel,event,{}\n", fields.iter().map(|name| cell(name)).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn line(&self, update: &Update, fields: &[(String, Value)]) -> Option<String> {
        let shown = |fields: &[(String, Value)]| {
            let field = |(name, value): &(String, Value)| {
                format!("{}={}", output::printable(name), self.paint.paint(Style::Bold, &inline(value)))
            };
            fields.iter().map(field).collect::<Vec<_>>().join(" ")
        };
        let (channel, timestamp, rest) = match update {
            Update::State { channel, timestamp, .. } => (channel, timestamp, shown(fields)),
            Update::Event { channel, event, timestamp, .. } => {
                let event = self.paint.paint(Style::Green, &output::printable(event));
                (channel, timestamp, format!("{event} {}", shown(fields)))
            }
            Update::Gone { channel, reason, timestamp, .. } => {
                let text = format!("ended ({})", output::printable(reason));
                (channel, timestamp, self.paint.paint(Style::Yellow, &text))
            }
            _ => return None,
        };
        let time = self.paint.paint(Style::Dim, &self.time(timestamp.as_deref()));
        let channel = self.paint.paint(Style::Cyan, &output::printable(channel));
        Some(format!("{time} {channel} {}\n", rest.trim_end()))
    }

    /// Returns a time for people, or the time of the server for programs.
    fn time(&self, timestamp: Option<&str>) -> String {
        let parsed = timestamp.and_then(|text| text.parse::<Timestamp>().ok());
        match (parsed, self.is_terminal) {
            (Some(time), true) => {
                let zoned = time.to_zoned(self.zone.clone());
                let today = Timestamp::now().to_zoned(self.zone.clone()).date();
                let format = if zoned.date() == today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
                zoned.strftime(format).to_string()
            }
            (Some(time), false) => time.to_string(),
            (None, _) => "-".into(),
        }
    }

    fn csv(&mut self, update: &Update, fields: &[(String, Value)]) -> Option<String> {
        let (time, channel, event) = match update {
            Update::State { timestamp, channel, .. } => (timestamp, channel, ""),
            Update::Event { timestamp, channel, event, .. } => (timestamp, channel, &**event),
            _ => return None,
        };
        let start = format!("{},{},{}", cell(time.as_deref().unwrap_or_default()), cell(channel), cell(event));
        let value = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => cell(text),
            value => cell(&value.to_string()),
        };
        let rows: Vec<String> = if self.fields.is_empty() {
            fields.iter().map(|(name, content)| format!("{start},{},{}\n", cell(name), value(content))).collect()
        } else {
            let find = |name: &String| fields.iter().find(|(field, _)| field == name);
            let cells =
                self.fields.iter().map(|name| find(name).map(|(_, content)| value(content)).unwrap_or_default());
            vec![format!("{start},{}\n", cells.collect::<Vec<_>>().join(","))]
        };
        Some(self.header() + &rows.concat())
    }

    /// Returns the buckets of a history (`docs/protocol.md`, section 6.4) as the same kind of lines, the oldest first. A bucket shows its
    /// last value.
    pub(super) fn history(&mut self, channel: &str, history: &Value) -> String {
        let mut times: std::collections::BTreeMap<String, serde_json::Map<String, Value>> = Default::default();
        for (field, buckets) in history["fields"].as_object().into_iter().flatten() {
            if !self.fields.is_empty() && !self.fields.contains(field) {
                continue;
            }
            for bucket in buckets.as_array().into_iter().flatten() {
                let Some(period) = bucket["period"].as_str() else { continue };
                let value = if self.format == Format::Json { bucket.clone() } else { bucket["last"].clone() };
                times.entry(period.to_owned()).or_default().insert(field.clone(), value);
            }
        }
        let mut text = String::new();
        for (period, fields) in times {
            if self.format == Format::Json {
                let line = json!({"type": "history", "channel": channel, "timestamp": period, "data": fields});
                text.push_str(&(output::json(&line) + "\n"));
                continue;
            }
            // The paths of a history are names here.
            let fields: Vec<(String, Value)> = fields.into_iter().collect();
            let (timestamp, data) = (Some(period), Value::Null);
            let update = Update::State { channel: channel.to_owned(), data, timestamp, cursor: None };
            let line = match self.format {
                Format::Lines => self.line(&update, &fields),
                Format::Values => values(&fields),
                Format::Csv => self.csv(&update, &fields),
                Format::Json => None,
            };
            text.push_str(&line.unwrap_or_default());
        }
        text
    }
}

fn owned(fields: Vec<(String, &Value)>) -> Vec<(String, Value)> {
    fields.into_iter().map(|(name, value)| (name, value.clone())).collect()
}

/// Returns the values alone, separated by spaces.
fn values(fields: &[(String, Value)]) -> Option<String> {
    let values: Vec<String> = fields.iter().map(|(_, value)| bare(value)).collect();
    (!values.is_empty()).then(|| values.join(" ") + "\n")
}

fn json_line(update: &Update, selected: &[String], fields: &[(String, Value)]) -> String {
    let picked = |data: &Value| match selected {
        [] => data.clone(),
        _ => fields.iter().cloned().collect::<serde_json::Map<_, _>>().into(),
    };
    let value = match update {
        Update::State { channel, data, timestamp, cursor } => {
            json!({"type": "value", "channel": channel, "timestamp": timestamp, "data": picked(data), "cursor": cursor})
        }
        Update::Event { channel, event, data, timestamp, cursor } => {
            let data = picked(data);
            json!({"type": "event", "channel": channel, "event": event, "timestamp": timestamp, "data": data, "cursor": cursor})
        }
        Update::Gone { channel, reason, timestamp, cursor } => {
            json!({"type": "ended", "channel": channel, "reason": reason, "timestamp": timestamp, "cursor": cursor})
        }
        Update::Gap { reason, channels } => json!({"type": "gap", "reason": reason, "channels": channels}),
        Update::Denied { .. } | Update::Status(_) => Value::Null,
    };
    output::json(&value) + "\n"
}

/// Returns a cell of CSV: quoted if it has to be.
fn cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Returns the fields of a value as aligned lines.
pub(super) fn aligned(data: &Value) -> String {
    let fields = flatten(data);
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let line = |(name, value): &(String, &Value)| format!("{:width$}  {}\n", output::printable(name), bare(value));
    fields.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer(format: Format, fields: &[&str]) -> Printer {
        Printer {
            format,
            fields: fields.iter().map(|name| (*name).to_owned()).collect(),
            paint: Paint::OFF,
            is_terminal: false,
            zone: TimeZone::UTC,
            has_header: false,
            last: HashMap::new(),
        }
    }

    fn state(data: Value) -> Update {
        let (timestamp, cursor) = (Some("2026-12-01T14:00:05.120Z".into()), Some("a:5".into()));
        Update::State { channel: "metrics.shop".into(), data, timestamp, cursor }
    }

    #[test]
    fn a_value_in_each_format() {
        let value = state(json!({"latency": {"p95": 3}, "name": "a, \"b\""}));
        for (format, expected) in [
            (Format::Lines, "2026-12-01T14:00:05.12Z metrics.shop latency.p95=3 name=\"a, \\\"b\\\"\"\n"),
            (Format::Values, "3 a, \"b\"\n"),
            (
                Format::Json,
                "{\"channel\":\"metrics.shop\",\"cursor\":\"a:5\",\"data\":{\"latency\":{\"p95\":3},\"name\":\"a, \\\"b\\\"\"},\
                 \"timestamp\":\"2026-12-01T14:00:05.120Z\",\"type\":\"value\"}\n",
            ),
            (
                Format::Csv,
                "time,channel,event,field,value\n2026-12-01T14:00:05.120Z,metrics.shop,,latency.p95,3\n\
                 2026-12-01T14:00:05.120Z,metrics.shop,,name,\"a, \"\"b\"\"\"\n",
            ),
        ] {
            assert_eq!(printer(format, &[]).text(&value).unwrap(), expected);
        }
    }

    #[test]
    fn of_selected_fields_only_changes_are_printed() {
        let mut printer = printer(Format::Csv, &["latency.p95", "b"]);
        let text = printer.text(&state(json!({"latency": {"p95": 3}, "c": 1}))).unwrap();
        assert_eq!(text, "time,channel,event,latency.p95,b\n2026-12-01T14:00:05.120Z,metrics.shop,,3,\n");
        assert_eq!(printer.text(&state(json!({"latency": {"p95": 3}, "c": 2}))), None);
        assert_eq!(printer.text(&state(json!({"c": 2}))), None);
        assert!(printer.text(&state(json!({"b": 2}))).unwrap().ends_with(",,2\n"));
    }
}
