//! Backfill-then-follow: the past of a channel, then its live values, without a gap and without an overlap.
//!
//! ```text
//!   history, up to but not including     the cutover's value       newer values
//!   ────────────────────────────────────▶│◀──── live ─────────────────────────▶
//! ```
//!
//! The cutover is the moment of the request: the values of that moment are kept, history is queried up to them, and the
//! reader begins with them when the result is there. Values published in the meantime are newer, and follow.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use crate::web::caller::Caller;
use tricast_core::{
    channel::{Channel, ChannelKind, Selector},
    publication::Publication,
    snapshot::{View, place},
};
use tricast_domain::history::{HistoryError, QueryResult};

/// Most channels of one backfill.
const MAX_CHANNELS: usize = 100;

/// Attempts to read the values of all channels without a publication in between.
const ATTEMPTS: usize = 8;

/// History before a cutover, and the values of the cutover.
pub(in crate::transport) struct Backfill {
    /// Sections of the snapshot that the values show.
    pub(in crate::transport) view: View,
    /// Values at the cutover, by the selectors that named them.
    pub(in crate::transport) states: HashMap<Selector, Vec<Arc<Publication>>>,
    /// History before the cutover, by channel.
    pub(in crate::transport) chapters: Result<Vec<QueryResult>, HistoryError>,
}

/// Point between the backfill and the live values.
pub(in crate::transport) struct Cutover {
    view: View,
    states: HashMap<Selector, Vec<Arc<Publication>>>,
    /// Each channel once, with the span of its history and the time of the cutover.
    channels: Vec<(Channel, Duration, i64)>,
}

impl Cutover {
    /// Sets the cutover for the channels of `wanted` that `caller` may read.
    pub(in crate::transport) fn set(caller: &Caller, wanted: &[(Selector, Duration)], now: jiff::Timestamp) -> Self {
        let log = &caller.tenant.log;
        let at_one_moment = || {
            let head = log.head();
            let cutover = Self::try_set(caller, wanted, now);
            (log.head() == head, cutover)
        };
        for _ in 1..ATTEMPTS {
            if let (true, cutover) = at_one_moment() {
                return cutover;
            }
        }
        // Publications do not pause: one version may be sent twice, in the snapshot and in the history.
        at_one_moment().1
    }

    fn try_set(caller: &Caller, wanted: &[(Selector, Duration)], now: jiff::Timestamp) -> Self {
        let log = &caller.tenant.log;
        let may = |channel: &Channel| tricast_auth::may_read_channel(&caller.identity, channel);
        let mut wanted: Vec<_> = wanted.iter().collect();
        // The most specific selector that matches a channel decides.
        wanted.sort_by_key(|(selector, _)| std::cmp::Reverse(selector.specificity()));
        let view = tricast_auth::view(&caller.identity);
        let mut cutover = Self { view, states: HashMap::new(), channels: Vec::new() };
        for (selector, span) in wanted {
            let (states, parts) = match selector {
                snapshot if snapshot.is_snapshot() => {
                    let parts = log.states_below("metrics.", 0, u64::MAX, usize::MAX).0;
                    let parts: Vec<_> = parts.into_iter().filter(|state| place(&state.channel).is_some()).collect();
                    (vec![log.snapshot(view)], parts)
                }
                Selector::Exact(channel) => {
                    let states: Vec<_> = log.state(channel, view).into_iter().collect();
                    if states.is_empty() && log.kind(channel) != Some(ChannelKind::Event) && may(channel) {
                        // Without a value in this log, it may have values in the history.
                        cutover.add(channel.clone(), *span, now.as_millisecond().saturating_add(1));
                    }
                    (states.clone(), states)
                }
                Selector::Below(prefix) => {
                    let states = log.states_below(prefix, 0, u64::MAX, usize::MAX).0;
                    (states.clone(), states)
                }
            };
            for part in parts.iter().filter(|part| may(&part.channel)) {
                // A restored value holds only numbers, and the history ends with the same point.
                let to = part.timestamp.as_millisecond() + i64::from(part.is_restored());
                cutover.add(part.channel.clone(), *span, to);
            }
            cutover.states.insert(selector.clone(), states);
        }
        cutover
    }

    fn add(&mut self, channel: Channel, span: Duration, to: i64) {
        if self.channels.iter().all(|(known, ..)| *known != channel) {
            self.channels.push((channel, span, to));
        }
    }

    /// Queries the history before the cutover. A failure does not prevent the live values.
    pub(in crate::transport) fn query(self, caller: &Caller) -> impl Future<Output = Backfill> + use<> {
        let history = caller.tenant.history.clone();
        async move {
            let Self { view, states, channels } = self;
            let chapters = if channels.len() > MAX_CHANNELS {
                Err(HistoryError::Invalid(format!("backfill: of at most {MAX_CHANNELS} channels at once")))
            } else {
                history.backfill(channels).await
            };
            Backfill { view, states, chapters }
        }
    }
}

/// Returns the chapters as a JSON object, by channel.
pub(in crate::transport) fn by_channel(chapters: &[QueryResult]) -> String {
    let chapters: Vec<String> = chapters.iter().map(|c| format!(r#""{}":{}"#, c.channel, c.data())).collect();
    format!("{{{}}}", chapters.join(","))
}
