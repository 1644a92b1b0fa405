//! Pauses of this process: stopped by a signal, frozen with its container, or moved to another host with its virtual machine.
//!
//! Data that clients sent meanwhile are in their sockets, and all deadlines have passed when the process continues. So
//! code that is about to treat a client as dead, absent or slow checks here first, and restarts its deadline after a
//! pause.
//!
//! A thread reads the clock several times a second. A second without a reading is a pause. Each check reads the clock
//! too, so that the result does not depend on which thread is scheduled first afterwards.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Interval of the thread.
const EVERY: Duration = Duration::from_millis(200);

/// Shortest pause. Shorter ones are within the tolerance of every deadline.
const LIMIT: Duration = Duration::from_secs(1);

static PULSE: Pulse = Pulse::new();

/// State of one process; times are milliseconds since `start`.
struct Pulse {
    /// Set by [`watch`]; before that there are no pauses.
    start: OnceLock<Instant>,
    last_look: AtomicU64,
    count: AtomicU64,
    ended: AtomicU64,
    length: AtomicU64,
    total: AtomicU64,
}

/// Pause that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// End of the pause.
    pub ended: Instant,
    /// Length of the pause.
    pub length: Duration,
}

/// Starts the thread, once per process.
///
/// # Errors
/// The system has no more threads.
pub fn watch() -> io::Result<()> {
    if PULSE.start.set(Instant::now()).is_err() {
        return Ok(());
    }
    thread::Builder::new().name("pulse".into()).spawn(look_for_ever).map(drop)
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own")]
fn look_for_ever() {
    loop {
        thread::sleep(EVERY);
        PULSE.look(Instant::now());
    }
}

/// Returns the number of pauses so far. A change means that the process was paused in between.
pub fn count() -> u64 {
    PULSE.look(Instant::now());
    PULSE.count.load(Ordering::Acquire)
}

/// Returns the last pause.
pub fn last() -> Option<Pause> {
    PULSE.look(Instant::now());
    PULSE.last()
}

/// Returns `since`, or the end of the last pause if that was later: the client is responsible for the time after it only.
pub fn awake_since(since: Instant) -> Instant {
    last().map_or(since, |pause| since.max(pause.ended))
}

/// Returns the total length of all pauses.
pub fn total() -> Duration {
    PULSE.look(Instant::now());
    Duration::from_millis(PULSE.total.load(Ordering::Acquire))
}

impl Pulse {
    const fn new() -> Self {
        Self {
            start: OnceLock::new(),
            last_look: AtomicU64::new(0),
            count: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            length: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }

    fn look(&self, now: Instant) {
        let Some(start) = self.start.get() else { return };
        let now = now.saturating_duration_since(*start).as_millis() as u64;
        let before = self.last_look.load(Ordering::Acquire);
        let still = now.saturating_sub(before);
        if u128::from(still) < LIMIT.as_millis() {
            self.last_look.fetch_max(now, Ordering::AcqRel);
            return;
        }
        // Before the reading is stored: a thread that sees it also sees the pause. Two concurrent readings count the
        // pause twice, which only restarts some deadlines once more.
        self.length.store(still, Ordering::Release);
        self.ended.store(now, Ordering::Release);
        self.total.fetch_add(still, Ordering::AcqRel);
        self.count.fetch_add(1, Ordering::AcqRel);
        if self.last_look.fetch_max(now, Ordering::AcqRel) == before {
            tracing::warn!(milliseconds = still, "this process was paused; deadlines of clients restart");
        }
    }

    fn last(&self) -> Option<Pause> {
        let start = *self.start.get()?;
        let of = |value: &AtomicU64| Duration::from_millis(value.load(Ordering::Acquire));
        (self.count.load(Ordering::Acquire) > 0)
            .then(|| Pause { ended: start + of(&self.ended), length: of(&self.length) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_reading_is_one_pause() {
        let pulse = Pulse::new();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        pulse.look(at(9_000));
        assert_eq!(pulse.last(), None, "the thread is not started yet");
        pulse.start.set(start).unwrap();
        for ms in [200, 400, 1_399, 1_300] {
            pulse.look(at(ms));
        }
        assert_eq!((pulse.last(), pulse.count.load(Ordering::Relaxed)), (None, 0));
        pulse.look(at(9_399));
        pulse.look(at(9_400));
        let pause = Pause { ended: at(9_399), length: Duration::from_millis(8_000) };
        assert_eq!((pulse.last(), pulse.count.load(Ordering::Relaxed)), (Some(pause), 1));
        assert_eq!(pulse.total.load(Ordering::Relaxed), 8_000);
        pulse.look(at(10_400));
        assert_eq!(pulse.count.load(Ordering::Relaxed), 2, "a second is the shortest pause");
    }
}
