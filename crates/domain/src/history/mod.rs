//! History: every numeric field of every state channel, as points and rolled up by minute, hour and day.
//!
//! ```text
//! log ─▶ recorder ─▶ write buffer ─▶ HistoryStore ─▶ roll-ups, retention
//!                       └──────────────┴──▶ History::ask, History::backfill
//! ```
//!
//! The recorder is a reader like any other, on a thread of its own: it can slow neither the writer nor a worker. A
//! query reads the store and the write buffer, which holds the points that are not known to be stored yet, so a
//! response is always up to date. Where nothing was recorded there is no bucket: missing is not zero, and the last
//! value is not repeated.

mod bucket;
mod calendar;
mod config;
mod error;
mod level;
mod numeric_fields;
mod pressure;
mod query;
mod query_result;
mod recorder;
mod restored;
mod roll_up;
#[cfg(feature = "openapi")]
mod schema;
mod service;
mod shared;
mod store;
mod write_buffer;

pub use bucket::{Bucket, fold};
pub use calendar::{Calendar, Span};
pub use config::HistoryConfig;
pub use error::HistoryError;
pub use level::Level;
pub use query::{AUTO, Asked, MAX_BACKFILL, MAX_BUCKETS, MAX_FIELDS, Question, parse_backfill};
pub use query_result::QueryResult;
pub use recorder::Recorder;
pub use roll_up::{Choice, Portion, RolledUp};
#[cfg(feature = "openapi")]
pub use schema::{BackfillSchema, HistorySchema, Interval};
pub use service::History;
pub use store::{
    Forget, HistoryStore, Newest, Point, Progress, Query, RollUp, SeriesId, SeriesLimits, SeriesName, StoreFuture,
    Track,
};

#[cfg(test)]
mod tests;
