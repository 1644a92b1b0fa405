//! Retention of each level while the store is larger than it may be. Pure.
//!
//! The finest level costs most and is needed least: first points are kept for a shorter time, then roll-ups by minute, by
//! hour and by day. Each step shortens one level by a quarter. When there is room again the levels are extended in the
//! opposite order.

use std::time::Duration;

use super::Level;

/// Shortest retention of each level.
const LEAST: [Duration; 4] = {
    let hour = Duration::from_secs(3_600);
    [hour.saturating_mul(2), hour.saturating_mul(48), hour.saturating_mul(24 * 7), hour.saturating_mul(24 * 31)]
};

/// Retention from which a level without a limit is shortened.
const FOR_EVER: Duration = Duration::from_secs(3_600 * 24 * 365 * 2);

/// Current retention of each level.
#[derive(Clone, Debug)]
pub(super) struct Pressure {
    configured: [Duration; 4],
    keep: [Duration; 4],
}

impl Pressure {
    pub(super) fn new(configured: [Duration; 4]) -> Self {
        Self { configured, keep: configured }
    }

    /// Returns the retention of each level, by its index in [`Level::ALL`]; zero means for ever.
    pub(super) fn keep(&self) -> &[Duration; 4] {
        &self.keep
    }

    /// Returns whether a level is shortened.
    pub(super) fn is_on(&self) -> bool {
        self.keep != self.configured
    }

    /// Adapts to the size of the store, which has `bytes` and may have `most`, zero meaning any number.
    pub(super) fn adapt(&mut self, bytes: u64, most: u64) {
        if most == 0 || bytes < most / 10 * 8 {
            self.relax();
        } else if bytes > most {
            self.press();
        }
    }

    fn press(&mut self) {
        for level in Level::ALL {
            let keep = &mut self.keep[level as usize];
            let now = if keep.is_zero() { FOR_EVER } else { *keep };
            let least = LEAST[level as usize].min(now);
            if now > least {
                *keep = (now / 4 * 3).max(least);
                return;
            }
        }
    }

    fn relax(&mut self) {
        for level in Level::ALL.into_iter().rev() {
            let (keep, configured) = (&mut self.keep[level as usize], self.configured[level as usize]);
            if *keep != configured {
                let longer = *keep / 3 * 4;
                let whole = if configured.is_zero() { longer >= FOR_EVER } else { longer >= configured };
                *keep = if whole { configured } else { longer };
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_shortened_first_and_all_levels_recover() {
        let day = Duration::from_secs(86_400);
        let configured = [day * 2, day * 30, day * 730, Duration::ZERO];
        let mut pressure = Pressure::new(configured);
        pressure.adapt(90, 100);
        assert!(!pressure.is_on());
        pressure.adapt(100, 100);
        assert!(!pressure.is_on(), "at the limit");
        pressure.adapt(101, 100);
        assert!(pressure.is_on());
        assert_eq!(pressure.keep(), &[day / 2 * 3, day * 30, day * 730, Duration::ZERO]);
        for _ in 0..100 {
            pressure.adapt(101, 100);
        }
        assert_eq!(pressure.keep(), &LEAST);
        for between in [80, 90, 100] {
            pressure.adapt(between, 100);
            assert_eq!(pressure.keep(), &LEAST, "between the two thresholds nothing changes");
        }
        pressure.adapt(79, 100);
        assert_eq!((pressure.keep()[0], pressure.keep()[3]), (LEAST[0], LEAST[3] / 3 * 4));
        for _ in 0..100 {
            pressure.adapt(79, 100);
        }
        assert!(!pressure.is_on() && pressure.keep() == &configured);
        pressure.adapt(u64::MAX, 0);
        assert!(!pressure.is_on(), "without a limit");
    }

    #[test]
    fn relaxing_undoes_one_step() {
        let mut configured = LEAST;
        configured[3] = Duration::ZERO;
        let mut pressure = Pressure::new(configured);
        pressure.adapt(101, 100);
        assert_eq!(pressure.keep()[3], FOR_EVER / 4 * 3);
        pressure.adapt(79, 100);
        assert!(!pressure.is_on());
    }
}
