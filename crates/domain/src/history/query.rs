//! Parsing and validation of history queries. Pure: time is an argument.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{Calendar, HistoryError, Level, config::ms, numeric_fields::MAX_FIELD};
use tricast_core::{channel::Channel, span::Span};

/// Largest number of buckets of a field that `auto` returns.
pub const AUTO: usize = 600;

/// Largest number of fields in one response.
pub const MAX_FIELDS: usize = 300;

/// Largest number of buckets in one response, of all fields together.
pub const MAX_BUCKETS: usize = 300_000;

/// Longest backfill of a stream.
pub const MAX_BACKFILL: Duration = Duration::from_secs(31 * 24 * 3_600);

/// Time span of a query without `from`: the last hour.
const FROM: Duration = Duration::from_secs(3_600);

/// Query as a client writes it.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// Fields, separated by commas; each may hold several.
    pub fields: Vec<&'a str>,
    /// Start: RFC 3339, or relative: `-15m`.
    pub from: Option<&'a str>,
    /// End, not included, in the same formats.
    pub to: Option<&'a str>,
    /// Interval: `raw`, `minute`, `hour`, `day` or `auto`.
    pub interval: Option<&'a str>,
}

/// Query of one channel.
#[derive(Clone, Debug)]
pub struct Question {
    /// State channel of the query.
    pub channel: Channel,
    /// Fields; `None` for all.
    pub fields: Option<Vec<Box<str>>>,
    /// Start, in milliseconds since 1970.
    pub from: i64,
    /// End of the time span in milliseconds since 1970, not included.
    pub to: i64,
    /// Level; `None` for the finest that makes at most [`AUTO`] buckets.
    pub level: Option<Level>,
    /// Whether both times are absolute: the same query will mean the same tomorrow.
    pub fixed: bool,
}

impl Question {
    /// Parses a client's query at `now`.
    ///
    /// # Errors
    /// [`HistoryError::Invalid`], which names the parameter.
    pub fn read(channel: Channel, asked: &Asked<'_>, now: Timestamp) -> Result<Self, HistoryError> {
        let now = now.as_millisecond();
        // Without an end: up to and including the current millisecond.
        let to = asked.to.map(|to| parse_time("to", to, now)).transpose()?.unwrap_or(now.saturating_add(1));
        let from = asked.from.map(|from| parse_time("from", from, now)).transpose()?;
        let from = from.unwrap_or(to.saturating_sub(ms(FROM)));
        if from >= to {
            return Err(HistoryError::Invalid("from: has to be before to".into()));
        }
        let level = match asked.interval {
            None | Some("auto") => None,
            Some(word) => Some(
                Level::parse(word)
                    .ok_or_else(|| HistoryError::Invalid("interval: one of raw, minute, hour, day, auto".into()))?,
            ),
        };
        let fixed = |text: Option<&str>| text.is_some_and(|text| !text.starts_with('-') && text != "now");
        let fixed = fixed(asked.from) && fixed(asked.to);
        Ok(Self { channel, fields: parse_fields(&asked.fields)?, from, to, level, fixed })
    }

    /// Returns the query as text, the same for the same query in every version of this program: the key of its result
    /// in a cache that nodes share. A change of the format of results needs a new number at its beginning.
    pub fn canonical(&self) -> String {
        let Self { channel, fields, from, to, level, fixed: _ } = self;
        let level = level.map_or("auto", Level::as_str);
        // As JSON, since a field may hold any character.
        format!("1 {channel} {from} {to} {level} {}", json!(fields))
    }

    /// Returns the levels to try, the finest first: the requested one, or those that `auto` may use.
    pub(super) fn levels(&self, calendar: &Calendar) -> Result<Vec<Level>, HistoryError> {
        if let Some(level) = self.level {
            if self.most_buckets(level, calendar).is_some_and(|most| most > MAX_BUCKETS as i64) {
                let detail =
                    format!("interval: the response would have more than {MAX_BUCKETS} buckets: query a shorter time");
                return Err(HistoryError::Invalid(detail));
            }
            return Ok(vec![level]);
        }
        let fits = |level: &Level| match self.most_buckets(*level, calendar) {
            Some(most) => most <= AUTO as i64,
            // The number of points is unknown without reading; but a long time surely has too many.
            None => self.to.saturating_sub(self.from) <= 4 * AUTO as i64 * 1_000,
        };
        let levels: Vec<Level> = Level::ALL.into_iter().filter(fits).collect();
        if levels.is_empty() {
            let detail =
                format!("interval: auto returns at most {AUTO} buckets, which is too few for the queried time");
            return Err(HistoryError::Invalid(detail));
        }
        Ok(levels)
    }

    /// Returns the largest number of buckets of `level` in the queried time; unknown for points.
    fn most_buckets(&self, level: Level, calendar: &Calendar) -> Option<i64> {
        let shortest = match level {
            Level::Raw => return None,
            Level::Minute => 60_000,
            Level::Hour => 3_600_000,
            Level::Day => 23 * 3_600_000,
        };
        let span = self.to.saturating_sub(calendar.start(level, self.from));
        Some(span / shortest + i64::from(span % shortest > 0))
    }
}

