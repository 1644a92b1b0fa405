//! OpenAPI schemas of history, whose JSON `query_result` writes. Compiled with the feature `openapi` only.

#![expect(dead_code, reason = "read by the derive macro alone")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::Level;
use tricast_core::openapi::{ChannelName, Time};

/// Requested length of buckets; `auto` is the finest with at most 600 buckets per field.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Interval {
    /// Points as they were recorded.
    Raw,
    /// One bucket for each minute.
    Minute,
    /// One bucket for each hour.
    Hour,
    /// One bucket for each day of the configured time zone.
    Day,
    /// The finest level with at most 600 buckets per field.
    Auto,
}

/// Summary of the points of a time span; with the interval `raw`, one point.
#[derive(ToSchema)]
#[schema(as = Bucket)]
pub(super) struct BucketSchema {
    /// Start of the time span.
    period: Time,
    /// Number of points in the bucket.
    #[schema(minimum = 1)]
    count: u64,
    /// Sum of the points.
    total: f64,
    /// Mean of the points.
    average: f64,
    /// Smallest value in the bucket.
    min: f64,
    /// Largest value in the bucket.
    max: f64,
    /// Value of the last point in the bucket.
    last: f64,
}

/// History of the fields of a channel. Time spans without points have no bucket.
#[derive(ToSchema)]
#[schema(as = History, example = json!({"channel": "metrics.api", "field": "requests_per_second", "interval": "minute",
    "from": "2024-07-15T14:00:00.000Z", "to": "2024-07-15T14:01:00.000Z", "buckets": [{"period": "2024-07-15T14:00:00.000Z",
    "count": 60, "total": 3090, "average": 51.5, "min": 50, "max": 53, "last": 53}]}))]
pub struct HistorySchema {
    channel: ChannelName,
    /// Name of the field, if the request names one.
    #[schema(nullable = false)]
    field: Option<String>,
    interval: Level,
    /// Start of the time span.
    from: Time,
    /// End of the time span, exclusive.
    to: Time,
    /// Buckets of that field.
    #[schema(nullable = false)]
    buckets: Option<Vec<BucketSchema>>,
    /// Buckets by field, if the request does not name a single one.
    #[schema(nullable = false)]
    fields: Option<BTreeMap<String, Vec<BucketSchema>>>,
}

/// History of a channel up to its live values.
#[derive(ToSchema)]
#[schema(as = Backfill)]
pub struct BackfillSchema {
    interval: Level,
    /// Start of the time span.
    from: Time,
    /// End of the time span, exclusive: the live values start here.
    to: Time,
    /// Buckets of each requested field, the oldest first.
    fields: BTreeMap<String, Vec<BucketSchema>>,
}
