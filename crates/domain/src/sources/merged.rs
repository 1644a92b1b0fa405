//! Measurements of all nodes, merged by the leader.
//!
//! Each node reports its measurements once a second. `metrics.infrastructure` then has the mean of CPU, memory and disk, the
//! sum of the network, and under `nodes` each node by itself; `metrics.api` is all traffic, and a user counts once, on
//! however many nodes.

use std::collections::HashSet;

use futures_util::future::BoxFuture;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::{EVERY, Sources, host::HostReading, own_http::Traffic, publish, users_online};
use tricast_core::{channel::Channel, log::Log, presence::Sessions, snapshot::View};

/// Recent reports of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Users online on any node, each once.
    pub users: u64,
    /// Name and report of each node.
    pub reports: Vec<(String, String)>,
}

/// The other nodes, as the sources of one tenant see them.
pub trait Peers: Send + Sync {
    /// Sends the report and the online users of this node; with `gather` returns the recent reports of all nodes. `None` while the other
    /// nodes can't be reached.
    fn exchange(&mut self, report: String, online: HashSet<String>, gather: bool) -> BoxFuture<'_, Option<Gathered>>;
}

/// Measurements of one node.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Report {
    host: Option<HostReading>,
    traffic: Traffic,
    sessions: Sessions,
}

/// Reports the measurements of this node, and publishes the merged ones while it leads, until the aggregator stops.
pub(super) async fn run(sources: Sources, mut peers: Box<dyn Peers>) {
    let Sources { aggregator, own_http, presence, mut host, mut store, clock, zone, log, .. } = sources;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut peak = Peak::default();
    let mut today = clock.now_in(&zone).date();
    loop {
        ticks.tick().await;
        let date = clock.now_in(&zone).date();
        if std::mem::replace(&mut today, date) != date {
            presence.new_day();
        }
        let (online, sessions) = presence.roll();
        let report = Report { host: *host.borrow_and_update(), traffic: own_http.traffic(), sessions };
        let report = serde_json::to_string(&report).unwrap_or_default();
        let gathered = peers.exchange(report, online, aggregator.leads()).await;
        // A node that does not lead, or can't reach the others, has nothing to publish.
        let Some(gathered) = gathered.filter(|_| aggregator.leads()) else { continue };
        let reports = read(&gathered.reports);
        let peak_today = peak.with(gathered.users, date, || published_peak(&log, date, &zone));
        let sessions = sessions_of(&reports);
        let values = [
            ("metrics.infrastructure", infrastructure(&reports)),
            ("metrics.api", reports.iter().map(|(_, report)| report.traffic).sum::<Traffic>().to_json(gathered.users)),
            ("metrics.users_online", users_online(gathered.users, peak_today, sessions.average())),
            ("metrics.database", store.borrow_and_update().clone()),
        ];
        if publish(&aggregator, values).await.is_err() {
            return;
        }
    }
}

/// Returns the reports that can be parsed; a node of another version may use another format.
fn read(reports: &[(String, String)]) -> Vec<(&str, Report)> {
    reports.iter().filter_map(|(node, report)| Some((&**node, serde_json::from_str(report).ok()?))).collect()
}

fn sessions_of(reports: &[(&str, Report)]) -> Sessions {
    reports.iter().fold(Sessions::default(), |sum, (_, Report { sessions, .. })| Sessions {
        count: sum.count + sessions.count,
        seconds: sum.seconds + sessions.seconds,
    })
}

fn infrastructure(reports: &[(&str, Report)]) -> Value {
    let hosts: Vec<_> = reports.iter().filter_map(|(node, report)| Some((*node, report.host?))).collect();
    let each = hosts.iter().map(|(node, host)| {
        let mut value = host.to_json();
        value["node"] = json!(node);
        value
    });
    let nodes: Vec<Value> = each.collect();
    let readings: Vec<HostReading> = hosts.iter().map(|(_, host)| *host).collect();
    let mut value = HostReading::merged(&readings).to_json();
    value["nodes"] = nodes.into();
    value
}

/// Most users at once since midnight. The count of an earlier leader is read from the log.
#[derive(Default)]
struct Peak {
    day: Option<Date>,
    users: u64,
}

impl Peak {
    fn with(&mut self, users: u64, day: Date, before: impl FnOnce() -> u64) -> u64 {
        let earlier = match self.day {
            Some(known) if known == day => self.users,
            Some(_) => 0,
            None => before(),
        };
        (self.day, self.users) = (Some(day), earlier.max(users));
        self.users
    }
}

fn published_peak(log: &Log, day: Date, zone: &jiff::tz::TimeZone) -> u64 {
    let state = Channel::parse("metrics.users_online").ok().and_then(|channel| log.state(&channel, View::Full));
    let state = state.filter(|state| state.last_written().to_zoned(zone.clone()).date() == day);
    let value: Option<Value> = state.and_then(|state| serde_json::from_slice(&state.data).ok());
    value.and_then(|value| value["peakToday"].as_u64()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(cpu: f64, network: Option<u64>, requests: u64, errors: u64, sessions: (u64, u64)) -> String {
        let host = HostReading::of(|field| match field.name {
            "cpu_usage" => Some(cpu),
            "memory_usage" => Some(50.0),
            "disk_usage" => None,
            _ => network.map(|bytes| bytes as f64),
        });
        let traffic = Traffic { requests, errors, micros: requests * 1_000, per_second: requests as f64 };
        let sessions = Sessions { count: sessions.0, seconds: sessions.1 };
        serde_json::to_string(&Report { host: Some(host), traffic, sessions }).unwrap()
    }

    #[test]
    fn shares_are_averaged_and_traffic_is_added_up() {
        let told = [
            ("a".to_owned(), report(10.0, Some(100), 30, 0, (1, 60))),
            ("b".to_owned(), "a report of a newer version".to_owned()),
            ("c".to_owned(), report(40.0, Some(11), 10, 4, (3, 20))),
        ];
        let reports = read(&told);
        assert_eq!(reports.iter().map(|(node, _)| *node).collect::<Vec<_>>(), ["a", "c"]);
        let infrastructure = infrastructure(&reports);
        assert_eq!(infrastructure["cpu_usage"], 25.0);
        assert_eq!(infrastructure["memory_usage"], 50.0);
        assert_eq!(infrastructure["disk_usage"], Value::Null);
        assert_eq!(infrastructure["network_in"], 111);
        assert_eq!(infrastructure["nodes"][1]["node"], "c");
        assert_eq!(infrastructure["nodes"][1]["cpu_usage"], 40.0);
        let api = reports.iter().map(|(_, report)| report.traffic).sum::<Traffic>().to_json(7);
        assert_eq!(api["requests_per_second"], 40.0);
        assert_eq!(api["error_rate"], 0.1);
        assert_eq!(api["avg_response_time"], 1.0);
        assert_eq!(api["active_users"], 7);
        assert_eq!(sessions_of(&reports).average(), Duration::from_secs(20));
    }

    #[test]
    fn the_peak_of_the_day_includes_that_of_an_earlier_leader() {
        let (monday, tuesday) = (Date::constant(2024, 7, 15), Date::constant(2024, 7, 16));
        let mut peak = Peak::default();
        assert_eq!(peak.with(3, monday, || 5), 5);
        assert_eq!(peak.with(8, monday, || 99), 8);
        assert_eq!(peak.with(2, monday, || 99), 8);
        assert_eq!(peak.with(2, tuesday, || 99), 2);
    }
}
