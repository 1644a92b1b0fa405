//! Tests of the write buffer.

use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use tricast_core::{position::Epoch, span::Span};

fn buffer(resolution_ms: u64, buffer: usize, max_series: usize) -> WriteBuffer {
    let resolution = Span::from_millis(resolution_ms);
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
    let config = HistoryConfig { resolution: Span::ZERO, max_points_per_second: 2, ..HistoryConfig::default() };
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
    assert_eq!((buffer.series(), buffer.series.channels()), (0, 0));
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
    assert!(buffer.series.fields_of(&Channel::parse("b").unwrap()).is_some());
}
