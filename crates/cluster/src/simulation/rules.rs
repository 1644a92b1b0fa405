//! Invariants of every run.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use tricast_core::{
    channel::{Channel, Gone},
    log::ChannelTimes,
    position::Epoch,
};

use super::{client::BRIEF_TTL, reader::Received};

/// Time by which an end may be earlier than the time to live, because the clocks of two nodes differ by a little.
const EARLY: Duration = Duration::from_millis(250);

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
    /// Ends of channels in the log of each node at the end, and whether the channel with a time to live has a value there.
    pub(super) ends: Vec<(HashMap<Channel, u64>, bool)>,
    /// Messages that each client received.
    pub(super) clients: Vec<Vec<Received>>,
    /// Whether Redis lost acknowledged data.
    pub(super) lost_data: bool,
    /// Whether processes were killed too. Those that had read what was lost may be among them. The next leader decides again what
    /// is still in the inbox and in the outbox, so a client may get an event again after a gap, and it may get an older state.
    pub(super) lost_memory: bool,
    /// Whether data were lost while no process was alive: a client that had not received them gets no gap.
    pub(super) lost_unnoticed: bool,
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
        let events = self.logs.first().into_iter().flatten();
        let log: HashMap<u64, usize> = events.enumerate().map(|(place, id)| (*id, place)).collect();
        if self.logs.first().is_some_and(|all| all.len() != log.len()) {
            return Some("the log has an event twice".into());
        }
        self.violation_of_values().or_else(|| self.violation_of_ends()).or_else(|| self.violation_of_clients(&log))
    }

    /// Nothing is written at the end, so that the channel with a time to live has ended, on all nodes by the same entry.
    fn violation_of_ends(&self) -> Option<String> {
        if let Some(other) = self.ends.iter().position(|ends| *ends != self.ends[0]) {
            return Some(format!(
                "nodes 0 and {other} have different ends: {:?}, {:?}",
                self.ends[0], self.ends[other]
            ));
        }
        let (_, is_alive) = self.ends.first()?;
        is_alive.then(|| "a channel has a value after its time to live".into())
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

    fn violation_of_clients(&self, log: &HashMap<u64, usize>) -> Option<String> {
        self.clients.iter().enumerate().find_map(|(number, received)| {
            self.violation_of(received, log)
                .or_else(|| self.violation_of_brief(received))
                .map(|violation| format!("client {number}: {violation}"))
        })
    }

    /// A client is notified of each end once, not before the time to live is over, and does not keep an ended channel.
    fn violation_of_brief(&self, received: &[Received]) -> Option<String> {
        let mut held: Option<(&Epoch, u64, Timestamp, bool)> = None;
        for message in received {
            match message {
                Received::Brief { epoch, offset, at, gone } => {
                    if let Some((of, before, since, has_ended)) = held.filter(|(of, ..)| *of == epoch) {
                        let again = *offset < before || (*offset == before && has_ended);
                        if again && !self.lost_memory {
                            return Some(format!("{message:?} after {before} of {of}"));
                        }
                        let life = at.duration_since(since).unsigned_abs();
                        if *gone == Some(Gone::Expired) && !has_ended && life + EARLY < BRIEF_TTL {
                            return Some(format!("{message:?} expired {life:?} after its value"));
                        }
                    }
                    held = Some((epoch, *offset, *at, gone.is_some()));
                }
                Received::Gap { .. } => held = None,
                Received::Event { .. } | Received::State { .. } => {}
            }
        }
        let is_held = held.is_some_and(|(.., has_ended)| !has_ended);
        (is_held && !self.lost_unnoticed).then(|| "a client was not notified of an end".into())
    }

    fn violation_of(&self, received: &[Received], log: &HashMap<u64, usize>) -> Option<String> {
        let gaps = received.iter().filter(|received| matches!(received, Received::Gap { .. })).count();
        if gaps > 0 && !self.lost_data {
            return Some(format!("{gaps} gaps, and nothing was lost"));
        }
        let mut epochs: Vec<&Epoch> = Vec::new();
        let (mut newest_event, mut newest_state, mut newest_gap) = (0, 0, 0);
        let mut places = HashMap::new();
        for (place, received) in received.iter().enumerate() {
            let (epoch, newest, offset) = match received {
                Received::Event { id, epoch, offset } => {
                    let before = *places.entry(*id).or_insert(place);
                    if before < place && !(self.lost_memory && before < newest_gap) {
                        return Some(format!("event {id} came twice"));
                    }
                    (epoch, &mut newest_event, *offset)
                }
                Received::State { epoch, offset } => (epoch, &mut newest_state, *offset),
                Received::Brief { .. } => continue,
                Received::Gap { .. } => {
                    newest_gap = place;
                    if self.lost_memory {
                        newest_state = 0;
                    }
                    continue;
                }
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
                if epochs.contains(&epoch) && !self.lost_unnoticed {
                    return Some(format!("{received:?} is of an earlier log"));
                }
                epochs.push(epoch);
            }
        }
        let is_lost = |id: &u64| self.lost_unnoticed && !log.contains_key(id);
        let mut last_of = HashMap::new();
        for (number, (id, pusher, verdict)) in self.pushes.iter().enumerate() {
            let place = places.get(id);
            match verdict {
                Verdict::Refused if place.is_some() => return Some(format!("event {id} was refused and came")),
                Verdict::Accepted => {
                    if place.is_none() && !is_lost(id) {
                        // Between the events of the same client before and after it.
                        let accepted =
                            |(_, of, verdict): &&(u64, usize, Verdict)| of == pusher && *verdict == Verdict::Accepted;
                        let mut later = self.pushes[number + 1..].iter().filter(accepted);
                        let before = last_of.get(pusher).map_or(0, |before| before + 1);
                        let after = later.find_map(|(id, ..)| places.get(id)).copied().unwrap_or(received.len());
                        let between = received.get(before..after).unwrap_or_default();
                        if let Some(missing) = missing(*id, between, received, log) {
                            return Some(missing);
                        }
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
        let mut missed = self.orders.iter().filter(|id| !places.contains_key(id) && !is_lost(id));
        missed.find_map(|id| missing(*id, received, received, log))
    }
}

/// Returns the violation if no gap covers the acknowledged event `id`, which did not come in `between`, a part of `received`. `log`
/// has the place of each event in the log at the end.
fn missing(id: u64, between: &[Received], received: &[Received], log: &HashMap<u64, usize>) -> Option<String> {
    let Some(missed) = log.get(&id) else {
        let has_gap = between.iter().any(|received| matches!(received, Received::Gap { .. }));
        return (!has_gap).then(|| format!("event {id} was acknowledged and did not come, without a gap"));
    };
    // Between the events before it and those after it, the last gap has to be one that continues at the end of the log: after any
    // other one all events of the log follow.
    let place = |received: &Received| match received {
        Received::Event { id, .. } => log.get(id),
        _ => None,
    };
    let after = received.iter().position(|received| place(received).is_some_and(|place| place > missed));
    let received = &received[..after.unwrap_or(received.len())];
    let before = received.iter().rposition(|received| place(received).is_some_and(|place| place < missed));
    let between = &received[before.map_or(0, |before| before + 1)..];
    let gap = between.iter().rev().find(|received| matches!(received, Received::Gap { .. }));
    (!matches!(gap, Some(Received::Gap { at_end: true })))
        .then(|| format!("event {id} is in the log and did not come, without a gap"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_covers_a_missed_event_at_its_place_only() {
        let epoch = Epoch::random();
        let event = |id| Received::Event { id, epoch: epoch.clone(), offset: id };
        let gap = |at_end| Received::Gap { at_end };
        let log: HashMap<u64, usize> = [10, 20, 30].into_iter().zip(0..).collect();
        let violation = |id, received: &[Received]| {
            missing(id, received, received, &log).map(|text| text.contains("is in the log"))
        };
        for (received, expected) in [
            (&[event(10), gap(true), event(30)][..], None),
            (&[event(10), gap(false), gap(true)], None),
            (&[event(10), event(30)], Some(true)),
            (&[event(10), gap(false), event(30)], Some(true)),
            (&[gap(true), event(10), event(30), gap(true)], Some(true)),
            (&[event(10), gap(true), gap(false), event(30)], Some(true)),
        ] {
            assert_eq!(violation(20, received), expected, "{received:?}");
        }
        assert_eq!(violation(5, &[event(10), gap(false)]), None, "the log has lost it");
        assert_eq!(violation(5, &[event(10)]), Some(false));
    }
}
