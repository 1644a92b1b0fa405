//! Namespace `/dashboard`: the metrics of entities.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::{
        encode,
        namespace::Namespace,
        output::{Packets, push_event},
        rooms::Entity,
    },
    ClientEvent, Later, MAX_WAITING, Socket,
    arguments::{ID_RULE, id_of, interval_of},
    refusal::Refusal,
};
use tricast_auth::Permission;
use tricast_core::{
    channel::{Channel, Selector},
    position::Position,
};

impl Socket {
    pub(super) fn entity_event(&mut self, event: &ClientEvent, packets: &mut Packets) {
        let ack = event.ack;
        let argument = event.arguments.first();
        let text = |name: &str| id_of(argument.and_then(|argument| argument.get(name)));
        match event.name.as_str() {
            "subscribe" => {
                if !self.may(Permission::ReadMetrics) {
                    return self.refuse(ack, Refusal::PermissionDenied, "this needs read:metrics", packets);
                }
                // With a dot in the type, two entities could have the same channel.
                let kind = text("entityType").filter(|kind| !kind.contains('.'));
                let (Some(id), Some(kind)) = (text("entityId"), kind) else {
                    let message = format!("write {{entityId, entityType}}: {ID_RULE}; a type has no '.'");
                    return self.refuse(ack, Refusal::InvalidEntity, message, packets);
                };
                let interval = match interval_of(argument) {
                    Ok(interval) => interval.unwrap_or(Duration::ZERO),
                    Err(message) => return self.refuse(ack, Refusal::BadEvent, message, packets),
                };
                let Ok(channel) = Channel::parse(&format!("entity.{kind}.{id}")) else {
                    return self.refuse(ack, Refusal::InvalidEntity, ID_RULE, packets);
                };
                if !self.rooms.entities.contains_key(&channel) && self.is_full() {
                    return self.refuse_full(ack, packets);
                }
                if self.later.len() >= MAX_WAITING {
                    return self.refuse_waiting(ack, packets);
                }
                self.leave_entity(&channel);
                self.rooms.join_entity(channel.clone(), id.clone(), kind.clone());
                self.accept(ack, json!({"entityId": id, "entityType": kind}), packets);
                self.read_entity(channel, interval);
            }
            "unsubscribe" => {
                let id = text("entityId");
                let matches = |entity: &Entity| Some(&entity.id) == id.as_ref();
                let left: Vec<Channel> =
                    self.rooms.entities.iter().filter(|(_, e)| matches(e)).map(|(c, _)| c.clone()).collect();
                if left.is_empty() {
                    return self.refuse(ack, Refusal::InvalidEntity, "this entity is not subscribed", packets);
                }
                left.iter().for_each(|channel| self.leave_entity(channel));
                self.accept(ack, json!({"entityId": id}), packets);
            }
            _ => self.unknown(event, "subscribe and unsubscribe", packets),
        }
    }

    fn leave_entity(&mut self, channel: &Channel) {
        self.rooms.leave_entity(channel);
        self.stream.reader.unsubscribe(&Selector::Exact(channel.clone()));
    }

    /// Reads the tiles of the dashboard that has the id of an entity; [`Socket::follow_entity`] continues.
    pub(super) fn read_entity(&mut self, channel: Channel, interval: Duration) {
        let (Some(caller), Some(entity)) = (self.stream.caller().cloned(), self.rooms.entities.get(&channel)) else {
            return;
        };
        let (id, joined) = (entity.id.clone(), entity.joined);
        self.later.push(async move {
            let board = caller.tenant.dashboards.get(&id).await;
            let tiles = board.map(|board| json!(board.tiles)).unwrap_or_else(|_| json!([]));
            Later::Entity { channel, joined, interval, tiles }
        });
    }

    /// Sends `dashboard:initial`, the current metrics of an entity and its tiles, and subscribes to what changes from then
    /// on. Does nothing if the client has left the entity meanwhile, or subscribed to it again.
    pub(super) fn follow_entity(
        &mut self,
        channel: Channel,
        joined: u64,
        interval: Duration,
        tiles: &Value,
        packets: &mut Packets,
    ) {
        let selector = Selector::Exact(channel.clone());
        let entity = self.rooms.entities.get(&channel).filter(|entity| entity.joined == joined);
        let (Some(caller), Some(entity)) = (self.stream.caller(), entity) else { return };
        let log = self.stream.reader.hub().log();
        // Before the state, so that no change falls between the two; one that is in both is not sent again.
        let position = log.position();
        let state = log.state(&channel, tricast_auth::view(&caller.identity));
        let metrics = state.as_ref().map(|state| encode::metrics_of(state)).unwrap_or_default();
        let initial = json!({"entityId": entity.id, "entityType": entity.kind, "metrics": metrics, "tiles": tiles});
        push_event(packets, Namespace::Dashboard, "dashboard:initial", &initial);
        if let Some(state) = &state {
            self.rooms.note_sent(state);
        }
        // A client that is cut now has not received the initial metrics, and gets the state again.
        self.started.insert(selector.clone(), Position { state: 0, ..position.clone() });
        self.stream.reader.resume_from(selector, interval, &position);
        self.is_changed = true;
    }
}
