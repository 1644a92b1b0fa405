//! Alerts as mail, by SMTP (RFC 5321).
//!
//! One connection for each mail: alerts are rare, and a restart of the mail server goes unnoticed.

use std::{fmt::Write, time::Duration};

use futures_util::future::BoxFuture;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use serde_json::Value;
use tokio::time::timeout;

use super::{Failure, Notifier, TargetError, causes};
use crate::alerts::Delivery;
use tricast_core::{
    section,
    settings::{FaultList, Secret, is_loopback},
    span::Span,
};

/// Largest length of a subject, in characters.
const MAX_SUBJECT: usize = 200;

/// SMTP replies that reject the sender, not the mail: the password may be corrected.
const OF_THE_SENDER: [u16; 4] = [530, 534, 535, 538];

section! {
    /// Mail server, sender and recipients of alerts.
    pub struct SmtpConfig {
        /// Mail server for alerts, by the name that its certificate has. Without one no mail is sent.
        host: Option<String> = None,
        /// Port of the mail server; 0 means 25, 587 or 465, depending on `smtp.tls`.
        port: u16 = 0,
        /// Encryption of the connection to the mail server: `starttls` (required of the server), `tls` from the first byte, or
        /// `none`, for a server on this machine.
        tls: MailTls = MailTls::default(),
        /// User name, if the mail server requires one. Needs `smtp.tls` or a server on this machine. Never printed: with some
        /// providers it is a key.
        username: Secret = Secret::default(),
        /// Password of the user. Never printed.
        password: Secret = Secret::default(),
        /// Sender of alert mails: `tricast@shop.example` or `Tricast <tricast@shop.example>`.
        from: Option<String> = None,
        /// Recipients of alert mails.
        to: Vec<String> = Vec::new(),
        /// Longest time of one attempt to send a mail.
        #[range(Span::from_secs(1)..=Span::from_secs(300))]
        timeout: Span = Span::from_secs(30),
    }
}

impl SmtpConfig {
    /// Returns whether mails are sent.
    pub fn is_set(&self) -> bool {
        self.host.is_some()
    }

    /// Reports settings with which no mail could be sent.
    pub fn check(&self, faults: &mut FaultList) {
        let Some(host) = &self.host else {
            let others = [
                ("smtp.username", !self.username.is_empty()),
                ("smtp.password", !self.password.is_empty()),
                ("smtp.from", self.from.is_some()),
                ("smtp.to", !self.to.is_empty()),
            ];
            for (key, _) in others.iter().filter(|(_, is_set)| *is_set) {
                faults.add(key, "is set, but smtp.host is not: no mail would ever be sent");
            }
            return;
        };
        if host.is_empty() || host.chars().any(|char| char.is_control() || char.is_whitespace() || char == '/') {
            faults.add("smtp.host", format!("{host:?} is not a host name"));
        }
        match &self.from {
            None => faults.add("smtp.from", "is not set: mails need a sender"),
            Some(from) => faults.add_err("smtp.from", check_mailbox(from)),
        }
        if self.to.is_empty() {
            faults.add("smtp.to", "is empty: mails need a recipient");
        }
        for to in &self.to {
            faults.add_err("smtp.to", check_mailbox(to));
        }
        if self.username.is_empty() != self.password.is_empty() {
            faults.add("smtp.username", "and smtp.password have to be set together");
        }
        if !self.username.is_empty() && self.tls == MailTls::None && !is_loopback(host) {
            faults.add("smtp.tls", "is \"none\": the password would be readable on the network");
        }
    }
}

/// Encryption of the connection to the mail server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// None: for a server on this machine.
    None,
    /// STARTTLS, which the server has to offer.
    #[default]
    Starttls,
    /// TLS from the first byte on.
    Tls,
}

/// Checks an address: `ops@example.com`, `Ops <ops@example.com>`.
///
/// # Errors
/// The problem.
pub fn check_mailbox(text: &str) -> Result<(), String> {
    text.parse::<Mailbox>().map(drop).map_err(|error| format!("{text:?} is not an address: {error}"))
}

/// Notifier that sends mails.
pub(in crate::alerts) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    timeout: Duration,
}

impl Mailer {
    /// Creates a mailer, if mails are to be sent; nothing is sent yet.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(in crate::alerts) fn open(config: &SmtpConfig) -> Result<Option<Self>, TargetError> {
        let SmtpConfig { host: Some(host), port, tls, username, password, from: Some(from), to, timeout } = config
        else {
            return Ok(None);
        };
        let mailbox =
            |text: &String| text.parse::<Mailbox>().map_err(|error| TargetError(format!("{text:?}: {error}")));
        let parameters = || TlsParameters::new(host.clone()).map_err(|error| TargetError(causes(&error)));
        let (tls, default_port) = match tls {
            MailTls::None => (Tls::None, 25),
            MailTls::Starttls => (Tls::Required(parameters()?), 587),
            MailTls::Tls => (Tls::Wrapper(parameters()?), 465),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .tls(tls)
            .port(if *port == 0 { default_port } else { *port })
            .timeout(Some(timeout.0));
        if !username.is_empty() {
            let credentials = Credentials::new(username.expose().to_owned(), password.expose().to_owned());
            transport = transport.credentials(credentials);
        }
        Ok(Some(Self {
            transport: transport.build(),
            from: mailbox(from)?,
            to: to.iter().map(mailbox).collect::<Result<_, _>>()?,
            timeout: timeout.0,
        }))
    }

