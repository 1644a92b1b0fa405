//! The client's session as it is kept for connection state recovery, and a client that is restored from it.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        namespace::Namespace,
        recovery::{Hold, Recovery, Saved, SavedSubscription},
    },
    Socket,
};
use crate::{
    transport::stream::resume::Verdict,
    web::{caller::Caller, state::State},
};
use tricast_core::{
    channel::{Channel, Selector},
    position::Position,
};

/// Noted subscriptions from which on those that have ended are forgotten.
const MAX_STARTED: usize = 2_048;

impl Socket {
    /// Keeps the client's session for connection state recovery.
    pub(in super::super) fn keep(&mut self, recovery: &Arc<Recovery>) {
        let saved = self.saved();
        self.hold = recovery.begin(self.stream.state.shared.tenants.cluster(), saved);
    }

    /// Restores a client's side of a namespace from its session and the cursor of what it received; `None` if the log does
    /// not reach back to it.
    pub(in super::super) fn restore(
        namespace: Namespace,
        state: Rc<State>,
        caller: &Caller,
        mut hold: Hold,
        offset: Option<&str>,
    ) -> Option<Self> {
        let saved = hold.saved().clone();
        let offset = match offset.map(str::parse::<Position>) {
            Some(Ok(offset)) => Some(offset),
            Some(Err(_)) => return None,
            None => None,
        };
        let mut started = Vec::new();
        for SavedSubscription { selector, interval_ms, since } in &saved.subscriptions {
            let selector =
                Selector::parse(selector).ok().filter(|selector| tricast_auth::may_read(&caller.identity, selector))?;
            let since: Position = since.parse().ok()?;
            let received = offset.clone().filter(|offset| offset.epoch == since.epoch && offset.offset >= since.offset);
            // A client that received nothing since gets the states, too.
            let from = received.unwrap_or_else(|| Position { state: 0, ..since.clone() });
            let verdict = Verdict::of(&caller.tenant.log, &from.to_string(), std::slice::from_ref(&selector));
            if !verdict.is_whole() {
                hold.forget();
                return None;
            }
            started.push((selector, Duration::from_millis(*interval_ms), since, from));
        }
        let mut socket = Self::open(namespace, state, caller.clone(), saved.sid, true);
        for (selector, interval, since, from) in started {
            socket.stream.reader.resume_from(selector.clone(), interval, &from);
            socket.started.insert(selector, since);
        }
        let interval = |ms: u64| Duration::from_millis(ms);
        socket.rooms.dashboards = saved.dashboards.into_iter().map(|(id, ms)| (id, interval(ms))).collect();
        socket.rooms.boards = saved.boards;
        for (id, kind) in saved.entities {
            let channel = Channel::parse(&format!("entity.{kind}.{id}")).ok()?;
            let is_followed = socket.started.contains_key(&Selector::Exact(channel.clone()));
            socket.rooms.join_entity(channel.clone(), id, kind);
            if !is_followed {
                // The client was cut before its initial metrics were read.
                socket.read_entity(channel, Duration::ZERO);
            }
        }
        // These events carry no cursor, so what the client has of them is not known.
        socket.follow_dashboards(None);
        if namespace == Namespace::Root && offset.is_none() {
            socket.read_alerts();
        }
        socket.hold = Some(hold);
        Some(socket)
    }

    /// Forgets the client's session: it has left by itself, or may not return.
    pub(in super::super) fn forget(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.forget();
        }
    }

    /// Renews the session's copy on the bus if it is time.
    pub(in super::super) fn renew(&mut self, now: Instant) {
        if let Some(hold) = &mut self.hold {
            hold.renew(now);
        }
    }

    /// Returns what is needed to restore the client.
    pub(super) fn saved(&self) -> Saved {
        let subscriptions = self.stream.reader.intervals().filter_map(|(selector, interval)| {
            let since = self.started.get(selector)?;
            let interval_ms = interval.as_millis() as u64;
            Some(SavedSubscription { selector: selector.to_string(), interval_ms, since: since.to_string() })
        });
        let owner = self.stream.caller().map(|caller| Saved::owner(&caller.identity));
        let dashboards = self.rooms.dashboards.iter();
        Saved {
            namespace: self.namespace.as_str().into(),
            sid: self.sid.clone(),
            owner: owner.unwrap_or_default(),
            subscriptions: subscriptions.collect(),
            dashboards: dashboards.map(|(id, interval)| (id.clone(), interval.as_millis() as u64)).collect(),
            entities: self.rooms.entities.values().map(|entity| (entity.id.clone(), entity.kind.clone())).collect(),
            boards: self.rooms.boards.clone(),
        }
    }

    /// Keeps the session as it is now.
    pub(super) fn save(&mut self) {
        let saved = self.hold.is_some().then(|| self.saved());
        if let (Some(hold), Some(saved)) = (&mut self.hold, saved) {
            hold.save(saved);
        }
    }

    /// Notes that a subscription begins now, or at the cursor that the client gave.
    pub(super) fn note_started(&mut self, selector: Selector, since: Option<&str>) {
        let reader = &self.stream.reader;
        if self.started.len() >= MAX_STARTED {
            self.started.retain(|selector, _| reader.is_subscribed(selector));
        }
        // Subscribing again changes the interval; what was not delivered stays due.
        let before = self.started.get(&selector).filter(|_| reader.is_subscribed(&selector)).cloned();
        let now = || Position { state: 0, ..reader.hub().log().position() };
        let since = since.and_then(|since| since.parse().ok()).or(before).unwrap_or_else(now);
        self.started.insert(selector, since);
    }
}
