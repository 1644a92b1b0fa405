//! Notifiers: one attempt to send a delivery; the outbox decides when and how often.

use futures_util::future::BoxFuture;

use super::Delivery;

mod email;
mod webhook;

pub(super) use email::Mailer;
pub use email::{MailTls, SmtpConfig, check_mailbox};
pub(super) use webhook::Webhook;
pub use webhook::{WebhookConfig, check_webhook};

/// Notifier of one target. Repeats nothing on its own, and has a time limit.
pub(super) trait Notifier: Send + Sync {
    /// Makes one attempt. `Ok` means that the receiver has accepted the delivery.
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Reason why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Text for the log; contains no address and no secret.
    pub(super) reason: String,
    /// Whether another attempt may succeed.
    pub(super) is_temporary: bool,
}

impl Failure {
    fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_temporary: true }
    }

    fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_temporary: false }
    }
}

/// Reason why a target can't be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

/// Returns an error with its causes.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
