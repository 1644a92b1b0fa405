//! Timing of a stream of events: the delay that a buffer causes, and the batches in which the events arrive. Pure.

use std::time::Duration;

/// One event of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProbeEvent {
    /// Sending time by the server's clock, since the start of the stream.
    pub(super) sent: Duration,
    /// Arrival time by the local clock, since the request.
    pub(super) arrived: Duration,
    /// Approximate size on the wire.
    pub(super) bytes: usize,
}

/// Result of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// Difference between the longest and the shortest delay.
    pub(super) held: Duration,
    /// Number of batches. Without buffering it is the number of events.
    pub(super) batches: usize,
    /// Size of the largest batch in bytes: about the size of the buffer.
    pub(super) largest: usize,
}

/// Delays above this are caused by buffering; shorter ones may be the network.
pub(super) const HELD: Duration = Duration::from_millis(600);

/// Events that arrive within this time of each other belong to one batch.
const TOGETHER: Duration = Duration::from_millis(40);

/// Measures the events; `None` without any.
pub(super) fn read(probes: &[ProbeEvent]) -> Option<Timing> {
    // The clocks have different origins, so delays are relative to the shortest one.
    let late = |probe: &ProbeEvent| probe.arrived.as_secs_f64() - probe.sent.as_secs_f64();
    let quickest = probes.iter().map(late).reduce(f64::min)?;
    let slowest = probes.iter().map(late).reduce(f64::max)?;
    let (mut batches, mut largest, mut batch, mut last) = (0, 0, 0, None);
    for probe in probes {
        match last {
            Some(last) if probe.arrived.saturating_sub(last) <= TOGETHER => batch += probe.bytes,
            _ => (batches, batch) = (batches + 1, probe.bytes),
        }
        last = Some(probe.arrived);
        largest = largest.max(batch);
    }
    Some(Timing { held: Duration::from_secs_f64((slowest - quickest).max(0.0)), batches, largest })
}

impl Timing {
    /// Returns whether a buffer collects events, as opposed to a network that is slow for a moment.
    pub(super) fn is_held(&self, probes: usize) -> bool {
        self.held >= HELD && self.batches * 2 <= probes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probes(came_ms: &[u64]) -> Vec<ProbeEvent> {
        let probe = |(n, arrived): (u64, &u64)| ProbeEvent {
            sent: Duration::from_millis(250 * n),
            arrived: Duration::from_millis(*arrived),
            bytes: 600,
        };
        (0..).zip(came_ms).map(probe).collect()
    }

    #[test]
    fn events_that_arrive_at_their_pace_are_not_held() {
        let reading = read(&probes(&[30, 281, 533, 779])).unwrap();
        assert!(reading.held <= Duration::from_millis(4) && !reading.is_held(4), "{reading:?}");
        assert_eq!((reading.batches, reading.largest), (4, 600));
    }

    #[test]
    fn events_that_arrive_at_the_end_are_one_batch() {
        let reading = read(&probes(&[780, 780, 781, 781])).unwrap();
        assert_eq!((reading.batches, reading.largest, reading.held.as_millis()), (1, 2_400, 749));
        assert!(reading.is_held(4));
    }

    #[test]
    fn the_largest_batch_shows_the_size_of_the_buffer() {
        let reading = read(&probes(&[780, 780, 780, 780, 1_780, 1_780, 1_780, 1_780])).unwrap();
        assert_eq!((reading.batches, reading.largest), (2, 2_400));
        assert!(reading.is_held(8));
    }

    #[test]
    fn one_slow_moment_of_the_network_is_no_buffer() {
        let reading = read(&probes(&[10, 260, 510, 1_500, 1_500, 1_500, 1_510, 1_760, 2_010, 2_260])).unwrap();
        assert!(reading.held > HELD && !reading.is_held(10), "{reading:?}");
        assert_eq!(read(&[]), None);
    }

    proptest! {
        #[test]
        fn a_constant_delay_is_no_buffer(delay in 0_u64..100_000, jitter in prop::collection::vec(0_u64..100, 1..40)) {
            let arrived: Vec<_> = (0..).zip(&jitter).map(|(n, jitter)| 250 * n + delay + jitter).collect();
            prop_assert!(!read(&probes(&arrived)).unwrap().is_held(arrived.len()));
        }
    }
}
