//! Time for which a node that could not lead does not stand for election.

use std::time::Duration;

/// Time after the first failure.
const FIRST: Duration = Duration::from_secs(10);

/// Longest time, however often this node has failed.
const LONGEST: Duration = Duration::from_secs(300);

/// Backoff that grows with each failure, until a term lasted longer than the backoff.
#[derive(Default)]
pub(super) struct TermBackoff {
    last: Duration,
}

impl TermBackoff {
    /// Returns the time for which not to stand, after a term that lasted `term`.
    pub(super) fn after(&mut self, term: Duration) -> Duration {
        self.last = if self.last.is_zero() || term > self.last { FIRST } else { (self.last * 2).min(LONGEST) };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_failures_extend_the_time_up_to_a_limit() {
        let mut backoff = TermBackoff::default();
        let short = Duration::from_secs(3);
        let spans: Vec<_> = (0..7).map(|_| backoff.after(short).as_secs()).collect();
        assert_eq!(spans, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.after(Duration::from_secs(301)), FIRST);
        assert_eq!(backoff.after(short), FIRST * 2);
        assert_eq!(backoff.after(FIRST * 2), FIRST * 4, "the term was not longer than the backoff before it");
    }
}
