//! Refusals of events in the documented namespaces, and acknowledgements.

use serde_json::{Value, json};

use super::{
    super::{
        namespace::Namespace,
        output::{Packets, push_ack, push_event},
    },
    ClientEvent, Socket,
};
use tricast_auth::Permission;
use tricast_core::{counters::Limit, protocol::error::Code};

/// Error codes of the documented namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    InvalidEntity,
    PermissionDenied,
    BadEvent,
    LimitReached,
}

impl Refusal {
    fn code(self) -> &'static str {
        match self {
            Self::InvalidEntity => "ANALYTICS_1100",
            Self::PermissionDenied => "ANALYTICS_1101",
            Self::BadEvent => "ANALYTICS_1102",
            Self::LimitReached => "ANALYTICS_1103",
        }
    }
}

impl Socket {
    /// Refuses an event of a documented namespace.
    pub(super) fn refuse(
        &mut self,
        ack: Option<u64>,
        refusal: Refusal,
        message: impl Into<String>,
        packets: &mut Packets,
    ) {
        if refusal == Refusal::BadEvent {
            self.bad_messages += 1;
        }
        let mut error = json!({"code": refusal.code(), "message": message.into()});
        match ack {
            None => push_event(packets, self.namespace, "error", &error),
            Some(ack) => {
                error["status"] = "error".into();
                push_ack(packets, self.namespace, ack, &error);
            }
        }
    }

    /// Acknowledges an event, if the client asked for it.
    pub(super) fn accept(&self, ack: Option<u64>, mut fields: Value, packets: &mut Packets) {
        if let Some(ack) = ack {
            fields["status"] = "ok".into();
            push_ack(packets, self.namespace, ack, &fields);
        }
    }

    pub(super) fn unknown(&mut self, event: &ClientEvent, known: &str, packets: &mut Packets) {
        let shown: String = event.name.chars().take(40).collect();
        let message = format!("there is no event {shown:?} in {}; there are {known}", self.namespace.as_str());
        self.refuse(event.ack, Refusal::BadEvent, message, packets);
    }

    /// Refuses an event because too many before it wait for a result.
    pub(super) fn refuse_waiting(&mut self, ack: Option<u64>, packets: &mut Packets) {
        self.stream.state.shared.counters.limit(Limit::Requests).inc();
        let message = "too many events wait";
        match self.namespace {
            Namespace::Tricast => self.reject(ack, Code::RateLimited, message, packets),
            _ => self.refuse(ack, Refusal::LimitReached, message, packets),
        }
    }

    pub(super) fn may(&self, permission: Permission) -> bool {
        self.stream.caller().is_some_and(|caller| caller.identity.may(permission))
    }

    pub(super) fn is_full(&self) -> bool {
        let most = self.stream.state.shared.limits.max_subscriptions;
        most > 0 && self.rooms.len() >= most
    }

    pub(super) fn refuse_full(&mut self, ack: Option<u64>, packets: &mut Packets) {
        self.stream.state.shared.counters.limit(Limit::Subscriptions).inc();
        let message =
            format!("a client has at most {} subscriptions", self.stream.state.shared.limits.max_subscriptions);
        self.refuse(ack, Refusal::LimitReached, message, packets);
    }
}
