//! Namespace `/analytics/dashboard`: changes of dashboards.

use std::time::Duration;

use serde_json::json;

use super::{
    super::output::Packets,
    ClientEvent, Socket,
    arguments::{ID_RULE, id_of},
    refusal::Refusal,
};
use tricast_auth::Permission;
use tricast_core::channel::Selector;

impl Socket {
    pub(super) fn board_event(&mut self, event: &ClientEvent, packets: &mut Packets) {
        let ack = event.ack;
        let id = id_of(event.arguments.first().and_then(|argument| argument.get("dashboardId")));
        match (event.name.as_str(), id) {
            ("subscribe", _) if !self.may(Permission::ReadMetrics) => {
                self.refuse(ack, Refusal::PermissionDenied, "this needs read:metrics", packets);
            }
            ("subscribe" | "unsubscribe", None) => {
                self.refuse(ack, Refusal::InvalidEntity, format!("write {{dashboardId}}: {ID_RULE}"), packets);
            }
            ("subscribe", Some(id)) if !self.rooms.boards.contains(&id) && self.is_full() => {
                self.refuse_full(ack, packets);
            }
            ("subscribe", Some(id)) => {
                if let Ok(selector) = Selector::parse("dashboards")
                    && !self.stream.reader.is_subscribed(&selector)
                {
                    self.subscribe(selector, Duration::ZERO);
                }
                self.rooms.boards.insert(id.clone());
                self.accept(ack, json!({"dashboardId": id}), packets);
            }
            ("unsubscribe", Some(id)) if self.rooms.boards.remove(&id) => {
                self.accept(ack, json!({"dashboardId": id}), packets);
            }
            ("unsubscribe", Some(_)) => {
                self.refuse(ack, Refusal::InvalidEntity, "this dashboard is not subscribed", packets);
            }
            _ => self.unknown(event, "subscribe and unsubscribe", packets),
        }
    }
}
