//! Schema of the snapshot, made from the table of built-in channels.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, SchemaFormat, Type, schema::SchemaType},
};

use tricast_core::{
    built_in::{BuiltIn, CHANNELS, Readers},
    openapi::{Cursor, Time},
};
use tricast_domain::history::BackfillSchema;

/// Snapshot of all metrics: the value of the channel `metrics`.
pub(super) struct Snapshot;

/// Snapshot of all metrics: the value of the channel `metrics`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive macro alone")]
#[schema(example = json!({
    "database": {"connections": 3, "queries_per_second": 120.5, "slow_queries": 0, "cache_hit_ratio": 0.98},
    "api": {"requests_per_second": 41.2, "avg_response_time": 1.8, "error_rate": 0.002, "active_users": 12},
    "infrastructure": {"cpu_usage": 45.1, "memory_usage": 60.2, "disk_usage": 40.0, "load_average": 1.2,
        "network_in": 1000000, "network_out": 500000},
    "business": {"orders_today": 1250, "revenue_today": 45000.00, "new_users_today": 150, "conversion_rate": 0.035},
    "custom": {"checkout": {"latency_p95": 180}},
    "cursor": "k3f9x2ab:10482", "timestamp": "2024-07-15T14:00:05.120Z"}))]
struct WithoutSections {
    /// Pushed values, by the name of their channel without `metrics.`.
    custom: BTreeMap<String, BTreeMap<String, Value>>,
    /// History by channel, if the request has `backfill`.
    #[schema(nullable = false)]
    history: Option<BTreeMap<String, BackfillSchema>>,
    cursor: Cursor,
    /// Time of the last change.
    timestamp: Time,
}

impl ToSchema for Snapshot {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.extend(sections().map(|(name, channel)| (component(name), section(channel).into())));
        WithoutSections::schemas(schemas);
    }
}

impl PartialSchema for Snapshot {
    fn schema() -> RefOr<Schema> {
        let mut schema = WithoutSections::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            for (name, channel) in sections() {
                object.properties.insert(name.into(), value_of(name, channel));
                object.required.push(name.into());
            }
        }
        schema
    }
}

/// Returns the schema of a section as a property of the snapshot.
fn value_of(section: &str, channel: &BuiltIn) -> RefOr<Schema> {
    let value = Ref::from_schema_name(component(section));
    if channel.readers == Readers::Metrics {
        return value.into();
    }
    let null = ObjectBuilder::new().schema_type(Type::Null);
    let either = OneOfBuilder::new().item(value).item(null);
    either.description(Some("`null` without the permission `read:orders`.")).into()
}

/// Returns the sections of the snapshot with their channels.
fn sections() -> impl Iterator<Item = (&'static str, &'static BuiltIn)> {
    CHANNELS.iter().filter_map(|channel| Some((channel.section?, channel)))
}

/// Returns the name of a section's schema.
fn component(section: &str) -> String {
    let (first, rest) = section.split_at(1);
    first.to_ascii_uppercase() + rest
}

/// Returns the schema of a section's value.
fn section(channel: &BuiltIn) -> ObjectBuilder {
    let object = channel.fields.iter().fold(ObjectBuilder::new(), |object, field| {
        let types = SchemaType::from_iter([Type::Number, Type::Null]);
        let format = SchemaFormat::KnownFormat(KnownFormat::Double);
        let number = ObjectBuilder::new().schema_type(types).format(Some(format)).description(Some(field.description));
        object.property(field.name, number).required(field.name)
    });
    let description = format!("Value of the channel `{}`; `null` where a value is unknown.", channel.name);
    object.description(Some(description))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use tricast_core::built_in::Unit;

    use super::*;

    /// Module with the units and titles of built-in fields for the dashboard.
    const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/static/js/built-in-fields.js");

    /// Returns the text of [`MODULE`].
    fn module() -> String {
        let mut text = String::from(
            "// @ts-check\n\
             /** Fields of built-in channels. Generated from `crates/core/src/built_in.rs`; a test names the command. */\n\n\
             /** @type {Record<string, {unit: import('./fields.js').Unit, title?: string}>} */\n\
             export const BUILT_IN = {\n",
        );
        let fields: BTreeMap<_, _> =
            CHANNELS.iter().flat_map(|channel| channel.fields).map(|field| (field.name, field)).collect();
        for (name, field) in fields {
            let unit = match field.unit {
                Unit::Count => "count",
                Unit::Number => "number",
                Unit::Money => "money",
                Unit::Percent => "percent",
                Unit::Ratio => "ratio",
                Unit::BytesPerSecond => "bytesPerSecond",
                Unit::PerSecond => "perSecond",
                Unit::Milliseconds => "milliseconds",
                Unit::Duration => "duration",
                // Needs no format.
                Unit::Text => continue,
            };
            let title = field.title.map(|title| format!(", title: '{title}'")).unwrap_or_default();
            writeln!(text, "  {name}: {{ unit: '{unit}'{title} }},").unwrap();
        }
        text + "};\n"
    }

    #[test]
    fn the_fields_of_the_dashboard_are_up_to_date() {
        if std::env::var_os("TRICAST_WRITE_FIELDS").is_some() {
            std::fs::write(MODULE, module()).unwrap();
        }
        let found = std::fs::read_to_string(MODULE).unwrap_or_default();
        assert!(found == module(), "run: TRICAST_WRITE_FIELDS=1 cargo test --lib the_fields_of_the_dashboard");
    }
}
