//! How long a node that could not lead lets others lead.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(10);

/// The longest time.
const LONGEST: Duration = Duration::from_secs(300);

/// Grows with each failure, until a term has gone well for longer.
#[derive(Default)]
pub(super) struct Retreat {
    last: Duration,
}

impl Retreat {
    /// For how long, after a term that lasted `term`.
    pub(super) fn after(&mut self, term: Duration) -> Duration {
        self.last = if self.last.is_zero() || term > self.last { FIRST } else { (self.last * 2).min(LONGEST) };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_fails_again_stays_away_for_longer_and_not_for_ever() {
        let mut retreat = Retreat::default();
        let short = Duration::from_secs(3);
        let spans: Vec<_> = (0..7).map(|_| retreat.after(short).as_secs()).collect();
        assert_eq!(spans, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(retreat.after(Duration::from_secs(301)), FIRST);
        assert_eq!(retreat.after(short), FIRST * 2);
        assert_eq!(retreat.after(FIRST * 2), FIRST * 4, "it led no longer than it had stayed away");
    }
}
