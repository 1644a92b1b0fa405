//! Values in the columns of a row.

use jiff::Timestamp;
use rusqlite::{Error, Row, types::Type};
use serde::{Serialize, de::DeserializeOwned};

/// Reads a time that is stored in milliseconds since 1970.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    time_of(row.get(column)?, column)
}

/// Reads a time that may be absent.
pub(super) fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(|ms| time_of(ms, column)).transpose()
}

fn time_of(ms: i64, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(|_| Error::IntegralValueOutOfRange(column, ms))
}

/// Reads a text by `parse`, which returns `None` for unknown values.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize, parse: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    parse(text).ok_or_else(|| unreadable(column, format!("unknown value {text:?}")))
}

/// Reads a value that is stored as JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| unreadable(column, error))
}

/// Writes a value as JSON.
pub(super) fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

/// Creates the error for a value that can't be read.
pub(super) fn unreadable(column: usize, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, why.into())
}
