//! Text format of an event stream (WHATWG HTML, section 9.2). Pure.

use std::fmt::{Display, Write};

use bytes::Bytes;
use serde_json::Value;

use super::chunk;
use tricast_core::{protocol::slot, publication::Publication, snapshot::SNAPSHOT};

/// Comment that keeps proxies from cutting the stream.
///
/// Without a blank line after it, which some clients turn into an empty event.
pub(super) const COMMENT: &str = ":\n";

/// Appends one block. `data` is one line: JSON has no line ends of its own.
pub(super) fn write_block(out: &mut String, id: Option<&dyn Display>, event: &str, data: &str) {
    if let Some(id) = id {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "id: {id}");
    }
    let _ = write!(out, "event: {event}\ndata: {data}\n\n");
}

/// Appends one block with `data` as JSON.
pub(super) fn write_json(out: &mut String, id: Option<&dyn Display>, event: &str, data: &Value) {
    write_block(out, id, event, &data.to_string());
}

/// Appends the line with the client's reconnection time.
pub(super) fn write_retry(out: &mut String, delay: std::time::Duration) {
    let _ = write!(out, "retry: {}\n\n", delay.as_millis());
}

/// Returns the block of a state or event as one chunk, with its own cursor or the given one.
pub(super) fn chunk_of(publication: &Publication, cursor: Option<&dyn Display>) -> Bytes {
    match cursor {
        Some(cursor) => chunk::of(&block(publication, cursor)),
        None => publication.encoded(slot::SSE, |p| chunk::of(&block(p, &p.own_cursor()))).clone(),
    }
}

fn block(publication: &Publication, cursor: &dyn Display) -> String {
    let channel = publication.channel.as_str();
    let data = String::from_utf8_lossy(&publication.data);
    let time = &publication.time_text;
    let mut out = String::with_capacity(data.len() + 160);
    match publication.event.as_ref().map(|event| event.as_str()) {
        None if channel == SNAPSHOT => write_block(&mut out, Some(cursor), "metrics", &data),
        None => {
            let value = match publication.gone {
                Some(gone) => format!(r#""gone":"{}""#, gone.as_str()),
                None => format!(r#""data":{data}"#),
            };
            let data = format!(r#"{{"channel":"{channel}","timestamp":"{time}",{value}}}"#);
            write_block(&mut out, Some(cursor), "metric", &data);
        }
        Some(event) => {
            let known = |action: &&str| matches!(*action, "raised" | "resolved" | "acknowledged");
            let action = event.strip_prefix("alert_").filter(known);
            match action {
                Some(action) if channel == "alerts" => {
                    // The fields of the alert, after the action.
                    let fields = data.strip_prefix('{').unwrap_or("}");
                    let comma = if fields == "}" { "" } else { "," };
                    write_block(&mut out, Some(cursor), "alert", &format!(r#"{{"action":"{action}"{comma}{fields}"#));
                }
                _ => {
                    let name = if channel == "system" { "system" } else { event };
                    let data =
                        format!(r#"{{"channel":"{channel}","event":"{event}","timestamp":"{time}","data":{data}}}"#);
                    write_block(&mut out, Some(cursor), name, &data);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use tricast_core::{
        channel::{Channel, EventName},
        position::Epoch,
    };

    fn text(channel: &str, event: Option<&str>, data: &'static str) -> String {
        let publication = Publication::new(
            Epoch::parse("e").unwrap(),
            Channel::parse(channel).unwrap(),
            event.map(|event| EventName::parse(event).unwrap()),
            7,
            Timestamp::UNIX_EPOCH,
            Bytes::from_static(data.as_bytes()),
        );
        block(&publication, &publication.own_cursor())
    }

    #[test]
    fn each_kind_has_its_name_and_shape() {
        assert_eq!(text("metrics", None, r#"{"api":null}"#), "id: e:7\nevent: metrics\ndata: {\"api\":null}\n\n");
        assert_eq!(
            text("metrics.a", None, r#"{"x":1}"#),
            "id: e:7\nevent: metric\ndata: {\"channel\":\"metrics.a\",\"timestamp\":\"1970-01-01T00:00:00.000Z\",\"data\":{\"x\":1}}\n\n"
        );
        assert_eq!(
            text("alerts", Some("alert_raised"), r#"{"id":"1"}"#),
            "id: e:7\nevent: alert\ndata: {\"action\":\"raised\",\"id\":\"1\"}\n\n"
        );
        assert!(text("alerts", Some("alert_resolved"), "{}").contains("data: {\"action\":\"resolved\"}\n\n"));
        assert!(text("alerts", Some("alert_acknowledged"), "{}").contains("event: alert\ndata: {\"action\":\"acknowl"));
        assert!(
            text("orders", Some("order_created"), "{}").contains("event: order_created\ndata: {\"channel\":\"orders\"")
        );
        assert!(
            text("system", Some("degraded"), "{}")
                .contains("event: system\ndata: {\"channel\":\"system\",\"event\":\"degraded\"")
        );
    }

    #[test]
    fn a_block_is_one_shared_chunk_unless_its_cursor_is_another() {
        let publication = Publication::new(
            Epoch::parse("e").unwrap(),
            Channel::parse("a").unwrap(),
            None,
            7,
            Timestamp::UNIX_EPOCH,
            Bytes::from_static(b"{}"),
        );
        let bytes = chunk_of(&publication, Some(&"e:9.6"));
        assert!(chunk::data_of(&bytes).starts_with(b"id: e:9.6\n"));
        let shared = chunk_of(&publication, None);
        assert!(chunk::data_of(&shared).starts_with(b"id: e:7\n"), "and does not stick");
        assert_eq!(shared.as_ptr(), chunk_of(&publication, None).as_ptr(), "encoded once");
    }
}
