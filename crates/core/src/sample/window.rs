//! Window of the last ten seconds, by seconds.

use std::{collections::VecDeque, time::Duration};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// Length of the window in seconds.
pub(super) const WINDOW_SECONDS: u64 = 10;

/// Moment in the two times that series use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time since the start of the aggregator, for the window.
    pub elapsed: Duration,
    /// Day of the configured zone, for `today`.
    pub day: Date,
}

impl Moment {
    /// Returns the current second.
    pub fn second(self) -> u64 {
        self.elapsed.as_secs()
    }

    /// Returns the number of complete tenths of the current second.
    pub fn tenths(self) -> u32 {
        self.elapsed.subsec_millis() / 100
    }
}

/// Data of the current second and of the ten before it, each by itself. Seconds without data take no memory.
///
/// So a sample counts for at least ten and less than eleven seconds, and at a full second exactly the last ten seconds count.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Window<T> {
    /// Seconds with their data, oldest first.
    seconds: VecDeque<(u64, T)>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { seconds: VecDeque::new() }
    }
}

impl<T: Default> Window<T> {
    /// Changes the data of `second`, which does not go back.
    pub(super) fn add(&mut self, second: u64, change: impl FnOnce(&mut T)) {
        if self.seconds.back().is_none_or(|(last, _)| *last < second) {
            self.forget(second);
            self.seconds.push_back((second, T::default()));
        }
        if let Some((_, gathered)) = self.seconds.back_mut() {
            change(gathered);
        }
    }

    /// Drops data that are too old at `second`.
    pub(super) fn forget(&mut self, second: u64) {
        while self.seconds.front().is_some_and(|(oldest, _)| oldest + WINDOW_SECONDS < second) {
            self.seconds.pop_front();
        }
        if self.seconds.is_empty() {
            self.seconds = VecDeque::new();
        }
    }

    /// Returns whether there are no data.
    pub(super) fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }

    /// Returns the bytes on the heap; `of` returns those of one second.
    pub(super) fn heap_bytes(&self, of: impl Fn(&T) -> usize) -> usize {
        let inner: usize = self.seconds.iter().map(|(_, gathered)| of(gathered)).sum();
        self.seconds.capacity() * size_of::<(u64, T)>() + inner
    }

    /// Returns the data that count at `second`, oldest first, each with its age in seconds.
    pub(super) fn at(&self, second: u64) -> impl Iterator<Item = (u64, &T)> {
        let aged = self.seconds.iter().map(move |(of, gathered)| (second.saturating_sub(*of), gathered));
        aged.filter(|(age, _)| *age <= WINDOW_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_equals_a_list_of_all_samples(steps in proptest::collection::vec((0u64..4_000, 0u32..100), 1..200)) {
            let mut window = Window::<Vec<u32>>::default();
            let (mut all, mut now) = (Vec::new(), 0);
            for (wait_ms, value) in steps {
                now += wait_ms;
                let second = now / 1_000;
                window.add(second, |gathered| gathered.push(value));
                all.push((second, value));
                let expected: Vec<_> = all.iter().filter(|(of, _)| of + 10 >= second).map(|(_, value)| *value).collect();
                let found: Vec<_> = window.at(second).flat_map(|(_, gathered)| gathered.clone()).collect();
                prop_assert_eq!(found, expected);
                prop_assert!(window.seconds.len() <= 11);
            }
            let last = now / 1_000;
            window.forget(last + 10);
            prop_assert!(!window.is_empty());
            window.forget(last + 11);
            prop_assert!(window.is_empty());
        }
    }
}
