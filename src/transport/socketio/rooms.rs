//! Rooms that a client has joined in a namespace: dashboards, entities, boards.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use bytes::Bytes;

use super::{
    encode,
    namespace::Namespace,
    output::{end_of, text_of},
};
use tricast_core::{channel::Channel, position::Position, publication::Publication};

/// Rooms of one client in one namespace.
#[derive(Default)]
pub(super) struct Rooms {
    /// Dashboards of `subscribe-metrics`, with their intervals.
    pub(super) dashboards: BTreeMap<String, Duration>,
    /// Entities by channel.
    pub(super) entities: BTreeMap<Channel, Entity>,
    /// Dashboards whose changes are sent.
    pub(super) boards: BTreeSet<String>,
    /// Per entity: hashes of the metrics that were sent last.
    sent: RefCell<HashMap<Channel, HashSet<u64>>>,
    /// Number of the newest subscription to an entity.
    joined: u64,
}

/// An entity that the client subscribed to.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    /// Its id.
    pub(super) id: String,
    /// Its type.
    pub(super) kind: String,
    /// Number of the subscription, which differs when the client subscribes again.
    pub(super) joined: u64,
}

impl Rooms {
    /// Returns the number of rooms.
    pub(super) fn len(&self) -> usize {
        self.dashboards.len() + self.entities.len() + self.boards.len()
    }

    /// Adds an entity.
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
            Namespace::Root => encode::root(publication, is_second, with_offset, cursor),
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
        let Some(entity) = self.entities.get(&state.channel) else { return };
        let hashes = metrics(encode::entity(state, &entity.id)).iter().map(|metric| metric.hash).collect();
        self.sent.borrow_mut().insert(state.channel.clone(), hashes);
    }

    /// Returns the metrics of an entity that differ from those that were sent last. Only the last one carries the offset: a
    /// client that is cut in between has not received the publication.
    fn changed_metrics(&self, with_offset: bool, publication: &Publication, cursor: Option<Position>) -> Bytes {
        let Some(entity) = self.entities.get(&publication.channel) else { return Bytes::new() };
        let mut sent = self.sent.borrow_mut();
        let before = sent.entry(publication.channel.clone()).or_default();
        let metrics = metrics(encode::entity(publication, &entity.id));
        let now = metrics.iter().map(|metric| metric.hash).collect();
        let mut changed: Vec<Metric> = metrics.into_iter().filter(|metric| !before.contains(&metric.hash)).collect();
        *before = now;
        let Some(last) = changed.pop() else { return Bytes::new() };
        let last = match cursor {
            _ if !with_offset => last.plain,
            None => last.with_offset,
            Some(cursor) => encode::with_offset(&last.plain, &cursor.to_string()),
        };
        if changed.is_empty() {
            return last;
        }
        let mut out: Vec<u8> = Vec::new();
        changed.iter().for_each(|metric| out.extend_from_slice(&metric.plain));
        out.extend_from_slice(&last);
        out.into()
    }
}

/// Frames of one metric.
struct Metric {
    /// Hash of its name and value.
    hash: u64,
    plain: Bytes,
    with_offset: Bytes,
}

/// Splits the frames of [`encode::entity`].
fn metrics(mut frames: Bytes) -> Vec<Metric> {
    let mut metrics = Vec::new();
    while let Some(end) = end_of(&frames) {
        let plain = frames.split_to(end);
        let Some(end) = end_of(&frames) else { break };
        metrics.push(Metric { hash: hash_of(&text_of(&plain)), plain, with_offset: frames.split_to(end) });
    }
    metrics
}

/// Returns the hash of a metric's name and value: the event up to its time.
fn hash_of(text: &[u8]) -> u64 {
    let end = memchr::memmem::rfind(text, br#","timestamp":"#).unwrap_or(text.len());
    let mut hasher = DefaultHasher::new();
    text[..end].hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use tricast_core::position::Epoch;

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
}
