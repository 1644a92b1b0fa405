//! InfluxDB line protocol, as InfluxDB 1.8 and 2 read it.
//!
//! ```text
//! measurement,tag=value,tag=value field=1.5,count=3i,text="a b",ok=true 1700000000000000000
//! ```
//!
//! Source: docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol. A backslash escapes comma, equals sign and space in names
//! and tag values, and quote and backslash in texts; before any other character it is itself. A text may contain line ends. Lines
//! that begin with `#` are comments.

use std::borrow::Cow;

use crate::point::{Bounds, Fault, Field, Message, Point, TooMany, Value};

/// Most tags and most fields of a line.
const MAX_PARTS: usize = 1_024;

/// Unit of the timestamps of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nanoseconds, the default.
    #[default]
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes (InfluxDB 1 only).
    Minutes,
    /// Hours (InfluxDB 1 only).
    Hours,
}

impl Precision {
    /// Parses the parameter `precision`: `ns`, `n`, `us`, `u`, `µ`, `ms`, `s`, `m` or `h`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "ns" | "n" => Self::Nanoseconds,
            "us" | "u" | "µ" => Self::Microseconds,
            "ms" => Self::Milliseconds,
            "s" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            _ => return None,
        })
    }

    /// Returns a time in milliseconds since 1970; `None` beyond the range of 64 bits.
    fn milliseconds(self, time: i64) -> Option<i64> {
        match self {
            Self::Nanoseconds => Some(time.div_euclid(1_000_000)),
            Self::Microseconds => Some(time.div_euclid(1_000)),
            Self::Milliseconds => Some(time),
            Self::Seconds => time.checked_mul(1_000),
            Self::Minutes => time.checked_mul(60_000),
            Self::Hours => time.checked_mul(3_600_000),
        }
    }
}

/// Parses the lines of a body. A line that is not valid is a [`Fault`]; the others are read.
///
/// # Errors
/// [`TooMany`] beyond `bounds`.
pub fn parse(body: &[u8], precision: Precision, bounds: Bounds) -> Result<Message, TooMany> {
    let mut message = Message::default();
    let (mut cursor, mut fields) = (Cursor { rest: body }, 0);
    while cursor.skip_to_line() {
        let line = message.lines;
        if bounds.lines > 0 && line >= bounds.lines {
            return Err(TooMany::Lines(bounds.lines));
        }
        message.lines += 1;
        let start = cursor.rest;
        match cursor.point(precision) {
            Ok(point) => {
                fields += point.fields.len();
                if fields > bounds.fields {
                    return Err(TooMany::Fields(bounds.fields));
                }
                message.points.push(Point { line, ..point });
            }
            Err(reason) => {
                cursor.skip_line();
                message.faults.push(Fault { line, detail: format!("unable to parse '{}': {reason}", shown(start)) });
            }
        }
    }
    Ok(message)
}

/// Returns the beginning of a line, for an error.
fn shown(rest: &[u8]) -> String {
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let text = String::from_utf8_lossy(&line[..line.len().min(160)]);
    let mut text: String = text.chars().take(80).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}

type Parsed<T> = Result<T, &'static str>;

