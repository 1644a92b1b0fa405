//! Sender of deliveries: one lane for each target, so that none waits for another.
//!
//! A delivery is taken for a little longer than one attempt. If the process dies meanwhile, another one takes it, so
//! each is delivered at least once; receivers recognize a repetition by its id.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    Alerting, Delivery, Sent, Settlement, SmtpConfig, Target, TargetError, WebhookConfig,
    command::DEADLINE,
    notifier::{Failure, Mailer, Notifier, Webhook},
};
use crate::service::in_time;
use tricast_core::clock::Clock;

/// Largest number of deliveries to one target that are sent at once.
const AT_ONCE: usize = 8;

/// Time for which a taken delivery is reserved, beyond the time limit of an attempt.
const MARGIN: Duration = Duration::from_secs(5);

/// First and longest pause between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Interval at which a lane checks for due deliveries.
const POLL: Duration = Duration::from_secs(1);

/// Interval at which waiting deliveries are counted.
const COUNT: Duration = Duration::from_secs(5);

/// Number of consecutive failures after which `system` carries `degraded`.
const DEGRADED: u32 = 3;

/// Publishes an event with its data on the channel `system`.
pub type Announce = Arc<dyn Fn(&'static str, Value) -> BoxFuture<'static, ()> + Send + Sync>;

/// Task that sends the deliveries in the store.
pub struct Outbox {
    lanes: Vec<Lane>,
    alerting: Alerting,
}

struct Lane {
    target: Target,
    notifier: Box<dyn Notifier>,
    timeout: Duration,
    alerting: Alerting,
    announce: Announce,
    clock: Clock,
    outgoing: watch::Receiver<()>,
    failures: u32,
}

impl Outbox {
    /// Creates an outbox for the configured targets. Nothing is sent until [`Outbox::run`].
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn new(
        alerting: Alerting,
        smtp: &SmtpConfig,
        webhook: &WebhookConfig,
        announce: &Announce,
        clock: &Clock,
    ) -> Result<Self, TargetError> {
        let lane = |target, notifier: Box<dyn Notifier>, timeout| Lane {
            target,
            notifier,
            timeout,
            alerting: alerting.clone(),
            announce: Arc::clone(announce),
            clock: clock.clone(),
            outgoing: alerting.outgoing.subscribe(),
            failures: 0,
        };
        let mut lanes = Vec::new();
        if let Some(mailer) = Mailer::open(smtp)? {
            lanes.push(lane(Target::Email, Box::new(mailer), smtp.timeout.0));
        }
        if let Some(sender) = Webhook::open(webhook, clock.clone())? {
            lanes.push(lane(Target::Webhook, Box::new(sender), webhook.timeout.0));
        }
        Ok(Self { lanes, alerting })
    }

    /// Sends deliveries; never returns.
    pub async fn run(self) {
        let Self { lanes, alerting } = self;
        let counting = async {
            loop {
                if let Ok(waiting) = in_time(DEADLINE, alerting.store.waiting()).await {
                    alerting.metrics.set_waiting(waiting);
                }
                tokio::time::sleep(COUNT).await;
            }
        };
        tokio::join!(counting, join_all(lanes.into_iter().map(Lane::run)));
    }
}

impl Lane {
    async fn run(mut self) {
        loop {
            let start = Instant::now();
            let taken = self.take().await;
            let more = taken.len() == AT_ONCE;
            let results = join_all(taken.iter().map(|delivery| self.attempt(delivery))).await;
            for (delivery, result) in taken.iter().zip(results) {
                self.settle(delivery, result).await;
            }
            if !more {
                // Waits for a new delivery, or until an old one may be due.
                let _ = timeout(POLL.saturating_sub(start.elapsed()).max(POLL / 4), self.outgoing.changed()).await;
            }
        }
    }

    async fn take(&self) -> Vec<Delivery> {
        let now = self.clock.now_ms();
        let until = after(now, self.timeout + MARGIN);
        in_time(DEADLINE, self.alerting.store.take(self.target, now, until, AT_ONCE)).await.unwrap_or_default()
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<(), Failure> {
        // The notifiers have time limits of their own; this is the last one.
        let slow = Failure { reason: "timed out".into(), is_temporary: true };
        timeout(self.timeout + MARGIN / 2, self.notifier.send(delivery)).await.unwrap_or(Err(slow))
    }

    async fn settle(&mut self, delivery: &Delivery, result: Result<(), Failure>) {
        let (target, id, attempt) = (self.target.as_str(), &*delivery.id, delivery.attempt);
        let settlement = match &result {
            Ok(()) => {
                self.count(Sent::Delivered);
                tracing::info!(target_name = target, delivery = id, attempt, "a notification was sent");
                Settlement::Done
            }
            Err(Failure { reason, is_temporary: true }) if !self.is_late(delivery) => {
                self.count(Sent::Failed);
                let pause = pause(attempt);
                tracing::warn!(
                    target_name = target,
                    delivery = id,
                    attempt,
                    reason,
                    ?pause,
                    "cannot send a notification; retrying"
                );
                Settlement::Retry(after(self.clock.now_ms(), pause))
            }
            Err(Failure { reason, .. }) => {
                self.count(Sent::GivenUp);
                let alert = &*delivery.alert;
                tracing::error!(
                    target_name = target,
                    delivery = id,
                    alert,
                    attempt,
                    reason,
                    "gave up sending a notification"
                );
                Settlement::Done
            }
        };
        // A delivery whose result can't be recorded is sent again: a repetition is better than a loss.
        if let Err(error) = in_time(DEADLINE, self.alerting.store.settle(id, attempt, settlement)).await {
            tracing::warn!(target_name = target, delivery = id, %error, "cannot record the result of a delivery");
        }
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failures) >= DEGRADED {
                    (self.announce)("recovered", json!({"reason": target})).await;
                }
            }
            Err(Failure { is_temporary: true, .. }) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == DEGRADED {
                    (self.announce)("degraded", json!({"reason": target})).await;
                }
            }
            // The receiver can be reached, but refuses this delivery.
            Err(_) => {}
        }
    }

    fn count(&self, result: Sent) {
        self.alerting.metrics.sent(self.target, result).inc();
    }

    fn is_late(&self, delivery: &Delivery) -> bool {
        let patience = SignedDuration::try_from(self.alerting.config.give_up_after.0).unwrap_or(SignedDuration::MAX);
        self.clock.now_ms().duration_since(delivery.at) >= patience
    }
}

fn after(now: Timestamp, pause: Duration) -> Timestamp {
    let ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
    now.saturating_add(SignedDuration::from_millis(ms)).unwrap_or(Timestamp::MAX)
}

/// Returns the pause after an attempt of this number. It doubles with each attempt, with jitter, so that deliveries
/// that failed together are not repeated together.
fn pause(attempt: u32) -> Duration {
    let (first, longest) = BACKOFF;
    let pause = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(longest);
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        for (attempt, seconds) in [(0, 1), (1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (u32::MAX, 300)] {
            let whole = Duration::from_secs(seconds);
            for _ in 0..20 {
                let pause = pause(attempt);
                assert!(pause >= whole / 2 && pause <= whole, "{attempt}: {pause:?}");
            }
        }
    }
}
