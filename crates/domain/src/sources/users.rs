//! Users online: the channel `metrics.users_online`. A user counts once, on however many nodes.

use std::sync::Arc;

use jiff::{civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::{Source, nodes::Nodes};
use tricast_core::{
    channel::Channel,
    clock::Clock,
    log::Log,
    presence::{Presence, Sessions},
    snapshot::View,
    span::iso_8601,
};

const CHANNEL: &str = "metrics.users_online";

/// Source of `metrics.users_online`: the presence of one tenant, on all nodes.
pub(super) struct UsersOnline {
    presence: Presence,
    clock: Clock,
    zone: TimeZone,
    log: Arc<Log>,
    today: Date,
    peak: Peak,
}

impl UsersOnline {
    pub(super) fn new(presence: Presence, clock: Clock, zone: TimeZone, log: Arc<Log>) -> Self {
        let today = clock.now_in(&zone).date();
        Self { presence, clock, zone, log, today, peak: Peak::default() }
    }
}

impl Source for UsersOnline {
    fn channel(&self) -> &'static str {
        CHANNEL
    }

    fn name(&self) -> &'static str {
        "sessions"
    }

    fn measure(&mut self) -> Value {
        let date = self.clock.now_in(&self.zone).date();
        if std::mem::replace(&mut self.today, date) != date {
            self.presence.new_day();
        }
        serde_json::to_value(self.presence.sessions()).unwrap_or_default()
    }

    fn merge(&mut self, nodes: &Nodes) -> Value {
        // This node knows its own peak exactly; that of all nodes is known at the moments of the reports.
        let users = nodes.users.max(self.presence.online().peak_today as u64);
        let peak_today = self.peak.with(users, self.today, || published_peak(&self.log, self.today, &self.zone));
        let average =
            nodes.of::<Sessions>(self.name()).into_iter().map(|(_, sessions)| sessions).sum::<Sessions>().average();
        json!({
            "currentUsers": nodes.users,
            "peakToday": peak_today,
            "averageSessionDuration": iso_8601(average.as_secs()),
        })
    }
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

fn published_peak(log: &Log, day: Date, zone: &TimeZone) -> u64 {
    let state = Channel::parse(CHANNEL).ok().and_then(|channel| log.state(&channel, View::Full));
    let state = state.filter(|state| state.last_written().to_zoned(zone.clone()).date() == day);
    let value: Option<Value> = state.and_then(|state| serde_json::from_slice(&state.data).ok());
    value.and_then(|value| value["peakToday"].as_u64()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tricast_core::log::LogConfig;

    use super::{super::nodes::Gathered, *};

    #[test]
    fn the_peak_of_the_day_includes_that_of_an_earlier_leader() {
        let (monday, tuesday) = (Date::constant(2024, 7, 15), Date::constant(2024, 7, 16));
        let mut peak = Peak::default();
        assert_eq!(peak.with(3, monday, || 5), 5);
        assert_eq!(peak.with(8, monday, || 99), 8);
        assert_eq!(peak.with(2, monday, || 99), 8);
        assert_eq!(peak.with(2, tuesday, || 99), 2);
    }

    #[test]
    fn sessions_of_all_nodes_have_one_mean() {
        let (_writer, log) = Log::create(LogConfig::default());
        let presence = Presence::default();
        drop((presence.stream("ada"), presence.stream("bob")));
        let mut source = UsersOnline::new(presence, Clock::system(), TimeZone::UTC, log);
        let reports = [("a", 1, 60), ("b", 3, 20)].map(|(node, count, seconds)| {
            (node.to_owned(), json!({"sessions": {"count": count, "seconds": seconds}}).to_string())
        });
        let nodes = Nodes::many(Gathered { users: 1, reports: reports.to_vec() });
        let expected = json!({"currentUsers": 1, "peakToday": 2, "averageSessionDuration": "PT20S"});
        assert_eq!(source.merge(&nodes), expected, "the peak of this node counts between two reports too");
    }
}
