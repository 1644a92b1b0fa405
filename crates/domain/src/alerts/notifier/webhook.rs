//! Alerts as signed HTTP requests.
//!
//! ```text
//! POST <webhook.url>
//! Content-Type: application/json
//! X-Tricast-Delivery: dlv-…                   the same in a repetition
//! X-Tricast-Timestamp: 1721052005             of this attempt, seconds since 1970
//! X-Tricast-Signature: v1=HEX                 HMAC-SHA256 of TIMESTAMP.BODY by webhook.secret
//! ```
//!
//! Any status of 200 to 299 is an acceptance. The body of the response is not read.

use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use reqwest::{Client, StatusCode, Url, redirect::Policy};
use ring::hmac;

use super::{Failure, Notifier, TargetError, causes};
use crate::alerts::Delivery;
use tricast_core::{
    clock::Clock,
    section,
    settings::{FaultList, Secret, is_loopback},
    span::Span,
};

section! {
    /// HTTP request that is sent for each alert.
    pub struct WebhookConfig {
        /// URL that alerts are posted to. Without one no alert is posted. May be a secret in itself, and is never printed.
        url: Secret = Secret::default(),
        /// Secret that signs these requests. Never printed.
        secret: Secret = Secret::default(),
        /// Longest time of one attempt to post.
        #[range(Span::from_secs(1)..=Span::from_secs(300))]
        timeout: Span = Span::from_secs(10),
    }
}

impl WebhookConfig {
    /// Returns whether alerts are posted.
    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    /// Reports settings with which no alert could be posted.
    pub fn check(&self, faults: &mut FaultList) {
        if self.url.is_empty() {
            if !self.secret.is_empty() {
                faults.add("webhook.secret", "is set, but webhook.url is not: no alert would ever be posted");
            }
            return;
        }
        faults.add_err("webhook.url", check_webhook(self.url.expose()));
        if self.secret.is_empty() {
            let problem = "is not set: the receiver could not verify the sender. openssl rand -hex 32";
            faults.add("webhook.secret", problem);
        }
    }
}

/// Checks a URL: http or https, without user information.
///
/// # Errors
/// The problem, without the URL: it may contain a secret.
pub fn check_webhook(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("has to be an http or https URL".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains user information: receivers authenticate requests by their signature".into());
    }
    Ok(())
}

/// Notifier that sends requests.
pub(in crate::alerts) struct Webhook {
    client: Client,
    url: Url,
    key: hmac::Key,
    clock: Clock,
}

impl Webhook {
    /// Creates a sender, if alerts are to be posted; nothing is sent yet. Signatures have the time of `clock`.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(in crate::alerts) fn open(config: &WebhookConfig, clock: Clock) -> Result<Option<Self>, TargetError> {
        if !config.is_set() {
            return Ok(None);
        }
        let (url, secret) = (config.url.expose(), config.secret.expose());
        check_webhook(url).map_err(TargetError)?;
        let url = Url::parse(url).map_err(|error| TargetError(error.to_string()))?;
        // rustls requires a provider, even where no tokens are verified; the second call finds it installed.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .user_agent(concat!("tricast/", env!("CARGO_PKG_VERSION")))
            // The target of a redirect must not get the signature.
            .redirect(Policy::none())
            .timeout(config.timeout.0);
        let client = match url.scheme() {
            "https" => client.https_only(true),
            // Without the machine's certificates, which a small container may lack.
            _ => client.tls_certs_only([]),
        };
        let client = if is_loopback(url.host_str().unwrap_or_default()) { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| TargetError(causes(&error)))?;
        Ok(Some(Self { client, url, key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), clock }))
    }
}

impl Notifier for Webhook {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let timestamp = self.clock.now().as_second();
            let request = self
                .client
                .post(self.url.clone())
                .header("content-type", "application/json")
                .header("x-tricast-delivery", &delivery.id)
                .header("x-tricast-timestamp", timestamp)
                .header("x-tricast-signature", sign(&self.key, timestamp, &delivery.body))
                .body(delivery.body.clone());
            match request.send().await {
                Ok(answer) => check_status(answer.status()),
                Err(error) => Err(Failure::passing(causes(&error.without_url()))),
            }
        })
    }
}

/// Returns `v1=` and the hexadecimal HMAC.
fn sign(key: &hmac::Key, timestamp: i64, body: &str) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{timestamp}.").as_bytes());
    context.update(body.as_bytes());
    format!("v1={}", HEXLOWER.encode(context.sign().as_ref()))
}

/// Classifies a status. A server that fails, is overloaded or in transition may accept the request later; one that does
/// not understand it, or has moved, never will.
fn check_status(status: StatusCode) -> Result<(), Failure> {
    let reason = format!("answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => Err(Failure::passing(reason)),
        _ => Err(Failure::lasting(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_equal_those_of_other_programs() {
        // printf '1721052005.{"x":1}' | openssl dgst -sha256 -hmac secret
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert_eq!(
            sign(&key, 1_721_052_005, r#"{"x":1}"#),
            "v1=003dcf60c5d56475044917ff336cb6f36f60961b064a36e956857732556975c5"
        );
    }

    #[test]
    fn temporary_failures_are_retried() {
        let is_temporary =
            |status| check_status(StatusCode::from_u16(status).unwrap()).map_err(|failure| failure.is_temporary);
        for status in [200, 202, 204] {
            assert_eq!(is_temporary(status), Ok(()));
        }
        for status in [408, 425, 429, 500, 502, 503, 599] {
            assert_eq!(is_temporary(status), Err(true), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 422] {
            assert_eq!(is_temporary(status), Err(false), "{status}");
        }
    }

    #[test]
    fn urls_are_checked() {
        for good in ["https://hooks.example/x?y=1", "http://127.0.0.1:9/x"] {
            assert_eq!(check_webhook(good), Ok(()));
        }
        for bad in
            ["", "/x", "ftp://a.example/", "https://a:b@c.example/", "https://a@c.example/", "https://:b@c.example/"]
        {
            assert!(check_webhook(bad).is_err(), "{bad}");
        }
    }
}
