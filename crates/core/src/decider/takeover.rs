//! Continuing the work of another decider: its saved state, and readings after it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{AggregatorConfig, CurrentValue, Decider, Known, Use};
use crate::{
    built_in,
    channel::{Channel, ChannelKind},
    clock::{Clock, millis},
    expiry::Lifetime,
    log::Log,
    published::Published,
    reading::Reading,
    sample::{Continued, Dump},
};

/// Shortest time that a channel or series has after a takeover, unless its time to live is shorter: while no node decided,
/// nothing could be written to it.
const GRACE: Duration = Duration::from_secs(5);

/// State that the next decider needs in addition to the log, from [`Decider::dump`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Saved {
    /// A series of samples.
    Series(Dump),
    /// Own time to live of a channel.
    Life {
        /// Channel with a time to live of its own.
        channel: Channel,
        /// Time to live in milliseconds; `None` from a version that stored removed ones.
        ttl: Option<u64>,
    },
}

/// Times of the last writes of a log, in milliseconds since 1970.
#[derive(Default)]
struct LastWrites {
    by_channel: HashMap<Channel, i64>,
    newest: i64,
}

impl LastWrites {
    fn note(&mut self, channel: &Channel, at_ms: i64) {
        self.newest = self.newest.max(at_ms);
        self.by_channel.insert(channel.clone(), at_ms);
    }
}

impl Decider {
    /// Creates a decider that continues where another one ended: with the values of `log`, and its saved state. Channels and
    /// series have the rest of their times to live, but at least `GRACE`; the time since the newest write of the log
    /// does not count.
    ///
    /// Windows then use the wall clock, so that they are the same on every node.
    pub fn take_over(clock: Clock, config: AggregatorConfig, log: &Log, saved: impl Iterator<Item = Saved>) -> Self {
        let mut decider = Self::new(clock, config);
        let since_1970 = decider.clock.now().as_millisecond().try_into().unwrap_or_default();
        decider.start = (Instant::now(), Duration::from_millis(since_1970));
        let mut written = LastWrites::default();
        for state in log.export().states {
            let channel = state.change.channel;
            written.note(&channel, state.times.map_or(state.at.as_millisecond(), |times| times.channel.written_ms));
            if state.restored {
                written.by_channel.remove(&channel);
            }
            match state.change.gone {
                Some(_) => decider.note_early_end(channel),
                None => {
                    let value = CurrentValue::new(state.change.data, state.restored);
                    drop(decider.known.insert(channel, Known::State(value)));
                }
            }
        }
        for info in log.channels().into_iter().filter(|info| info.kind == ChannelKind::Event) {
            info.changed.into_iter().for_each(|at| written.note(&info.channel, at.as_millisecond()));
            decider.known.insert(info.channel, Known::Events);
        }
        decider.pushed_channels = decider.known.keys().filter(|name| !built_in::contains(name)).count();
        let moment = decider.moment();
        let mut values = HashMap::<Channel, Option<Value>>::new();
        for channel in decider.known.keys().filter(|channel| !built_in::contains(channel)) {
            let life = Lifetime { own: None, keeps: true, usual: decider.config.channel_ttl(channel) };
            decider.expiry.used(channel, life, Duration::ZERO);
        }
        let known_to = Duration::from_millis(written.newest.try_into().unwrap_or_default());
        for saved in saved {
            let dump = match saved {
                Saved::Series(dump) => dump,
                Saved::Life { channel, ttl } => {
                    if decider.known.contains_key(&channel) {
                        let (own, usual) = (ttl.map(Duration::from_millis), decider.config.channel_ttl(&channel));
                        decider.expiry.used(&channel, Lifetime { own, keeps: false, usual }, Duration::ZERO);
                    }
                    continue;
                }
            };
            if !decider.known.contains_key(&dump.channel) {
                continue;
            }
            let value = values.entry(dump.channel.clone());
            let value = value.or_insert_with(|| serde_json::from_slice(decider.current_text(&dump.channel)).ok());
            let current = value.as_ref().and_then(|value| value.get(&*dump.field));
            let usual = decider.config.channel_ttl(&dump.channel);
            decider.series.restore(dump, current, moment, Continued { usual, known_to, earliest: GRACE });
        }
        for (channel, at) in &written.by_channel {
            let spent = Duration::from_millis((written.newest - at).try_into().unwrap_or_default());
            decider.expiry.spend(channel, spent, GRACE);
        }
        let states = decider.known.iter().filter_map(|(channel, known)| match known {
            Known::State(current) => Some((channel.clone(), decider.series.bound(channel, current.data.len()))),
            Known::Events => None,
        });
        for (channel, bound) in states.collect::<Vec<_>>() {
            decider.reserve(&channel, 0, bound);
        }
        decider.count_series_bytes();
        decider
    }

    /// Returns the published events of stores.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Continues with the published events of another decider.
    pub fn follow(&mut self, published: &Published) {
        self.published.merge(published);
        if self.published.has_restored() {
            self.ended_early = HashSet::new();
        }
    }

    /// Replays `readings` that another decider had accepted after it last dumped its state: counts the samples, and applies
    /// the times to live.
    pub fn replay(&mut self, readings: Vec<Reading>) {
        self.series.advance(self.moment());
        for reading in readings {
            self.note_use(Use::of(&reading));
            if let Reading::Sample(sample) = reading
                && let Ok(need) = self.series.need(&sample)
            {
                self.known.entry(sample.channel.clone()).or_insert_with(|| Known::State(CurrentValue::default()));
                self.add_sample(*sample, need);
            }
        }
        self.count_series_bytes();
    }

    /// Returns the series and times to live that changed since the last call, or with `all` all of them: a name, and the
    /// JSON of [`Saved`], which is empty for a time to live that no longer exists.
    pub fn dump(&mut self, all: bool) -> Vec<(String, String)> {
        let lives = self.expiry.changed_lifetimes(all).into_iter();
        let lives = lives.filter(|(_, own)| own.is_some() || !all).map(|(channel, own)| {
            let name = channel.to_string();
            let life = own.map(|own| Saved::Life { channel, ttl: Some(millis(own)) });
            (name, life.and_then(|life| serde_json::to_string(&life).ok()).unwrap_or_default())
        });
        let lives: Vec<_> = lives.collect();
        let mut all = self.series.dump(all);
        all.extend(lives);
        all
    }
}
