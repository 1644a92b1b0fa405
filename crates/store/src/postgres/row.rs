//! Values in the columns of a row.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use tokio_postgres::Row;

use super::Failure;

/// Reads a time that is stored in milliseconds since 1970.
pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp, Failure> {
    time_of(row.get(column))
}

/// Reads a time that may be absent.
pub(super) fn optional_time(row: &Row, column: usize) -> Result<Option<Timestamp>, Failure> {
    row.get::<_, Option<i64>>(column).map(time_of).transpose()
}

fn time_of(ms: i64) -> Result<Timestamp, Failure> {
    Timestamp::from_millisecond(ms).map_err(|error| Failure::Row(error.to_string()))
}

/// Reads a text by `parse`, which returns `None` for unknown values.
pub(super) fn parsed<T>(row: &Row, column: usize, parse: fn(&str) -> Option<T>) -> Result<T, Failure> {
    let text: &str = row.get(column);
    parse(text).ok_or_else(|| Failure::Row(format!("unknown value {text:?}")))
}

/// Reads a value that is stored as JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T, Failure> {
    serde_json::from_str(row.get(column)).map_err(|error| Failure::Row(error.to_string()))
}

/// Writes a value as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Row(error.to_string()))
}
