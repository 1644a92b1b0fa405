//! OpenAPI schemas of texts and numbers that many types contain. Compiled with the feature `openapi` only.

#![expect(dead_code, reason = "read by the derive macro alone")]

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};

use crate::{
    sample::{MAX_LABEL_BYTES, MAX_LABEL_NAME_BYTES, MAX_LABELS},
    span::Span,
};

/// Time in UTC (RFC 3339) with milliseconds.
#[derive(ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2024-07-15T14:00:05.120Z")]
pub struct Time(String);

/// Position in the log as text. Opaque to clients.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^[A-Za-z0-9_-]{1,32}:[0-9]{1,19}(\.[0-9]{1,19})?$", example = "k3f9x2ab:10482")]
pub struct Cursor(String);

/// Name of a channel.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^[A-Za-z0-9_.:-]{1,128}$", example = "metrics.checkout")]
pub struct ChannelName(String);

/// Name of a channel; `metrics.*` selects all channels below a prefix.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^[A-Za-z0-9_.:-]{1,128}(\.\*)?$", example = "metrics.*")]
pub struct Selector(String);

/// Shortest time between two updates: `500ms`, `5s`, `1m`, or a number of milliseconds; at most an hour.
#[derive(ToSchema)]
#[schema(
    value_type = String,
    pattern = r"^0*(([0-2]?[0-9]{1,6}|3[0-5][0-9]{5}|3600000)(ms)?|([0-2]?[0-9]{1,3}|3[0-5][0-9]{2}|3600)s|([0-5]?[0-9]|60)m|[01]h)$",
    example = "5s"
)]
pub struct UpdateInterval(String);

/// Labels of a sample.
pub struct Labels;

impl PartialSchema for Labels {
    fn schema() -> RefOr<Schema> {
        let text = |most: usize| ObjectBuilder::new().schema_type(Type::String).max_length(Some(most));
        let names = text(MAX_LABEL_NAME_BYTES).pattern(Some("^[A-Za-z_][A-Za-z0-9_]{0,63}$")).build();
        let description = format!("At most {MAX_LABELS} labels, each value at most {MAX_LABEL_BYTES} bytes long.");
        ObjectBuilder::new()
            .property_names(Some(names))
            .additional_properties(Some(text(MAX_LABEL_BYTES)))
            .max_properties(Some(MAX_LABELS))
            .description(Some(description))
            .examples([serde_json::json!({"region": "eu"})])
            .into()
    }
}

impl ToSchema for Labels {}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        let span = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
            .pattern(Some("^[0-9]{1,9}(ms|s|m|h|d)?$"))
            .minimum(Some(0));
        span.description(Some("A duration: `30s`, `5m`, `1h`, `7d`, or a number of milliseconds. Written as a text."))
            .into()
    }
}

impl ToSchema for Span {
    fn name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
}
