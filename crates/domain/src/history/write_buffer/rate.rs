//! Limit of points per second.

/// Milliseconds over which the rate is averaged.
const WINDOW: i64 = 10_000;

/// Limit of points per second, on average over a window.
#[derive(Debug)]
pub(super) struct Rate {
    /// Largest number of points in a window; zero means any number.
    most: usize,
    /// Window that is counted.
    window: i64,
    points: usize,
    /// Number of points beyond the limit.
    pub(super) beyond: u64,
}

impl Rate {
    pub(super) fn new(per_second: usize) -> Self {
        Self { most: per_second.saturating_mul(WINDOW as usize / 1_000), window: 0, points: 0, beyond: 0 }
    }

    /// Returns whether a point at the time `at` is within the limit.
    pub(super) fn admits(&mut self, at: i64) -> bool {
        let window = at.div_euclid(WINDOW);
        if window != self.window {
            (self.window, self.points) = (window, 0);
        }
        self.points += 1;
        let takes = self.most == 0 || self.points <= self.most;
        self.beyond += u64::from(!takes);
        takes
    }
}
