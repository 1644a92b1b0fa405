//! The channels that every server has and that only the server writes, as data.
//!
//! The log creates its event channels from this table, the snapshot its sections, the decider and the log know by it what clients may
//! not write, and `tricast_auth` which permission a reader needs. The API description and the formats of the dashboard
//! (`static/js/built-in-fields.js`) are made from the fields. A new built-in channel is one row.

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

/// Unit of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things, shown as a whole number.
    Count,
    /// A number without a unit, which may have a fraction.
    Number,
    /// An amount in the configured currency.
    Money,
    /// A number from 0 to 100.
    Percent,
    /// A share from 0 to 1.
    Ratio,
    /// A number of bytes per second.
    BytesPerSecond,
    /// A number per second.
    PerSecond,
    /// A time in milliseconds.
    Milliseconds,
    /// A text: an ISO 8601 duration, such as `PT8M30S`.
    Duration,
    /// Text for people that has no format of its own.
    Text,
}

/// Field of the value of a built-in channel.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name of the field.
    pub name: &'static str,
    /// Unit of its values.
    pub unit: Unit,
    /// Display name, where it is not the field's name in plain words.
    pub title: Option<&'static str>,
    /// Meaning of its values.
    pub description: &'static str,
}

/// A channel that the server creates and only the server writes.
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
    /// Fields of its value; none of the snapshot and of event channels.
    pub fields: &'static [Field],
}

const fn row(
    name: &'static str,
    kind: Kind,
    section: Option<&'static str>,
    readers: Readers,
    fields: &'static [Field],
) -> BuiltIn {
    BuiltIn { name, kind, section, readers, fields }
}

const fn field(name: &'static str, unit: Unit, description: &'static str) -> Field {
    Field { name, unit, title: None, description }
}

const fn titled(title: &'static str, field: Field) -> Field {
    Field { title: Some(title), ..field }
}

/// All built-in channels. Clients can neither push to them nor delete them.
pub const CHANNELS: [BuiltIn; 12] = [
    row("metrics", Kind::Snapshot, None, Readers::Metrics, &[]),
    row("metrics.infrastructure", Kind::State, Some("infrastructure"), Readers::Metrics, INFRASTRUCTURE),
    row("metrics.api", Kind::State, Some("api"), Readers::Metrics, API),
    row("metrics.database", Kind::State, Some("database"), Readers::Metrics, DATABASE),
    row("metrics.business", Kind::State, Some("business"), Readers::Orders, BUSINESS),
    row("metrics.orders", Kind::State, None, Readers::Orders, ORDERS),
    row("metrics.revenue", Kind::State, None, Readers::Orders, REVENUE),
    row("metrics.users_online", Kind::State, None, Readers::Metrics, USERS_ONLINE),
    row("orders", Kind::Events, None, Readers::Orders, &[]),
    row("alerts", Kind::Events, None, Readers::Alerts, &[]),
    row("dashboards", Kind::Events, None, Readers::Metrics, &[]),
    row("system", Kind::Events, None, Readers::All, &[]),
];

const INFRASTRUCTURE: &[Field] = &[
    titled("CPU", field("cpu_usage", Unit::Percent, "CPU usage of all cores, in percent.")),
    titled("Memory", field("memory_usage", Unit::Percent, "Memory that is not available, in percent.")),
    titled("Disk", field("disk_usage", Unit::Percent, "Usage of the disk with the working directory, in percent.")),
    field(
        "load_average",
        Unit::Number,
        "Mean number of threads that ran or waited for a core or a disk over the last minute; as many as there are cores is full load.",
    ),
    field("network_in", Unit::BytesPerSecond, "Bytes received per second over all interfaces but loopback."),
    field("network_out", Unit::BytesPerSecond, "Bytes sent per second over all interfaces but loopback."),
];

const API: &[Field] = &[
    titled("Requests", field("requests_per_second", Unit::PerSecond, "HTTP requests per second, over the last 60 s.")),
    titled(
        "Response time",
        field(
            "avg_response_time",
            Unit::Milliseconds,
            "Mean response time over the last 60 s, in milliseconds, without the time for which a long poll is held.",
        ),
    ),
    field("error_rate", Unit::Ratio, "Share of responses with status 5xx over the last 60 s, 0 to 1."),
    field("active_users", Unit::Count, "Users online."),
];

const DATABASE: &[Field] = &[
    field("connections", Unit::Count, "Connections to the database, including those of other programs."),
    titled("Queries", field("queries_per_second", Unit::PerSecond, "Reads and changes per second.")),
    field("slow_queries", Unit::Count, "Queries of more than 100 ms in the last 60 s."),
    field("cache_hit_ratio", Unit::Ratio, "Share of pages read from memory, 0 to 1."),
];

const BUSINESS: &[Field] = &[
    field("orders_today", Unit::Count, "Orders created today."),
    field("revenue_today", Unit::Money, "Revenue of today, in the configured currency."),
    field("new_users_today", Unit::Count, "Customers first seen today."),
    field("conversion_rate", Unit::Ratio, "Orders per visit today, 0 to 1."),
];

const ORDERS: &[Field] = &[
    field("ordersToday", Unit::Count, "Orders created today."),
    field("ordersLastHour", Unit::Count, "Orders created in the last 60 minutes."),
    field("pendingOrders", Unit::Count, "Orders with status `PENDING` or `PROCESSING`."),
    field("trend", Unit::Text, "Orders of today compared with yesterday up to the same time, such as `+12%`."),
];

const REVENUE: &[Field] = &[
    field("revenueToday", Unit::Money, "Revenue of today."),
    field("revenueLastHour", Unit::Money, "Revenue of the last 60 minutes."),
    field("averageOrderValue", Unit::Money, "Mean value of today's orders."),
    field("currency", Unit::Text, "Currency of revenue, ISO 4217."),
];

const USERS_ONLINE: &[Field] = &[
    field("currentUsers", Unit::Count, "Users online now, on any transport."),
    field("peakToday", Unit::Count, "Most users online at once today."),
    field("averageSessionDuration", Unit::Duration, "Mean length of today's sessions, as an ISO 8601 duration."),
];

/// Returns the built-in channel of this name, if there is one.
pub fn find(channel: &Channel) -> Option<&'static BuiltIn> {
    CHANNELS.iter().find(|built_in| built_in.name == channel.as_str())
}

/// Returns the names of the fields of a built-in channel; none if there is no such channel.
pub fn field_names(name: &str) -> impl Iterator<Item = &'static str> {
    let row = CHANNELS.iter().find(move |built_in| built_in.name == name);
    row.map_or(&[][..], |row| row.fields).iter().map(|field| field.name)
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
            assert_eq!(built_in.fields.is_empty(), built_in.kind != Kind::State, "{channel:?}");
        }
        assert_eq!(event_channels().count(), 4);
    }

    #[test]
    fn a_field_has_the_same_unit_in_every_channel() {
        // The dashboard finds the format of a field by its name alone.
        let fields: Vec<&Field> = CHANNELS.iter().flat_map(|built_in| built_in.fields).collect();
        for field in &fields {
            let mut same = fields.iter().filter(|other| other.name == field.name);
            assert!(same.all(|other| (other.unit, other.title) == (field.unit, field.title)), "{}", field.name);
        }
    }
}
