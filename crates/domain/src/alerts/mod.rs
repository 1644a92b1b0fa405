//! Alerts: rules over any field of any state channel, raised once and resolved once.

mod alert;
mod alerting;
mod command;
mod condition;
mod config;
mod engine;
mod error;
mod field;
mod metrics;
mod notifier;
mod outbox;
mod rule;
#[cfg(feature = "openapi")]
mod schema;
mod service;
mod store;
mod watcher;
mod window;

pub use alert::{Alert, News, is_alert_id};
pub use alerting::Alerting;
pub use condition::Condition;
pub use config::AlertConfig;
pub use error::AlertError;
pub use metrics::{Metrics, Sent};
pub use notifier::{MailTls, SmtpConfig, TargetError, WebhookConfig, check_mailbox, check_webhook};
pub use outbox::{Announce, Outbox};
pub use rule::{NewRule, Rule, Severity, Target};
pub use service::{AlertService, Filter, Page};
pub use store::{
    Acknowledged, AlertStore, Delivery, EngineData, NewDelivery, Outgoing, Query, Raised, Resolution, Resolved,
    RuleReset, Sample, Settlement, StoreFuture, Waiting,
};
pub use watcher::Watcher;