    /// Creates the mail of a delivery.
    fn message(&self, delivery: &Delivery) -> Result<Message, Failure> {
        let body: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
        let (subject, text) = write(&delivery.tenant, &body);
        let domain = self.from.email.domain();
        let mut message = Message::builder()
            .from(self.from.clone())
            // The same in a repetition, so that a mail program shows it once.
            .message_id(Some(format!("<{}@{domain}>", delivery.id)))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let mut message = message.body(text).map_err(|error| Failure::lasting(causes(&error)))?;
        // Prevents automatic replies (RFC 3834).
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(automatic, "auto-generated".into()));
        Ok(message)
    }
}

impl Notifier for Mailer {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let message = self.message(delivery)?;
            // The transport's own time limit applies to each step.
            match timeout(self.timeout, self.transport.send(message)).await {
                Err(_) => Err(Failure::passing("timed out")),
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => {
                    let of_sender = error.status().is_some_and(|code| OF_THE_SENDER.contains(&code.into()));
                    let is_temporary = !error.is_permanent() || of_sender;
                    Err(Failure { reason: causes(&error), is_temporary })
                }
            }
        })
    }
}

/// Returns the subject and the text.
fn write(tenant: &str, body: &Value) -> (String, String) {
    let alert = &body["alert"];
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        // Without a decimal point: 97, not 97.0.
        other => other.as_f64().map_or_else(|| other.to_string(), |number| number.to_string()),
    };
    let resolved = body["event"] == "alert_resolved";
    let (severity, name) = (text(&alert["type"]), text(&body["rule"]["name"]));
    let name = if name.is_empty() { text(&alert["ruleId"]) } else { name };
    let subject = format!("[{}] {name}", if resolved { "resolved" } else { &severity });
    let mut page = format!("{}\n\n", text(&alert["message"]));
    let mut line = |name: &str, value: &Value| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{:<10} {}", format!("{name}:"), text(value));
    };
    line("severity", &alert["type"]);
    line("metric", &alert["metric"]);
    line("value", &alert["value"]);
    line("threshold", &alert["threshold"]);
    line("raised", &alert["raisedAt"]);
    if resolved {
        line("resolved", &alert["resolvedAt"]);
    }
    line("tenant", &tenant.into());
    line("alert", &alert["id"]);
    (subject.chars().take(MAX_SUBJECT).collect(), page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::alerts::Target;

    fn mail(rule: &str, message: &str) -> String {
        let body = json!({
            "event": "alert_raised", "rule": {"name": rule},
            "alert": {"id": "alt-1", "type": "critical", "message": message, "metric": "a.x", "value": 1.5, "threshold": 1.0,
                "ruleId": "slow", "raisedAt": "2026-01-02T03:04:05Z"},
        });
        send(&body)
    }

    fn send(body: &Value) -> String {
        let mailer = Mailer::open(&SmtpConfig {
            host: Some("127.0.0.1".into()),
            tls: MailTls::None,
            from: Some("Tricast <tricast@shop.example>".into()),
            to: vec!["ops@shop.example".into(), "Ada Löwe <ada@shop.example>".into()],
            ..SmtpConfig::default()
        });
        let mailer = mailer.unwrap().unwrap();
        let delivery = Delivery {
            id: "dlv-1".into(),
            tenant: "shop".into(),
            target: Target::Email,
            alert: "alt-1".into(),
            body: body.to_string(),
            at: jiff::Timestamp::UNIX_EPOCH,
            attempt: 1,
        };
        String::from_utf8(mailer.message(&delivery).unwrap().formatted()).unwrap()
    }

    #[test]
    fn a_mail_describes_the_alert() {
        let mail = mail("Slow answers", "Too slow");
        for part in [
            "Subject: [critical] Slow answers\r\n",
            "Message-ID: <dlv-1@shop.example>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "To: ops@shop.example, =?utf-8?b?",
        ] {
            assert!(mail.contains(part), "{part:?} in {mail}");
        }
        let (_, text) = mail.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            text.replace("\r\n", "\n"),
            "Too slow\n\nseverity:  critical\nmetric:    a.x\nvalue:     1.5\nthreshold: 1\n\
             raised:    2026-01-02T03:04:05Z\ntenant:    shop\nalert:     alt-1\n"
        );
    }

    #[test]
    fn a_mail_about_a_resolved_alert_has_another_subject() {
        let mail = send(&json!({
            "event": "alert_resolved", "rule": {"name": ""},
            "alert": {"id": "alt-1", "type": "warning", "message": "Too slow", "metric": "a.x", "value": null, "threshold": 60,
                "ruleId": "slow", "raisedAt": "2026-01-02T03:04:05Z", "resolvedAt": "2026-01-02T03:09:05Z"},
        }));
        assert!(mail.contains("Subject: [resolved] slow\r\n"), "the ID replaces the name of a rule: {mail}");
        assert!(mail.contains("value:     none\r\n") && mail.contains("resolved:  2026-01-02T03:09:05Z\r\n"), "{mail}");
    }

    #[test]
    fn a_long_name_makes_a_subject_of_two_hundred_characters() {
        let body = json!({"event": "alert_raised", "rule": {"name": "ä".repeat(300)}, "alert": {"type": "info"}});
        assert_eq!(write("shop", &body).0.chars().count(), 200);
    }

    #[test]
    fn names_and_messages_cannot_add_headers() {
        let mail = mail("x\r\nBcc: eve@evil.example\r\n\r\nhello", "m\r\n.\r\nRCPT TO:<eve@evil.example>");
        let (headers, _) = mail.split_once("\r\n\r\n").unwrap();
        assert!(!headers.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{headers}");
    }

    #[test]
    fn addresses_are_checked() {
        for good in ["ops@example.com", "Ops <ops@example.com>"] {
            assert_eq!(check_mailbox(good), Ok(()));
        }
        for bad in ["", "ops", "a@b@c", "ops@example.com\r\nBcc: x@y.z", "a@b.c, d@e.f"] {
            assert!(check_mailbox(bad).is_err(), "{bad:?}");
        }
    }
}
