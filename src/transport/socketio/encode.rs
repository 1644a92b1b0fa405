//! Publications as Socket.IO events, each encoded once for all clients that receive the same bytes.
//!
//! An encoding ends with the cursor of its publication, so that a client whose cursor differs, or that takes no offsets,
//! gets a copy with another end; the JSON is not written again.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{codec::packet, frames::text_of, namespace::Namespace};
use crate::transport::websocket::frame;
use tricast_core::{position::Position, protocol::slot, publication::Publication, snapshot::SNAPSHOT};

/// Returns the frame of an event with one argument, and the offset behind it.
pub(super) fn event(namespace: Namespace, name: &str, argument: &str, offset: Option<&str>) -> Bytes {
    let mut text = start(namespace, name, argument);
    text.push_str(&end(offset));
    frame::text(&text, false)
}

/// Returns the beginning of an event, without its end.
fn start(namespace: Namespace, name: &str, argument: &str) -> String {
    let mut text = String::with_capacity(argument.len() + 96);
    text.push('4');
    packet::write_head(&mut text, '2', 0, namespace.as_str(), None);
    text.push_str("[\"");
    text.push_str(name);
    text.push_str("\",");
    text.push_str(argument);
    text
}

fn end(offset: Option<&str>) -> String {
    offset.map_or_else(|| "]".into(), |offset| format!(r#","{offset}"]"#))
}

/// Returns the encoding in `slot`, made of `start` on first use, with the end that this client needs.
fn shared(
    publication: &Publication,
    slot: usize,
    start: impl Fn(&Publication) -> String,
    end: impl Fn(&str, bool) -> String,
    with_offset: bool,
    cursor: Option<Position>,
) -> Bytes {
    let encoded = publication.encoded(slot, |publication| {
        let mut text = start(publication);
        text.push_str(&end(&publication.own_cursor().to_string(), true));
        frame::text(&text, false)
    });
    if with_offset && cursor.is_none() {
        return encoded.clone();
    }
    let own = publication.own_cursor().to_string();
    let text = text_of(encoded);
    let kept = text.len().saturating_sub(end(&own, true).len());
    let cursor = cursor.map_or(own, |cursor| cursor.to_string());
    let end = end(&cursor, with_offset);
    let mut copy = Vec::with_capacity(kept + end.len());
    copy.extend_from_slice(&text[..kept]);
    copy.extend_from_slice(end.as_bytes());
    let mut out = Vec::with_capacity(copy.len() + 10);
    frame::write(&mut out, frame::TEXT, false, &copy);
    out.into()
}

/// Returns a publication as an event of the namespace `/tricast`: `metrics`, `metric` or `event`.
pub(super) fn tricast(publication: &Publication, with_offset: bool, cursor: Option<Position>) -> Bytes {
    let start = |publication: &Publication| {
        let channel = publication.channel.as_str();
        let time = &publication.time_text;
        let (name, event) = match &publication.event {
            None if channel == SNAPSHOT => ("metrics", String::new()),
            None => ("metric", String::new()),
            Some(event) => ("event", format!(r#""event":"{}","#, event.as_str())),
        };
        let content = match publication.gone {
            Some(gone) => format!(r#""gone":"{}""#, gone.as_str()),
            None => format!(r#""data":{}"#, String::from_utf8_lossy(&publication.data)),
        };
        let fields = format!(r#"{{"channel":"{channel}",{event}"timestamp":"{time}",{content},"cursor":""#);
        start(Namespace::Tricast, name, &fields)
    };
    let end = |cursor: &str, with_offset: bool| format!(r#"{cursor}"}}{}"#, end(with_offset.then_some(cursor)));
    shared(publication, slot::SOCKET_IO_TRICAST, start, end, with_offset, cursor)
}

/// Returns a publication as an event of the namespace `/`: the snapshot as `dashboard:update`, alerts, or notices of the server.
pub(super) fn root(publication: &Publication, with_offset: bool, cursor: Option<Position>) -> Bytes {
    let start = |publication: &Publication| {
        let channel = publication.channel.as_str();
        let data = String::from_utf8_lossy(&publication.data);
        match publication.event.as_ref().map(|event| event.as_str()) {
            None => start(Namespace::Root, "dashboard:update", &figures(publication)),
            Some(event) if channel == "alerts" => {
                let action = event.strip_prefix("alert_").unwrap_or(event);
                let fields = data.strip_prefix('{').unwrap_or("}");
                let comma = if fields == "}" { "" } else { "," };
                start(Namespace::Root, "alerts", &format!(r#"[{{"action":"{action}"{comma}{fields}]"#))
            }
            Some(event) => {
                let time = &publication.time_text;
                let notice =
                    format!(r#"{{"channel":"{channel}","event":"{event}","data":{data},"timestamp":"{time}"}}"#);
                start(Namespace::Root, "system", &notice)
            }
        }
    };
    let end = |cursor: &str, with_offset: bool| end(with_offset.then_some(cursor));
    shared(publication, slot::SOCKET_IO_EVENT, start, end, with_offset, cursor)
}

/// Returns the snapshot as `metrics-update`. It carries no cursor: it has a pace of its own, so its cursor may be ahead of events
/// of the namespace that the client has not received yet.
pub(super) fn metrics_update(publication: &Publication) -> Bytes {
    let update = |publication: &Publication| event(Namespace::Root, "metrics-update", &figures(publication), None);
    publication.encoded(slot::SOCKET_IO_METRICS, update).clone()
}

/// Returns the figures of a dashboard that the snapshot holds, as JSON; `revenue` and `orders` are `null` for a reader
/// whose view of the snapshot has no business section.
pub(super) fn figures(snapshot: &Publication) -> String {
    let value: Value = serde_json::from_slice(&snapshot.data).unwrap_or(Value::Null);
    let figures = json!({
        "activeUsers": value["api"]["active_users"],
        "revenue": value["business"]["revenue_today"],
        "orders": value["business"]["orders_today"],
        "timestamp": snapshot.timestamp.as_millisecond(),
    });
    let figures = figures.to_string();
    let data = String::from_utf8_lossy(&snapshot.data);
    format!(r#"{},"snapshot":{data}}}"#, figures.strip_suffix('}').unwrap_or("{"))
}

/// Returns an event of the channel `dashboards` for the namespace `/analytics/dashboard`.
pub(super) fn board(publication: &Publication, with_offset: bool, cursor: Option<Position>) -> Bytes {
    let start = |publication: &Publication| {
        let mut change: Value = serde_json::from_slice(&publication.data).unwrap_or_default();
        if let Some(change) = change.as_object_mut() {
            change.entry("tile").or_insert(Value::Null);
        }
        start(Namespace::Analytics, "dashboard:update", &change.to_string())
    };
    let end = |cursor: &str, with_offset: bool| end(with_offset.then_some(cursor));
    shared(publication, slot::SOCKET_IO_EVENT, start, end, with_offset, cursor)
}

/// Returns the metrics of an entity as events, one behind the other: of each metric first the frame without an offset, then
/// the one with the publication's own.
pub(super) fn entity(publication: &Publication, entity_id: &str) -> Bytes {
    publication
        .encoded(slot::SOCKET_IO_EVENT, |publication| {
            let own = publication.own_cursor().to_string();
            let time = publication.timestamp.as_millisecond();
            let mut out = Vec::new();
            for (name, value) in metrics_of(publication) {
                let update = json!({"entityId": entity_id, "metricName": name, "value": value}).to_string();
                let update = format!(r#"{},"timestamp":{time}}}"#, update.strip_suffix('}').unwrap_or("{"));
                for offset in [None, Some(own.as_str())] {
                    out.extend_from_slice(&event(Namespace::Dashboard, "metric:update", &update, offset));
                }
            }
            out.into()
        })
        .clone()
}

/// Returns the update of a metric that its entity has no more as of `publication`; `start` is the text of an update up to its value.
pub(super) fn ended(start: &[u8], publication: &Publication) -> Bytes {
    let time = publication.timestamp.as_millisecond();
    frame::text(&format!(r#"{},"value":null,"timestamp":{time}}}]"#, String::from_utf8_lossy(start)), false)
}

/// Returns the same event with another offset.
pub(super) fn with_offset(frame_without: &Bytes, offset: &str) -> Bytes {
    let text = text_of(frame_without);
    let mut copy = text.strip_suffix(b"]".as_slice()).unwrap_or(&text).to_vec();
    copy.extend_from_slice(end(Some(offset)).as_bytes());
    let mut out = Vec::with_capacity(copy.len() + 10);
    frame::write(&mut out, frame::TEXT, false, &copy);
    out.into()
}

/// Returns the metrics that the value of an entity's channel holds.
pub(super) fn metrics_of(publication: &Publication) -> serde_json::Map<String, Value> {
    match serde_json::from_slice(&publication.data) {
        Ok(Value::Object(mut fields)) => match fields.remove("metrics") {
            Some(Value::Object(metrics)) => metrics,
            Some(other) => {
                fields.insert("metrics".into(), other);
                fields
            }
            None => fields,
        },
        _ => serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use tricast_core::{
        channel::{Channel, EventName, Gone},
        position::Epoch,
    };

    fn publication(channel: &str, event: Option<&str>, data: &'static str) -> Publication {
        Publication::new(
            Epoch::parse("e").unwrap(),
            Channel::parse(channel).unwrap(),
            event.map(|event| EventName::parse(event).unwrap()),
            7,
            Timestamp::UNIX_EPOCH,
            Bytes::from_static(data.as_bytes()),
        )
    }

    fn text(frame: &Bytes) -> String {
        String::from_utf8(text_of(frame).to_vec()).unwrap()
    }

    #[test]
    fn an_encoding_is_shared_and_its_end_can_be_another() {
        let metric = publication("metrics.a", None, r#"{"x":1}"#);
        let shared = tricast(&metric, true, None);
        assert_eq!(
            text(&shared),
            r#"42/tricast,["metric",{"channel":"metrics.a","timestamp":"1970-01-01T00:00:00.000Z","data":{"x":1},"cursor":"e:7"},"e:7"]"#
        );
        assert_eq!(shared.as_ptr(), tricast(&metric, true, None).as_ptr(), "encoded once");
        let other = tricast(&metric, true, Some("e:9.6".parse().unwrap()));
        assert!(text(&other).ends_with(r#""cursor":"e:9.6"},"e:9.6"]"#));
        assert!(text(&tricast(&metric, false, None)).ends_with(r#""cursor":"e:7"}]"#));
        let end = Publication::end(
            Epoch::parse("e").unwrap(),
            Channel::parse("metrics.a").unwrap(),
            Gone::Deleted,
            8,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            text(&tricast(&end, true, None)),
            r#"42/tricast,["metric",{"channel":"metrics.a","timestamp":"1970-01-01T00:00:00.000Z","gone":"deleted","cursor":"e:8"},"e:8"]"#
        );
    }

    #[test]
    fn the_events_of_the_root_namespace_have_the_documented_shapes() {
        let snapshot = publication("metrics", None, r#"{"api":{"active_users":3},"business":null}"#);
        assert_eq!(
            text(&metrics_update(&snapshot)),
            r#"42["metrics-update",{"activeUsers":3,"orders":null,"revenue":null,"timestamp":0,"snapshot":{"api":{"active_users":3},"business":null}}]"#
        );
        assert_eq!(metrics_update(&snapshot).as_ptr(), metrics_update(&snapshot).as_ptr(), "encoded once");
        assert!(text(&root(&snapshot, false, None)).starts_with(r#"42["dashboard:update",{"#));
        assert!(text(&root(&snapshot, true, None)).ends_with(r#","e:7"]"#));
        let alert = publication("alerts", Some("alert_raised"), r#"{"id":"1"}"#);
        assert_eq!(text(&root(&alert, true, None)), r#"42["alerts",[{"action":"raised","id":"1"}],"e:7"]"#);
    }
}
