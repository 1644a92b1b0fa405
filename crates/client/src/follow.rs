//! Follows channels: updates in order, each event once, over any change of transport.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::{
    connection::{Choice, Connection, Heard, Patience, Status},
    error::Error,
    position::{Position, without_states},
    server::Server,
    transport::{Message, Wants},
};

/// Time after a gap within which a channel that has not ended is sent again.
const FRESH: Duration = Duration::from_secs(3);

/// Time between two requests if nothing but polling works.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Channels to follow, and the options of following them.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Channels and patterns, such as `metrics.*`.
    pub channels: Vec<String>,
    /// Shortest time between two updates of a state channel.
    pub interval: Option<Duration>,
    /// Cursor to continue from.
    pub since: Option<String>,
    /// Transports to use.
    pub choice: Choice,
    /// What to do while nothing has worked yet.
    pub patience: Patience,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Update {
    /// A state channel has a new value.
    State {
        /// The channel.
        channel: String,
        /// The whole value, an object.
        data: Value,
        /// Time of the change, RFC 3339.
        timestamp: Option<String>,
        /// Position after it.
        cursor: Option<String>,
    },
    /// A channel has ended.
    Gone {
        /// The channel.
        channel: String,
        /// `deleted`, `expired`, or `unknown` if the end itself was missed.
        reason: String,
        /// Time of the end, if it is known.
        timestamp: Option<String>,
        /// Position after it.
        cursor: Option<String>,
    },
    /// An event happened.
    Event {
        /// The channel.
        channel: String,
        /// The name of the event.
        event: String,
        /// Its data.
        data: Value,
        /// Its time, RFC 3339.
        timestamp: Option<String>,
        /// Position after it. A notice to this client alone has none.
        cursor: Option<String>,
    },
    /// Events were lost; the states that follow are current.
    Gap {
        /// Why, such as `too_old` or `epoch_changed`.
        reason: String,
        /// The channels that may have lost events; empty for all of them.
        channels: Vec<String>,
    },
    /// The token does not permit a channel, or its name is not valid. The others are followed.
    Denied {
        /// The channel or pattern.
        channel: String,
        /// `FORBIDDEN` or `INVALID_MESSAGE`.
        code: String,
        /// Explanation of the server; may be empty.
        detail: String,
    },
    /// The connection changed.
    Status(Status),
}

/// Running subscription. Dropping it closes the connection.
pub struct Follow {
    connection: Connection,
    channels: Vec<String>,
    position: Position,
    /// Newest values, because a new link sends each of them again.
    states: HashMap<String, Value>,
    /// Channels that may have ended, since a gap.
    doubtful: HashSet<String>,
    /// Time at which the doubtful ones count as ended.
    doubt_ends: Option<Instant>,
    /// Channels that were reported as denied.
    denied: HashSet<String>,
    ready: VecDeque<Update>,
}

impl Follow {
    /// Begins to follow; connects at the first [`next`](Self::next).
    pub fn new(server: &Server, request: Request) -> Self {
        let Request { channels, interval, since, choice, patience } = request;
        let since = since.as_deref().map(without_states);
        let wants = Wants { channels: channels.clone(), interval, since, poll_interval: POLL_INTERVAL };
        Self {
            connection: Connection::new(server.clone(), wants, choice, patience),
            channels,
            position: Position::default(),
            states: HashMap::new(),
            doubtful: HashSet::new(),
            doubt_ends: None,
            denied: HashSet::new(),
            ready: VecDeque::new(),
        }
    }

    /// Records what the caller has already received by a request of its own, so that it is not delivered again.
    pub fn skip(&mut self, update: &Update) {
        drop(self.admit(update.clone()));
    }

