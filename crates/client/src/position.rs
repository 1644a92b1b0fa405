//! Position in the server's log, and the filter that delivers each event once.
//!
//! A cursor is `EPOCH:OFFSET` or `EPOCH:OFFSET.STATE` (`docs/protocol.md`, section 1.3). Links overlap when the transport changes, so
//! the same event can arrive twice: it is a duplicate if its channel had one at the same or a later offset of the same epoch.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

/// Channels with stored events, each of which differs from all others: the server may publish the last ones again in its next
/// log after a crash.
const STORED: [&str; 2] = ["orders", "alerts"];

/// Number of events of these channels that are kept for the comparison.
const KEPT: usize = 256;

/// Offset of a cursor, with the epoch for which it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    epoch: String,
    offset: u64,
    /// Offset up to which states were delivered.
    state: u64,
}

/// The filter. Its memory grows with the number of channels.
#[derive(Debug, Default)]
pub(crate) struct Position {
    /// Newest event of each channel.
    events: HashMap<String, Place>,
    /// Newest state of each channel.
    states: HashMap<String, Place>,
    /// Epochs of the newest stored events, by their text.
    stored: HashMap<String, String>,
    /// Texts of `stored`, the oldest first.
    order: VecDeque<String>,
}

impl Position {
    /// Returns whether an event is new, and records it. An event without a cursor is in no log, so it is always new.
    pub(crate) fn admits_event(&mut self, channel: &str, cursor: Option<&str>, event: &str, data: &Value) -> bool {
        let Some(place) = cursor.and_then(parse) else { return true };
        let is_old = |known: &Place| known.epoch == place.epoch && place.offset <= known.offset;
        if self.events.get(channel).is_some_and(is_old) {
            return false;
        }
        let epoch = place.epoch.clone();
        self.events.insert(channel.to_owned(), place);
        !STORED.contains(&channel) || self.is_published_once(format!("{channel} {event} {data}"), epoch)
    }

    /// Returns whether a stored event is not known from another epoch, and records it.
    fn is_published_once(&mut self, text: String, epoch: String) -> bool {
        if let Some(known) = self.stored.get(&text) {
            return *known == epoch;
        }
        self.order.push_back(text.clone());
        self.stored.insert(text, epoch);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.stored.remove(&oldest);
        }
        true
    }

    /// Returns whether a state, or the end of a channel, is not older than the one before, and records it. The message of a link
    /// that was opened meanwhile may be older than what the previous link delivered.
    pub(crate) fn admits_state(&mut self, channel: &str, cursor: Option<&str>) -> bool {
        let Some(place) = cursor.and_then(parse) else { return true };
        let is_old = |known: &Place| known.epoch == place.epoch && place.state < known.state;
        if self.states.get(channel).is_some_and(is_old) {
            return false;
        }
        self.states.insert(channel.to_owned(), place);
        true
    }

    /// Forgets the positions of states: after a gap all of them are sent again.
    pub(crate) fn forget_states(&mut self) {
        self.states.clear();
    }
}

fn parse(cursor: &str) -> Option<Place> {
    let (epoch, rest) = cursor.split_once(':')?;
    let (offset, state) = rest.split_once('.').unwrap_or((rest, rest));
    Some(Place { epoch: epoch.to_owned(), offset: offset.parse().ok()?, state: state.parse().ok()? })
}

/// Returns the same position with no states delivered, so that all of them are sent.
pub(crate) fn without_states(cursor: &str) -> String {
    format!("{}.0", cursor.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_admitted_once_for_each_epoch() {
        let mut position = Position::default();
        let mut admits = |cursor| position.admits_event("deploys", cursor, "released", &json!({"n": 1}));
        assert!(admits(Some("a:5")));
        assert!(!admits(Some("a:5")));
        assert!(!admits(Some("a:4.1")));
        assert!(admits(Some("a:6.2")));
        assert!(admits(Some("b:1")));
        assert!(admits(None));
        assert!(admits(None));
    }

    #[test]
    fn a_stored_event_of_an_earlier_epoch_is_a_duplicate_if_it_is_equal() {
        let mut position = Position::default();
        let mut admits =
            |cursor, n: u64| position.admits_event("orders", Some(cursor), "order_created", &json!({"orderId": n}));
        assert!(admits("a:5", 1));
        assert!(!admits("b:1", 1));
        assert!(admits("b:2", 2));
    }

    #[test]
    fn a_state_never_goes_back() {
        let mut position = Position::default();
        assert!(position.admits_state("metrics.a", Some("a:5")));
        assert!(position.admits_state("metrics.a", Some("a:9.5")));
        assert!(!position.admits_state("metrics.a", Some("a:9.4")));
        assert!(position.admits_state("metrics.b", Some("a:4")));
        assert!(position.admits_state("metrics.a", Some("b:1")));
        position.forget_states();
        assert!(position.admits_state("metrics.a", Some("b:0")));
    }

    #[test]
    fn a_cursor_without_states_asks_for_all_of_them() {
        assert_eq!(without_states("a:5"), "a:5.0");
        assert_eq!(without_states("a:5.3"), "a:5.0");
    }

    proptest! {
        /// Replays begin anywhere at or before the last event, as often as they like.
        #[test]
        fn replays_deliver_each_event_once_and_in_order(starts in proptest::collection::vec(0u64..20, 1..8)) {
            let (mut position, mut delivered) = (Position::default(), Vec::new());
            for start in starts {
                let start = start.min(delivered.len() as u64);
                for offset in start..start + 5 {
                    if position.admits_event("e", Some(&format!("a:{}", offset + 1)), "x", &Value::Null) {
                        delivered.push(offset);
                    }
                }
            }
            let expected: Vec<u64> = (0..delivered.len() as u64).collect();
            prop_assert_eq!(delivered, expected);
        }
    }
}
