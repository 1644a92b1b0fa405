//! Rate limits of one connection: messages per second, and refused or bad messages per minute.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use tokio::time::Instant;

use tricast_core::pause;

/// Bursts of refused messages within a minute after which the connection is closed (4429): the client was asked to wait
/// and does not.
const MAX_REFUSED_BURSTS: usize = 5;

/// Counts occurrences within a window of one minute.
#[derive(Debug)]
pub(in crate::transport) struct FixedWindow {
    since: Instant,
    count: usize,
}

impl FixedWindow {
    pub(in crate::transport) fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// Counts one occurrence and returns their number within the current window.
    pub(in crate::transport) fn count(&mut self) -> usize {
        if self.since.elapsed() > Duration::from_secs(60) {
            *self = Self::new(Instant::now());
        }
        self.count += 1;
        self.count
    }
}

/// Limits the messages of one connection.
pub(in crate::transport) struct MessageRate {
    quota: Option<Quota>,
    /// Pauses of this process that were seen.
    pauses: u64,
    /// Messages that the client may have sent while this process was paused.
    allowance: u32,
    /// Created at the first message: many connections never send one.
    limiter: Option<Box<DefaultDirectRateLimiter>>,
    refused: FixedWindow,
}

/// Reason why a message is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum RateExceeded {
    /// It may be sent again after this time.
    Wait(Duration),
    /// The client was asked to wait too often: close the connection.
    Close,
}

impl MessageRate {
    /// Allows `per_second` messages on average and `burst` at once; 0 means no limit.
    pub(in crate::transport) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let quota = NonZeroU32::new(per_second)
            .map(|rate| Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap_or(rate)));
        Self { quota, pauses: pause::count(), allowance: 0, limiter: None, refused: FixedWindow::new(now) }
    }

    /// Allows the messages that the client may have sent during a pause of `length`, which arrive at once.
    fn allow_for(&mut self, length: Duration) {
        let Some(quota) = self.quota else { return };
        let messages = length.as_secs_f64() / quota.replenish_interval().as_secs_f64();
        self.allowance = messages as u32;
    }

    /// Counts one message.
    ///
    /// # Errors
    /// [`RateExceeded`]: the message is not to be carried out.
    pub(in crate::transport) fn check(&mut self) -> Result<(), RateExceeded> {
        let Some(quota) = self.quota else { return Ok(()) };
        let pauses = pause::count();
        if self.pauses != pauses {
            self.pauses = pauses;
            let length = pause::last().map(|pause| pause.length).unwrap_or_default();
            self.allow_for(length);
        }
        if self.allowance > 0 {
            self.allowance -= 1;
            return Ok(());
        }
        let limiter = self.limiter.get_or_insert_with(|| Box::new(RateLimiter::direct(quota)));
        let Err(until) = limiter.check() else { return Ok(()) };
        if self.refused.count() > MAX_REFUSED_BURSTS * quota.burst_size().get() as usize {
            return Err(RateExceeded::Close);
        }
        Err(RateExceeded::Wait(until.wait_time_from(governor::clock::DefaultClock::default().now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_client_is_asked_to_wait_and_in_the_end_closed() {
        let mut rate = MessageRate::new(1, 4, Instant::now());
        assert!((0..4).all(|_| rate.check().is_ok()));
        let results: Vec<_> = (0..30).map(|_| rate.check()).collect();
        assert!(matches!(results[0], Err(RateExceeded::Wait(wait)) if wait <= Duration::from_secs(1)));
        assert_eq!(results.last(), Some(&Err(RateExceeded::Close)));
        let waits = results.iter().filter(|result| matches!(result, Err(RateExceeded::Wait(_)))).count();
        assert!(waits <= 4 * MAX_REFUSED_BURSTS);
    }

    #[test]
    fn messages_that_gathered_during_a_pause_of_the_server_pass() {
        let mut rate = MessageRate::new(10, 5, Instant::now());
        rate.allow_for(Duration::from_secs(8));
        assert!((0..85).all(|_| rate.check().is_ok()));
        assert!(matches!(rate.check(), Err(RateExceeded::Wait(_))));
    }

    #[test]
    fn zero_means_no_limit() {
        let mut rate = MessageRate::new(0, 0, Instant::now());
        assert!((0..10_000).all(|_| rate.check().is_ok()));
    }
}
