//! Settings of alerts and their notifications.

use std::net::IpAddr;

use super::{
    Secret, Span,
    setting::{FaultList, section},
};
use tricast_domain::alerts::{AlertConfig, MailTls, SmtpConfig, WebhookConfig, check_mailbox, check_webhook};

section! {
    /// Alert rules and alerts.
    pub struct Alerts {
        /// Alert rules of one tenant.
        #[range(1..=10_000)]
        max_rules: usize = AlertConfig::default().max_rules,
        /// Time that a resolved alert is kept.
        #[range(Span::from_secs(3_600)..=Span::from_days(3_660))]
        retention: Span = Span(AlertConfig::default().retention),
        /// Resolved alerts of one tenant that are kept.
        #[range(1..=1_000_000)]
        max_kept: usize = AlertConfig::default().max_kept,
        /// Mails and webhooks of one tenant that may wait; beyond it an alert is raised, but not sent.
        #[range(1..=100_000)]
        max_outbox: usize = AlertConfig::default().max_outbox,
        /// Longest time to try to send a mail or webhook.
        #[range(Span::ZERO..=Span::from_days(30))]
        give_up_after: Span = Span(AlertConfig::default().give_up_after),
    }
}

impl Alerts {
    /// Returns the configuration of alerts.
    pub(super) fn limits(&self) -> AlertConfig {
        let Self { max_rules, retention, max_kept, max_outbox, give_up_after } = self.clone();
        AlertConfig { max_rules, retention: retention.0, max_kept, max_outbox, give_up_after: give_up_after.0 }
    }
}

section! {
    /// Mail server, sender and recipients of alerts.
    pub struct Smtp {
        /// Mail server for alerts, by the name that its certificate has. Without one no mail is sent.
        host: Option<String> = None,
        /// Port of the mail server; 0 means 25, 587 or 465, depending on `smtp.tls`.
        port: u16 = 0,
        /// Encryption of the connection to the mail server: `starttls` (required of the server), `tls` from the first byte, or
        /// `none`, for a server on this machine.
        tls: MailTls = MailTls::default(),
        /// User name, if the mail server requires one. Needs `smtp.tls` or a server on this machine.
        username: Option<String> = None,
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

impl Smtp {
    /// Reports settings with which no mail could be sent.
    pub(super) fn check(&self, faults: &mut FaultList) {
        let Some(host) = &self.host else {
            let others = [
                ("smtp.username", self.username.is_some()),
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
        if self.username.is_some() == self.password.is_empty() {
            faults.add("smtp.username", "and smtp.password have to be set together");
        }
        let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if self.username.is_some() && self.tls == MailTls::None && !is_local {
            faults.add("smtp.tls", "is \"none\": the password would be readable on the network");
        }
    }

    /// Returns the configuration of the mail server; `None` without one.
    pub(super) fn server(&self) -> Option<SmtpConfig> {
        let Self { host, port, tls, username, password, from, to, timeout } = self.clone();
        Some(SmtpConfig {
            host: host?,
            port,
            tls,
            credentials: username.map(|user| (user, password.expose().to_owned())),
            from: from?,
            to,
            timeout: timeout.0,
        })
    }
}

section! {
    /// HTTP request that is sent for each alert.
    pub struct Webhook {
        /// URL that alerts are posted to. Without one no alert is posted. May be a secret in itself, and is never printed.
        url: Secret = Secret::default(),
        /// Secret that signs these requests. Never printed.
        secret: Secret = Secret::default(),
        /// Longest time of one attempt to post.
        #[range(Span::from_secs(1)..=Span::from_secs(300))]
        timeout: Span = Span::from_secs(10),
    }
}

impl Webhook {
    /// Reports settings with which no alert could be posted.
    pub(super) fn check(&self, faults: &mut FaultList) {
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

    /// Returns the configuration of the webhook; `None` without one.
    pub(super) fn target(&self) -> Option<WebhookConfig> {
        (!self.url.is_empty()).then(|| WebhookConfig {
            url: self.url.expose().to_owned(),
            secret: self.secret.expose().to_owned(),
            timeout: self.timeout.0,
        })
    }
}
