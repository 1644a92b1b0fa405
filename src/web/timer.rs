//! The timer of a connection.

use std::{
    pin::Pin,
    task::Context,
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep_until};

/// Shortest time that is waited for a deadline, also for one that has passed: a connection that does not act on it can't keep
/// its worker busy.
const SHORTEST: Duration = Duration::from_millis(10);

/// Wakes the task of a connection at its deadline, or before.
///
/// A connection that is polled puts its deadline off with each request. The timer stays where it is and is set on when it has
/// run out, so that a request does not pay for it. It is kept only while there is a deadline.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Has the task of `cx` woken at `deadline` at the latest.
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

    /// Whether it has run out.
    pub(super) fn has_run_out(&self) -> bool {
        self.0.as_ref().is_some_and(|timer| timer.is_elapsed())
    }
}