    /// Returns the next update. Cancel safe.
    ///
    /// # Errors
    /// The reason why there is no connection and will be none.
    pub async fn next(&mut self) -> Result<Update, Error> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Ok(update);
            }
            let doubt = self.doubt_ends;
            let heard = tokio::select! {
                heard = self.connection.next() => heard?,
                () = async { match doubt {
                    Some(time) => sleep_until(time).await,
                    None => std::future::pending().await,
                } } => {
                    self.end_doubtful();
                    continue;
                }
            };
            match heard {
                Heard::Status(status) => {
                    self.report_denied();
                    self.doubt_ends = match &status {
                        Status::Live(_) if !self.doubtful.is_empty() => Some(Instant::now() + FRESH),
                        Status::Live(_) | Status::Fallback { .. } => self.doubt_ends,
                        Status::Lost { .. } => None,
                    };
                    self.ready.push_back(Update::Status(status));
                }
                Heard::Message(message) => {
                    if let Some(update) = update_of(message).and_then(|update| self.admit(update)) {
                        self.ready.push_back(update);
                    }
                    self.report_denied();
                }
            }
        }
    }

    /// Returns an update that was not delivered before.
    fn admit(&mut self, update: Update) -> Option<Update> {
        match &update {
            Update::State { channel, data, cursor, .. } => {
                self.doubtful.remove(channel);
                if !self.position.admits_state(channel, cursor.as_deref()) || self.states.get(channel) == Some(data) {
                    return None;
                }
                self.states.insert(channel.clone(), data.clone());
            }
            Update::Gone { channel, cursor, .. } => {
                if !self.position.admits_state(channel, cursor.as_deref()) {
                    return None;
                }
                self.doubtful.remove(channel);
                // A channel that this client never had ends without notice.
                self.states.remove(channel)?;
            }
            Update::Event { channel, event, data, cursor, .. } => {
                if !self.position.admits_event(channel, cursor.as_deref(), event, data) {
                    return None;
                }
            }
            Update::Gap { channels, .. } => {
                self.position.forget_states();
                let lost = |name: &&String| channels.is_empty() || channels.iter().any(|pattern| covers(pattern, name));
                self.doubtful.extend(self.states.keys().filter(lost).cloned());
                self.doubt_ends = Some(Instant::now() + FRESH);
            }
            Update::Denied { .. } | Update::Status(_) => {}
        }
        Some(update)
    }

    /// Ends the channels that were not sent again after a gap.
    fn end_doubtful(&mut self) {
        self.doubt_ends = None;
        for channel in std::mem::take(&mut self.doubtful) {
            self.states.remove(&channel);
            self.ready.push_back(Update::Gone { channel, reason: "unknown".into(), timestamp: None, cursor: None });
        }
    }

    /// Reports channels that were found not to be permitted.
    fn report_denied(&mut self) {
        let denied = self.connection.denied();
        if denied.len() == self.denied.len() {
            return;
        }
        let fresh: Vec<String> = denied.difference(&self.denied).cloned().collect();
        for channel in fresh {
            self.denied.insert(channel.clone());
            let has = |update: &Update| matches!(update, Update::Denied { channel: name, .. } if *name == channel);
            if !self.ready.iter().any(has) {
                self.ready.push_back(Update::Denied { channel, code: "FORBIDDEN".into(), detail: String::new() });
            }
        }
    }

    /// Returns whether the token permits none of the channels.
    pub fn is_denied(&self) -> bool {
        self.channels.iter().all(|channel| self.denied.contains(channel))
    }
}

fn update_of(message: Message) -> Option<Update> {
    match message {
        Message::State { channel, data, timestamp, cursor } => Some(Update::State { channel, data, timestamp, cursor }),
        Message::Gone { channel, gone, timestamp, cursor } => {
            Some(Update::Gone { channel, reason: gone, timestamp, cursor })
        }
        Message::Event { channel, event, data, timestamp, cursor } => {
            Some(Update::Event { channel, event, data, timestamp, cursor })
        }
        Message::Gap { reason, channels } => Some(Update::Gap { reason, channels }),
        Message::Denied { channel, code, detail } => Some(Update::Denied { channel, code, detail }),
        Message::Open | Message::Start(_) | Message::Cursor(_) | Message::Down(_) => None,
    }
}

/// Returns whether a name is a channel's or matches a pattern such as `metrics.*`.
fn covers(pattern: &str, channel: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => channel.starts_with(prefix),
        None => pattern == channel,
    }
}
