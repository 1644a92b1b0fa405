//! Response to a poll, from the current log.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    representation::Representation,
    request::{PollRequest, Since, Target},
};
use crate::web::{caller::Caller, etag, problem::Problem, segments::Builder};
use tricast_core::{
    channel::{Channel, ChannelKind, Selector},
    clock::rfc3339,
    position::Position,
    protocol::{message, slot},
    publication::Publication,
    snapshot::SNAPSHOT,
};

/// Most bytes of events in one response; the cursor allows to continue.
const BUDGET: usize = 1 << 20;

/// Values that are shorter are part of the tagged text themselves.
const MIN_TAGGED: usize = 256;

/// Returns the response.
///
/// # Errors
/// 404 if the channel in the path is unknown or has no value, 410 if it has ended.
pub(super) fn to(poll: &PollRequest, caller: &Caller) -> Result<Arc<Representation>, Problem> {
    let log = &caller.tenant.log;
    let since = poll.since(log);
    match &poll.target {
        Target::Snapshot => {
            Ok(log.snapshot(tricast_auth::view(&caller.identity)).attached(Representation::of_snapshot))
        }
        Target::One(channel) => one(channel, since.as_ref(), caller),
        // Some may not exist yet: the client continues from the cursor, as on the other transports.
        Target::Several(selectors) => Ok(Arc::new(several(selectors, since.as_ref(), caller))),
    }
}

