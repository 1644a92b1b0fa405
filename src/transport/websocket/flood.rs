//! What one connection may send: messages per second, and how much of what it must not.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use tokio::time::Instant;

use crate::pause;

/// Bursts that may be refused within a minute before the connection is closed (4429): who is told to wait and does not.
const PATIENCE: usize = 5;

/// Counts what happens within a minute.
#[derive(Debug)]
pub(super) struct Minute {
    since: Instant,
    count: usize,
}

impl Minute {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// Counts one more; answers how many there were within the minute.
    pub(super) fn count(&mut self) -> usize {
        if self.since.elapsed() > Duration::from_secs(60) {
            *self = Self::new(Instant::now());
        }
        self.count += 1;
        self.count
    }
}

/// The messages of one connection.
pub(super) struct Flood {
    quota: Option<Quota>,
    /// Pauses of this process that were seen.
    pauses: u64,
    /// Messages that may have been sent while this process stood still.
    gathered: u32,
    /// Made at the first message: many connections never send one.
    limiter: Option<Box<DefaultDirectRateLimiter>>,
    refused: Minute,
}

/// A message too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooMany {
    /// It may be sent again after this.
    Wait(Duration),
    /// The client was told often enough.
    Close,
}

impl Flood {
    /// `per_second` on average, `burst` at once; 0 means no limit.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let quota = NonZeroU32::new(per_second)
            .map(|rate| Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap_or(rate)));
        Self { quota, pauses: pause::count(), gathered: 0, limiter: None, refused: Minute::new(now) }
    }

    /// What a client may have sent in `length` comes at once, and is no flood.
    fn allow_for(&mut self, length: Duration) {
        let Some(quota) = self.quota else { return };
        let messages = length.as_secs_f64() / quota.replenish_interval().as_secs_f64();
        self.gathered = messages as u32;
    }

    /// A message came.
    ///
    /// # Errors
    /// [`TooMany`]: it is not carried out.
    pub(super) fn message(&mut self) -> Result<(), TooMany> {
        let Some(quota) = self.quota else { return Ok(()) };
        let pauses = pause::count();
        if self.pauses != pauses {
            self.pauses = pauses;
            let length = pause::last().map(|pause| pause.length).unwrap_or_default();
            self.allow_for(length);
        }
        if self.gathered > 0 {
            self.gathered -= 1;
            return Ok(());
        }
        let limiter = self.limiter.get_or_insert_with(|| Box::new(RateLimiter::direct(quota)));
        let Err(until) = limiter.check() else { return Ok(()) };
        if self.refused.count() > PATIENCE * quota.burst_size().get() as usize {
            return Err(TooMany::Close);
        }
        Err(TooMany::Wait(until.wait_time_from(governor::clock::DefaultClock::default().now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_each_is_told_to_wait_and_who_does_not_is_closed() {
        let mut flood = Flood::new(1, 4, Instant::now());
        assert!((0..4).all(|_| flood.message().is_ok()));
        let answers: Vec<_> = (0..30).map(|_| flood.message()).collect();
        assert!(matches!(answers[0], Err(TooMany::Wait(wait)) if wait <= Duration::from_secs(1)));
        assert_eq!(answers.last(), Some(&Err(TooMany::Close)));
        assert!(answers.iter().filter(|answer| matches!(answer, Err(TooMany::Wait(_)))).count() <= 4 * PATIENCE);
    }

    #[test]
    fn what_gathered_while_the_server_stood_still_is_no_flood() {
        let mut flood = Flood::new(10, 5, Instant::now());
        flood.allow_for(Duration::from_secs(8));
        assert!((0..85).all(|_| flood.message().is_ok()));
        assert!(matches!(flood.message(), Err(TooMany::Wait(_))));
    }

    #[test]
    fn zero_means_no_limit() {
        let mut flood = Flood::new(0, 0, Instant::now());
        assert!((0..10_000).all(|_| flood.message().is_ok()));
    }
}
