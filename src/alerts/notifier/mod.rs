//! Sending alerts out of the house: one attempt at a time; when and how often is the outbox's business.

use futures_util::future::BoxFuture;

use super::Delivery;

mod email;
mod webhook;

pub(super) use email::Mailer;
pub use email::{MailTls, SmtpConfig, check_mailbox};
pub(super) use webhook::Webhook;
pub use webhook::{WebhookConfig, check_webhook};

/// One way out. Sends nothing twice by itself, and gives up in bounded time.
pub(super) trait Notifier: Send + Sync {
    /// One attempt. `Ok`: the receiver has taken it.
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For the log; names no address, no secret.
    pub(super) reason: String,
    /// Whether the same may succeed later.
    pub(super) passes: bool,
}

impl Failure {
    fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passes: true }
    }

    fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passes: false }
    }
}

/// Why a target can't be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub String);

/// An error and what caused it.
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
