//! Rooms that a client has joined in a namespace: dashboards, entities, boards.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;

use super::{
    encode,
    frames::{end_of, text_of},
    namespace::Namespace,
};
use tricast_core::{channel::Channel, position::Position, publication::Publication};

/// Rooms of one client in one namespace.
#[derive(Default)]
pub(super) struct Rooms {
    /// Dashboards of `subscribe-metrics`, with their intervals.
    pub(super) dashboards: BTreeMap<String, Duration>,
    pub(super) entities: BTreeMap<Channel, Entity>,
    /// Dashboards whose changes are sent.
    pub(super) boards: BTreeSet<String>,
    /// Per entity: the encoding of the publication that was sent last, which its clients share.
    sent: RefCell<HashMap<Channel, Bytes>>,
    /// Number of the newest subscription to an entity.
    joined: u64,
}

/// An entity that the client subscribed to.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    pub(super) id: String,
    pub(super) kind: String,
    /// Number of the subscription, which differs when the client subscribes again.
    pub(super) joined: u64,
}

impl Rooms {
    /// Returns the number of rooms.
    pub(super) fn len(&self) -> usize {
        self.dashboards.len() + self.entities.len() + self.boards.len()
    }

    /// Joins the room of an entity, whose state is the value of `channel`.
    pub(super) fn join_entity(&mut self, channel: Channel, id: String, kind: String) {
        self.joined += 1;
        self.entities.insert(channel, Entity { id, kind, joined: self.joined });
    }

    /// Removes an entity, and forgets what was sent of it.
    pub(super) fn leave_entity(&mut self, channel: &Channel) {
        self.entities.remove(channel);
        self.sent.borrow_mut().remove(channel);
    }

    /// Returns the shortest interval of the dashboards.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.dashboards.values().min().copied()
    }

    /// Returns a publication as frames for this client; empty if the namespace has no event for it.
    pub(super) fn encode(
        &self,
        namespace: Namespace,
        is_second: bool,
        with_offset: bool,
        publication: &Publication,
        cursor: Option<Position>,
    ) -> Bytes {
        match namespace {
            Namespace::Tricast => encode::tricast(publication, with_offset, cursor),
            Namespace::Root if is_second => encode::metrics_update(publication),
            Namespace::Root => encode::root(publication, with_offset, cursor),
            Namespace::Analytics if self.has_board(publication) => encode::board(publication, with_offset, cursor),
            Namespace::Analytics => Bytes::new(),
            Namespace::Dashboard => self.changed_metrics(with_offset, publication, cursor),
        }
    }

    fn has_board(&self, publication: &Publication) -> bool {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Change<'a> {
            #[serde(borrow)]
            dashboard_id: std::borrow::Cow<'a, str>,
        }
        let change = serde_json::from_slice::<Change<'_>>(&publication.data);
        change.is_ok_and(|change| self.boards.contains(change.dashboard_id.as_ref()))
    }

    /// Notes that the client has the metrics of an entity that `state` holds.
    pub(super) fn note_sent(&self, state: &Publication) {
        if let Some(entity) = self.entities.get(&state.channel) {
            self.sent.borrow_mut().insert(state.channel.clone(), encode::entity(state, &entity.id));
        }
    }

    /// Returns the metrics of an entity that differ from those that were sent last; those that it has no more are `null`. Only
    /// the last one carries the offset: a client that is cut in between has not received the publication.
    fn changed_metrics(&self, with_offset: bool, publication: &Publication, cursor: Option<Position>) -> Bytes {
        let Some(entity) = self.entities.get(&publication.channel) else { return Bytes::new() };
        let encoded = encode::entity(publication, &entity.id);
        let before = self.sent.borrow_mut().insert(publication.channel.clone(), encoded.clone());
        let (before, now) = (before.map(metrics).unwrap_or_default(), metrics(encoded));
        let names: HashSet<&[u8]> = now.iter().map(Metric::name).collect();
        let ended = before.iter().filter(|metric| !names.contains(metric.name()));
        let mut frames: Vec<Bytes> = ended.map(|metric| encode::ended(metric.name(), publication)).collect();
        let known: HashSet<&[u8]> = before.iter().map(Metric::content).collect();
        let mut changed: Vec<&Metric> = now.iter().filter(|metric| !known.contains(metric.content())).collect();
        let last = match (changed.pop(), cursor) {
            (Some(last), _) if !with_offset => Some(last.plain.clone()),
            (Some(last), None) => Some(last.with_offset.clone()),
            (Some(last), Some(cursor)) => Some(encode::with_offset(&last.plain, &cursor.to_string())),
            (None, cursor) => frames.pop().map(|last| match with_offset {
                true => encode::with_offset(&last, &cursor.unwrap_or_else(|| publication.own_cursor()).to_string()),
                false => last,
            }),
        };
        frames.extend(changed.into_iter().map(|metric| metric.plain.clone()));
        frames.extend(last);
        match frames.len() {
            1 => frames.swap_remove(0),
            _ => frames.concat().into(),
        }
    }
}

