//! Limits of a session: the rate of its messages, and bad messages.

use std::time::Duration;

use serde_json::json;

use super::{
    super::{namespace::Namespace, output},
    Connection,
};
use crate::transport::stream::rate_limit::RateExceeded;
use tricast_core::{counters::Limit, protocol::close::CloseReason};

impl Connection {
    pub(super) fn note_bad_messages(&mut self, number: usize) {
        for _ in 0..number {
            self.state.shared.counters.bad_messages.inc();
            let limit = self.state.shared.limits.max_bad_messages;
            if self.bad_messages.count() >= limit && limit > 0 {
                self.state.shared.counters.limit(Limit::BadMessages).inc();
                self.close(CloseReason::TooManyBadMessages);
            }
        }
    }

    /// Counts a message; false if it exceeds the rate limit.
    pub(super) fn check_rate(&mut self) -> bool {
        match self.rate.check() {
            Ok(()) => true,
            Err(exceeded) => {
                self.state.shared.counters.limit(Limit::Messages).inc();
                match exceeded {
                    RateExceeded::Close => self.close(CloseReason::RateLimited),
                    RateExceeded::Wait(wait) => self.refuse_rate(wait),
                }
                false
            }
        }
    }

    fn refuse_rate(&mut self, wait: Duration) {
        let retry_after = wait.as_millis() as u64 + 1;
        for socket in &self.sockets {
            let code = if socket.namespace == Namespace::Tricast { "RATE_LIMITED" } else { "ANALYTICS_1103" };
            let message = "too many messages: wait a moment";
            let error = json!({"code": code, "message": message, "details": {"retryAfter": retry_after}});
            output::push_event(&mut self.packets, socket.namespace, "error", &error);
        }
    }
}
