//! Settings of alerts.

use tricast_core::{section, span::Span};

section! {
    /// Alert rules and alerts.
    #[derive(Copy)]
    pub struct AlertConfig {
        /// Alert rules of one tenant.
        #[range(1..=10_000)]
        max_rules: usize = 200,
        /// Time that a resolved alert is kept.
        #[range(Span::from_secs(3_600)..=Span::from_days(3_660))]
        retention: Span = Span::from_days(30),
        /// Resolved alerts of one tenant that are kept.
        #[range(1..=1_000_000)]
        max_kept: usize = 10_000,
        /// Mails and webhooks of one tenant that may wait; beyond it an alert is raised, but not sent.
        #[range(1..=100_000)]
        max_outbox: usize = 1_000,
        /// Longest time to try to send a mail or webhook.
        #[range(Span::ZERO..=Span::from_days(30))]
        give_up_after: Span = Span::from_days(1),
    }
}
