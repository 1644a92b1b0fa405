//! Invariants of every run.

use std::collections::{HashMap, HashSet};

use tricast_core::{channel::Channel, log::ChannelTimes, position::Epoch};

use super::reader::Received;

/// Reply to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The push was accepted, so that its event has to be delivered once.
    Accepted,
    /// The push was refused, so that its event must not be delivered.
    Refused,
    /// It may have been accepted.
    Unknown,
}

/// Values of the state channels of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    /// ID of the push that wrote the value that every push writes.
    pub(super) newest: Option<u64>,
    /// Value that was written once.
    pub(super) once: Option<u64>,
}

/// Observations of the clients at the end of a run.
#[derive(Default)]
pub(super) struct Record {
    /// Pushed events: ID, pusher and reply, in the order in which each pusher sent them.
    pub(super) pushes: Vec<(u64, usize, Verdict)>,
    /// Numbers of the orders that were acknowledged.
    pub(super) orders: Vec<u64>,
    /// IDs of the events in the log of each node at the end.
    pub(super) logs: Vec<Vec<u64>>,
    /// Values of each node at the end.
    pub(super) values: Vec<Values>,
    /// Whether the value that was written once has to be there.
    pub(super) keeps_values: bool,
    /// Times at which the values in each node's log, and their fields, were last written.
    pub(super) times: Vec<HashMap<Channel, ChannelTimes>>,
    /// Messages that each client received.
    pub(super) clients: Vec<Vec<Received>>,
    /// Whether Redis lost acknowledged data.
    pub(super) lost_data: bool,
}

impl Record {
    /// Returns the first violated invariant.
    pub(super) fn violation(&self) -> Option<String> {
        if let Some(other) = self.logs.iter().position(|log| *log != self.logs[0]) {
            return Some(format!("nodes 0 and {other} have different logs at the end"));
        }
        if let Some(other) = self.times.iter().position(|times| *times != self.times[0]) {
            let (one, other_times) = (&self.times[0], &self.times[other]);
            return Some(format!("nodes 0 and {other} have different times: {one:?}\n{other_times:?}"));
        }
        let log: HashSet<u64> = self.logs.first().into_iter().flatten().copied().collect();
        if self.logs.first().is_some_and(|all| all.len() != log.len()) {
            return Some("the log has an event twice".into());
        }
        self.violation_of_values().or_else(|| self.violation_of_clients(&log))
    }

    /// Each push writes an event and a value, so the newest event and the value are of the same push.
    fn violation_of_values(&self) -> Option<String> {
        let first = self.values.first()?;
        if let Some(other) = self.values.iter().position(|values| values != first) {
            return Some(format!("nodes 0 and {other} have different values: {first:?}, {:?}", self.values[other]));
        }
        let pushed: HashSet<u64> = self.pushes.iter().map(|(id, ..)| *id).collect();
        let newest = self.logs.first()?.iter().rev().find(|id| pushed.contains(id));
        if newest.is_some() && first.newest != newest.copied() {
            return Some(format!("the newest event is {newest:?}, and the value is of {:?}", first.newest));
        }
        (self.keeps_values && first.once.is_none()).then(|| "the value that was written once is lost".into())
    }

    fn violation_of_clients(&self, log: &HashSet<u64>) -> Option<String> {
        self.clients.iter().enumerate().find_map(|(number, received)| {
            self.violation_of(received, log).map(|violation| format!("client {number}: {violation}"))
        })
    }

    fn violation_of(&self, received: &[Received], log: &HashSet<u64>) -> Option<String> {
        let gaps = received.iter().filter(|received| matches!(received, Received::Gap)).count();
        if gaps > 0 && !self.lost_data {
            return Some(format!("{gaps} gaps, and nothing was lost"));
        }
        let mut epochs: Vec<&Epoch> = Vec::new();
        let (mut newest_event, mut newest_state) = (0, 0);
        let mut order = Vec::new();
        for received in received {
            let (epoch, newest, offset) = match received {
                Received::Event { id, epoch, offset } => {
                    order.push(*id);
                    (epoch, &mut newest_event, *offset)
                }
                Received::State { epoch, offset, .. } => (epoch, &mut newest_state, *offset),
                Received::Gap => continue,
            };
            if offset <= *newest && epochs.last() == Some(&epoch) {
                let again =
                    if matches!(received, Received::Event { .. }) || offset < *newest { "went back" } else { "" };
                if !again.is_empty() {
                    return Some(format!("{received:?} {again}: had {newest}"));
                }
            }
            *newest = offset;
            if epochs.last() != Some(&epoch) {
                if epochs.contains(&epoch) {
                    return Some(format!("{received:?} is of an earlier log"));
                }
                epochs.push(epoch);
            }
        }
        let mut places = HashMap::new();
        for (place, id) in order.iter().enumerate() {
            if places.insert(*id, place).is_some() {
                return Some(format!("event {id} came twice"));
            }
        }
        let mut last_of = HashMap::new();
        for (id, pusher, verdict) in &self.pushes {
            let place = places.get(id);
            match verdict {
                Verdict::Refused if place.is_some() => return Some(format!("event {id} was refused and came")),
                Verdict::Accepted => {
                    if let Some(missing) = self.missing(*id, place, gaps, log) {
                        return Some(missing);
                    }
                    if let Some(place) = place
                        && let Some(before) = last_of.insert(*pusher, *place)
                        && before > *place
                    {
                        return Some(format!("event {id} came before an earlier one of the same client"));
                    }
                }
                _ => {}
            }
        }
        self.orders.iter().find_map(|id| self.missing(*id, places.get(id), gaps, log))
    }

    fn missing(&self, id: u64, place: Option<&usize>, gaps: usize, log: &HashSet<u64>) -> Option<String> {
        if place.is_some() {
            return None;
        }
        if log.contains(&id) {
            return Some(format!("event {id} is in the log and did not come"));
        }
        (gaps == 0).then(|| format!("event {id} was acknowledged and did not come, without a gap"))
    }
}
