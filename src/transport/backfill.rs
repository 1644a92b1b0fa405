//! Backfill-then-follow: the past of a channel, then its live values, without a gap and without an overlap.
//!
//! ```text
//!   history, up to but not including     the value at the seam     what is newer
//!   ────────────────────────────────────▶│◀──── live ─────────────────────────▶
//! ```
//!
//! The seam is set when the question is asked: the values of that moment are kept, history is asked for up to them, and
//! when it is there they are the first that the reader is given. What was published meanwhile is newer, and follows.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use crate::{
    auth,
    core::{
        channel::{Channel, ChannelKind, Selector},
        publication::Publication,
        snapshot::{View, place},
    },
    history::{Chapter, HistoryError},
    http::access::Caller,
};

/// Most channels whose past is told at once.
const MAX_CHANNELS: usize = 100;

/// Times that the seam is set anew because something was published meanwhile.
const ATTEMPTS: usize = 8;

/// What came of looking back.
pub(super) struct Past {
    /// How much of the snapshot the values at the seam show.
    pub(super) view: View,
    /// The values at the seam, by the selectors that named them.
    pub(super) states: HashMap<Selector, Vec<Arc<Publication>>>,
    /// What was before it, by channel.
    pub(super) chapters: Result<Vec<Chapter>, HistoryError>,
}

/// Where the past ends and the present begins.
pub(super) struct Seam {
    view: View,
    states: HashMap<Selector, Vec<Arc<Publication>>>,
    /// Each channel once, with how far to look back and the time at the seam.
    channels: Vec<(Channel, Duration, i64)>,
}

impl Seam {
    /// Sets the seam for what `caller` may read of `wanted`.
    pub(super) fn set(caller: &Caller, wanted: &[(Selector, Duration)], now: jiff::Timestamp) -> Self {
        let log = &caller.tenant.log;
        let at_one_moment = || {
            let head = log.head();
            let seam = Self::try_set(caller, wanted, now);
            (log.head() == head, seam)
        };
        for _ in 1..ATTEMPTS {
            if let (true, seam) = at_one_moment() {
                return seam;
            }
        }
        // Somebody publishes all the time: a version may be told twice, in the snapshot and before it.
        at_one_moment().1
    }

    fn try_set(caller: &Caller, wanted: &[(Selector, Duration)], now: jiff::Timestamp) -> Self {
        let log = &caller.tenant.log;
        let may = |channel: &Channel| auth::may_read_channel(&caller.identity, channel);
        let mut wanted: Vec<_> = wanted.iter().collect();
        // Of several that name a channel the one that names it most closely decides.
        wanted.sort_by_key(|(selector, _)| std::cmp::Reverse(selector.closeness()));
        let view = auth::view(&caller.identity);
        let mut seam = Self { view, states: HashMap::new(), channels: Vec::new() };
        for (selector, span) in wanted {
            let (states, parts) = match selector {
                snapshot if snapshot.is_snapshot() => {
                    let parts = log.states_below("metrics.", 0, usize::MAX).0;
                    let parts: Vec<_> = parts.into_iter().filter(|state| place(&state.channel).is_some()).collect();
                    (vec![log.snapshot(view)], parts)
                }
                Selector::Exact(channel) => {
                    let states: Vec<_> = log.state(channel, view).into_iter().collect();
                    if states.is_empty() && log.kind(channel) != Some(ChannelKind::Event) && may(channel) {
                        // It has no value yet in this log, but may have had some before.
                        seam.add(channel.clone(), *span, now.as_millisecond().saturating_add(1));
                    }
                    (states.clone(), states)
                }
                Selector::Below(prefix) => {
                    let states = log.states_below(prefix, 0, usize::MAX).0;
                    (states.clone(), states)
                }
            };
            for part in parts.iter().filter(|part| may(&part.channel)) {
                // A restored value is the last point of the past, and only its numbers: the past has it, too.
                let to = part.timestamp.as_millisecond() + i64::from(part.is_restored());
                seam.add(part.channel.clone(), *span, to);
            }
            seam.states.insert(selector.clone(), states);
        }
        seam
    }

    fn add(&mut self, channel: Channel, span: Duration, to: i64) {
        if self.channels.iter().all(|(known, ..)| *known != channel) {
            self.channels.push((channel, span, to));
        }
    }

    /// Asks for what is before it. What fails is no reason not to go on from here.
    pub(super) fn look_back(self, caller: &Caller) -> impl Future<Output = Past> + use<> {
        let history = caller.tenant.history.clone();
        async move {
            let Self { view, states, channels } = self;
            let chapters = if channels.len() > MAX_CHANNELS {
                Err(HistoryError::Invalid(format!("backfill: of at most {MAX_CHANNELS} channels at once")))
            } else {
                history.backfill(channels).await
            };
            Past { view, states, chapters }
        }
    }
}

/// The chapters as a JSON object, by channel.
pub(super) fn by_channel(chapters: &[Chapter]) -> String {
    let chapters: Vec<String> = chapters.iter().map(|c| format!(r#""{}":{}"#, c.channel, c.data())).collect();
    format!("{{{}}}", chapters.join(","))
}
