//! Retries of loading that has to succeed before a service can start.

use std::{fmt::Display, time::Duration};

use tokio::time::sleep;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Attempts to load the same data, of which only the first failure is logged.
#[derive(Debug)]
pub struct Retry<'a> {
    tenant: Option<&'a str>,
    data: &'static str,
    failed: bool,
}

impl<'a> Retry<'a> {
    /// Counts attempts to load `data`, a plural noun; of one tenant, or of all if `tenant` is `None`.
    pub fn loading(data: &'static str, tenant: impl Into<Option<&'a str>>) -> Self {
        Self { tenant: tenant.into(), data, failed: false }
    }

    /// Logs the first failure, then waits until the next attempt is due.
    pub async fn after(&mut self, error: &impl Display) {
        if !std::mem::replace(&mut self.failed, true) {
            tracing::error!(tenant = self.tenant, %error, "cannot load {}; retrying", self.data);
        }
        sleep(PAUSE).await;
    }
}
