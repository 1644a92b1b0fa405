//! Timer of a connection's deadline.

use std::{
    pin::Pin,
    task::Context,
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep_until};

/// Shortest wait for a deadline, also for one that has passed: a connection that does not act on it cannot keep its
/// worker busy.
const SHORTEST: Duration = Duration::from_millis(10);

/// Wakes the task of a connection at its deadline, or earlier.
///
/// Each request on a connection moves its deadline. The timer is not moved with it but set again when it has run out, so
/// that requests do not pay for it. It exists only while there is a deadline.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Wakes the task of `cx` at `deadline` at the latest.
    pub(super) fn set(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            self.0 = None;
            return;
        };
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.is_elapsed() || timer.deadline() > deadline {
            timer.as_mut().reset(deadline.max(tokio::time::Instant::now() + SHORTEST));
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Returns whether the timer has run out.
    pub(super) fn has_run_out(&self) -> bool {
        self.0.as_ref().is_some_and(|timer| timer.is_elapsed())
    }
}
