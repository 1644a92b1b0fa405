//! Reads a rhythm: by how much the beats of a stream were held back, and in what lumps they came. Pure.

use std::time::Duration;

/// One beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    /// When the server gave it, by the server's clock since the stream's begin.
    pub(super) given: Duration,
    /// When it came, by ours since the request.
    pub(super) came: Duration,
    /// Its size on the wire, about.
    pub(super) bytes: usize,
}

/// What the beats say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// By how much longer than the quickest the slowest was on its way.
    pub(super) held: Duration,
    /// Pieces in which they came: as many as there are beats, if nothing holds them.
    pub(super) lumps: usize,
    /// Bytes of the largest lump: about what a buffer takes.
    pub(super) largest: usize,
}

/// Held for longer than this is held on purpose; less may be the network.
pub(super) const HELD: Duration = Duration::from_millis(600);

/// Beats that come within this of each other came together.
const TOGETHER: Duration = Duration::from_millis(40);

/// Reads the beats; `None` without any.
pub(super) fn read(beats: &[Beat]) -> Option<Reading> {
    // The clocks have no common beginning: the quickest beat is the measure.
    let late = |beat: &Beat| beat.came.as_secs_f64() - beat.given.as_secs_f64();
    let quickest = beats.iter().map(late).reduce(f64::min)?;
    let slowest = beats.iter().map(late).reduce(f64::max)?;
    let (mut lumps, mut largest, mut lump, mut last) = (0, 0, 0, None);
    for beat in beats {
        match last {
            Some(last) if beat.came.saturating_sub(last) <= TOGETHER => lump += beat.bytes,
            _ => (lumps, lump) = (lumps + 1, beat.bytes),
        }
        last = Some(beat.came);
        largest = largest.max(lump);
    }
    Some(Reading { held: Duration::from_secs_f64((slowest - quickest).max(0.0)), lumps, largest })
}

impl Reading {
    /// Whether somebody collects before giving on, rather than the network being slow for a moment.
    pub(super) fn is_held(&self, beats: usize) -> bool {
        self.held >= HELD && self.lumps * 2 <= beats
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn beats(came_ms: &[u64]) -> Vec<Beat> {
        let beat = |(n, came): (u64, &u64)| Beat {
            given: Duration::from_millis(250 * n),
            came: Duration::from_millis(*came),
            bytes: 600,
        };
        (0..).zip(came_ms).map(beat).collect()
    }

    #[test]
    fn what_comes_as_it_is_given_is_not_held() {
        let reading = read(&beats(&[30, 281, 533, 779])).unwrap();
        assert!(reading.held <= Duration::from_millis(4) && !reading.is_held(4), "{reading:?}");
        assert_eq!((reading.lumps, reading.largest), (4, 600));
    }

    #[test]
    fn all_at_the_end_is_one_lump() {
        let reading = read(&beats(&[780, 780, 781, 781])).unwrap();
        assert_eq!((reading.lumps, reading.largest, reading.held.as_millis()), (1, 2_400, 749));
        assert!(reading.is_held(4));
    }

    #[test]
    fn a_buffer_that_fills_shows_its_size() {
        let reading = read(&beats(&[780, 780, 780, 780, 1_780, 1_780, 1_780, 1_780])).unwrap();
        assert_eq!((reading.lumps, reading.largest), (2, 2_400));
        assert!(reading.is_held(8));
    }

    #[test]
    fn one_hiccup_of_the_network_is_no_buffer() {
        let reading = read(&beats(&[10, 260, 510, 1_500, 1_500, 1_500, 1_510, 1_760, 2_010, 2_260])).unwrap();
        assert!(reading.held > HELD && !reading.is_held(10), "{reading:?}");
        assert_eq!(read(&[]), None);
    }

    proptest! {
        #[test]
        fn a_constant_delay_says_nothing(delay in 0_u64..100_000, jitter in prop::collection::vec(0_u64..100, 1..40)) {
            let came: Vec<_> = (0..).zip(&jitter).map(|(n, jitter)| 250 * n + delay + jitter).collect();
            prop_assert!(!read(&beats(&came)).unwrap().is_held(came.len()));
        }
    }
}