/// Parses the length of a backfill: `15m`, `2h`, `7d`.
///
/// # Errors
/// [`HistoryError::Invalid`].
pub fn parse_backfill(text: &str) -> Result<Duration, HistoryError> {
    parse_span(text)
        .filter(|span| !span.is_zero() && *span <= MAX_BACKFILL)
        .ok_or_else(|| HistoryError::Invalid("backfill: write \"90s\", \"15m\", \"2h\" or \"7d\", at most 31d".into()))
}

fn parse_fields(lists: &[&str]) -> Result<Option<Vec<Box<str>>>, HistoryError> {
    let mut fields: Vec<Box<str>> = Vec::new();
    for field in lists.iter().flat_map(|list| split_fields(list)) {
        if field.is_empty() || field.len() > MAX_FIELD {
            return Err(HistoryError::Invalid(format!("field: a name of 1 to {MAX_FIELD} bytes")));
        }
        if !fields.iter().any(|known| **known == *field) {
            fields.push(field.into());
        }
        if fields.len() > MAX_FIELDS {
            return Err(HistoryError::Invalid(format!("field: at most {MAX_FIELDS} at once")));
        }
    }
    Ok((!lists.is_empty()).then_some(fields))
}

/// Splits a list at its commas, but not at those within the braces of labels.
fn split_fields(list: &str) -> Vec<&str> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut labels, mut quoted, mut escaped) = (false, false, false);
    for (at, c) in list.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if labels => quoted = !quoted,
            '{' if !quoted => labels = true,
            '}' if !quoted => labels = false,
            ',' if !labels => {
                parts.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[begin..]);
    parts
}

fn parse_time(name: &str, text: &str, now: i64) -> Result<i64, HistoryError> {
    let wrong = || {
        let detail = format!("{name}: write RFC 3339 (2024-07-15T14:00:00Z), \"now\", or \"-15m\", \"-2h\", \"-7d\"");
        HistoryError::Invalid(detail)
    };
    if text == "now" {
        return Ok(now);
    }
    if let Some(before) = text.strip_prefix('-') {
        return Ok(now.saturating_sub(ms(parse_span(before).ok_or_else(wrong)?)));
    }
    // An unescaped `+` of an offset in a query has become a space.
    let time: Timestamp = text.replace(' ', "+").parse().map_err(|_| wrong())?;
    Ok(time.as_millisecond())
}

