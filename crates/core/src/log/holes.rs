//! Holes: offsets that the log skipped, because entries that were lost may have had them.

use serde::{Deserialize, Serialize};

/// Most holes that are kept apart. Beyond that the oldest two become one.
const MOST: usize = 16;

/// Holes of a log, oldest first.
///
/// Each is a pair: the offset of the last publication before the hole, and the offset before that of the first one after
/// it. A cursor between the two is of a publication that was lost; the offsets themselves are those of valid cursors.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Holes(Vec<(u64, u64)>);

impl Holes {
    /// Records that the log continues above `end` after the offset `last`.
    pub fn add(&mut self, last: u64, end: u64) {
        self.0.push((last, end));
        if self.0.len() > MOST {
            let (last, _) = self.0.remove(0);
            self.0[0].0 = last;
        }
    }

    /// Returns the end of the hole that `offset` is in.
    pub fn end_of(&self, offset: u64) -> Option<u64> {
        self.0.iter().find(|(last, end)| *last < offset && offset < *end).map(|(_, end)| *end)
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_offsets_between_publications_are_in_a_hole_and_the_oldest_holes_become_one() {
        let mut holes = Holes::default();
        for number in 0..MOST as u64 {
            holes.add(100 * number + 10, 100 * number + 99);
        }
        let ends = |holes: &Holes| [10, 11, 98, 99, 105, 111].map(|offset| holes.end_of(offset));
        assert_eq!(ends(&holes), [None, Some(99), Some(99), None, None, Some(199)]);
        holes.add(100 * MOST as u64 + 10, 100 * MOST as u64 + 99);
        assert_eq!(ends(&holes), [None, Some(199), Some(199), Some(199), Some(199), Some(199)]);
        assert_eq!((holes.0.len(), holes.end_of(9), holes.end_of(205)), (MOST, None, None));
    }
}
