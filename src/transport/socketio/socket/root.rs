//! Namespace `/`: the figures of the dashboard, alerts, and notices of the server.

use std::{rc::Rc, time::Duration};

use serde_json::json;

use super::{
    super::{
        encode,
        namespace::Namespace,
        output::{self, Packets},
    },
    ClientEvent, Later, STREAM, Socket,
    arguments::{ID_RULE, id_of, interval_of},
    refusal::Refusal,
};
use crate::{transport::stream::Stream, web::caller::Caller};
use tricast_auth::Permission;
use tricast_core::{channel::Selector, interval::format_interval, position::Position, snapshot::SNAPSHOT};
use tricast_domain::alerts;

/// Interval of `metrics-update` where the client asks for none.
const METRICS_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two `dashboard:update` events to one client.
const DASHBOARD_INTERVAL: Duration = Duration::from_secs(1);

/// Open alerts that a client receives when it joins.
const MAX_ALERTS: usize = 100;

impl Socket {
    pub(super) fn join_root(&mut self, packets: &mut Packets) {
        let Some(caller) = self.stream.caller().cloned() else { return };
        if caller.identity.may(Permission::ReadMetrics) {
            let present = push_figures(packets, "dashboard:data", &caller);
            if let Ok(selector) = Selector::parse(SNAPSHOT) {
                self.note_started(selector, None);
            }
            follow_snapshot(&mut self.stream, DASHBOARD_INTERVAL, Some(&present));
        }
        for name in ["alerts", "system"] {
            if let Ok(selector) = Selector::parse(name)
                && tricast_auth::may_read(&caller.identity, &selector)
            {
                self.subscribe(selector, Duration::ZERO);
            }
        }
        self.read_alerts();
    }

    /// Reads the open alerts, which are sent as a list.
    pub(super) fn read_alerts(&mut self) {
        let Some(caller) = self.stream.caller().filter(|caller| caller.identity.may(Permission::ReadAlerts)) else {
            return;
        };
        let caller = caller.clone();
        self.later.push(async move {
            let open = alerts::Filter { open: Some(true), ..alerts::Filter::default() };
            let Ok(page) = caller.tenant.alerts.list(open, MAX_ALERTS, None).await else { return Later::Nothing };
            let may_read = |alert: &&alerts::Alert| tricast_auth::may_read_alert(&caller.identity, &alert.metric);
            let alerts: Vec<_> = page.alerts.iter().filter(may_read).collect();
            Later::Alerts(json!(alerts))
        });
    }

    pub(super) fn root_event(&mut self, event: &ClientEvent, packets: &mut Packets) {
        let ack = event.ack;
        match event.name.as_str() {
            "subscribe-metrics" => {
                if !self.may(Permission::ReadMetrics) {
                    return self.refuse(ack, Refusal::PermissionDenied, "this needs read:metrics", packets);
                }
                let Some(id) = id_of(event.arguments.first()) else {
                    return self.refuse(ack, Refusal::InvalidEntity, ID_RULE, packets);
                };
                let interval = match interval_of(event.arguments.get(1)) {
                    Ok(interval) => interval.unwrap_or(METRICS_INTERVAL),
                    Err(message) => return self.refuse(ack, Refusal::BadEvent, message, packets),
                };
                if !self.rooms.dashboards.contains_key(&id) && self.is_full() {
                    return self.refuse_full(ack, packets);
                }
                self.rooms.dashboards.insert(id.clone(), interval);
                self.accept(ack, json!({"dashboardId": id, "interval": format_interval(interval)}), packets);
                let present = self.stream.caller().map(|caller| push_figures(packets, "initial-data", caller));
                self.follow_dashboards(present.as_ref());
            }
            "unsubscribe-metrics" => {
                let id = id_of(event.arguments.first());
                let before = self.rooms.interval();
                match id.filter(|id| self.rooms.dashboards.remove(id).is_some()) {
                    Some(id) => {
                        self.accept(ack, json!({"dashboardId": id}), packets);
                        if self.rooms.interval() != before {
                            self.follow_dashboards(None);
                        }
                    }
                    None => self.refuse(ack, Refusal::InvalidEntity, "this dashboard is not subscribed", packets),
                }
            }
            _ => self.unknown(event, "subscribe-metrics and unsubscribe-metrics", packets),
        }
    }

    /// Follows the snapshot at the shortest interval of the dashboards, from the position `since`, or beginning with the present one.
    pub(super) fn follow_dashboards(&mut self, since: Option<&Position>) {
        let Some(interval) = self.rooms.interval() else { return self.metrics = None };
        if self.metrics.is_none() {
            let (state, caller) = (Rc::clone(&self.stream.state), self.stream.caller().cloned());
            let stream = Stream::open(state, STREAM, caller, Duration::ZERO, None);
            self.metrics = Some(Box::new(stream));
        }
        if let Some(metrics) = &mut self.metrics {
            follow_snapshot(metrics, interval, since);
        }
    }
}

/// Appends an event with the present figures. Returns the position up to which they are known to be complete.
fn push_figures(packets: &mut Packets, name: &str, caller: &Caller) -> Position {
    let log = &caller.tenant.log;
    // Before the snapshot, so that no change falls between the two.
    let position = log.position();
    let snapshot = log.snapshot(tricast_auth::view(&caller.identity));
    let argument = format!(r#"["{name}",{}]"#, encode::figures(&snapshot));
    output::push(packets, '2', Namespace::Root.as_str(), None, &argument);
    position
}

/// Follows the snapshot from the position `since`, or beginning with the present one.
fn follow_snapshot(stream: &mut Stream, interval: Duration, since: Option<&Position>) {
    let Ok(selector) = Selector::parse(SNAPSHOT) else { return };
    match since {
        Some(since) => stream.reader.resume_from(selector, interval, since),
        None => stream.reader.subscribe(selector, interval, None),
    }
}
