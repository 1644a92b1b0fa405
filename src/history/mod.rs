//! History: every number of every state channel, as points and rolled up by minute, hour and day.

mod bucket;
mod calendar;
mod error;
mod level;
mod store;

pub use bucket::{Bucket, fold};
pub use calendar::{Calendar, Span};
pub use error::HistoryError;
pub use level::Level;
pub use store::{Answer, Forget, HistoryStore, Point, Progress, Query, RollUp, SeriesId, SeriesName, Track};
