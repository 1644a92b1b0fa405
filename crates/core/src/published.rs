//! Published events of stores, so that none is published twice, and whether values were restored from history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most sources that are remembered. A process with its data in memory is a new source at each start; the source whose
/// newest event is the oldest is dropped.
const SOURCES: usize = 64;

/// Source that represents history: recorded when its last values were restored, so that this is done once.
pub(super) const HISTORY: &str = "history";

/// Newest published event of each source. The events of a source are published in order.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Published(BTreeMap<String, u64>);

impl Published {
    /// Records that the event `seq` of `source` is published; returns false if it was before.
    pub fn note(&mut self, source: &str, seq: u64) -> bool {
        match self.0.get_mut(source) {
            Some(newest) if *newest >= seq => return false,
            Some(newest) => *newest = seq,
            None => {
                self.0.insert(source.to_owned(), seq);
                if self.0.len() > SOURCES
                    && let Some(oldest) = self.0.iter().min_by_key(|(_, seq)| **seq).map(|(source, _)| source.clone())
                {
                    self.0.remove(&oldest);
                }
            }
        }
        true
    }

    /// Returns whether the last values of channels were restored from history.
    pub fn has_restored(&self) -> bool {
        self.0.contains_key(HISTORY)
    }

    /// Adds the published events of another instance.
    pub fn merge(&mut self, other: &Self) {
        for (source, seq) in &other.0 {
            self.note(source, *seq);
        }
    }

    /// Returns whether no event of a store was published yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_published_once_and_old_sources_are_dropped() {
        let mut published = Published::default();
        assert!(published.note("a", 5) && published.note("b", 1));
        assert!(!published.note("a", 5) && !published.note("a", 4));
        let mut other = Published::default();
        assert!(other.note("a", 7) && other.note("b", 0));
        published.merge(&other);
        assert!(!published.note("a", 7) && !published.note("b", 1) && published.note("b", 2));
        for source in 0..SOURCES as u64 {
            published.note(&format!("s{source}"), 100 + source);
        }
        assert_eq!(published.0.len(), SOURCES);
        assert!(published.note("b", 2), "it was the second oldest, and two were dropped");
    }
}
