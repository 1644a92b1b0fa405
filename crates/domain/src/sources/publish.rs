//! Publication of values and events of built-in channels.

use serde_json::{Map, Value};
use tricast_core::{
    aggregator::{AggregatorHandle, Stopped},
    channel::{Channel, EventName},
    reading::Reading,
};

/// Publishes values of built-in channels.
///
/// # Errors
/// [`Stopped`] when the server is shutting down.
pub async fn publish(
    aggregator: &AggregatorHandle,
    values: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<(), Stopped> {
    let reading = |(name, value)| {
        let channel = Channel::parse(name).ok()?;
        Some(Reading::value(channel, object(value)))
    };
    let readings = values.into_iter().filter_map(reading).collect();
    aggregator.publish_own(readings).await
}

/// Publishes an event of the channel `system`.
///
/// # Errors
/// [`Stopped`] when the server is shutting down.
pub async fn announce(aggregator: &AggregatorHandle, event: &str, details: Value) -> Result<(), Stopped> {
    let (Ok(channel), Ok(event)) = (Channel::parse("system"), EventName::parse(event)) else { return Ok(()) };
    aggregator.publish_own(vec![Reading::Event { channel, event, data: object(details), ttl: None }]).await
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}