/// Frames of one metric.
struct Metric {
    plain: Bytes,
    with_offset: Bytes,
}

impl Metric {
    /// Returns its name and value: the event up to its time.
    fn content(&self) -> &[u8] {
        let text = text_of(&self.plain);
        let end = memchr::memmem::rfind(&text, br#","timestamp":"#).unwrap_or(text.len());
        &self.plain[self.plain.len() - text.len()..][..end]
    }

    /// Returns the event up to its value. The name has no such text, because its quotes are escaped.
    fn name(&self) -> &[u8] {
        let content = self.content();
        &content[..memchr::memmem::find(content, br#","value":"#).unwrap_or(content.len())]
    }
}

/// Splits the frames of [`encode::entity`].
fn metrics(mut frames: Bytes) -> Vec<Metric> {
    let mut metrics = Vec::new();
    while let Some(end) = end_of(&frames) {
        let plain = frames.split_to(end);
        let Some(end) = end_of(&frames) else { break };
        metrics.push(Metric { plain, with_offset: frames.split_to(end) });
    }
    metrics
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use tricast_core::{channel::Gone, position::Epoch};

    fn publication(offset: u64, data: &'static str) -> Publication {
        let channel = Channel::parse("entity.shop.s1").unwrap();
        let data = Bytes::from_static(data.as_bytes());
        Publication::new(Epoch::parse("e").unwrap(), channel, None, offset, Timestamp::UNIX_EPOCH, data)
    }

    #[test]
    fn only_metrics_that_changed_are_sent_and_the_last_carries_the_offset() {
        let mut rooms = Rooms::default();
        rooms.join_entity(Channel::parse("entity.shop.s1").unwrap(), "s1".into(), "shop".into());
        let text = |offset, data| {
            let frames = rooms.encode(Namespace::Dashboard, false, true, &publication(offset, data), None);
            String::from_utf8_lossy(&frames).into_owned()
        };
        let first = text(3, r#"{"metrics":{"a":1,"b":2}}"#);
        assert_eq!(first.matches("metric:update").count(), 2);
        assert_eq!(first.matches(r#""e:3"]"#).count(), 1);
        assert!(first.ends_with(r#"{"entityId":"s1","metricName":"b","value":2,"timestamp":0},"e:3"]"#), "{first}");
        let second = text(4, r#"{"metrics":{"a":5,"b":2}}"#);
        assert!(second.contains(r#""metricName":"a","value":5"#) && second.matches("metric:update").count() == 1);
        assert!(second.ends_with(r#""e:4"]"#));
        assert_eq!(text(5, r#"{"metrics":{"a":5,"b":2}}"#), "");
    }

    #[test]
    fn a_metric_that_an_entity_has_no_more_is_null() {
        let mut rooms = Rooms::default();
        rooms.join_entity(Channel::parse("entity.shop.s1").unwrap(), "s1".into(), "shop".into());
        let text = |publication: &Publication, with_offset, cursor: Option<&str>| {
            let cursor = cursor.map(|cursor| cursor.parse().unwrap());
            let frames = rooms.encode(Namespace::Dashboard, false, with_offset, publication, cursor);
            String::from_utf8_lossy(&frames).into_owned()
        };
        // Names that look like the rest of an event.
        let odd = r#"{"metrics":{"a\",\"value\":":1,"b":null,"c":3}}"#;
        assert_eq!(text(&publication(3, odd), true, None).matches("metric:update").count(), 3);
        let left = text(&publication(4, r#"{"metrics":{"a\",\"value\":":2,"b":null}}"#), true, None);
        assert_eq!(left.matches("metric:update").count(), 2);
        assert!(left.contains(r#"{"entityId":"s1","metricName":"c","value":null,"timestamp":0}]"#), "{left}");
        assert!(left.ends_with(r#""metricName":"a\",\"value\":","value":2,"timestamp":0},"e:4"]"#), "{left}");
        let channel = Channel::parse("entity.shop.s1").unwrap();
        let end = Publication::end(Epoch::parse("e").unwrap(), channel, Gone::Deleted, 5, Timestamp::UNIX_EPOCH);
        let ended = text(&end, true, Some("e:7"));
        assert_eq!(ended.matches(r#""value":null,"timestamp":0}"#).count(), 2, "{ended}");
        assert_eq!(ended.matches(r#""e:7"]"#).count(), 1, "{ended}");
        assert!(ended.ends_with(r#""metricName":"b","value":null,"timestamp":0},"e:7"]"#), "{ended}");
        assert_eq!(text(&publication(6, r#"{"metrics":{"b":1}}"#), false, None).matches("\"]").count(), 0);
    }
}
