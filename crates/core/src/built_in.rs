//! The channels that every server has and that only the server writes, as data.
//!
//! The log creates its event channels from this table, the snapshot its sections, the decider and the log know by it what clients may
//! not write, and `tricast_auth` which permission a reader needs. A new built-in channel is one row.

use super::channel::Channel;

/// Kind of a built-in channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Assembled from the values of other channels: `metrics`.
    Snapshot,
    /// State channel, whose newest value replaces the earlier ones.
    State,
    /// Event channel, whose events readers receive in order.
    Events,
}

/// Readers of a built-in channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// All authenticated clients, whatever their permissions.
    All,
    /// Clients that may read metrics.
    Metrics,
    /// Clients that may read orders.
    Orders,
    /// Clients that may read alerts.
    Alerts,
}

/// Row of the table of built-in channels.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Name of the channel.
    pub name: &'static str,
    /// Kind of the channel.
    pub kind: Kind,
    /// Section of the snapshot that its value is, if any.
    pub section: Option<&'static str>,
    /// Clients that may read it.
    pub readers: Readers,
}

const fn row(name: &'static str, kind: Kind, section: Option<&'static str>, readers: Readers) -> BuiltIn {
    BuiltIn { name, kind, section, readers }
}

/// All built-in channels. Clients can neither push to them nor delete them.
pub const CHANNELS: [BuiltIn; 12] = [
    row("metrics", Kind::Snapshot, None, Readers::Metrics),
    row("metrics.infrastructure", Kind::State, Some("infrastructure"), Readers::Metrics),
    row("metrics.api", Kind::State, Some("api"), Readers::Metrics),
    row("metrics.database", Kind::State, Some("database"), Readers::Metrics),
    row("metrics.business", Kind::State, Some("business"), Readers::Orders),
    row("metrics.orders", Kind::State, None, Readers::Orders),
    row("metrics.revenue", Kind::State, None, Readers::Orders),
    row("metrics.users_online", Kind::State, None, Readers::Metrics),
    row("orders", Kind::Events, None, Readers::Orders),
    row("alerts", Kind::Events, None, Readers::Alerts),
    row("dashboards", Kind::Events, None, Readers::Metrics),
    row("system", Kind::Events, None, Readers::All),
];

/// Returns the built-in channel of this name, if there is one.
pub fn find(channel: &Channel) -> Option<&'static BuiltIn> {
    CHANNELS.iter().find(|built_in| built_in.name == channel.as_str())
}

/// Returns whether a channel is built in.
pub fn contains(channel: &Channel) -> bool {
    find(channel).is_some()
}

/// Returns whether a channel is built in and carries events.
pub fn is_event_channel(channel: &Channel) -> bool {
    find(channel).is_some_and(|built_in| built_in.kind == Kind::Events)
}

/// Returns the built-in event channels, which exist before their first event.
pub fn event_channels() -> impl Iterator<Item = Channel> {
    let events = CHANNELS.iter().filter(|built_in| built_in.kind == Kind::Events);
    events.filter_map(|built_in| Channel::parse(built_in.name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_a_channel_once() {
        for built_in in &CHANNELS {
            let channel = Channel::parse(built_in.name).unwrap();
            assert_eq!(CHANNELS.iter().filter(|other| other.name == built_in.name).count(), 1, "{channel:?}");
            assert!(contains(&channel));
            assert_eq!(is_event_channel(&channel), built_in.kind == Kind::Events);
            assert!(built_in.section.is_none() || built_in.kind == Kind::State, "{channel:?}");
        }
        assert_eq!(event_channels().count(), 4);
    }
}