/// Rest of a body.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Skips line ends, spaces before a line and comments; returns whether a line follows.
    fn skip_to_line(&mut self) -> bool {
        loop {
            match self.rest.first() {
                None => return false,
                Some(b'\n' | b'\r' | b' ' | b'\t' | 0) => self.rest = &self.rest[1..],
                Some(b'#') => self.skip_line(),
                Some(_) => return true,
            }
        }
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied().filter(|byte| *byte != b'\n')
    }

    /// Skips `byte`; returns whether it was next.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    /// Skips spaces; returns whether there were some.
    fn skip_spaces(&mut self) -> bool {
        let mut some = false;
        while self.skip(b' ') {
            some = true;
        }
        some
    }

    fn point(&mut self, precision: Precision) -> Parsed<Point> {
        let name = self.word(b", ", b", ")?;
        if name.is_empty() {
            return Err("missing measurement");
        }
        let mut labels: Vec<(String, String)> = Vec::new();
        while self.skip(b',') {
            let key = self.word(b",= ", b",= ")?;
            if key.is_empty() {
                return Err("missing tag key");
            }
            if !self.skip(b'=') {
                return Err("missing tag value");
            }
            let value = self.word(b",= ", b",= ")?;
            match self.peek() {
                Some(b'=') => return Err("invalid tag format"),
                _ if value.is_empty() => return Err("missing tag value"),
                _ if labels.len() == MAX_PARTS => return Err("too many tags"),
                _ => labels.push((key.into_owned(), value.into_owned())),
            }
        }
        if has_duplicates(&labels) {
            return Err("duplicate tags");
        }
        if !self.skip_spaces() {
            return Err("missing fields");
        }
        let mut fields = Vec::new();
        loop {
            let key = self.word(b",= ", b",= ")?;
            if !self.skip(b'=') {
                return Err(if fields.is_empty() && key.is_empty() {
                    "missing fields"
                } else {
                    "invalid field format"
                });
            }
            if key.is_empty() {
                return Err("missing field key");
            }
            if fields.len() == MAX_PARTS {
                return Err("too many fields");
            }
            let value = self.value()?;
            fields.push(Field { name: key.into_owned(), value });
            if !self.skip(b',') {
                break;
            }
        }
        let at = self.time(precision)?;
        Ok(Point { line: 0, name: name.into_owned(), labels, at, fields })
    }

    /// Reads up to one of `stops` that is not escaped, or to the end of the line.
    fn word(&mut self, stops: &[u8], escaped: &[u8]) -> Parsed<Cow<'a, str>> {
        let (all, mut end, mut has_escapes) = (self.rest, 0, false);
        while let Some(byte) = all.get(end).filter(|byte| **byte != b'\n' && !stops.contains(byte)) {
            let escapes = *byte == b'\\' && all.get(end + 1).is_some_and(|next| escaped.contains(next));
            has_escapes |= escapes;
            end += if escapes { 2 } else { 1 };
        }
        self.rest = &all[end..];
        let text = text(all[..end].strip_suffix(b"\r").filter(|_| self.peek().is_none()).unwrap_or(&all[..end]))?;
        Ok(if has_escapes { unescaped(text, escaped).into() } else { text.into() })
    }

    fn value(&mut self) -> Parsed<Value> {
        if self.skip(b'"') {
            return self.quoted().map(Value::Text);
        }
        let end = self.rest.iter().position(|byte| b", \n".contains(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        let token = text(token.strip_suffix(b"\r").unwrap_or(token))?;
        match token {
            "" => return Err("missing field value"),
            "t" | "T" | "true" | "True" | "TRUE" => return Ok(Value::Gauge(1.0)),
            "f" | "F" | "false" | "False" | "FALSE" => return Ok(Value::Gauge(0.0)),
            _ => {}
        }
        let number = if let Some(digits) = token.strip_suffix('i') {
            digits.parse::<i64>().map_err(|_| "invalid number")? as f64
        } else if let Some(digits) = token.strip_suffix('u') {
            digits.parse::<u64>().map_err(|_| "invalid number")? as f64
        } else if token.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
            token.parse::<f64>().map_err(|_| "invalid number")?
        } else {
            return Err("invalid number");
        };
        if number.is_finite() { Ok(Value::Gauge(number)) } else { Err("number out of range") }
    }

    /// Reads a text up to its closing quote, which may be on another line.
    fn quoted(&mut self) -> Parsed<String> {
        let (all, mut end) = (self.rest, 0);
        loop {
            match all.get(end) {
                None => return Err("unbalanced quotes"),
                Some(b'"') => break,
                Some(b'\\') if all.get(end + 1).is_some_and(|next| b"\"\\".contains(next)) => end += 2,
                Some(_) => end += 1,
            }
        }
        self.rest = &all[end + 1..];
        if !matches!(self.rest.first(), None | Some(b',' | b' ' | b'\n' | b'\r')) {
            return Err("text after a closing quote");
        }
        text(&all[..end]).map(|text| unescaped(text, b"\"\\"))
    }

    fn time(&mut self, precision: Precision) -> Parsed<Option<i64>> {
        self.skip_spaces();
        let end = self.rest.iter().position(|byte| b" \n".contains(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.skip_spaces();
        self.skip(b'\r');
        if self.peek().is_some() {
            return Err("text after the timestamp");
        }
        let token = text(token.strip_suffix(b"\r").unwrap_or(token))?;
        if token.is_empty() {
            return Ok(None);
        }
        let time = token.parse::<i64>().map_err(|_| "bad timestamp")?;
        precision.milliseconds(time).map(Some).ok_or("time outside range")
    }
}

fn text(bytes: &[u8]) -> Parsed<&str> {
    std::str::from_utf8(bytes).map_err(|_| "not UTF-8")
}

fn unescaped(text: &str, escaped: &[u8]) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        let escape = |next: &char| next.is_ascii() && escaped.contains(&(*next as u8));
        match rest.next_if(|following| next == '\\' && escape(following)) {
            Some(following) => plain.push(following),
            None => plain.push(next),
        }
    }
    plain
}

fn has_duplicates(labels: &[(String, String)]) -> bool {
    let mut names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests;