/// Reads a span such as `15m`, of at most a century. A bare number is refused: a client that writes `-15` hardly means milliseconds.
fn parse_span(text: &str) -> Option<Duration> {
    let Span(span) = Span::parse(text).ok().filter(|_| !text.ends_with(|char: char| char.is_ascii_digit()))?;
    (span <= Duration::from_secs(36_525 * 86_400)).then_some(span)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-06-01T12:00:00.250Z";

    fn read(asked: Asked<'_>) -> Result<Question, HistoryError> {
        Question::read(Channel::parse("metrics.a").unwrap(), &asked, NOW.parse().unwrap())
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn times_are_fixed_or_relative() {
        let question = read(Asked::default()).unwrap();
        assert_eq!((question.from, question.to), (at(NOW) + 1 - 3_600_000, at(NOW) + 1));
        assert!(!question.fixed && question.level.is_none() && question.fields.is_none());
        let fixed =
            Asked { from: Some("2026-05-31T00:00:00+02:00"), to: Some("2026-06-01T00:00:00Z"), ..Asked::default() };
        let question = read(fixed).unwrap();
        assert_eq!(
            (question.from, question.to, question.fixed),
            (at("2026-05-30T22:00:00Z"), at("2026-06-01T00:00:00Z"), true)
        );
        for (from, ms) in [("-1w", 604_800_000), ("-1.5h", 5_400_000), ("-500ms", 500)] {
            assert_eq!(at(NOW) - read(Asked { from: Some(from), ..Asked::default() }).unwrap().from, ms, "{from}");
        }
        let mixed = read(Asked { from: Some("-2d"), to: Some("-90s"), ..Asked::default() }).unwrap();
        assert_eq!((at(NOW) - mixed.from, at(NOW) - mixed.to, mixed.fixed), (172_800_000, 90_000, false));
        for bad in ["", "-", "-1", "-1x", "--1h", "-1:30:00", "yesterday", "2026-06-01", "-99999999999d", "-１h", "12"]
        {
            assert!(
                matches!(read(Asked { from: Some(bad), ..Asked::default() }), Err(HistoryError::Invalid(_))),
                "{bad}"
            );
        }
        assert!(
            read(Asked { from: Some("now"), to: Some("-1h"), ..Asked::default() }).is_err(),
            "the end is before the start"
        );
        assert!(read(Asked { from: Some("-1h"), to: Some("-1h"), ..Asked::default() }).is_err(), "an empty time span");
        for (from, to) in
            [("2026-05-31T00:00:00Z", "-1h"), ("2026-05-31T00:00:00Z", "now"), ("-2d", "2026-06-01T00:00:00Z")]
        {
            let question = read(Asked { from: Some(from), to: Some(to), ..Asked::default() }).unwrap();
            assert!(!question.fixed, "{from} to {to} is relative to now");
        }
        let century = read(Asked { from: Some("-36525d"), ..Asked::default() }).unwrap();
        assert_eq!(at(NOW) - century.from, 36_525 * 86_400_000);
        assert!(read(Asked { from: Some("-3155760001s"), ..Asked::default() }).is_err(), "more than a century");
    }

    #[test]
    fn the_canonical_text_of_a_query_is_the_same_in_every_version() {
        let asked = |from, field| {
            let asked = Asked { from: Some(from), to: Some("2026-06-01T00:00:00Z"), ..Asked::default() };
            read(Asked { fields: field, ..asked }).unwrap().canonical()
        };
        let text = asked("2026-05-31T00:00:00Z", vec![r#"b,a{x="1"}"#]);
        assert_eq!(text, r#"1 metrics.a 1780185600000 1780272000000 auto ["b","a{x=\"1\"}"]"#);
        assert_eq!(asked("2026-05-31T00:00:00Z", vec![]), "1 metrics.a 1780185600000 1780272000000 auto null");
    }

    #[test]
    fn fields_may_hold_labels() {
        let fields =
            |lists: &[&str]| read(Asked { fields: lists.to_vec(), ..Asked::default() }).map(|q| q.fields.unwrap());
        assert_eq!(fields(&["a,b", "c,a"]).unwrap(), ["a", "b", "c"].map(Box::<str>::from));
        let labelled = r#"x{a="1,2",b="}\","}.p95,y"#;
        assert_eq!(fields(&[labelled]).unwrap(), [r#"x{a="1,2",b="}\","}.p95"#, "y"].map(Box::<str>::from));
        let outside = r#"a\,b",c{x="1,2"}"#;
        assert_eq!(fields(&[outside]).unwrap(), [r"a\", r#"b""#, r#"c{x="1,2"}"#].map(Box::<str>::from));
        assert_eq!(fields(&[&"x".repeat(256)]).unwrap().len(), 1);
        let many = |count: usize| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(fields(&[&many(300)]).unwrap().len(), 300);
        assert!(fields(&[&many(301)]).is_err());
        assert!(fields(&[""]).is_err() && fields(&["a,,b"]).is_err() && fields(&[&"x".repeat(257)]).is_err());
    }

    #[test]
    fn auto_chooses_the_finest_level_that_fits() {
        let utc = Calendar::new(TimeZone::UTC);
        let first = |from: &'static str| {
            let question = read(Asked { from: Some(from), ..Asked::default() }).unwrap();
            question.levels(&utc).map(|levels| levels[0])
        };
        assert_eq!(first("-15m"), Ok(Level::Raw));
        assert_eq!(first("-2h"), Ok(Level::Minute));
        assert_eq!(first("-9h"), Ok(Level::Minute));
        assert_eq!(first("-11h"), Ok(Level::Hour));
        assert_eq!(first("-24d"), Ok(Level::Hour));
        assert_eq!(first("-30d"), Ok(Level::Day));
        assert!(first("-700d").is_err());
        let much = Asked { from: Some("-700d"), interval: Some("minute"), ..Asked::default() };
        assert!(read(much).unwrap().levels(&utc).is_err());
        assert!(read(Asked { interval: Some("week"), ..Asked::default() }).is_err());
    }

    #[test]
    fn the_limit_of_buckets_is_inclusive() {
        let utc = Calendar::new(TimeZone::UTC);
        let levels = |interval: Option<&str>, seconds: i64| {
            let from = "2026-01-01T00:00:00Z";
            let to = Timestamp::from_millisecond(at(from) + seconds * 1_000).unwrap().to_string();
            read(Asked { from: Some(from), to: Some(&to), interval, ..Asked::default() }).unwrap().levels(&utc)
        };
        assert_eq!(levels(None, 2_400).unwrap()[0], Level::Raw);
        assert_eq!(levels(None, 2_401).unwrap()[0], Level::Minute);
        assert_eq!(levels(None, 600 * 60).unwrap()[0], Level::Minute);
        assert_eq!(levels(None, 600 * 60 + 1).unwrap()[0], Level::Hour, "a part of a minute is a bucket too");
        assert_eq!(levels(Some("minute"), 300_000 * 60), Ok(vec![Level::Minute]));
        assert!(levels(Some("minute"), 300_000 * 60 + 1).is_err());
    }

    #[test]
    fn a_backfill_is_bounded() {
        assert_eq!(parse_backfill("31d"), Ok(MAX_BACKFILL));
        assert_eq!(parse_backfill("15m"), Ok(Duration::from_secs(900)));
        for bad in ["", "15", "0s", "2678401s", "-5m", "5 x", "99999999999999999999d"] {
            assert!(parse_backfill(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String, other: String) {
            let asked = Asked { fields: vec![&text], from: Some(&other), to: Some(&text), interval: None };
            if let Ok(question) = read(asked) {
                prop_assert!(question.from < question.to);
            }
            let _ = parse_backfill(&text);
        }
    }
}