fn one(channel: &Channel, since: Option<&Since>, caller: &Caller) -> Result<Arc<Representation>, Problem> {
    let log = &caller.tenant.log;
    let view = tricast_auth::view(&caller.identity);
    match log.kind(channel) {
        None => Err(unknown(channel, caller)),
        Some(ChannelKind::State) => {
            let state = log
                .state(channel, view)
                .ok_or_else(|| Problem::not_found(format!("\"{channel}\" has no value yet")))?;
            match since {
                // The client has this version.
                Some(since) if !since.gap && state.offset <= since.position.state => {
                    let mut same = Representation::of_state(&state);
                    same.empty = true;
                    Ok(Arc::new(same))
                }
                // The publication of the snapshot shares the other representation, that of `Target::Snapshot`.
                _ if channel.as_str() == SNAPSHOT => Ok(Arc::new(Representation::of_state(&state))),
                _ => Ok(state.attached(Representation::of_state)),
            }
        }
        Some(ChannelKind::Event) => {
            let selectors = [Selector::Exact(channel.clone())];
            let found = collect(&selectors, since, 0, caller);
            let mut value = Value::default();
            value.text(&format!(r#"{{"channel":"{channel}","kind":"event","events":["#));
            found.add_events(&mut value);
            Ok(Arc::new(found.finish(value, caller)))
        }
    }
}

fn unknown(channel: &Channel, caller: &Caller) -> Problem {
    if let Some(end) = caller.tenant.log.end_of(channel) {
        return Problem::gone(&end);
    }
    let known = |other: &Channel| caller.tenant.log.kind(other).is_some();
    let other = channel.with_or_without_metrics().filter(known);
    let hint = match other.filter(|other| tricast_auth::may_read_channel(&caller.identity, other)) {
        Some(other) => format!(": did you mean \"{other}\"?"),
        None => String::new(),
    };
    Problem::not_found(format!("there is no channel \"{channel}\"{hint}"))
}

fn several(selectors: &[Selector], since: Option<&Since>, caller: &Caller) -> Representation {
    let log = &caller.tenant.log;
    // Without a cursor there is no "since", and earlier events are not requested.
    let events_from = log.head();
    let found = collect(selectors, since, events_from, caller);
    let mut value = Value::default();
    value.text(r#"{"channels":{"#);
    for (index, state) in found.states.values().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        value.text(&format!(r#"{comma}"{}":"#, state.channel));
        value.shared(&state.data);
    }
    value.text(&format!("}}{},\"events\":[", found.gone_json()));
    found.add_events(&mut value);
    found.finish(value, caller)
}

/// Text of a response that shares long values with the log, with what its tag depends on.
#[derive(Default)]
struct Value {
    text: Builder,
    /// All texts, with the tags of long values in place of these.
    tagged: Vec<u8>,
}

impl Value {
    fn text(&mut self, text: &str) {
        self.text.text(text);
        self.tagged.extend_from_slice(text.as_bytes());
    }

    fn shared(&mut self, bytes: &Bytes) {
        self.text.shared(bytes);
        if bytes.len() < MIN_TAGGED {
            self.tagged.extend_from_slice(bytes);
        } else {
            self.tagged.extend_from_slice(etag::tag(bytes).as_bytes());
        }
    }
}

/// Data for the response.
struct Found {
    states: BTreeMap<Channel, Arc<Publication>>,
    /// Channels that ended after the client's cursor.
    gone: BTreeMap<Channel, Arc<Publication>>,
    /// Time of acceptance of the newest considered publication.
    newest: Option<Timestamp>,
    events: Vec<Arc<Publication>>,
    cursor: Position,
    gap: bool,
    since: bool,
}

fn collect(selectors: &[Selector], since: Option<&Since>, events_from: u64, caller: &Caller) -> Found {
    let Caller { identity, tenant, .. } = caller;
    let log = &tenant.log;
    let sees_all = tricast_auth::sees_all(identity);
    let may = |channel: &Channel| sees_all || tricast_auth::may_read_channel(identity, channel);
    let ceiling = log.head();
    let wanted = |channel: &Channel| selectors.iter().any(|selector| selector.matches(channel)) && may(channel);
    let events_from = since.map_or(events_from, |since| since.position.offset);
    let mut read =
        log.events_after(events_from, ceiling, BUDGET, |channel, offset| offset > events_from && wanted(channel));
    // Some may have been lost since the cursor was judged, or with a log that was replaced.
    let gap = since.is_some_and(|since| since.gap || !read.lost.is_empty() || since.position.epoch != log.epoch());
    let states_from = since.filter(|_| !gap).map_or(0, |since| since.position.state);
    // An end changes the response, although only clients that had the channel get it.
    let states = log.states_after(states_from, 0, tricast_auth::view(identity), wanted);
    read.events.retain(|event| sees_all || tricast_auth::may_read_event(identity, event));
    let only_states = selectors
        .iter()
        .all(|selector| matches!(selector, Selector::Exact(channel) if log.kind(channel) == Some(ChannelKind::State)));
    // The response to a first poll of states is the same for all clients, cursor included.
    let newest = states.iter().map(|state| state.offset).max().unwrap_or(0);
    let cursor = if since.is_none() && only_states { newest } else { read.complete_to };
    // Never back: a client may come from a node that had read more of the log.
    let (before, held) = since.map_or((0, 0), |since| (since.position.offset, since.position.state));
    let cursor = Position { epoch: log.epoch(), offset: cursor.max(before), state: cursor.max(held) };
    let newest = states.iter().chain(&read.events).map(|publication| publication.timestamp).max();
    let named = |state: Arc<Publication>| (state.channel.clone(), state);
    let (gone, states): (Vec<_>, Vec<_>) = states.into_iter().partition(|state| state.gone.is_some());
    let gone = if since.is_some() && !gap { gone } else { Vec::new() };
    Found {
        states: states.into_iter().map(named).collect(),
        gone: gone.into_iter().map(named).collect(),
        newest,
        events: read.events,
        cursor,
        gap,
        since: since.is_some(),
    }
}

impl Found {
    /// Returns the ended channels as a member of the body; an empty text if there are none.
    fn gone_json(&self) -> String {
        let gone =
            self.gone.iter().filter_map(|(channel, end)| Some(format!(r#""{channel}":"{}""#, end.gone?.as_str())));
        let gone = gone.collect::<Vec<_>>().join(",");
        if gone.is_empty() { gone } else { format!(r#","gone":{{{gone}}}"#) }
    }

    /// Appends the events and the end of their list.
    fn add_events(&self, value: &mut Value) {
        for (index, event) in self.events.iter().enumerate() {
            if index > 0 {
                value.text(",");
            }
            let make = |p: &Publication| message::listed_event(p, p.own_cursor()).into();
            value.shared(event.encoded(slot::POLL_EVENT, make));
        }
        value.text("]");
    }

    /// Completes the object that `value` started with cursor and time; the tag is that of `value`.
    fn finish(self, mut value: Value, caller: &Caller) -> Representation {
        let newest = self.newest;
        let time = newest.unwrap_or_else(|| caller.tenant.log.snapshot(tricast_auth::view(&caller.identity)).timestamp);
        let cursor = self.cursor;
        // A gap is part of the tag: a 304 must not hide it.
        value.text(if self.gap { r#","gap":true"# } else { "" });
        let Value { mut text, tagged } = value;
        text.text(&format!(r#","cursor":"{cursor}","timestamp":"{}"}}"#, rfc3339(time)));
        let modified = if self.since { None } else { newest };
        let mut representation = Representation::new(text.build(), &tagged, modified);
        representation.empty =
            self.since && self.states.is_empty() && self.gone.is_empty() && self.events.is_empty() && !self.gap;
        representation
    }
}
