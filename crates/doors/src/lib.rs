//! Parsers of the protocols by which other programs send metrics: bytes in, [`Point`]s out.
//!
//! | module | protocol |
//! |---|---|
//! | [`influx`] | InfluxDB line protocol |
//!
//! Everything here is pure: no I/O, no clock, no state. Names of points are as the sender wrote them; [`names`] maps them to valid
//! channels, fields and labels. Memory is bounded by the size of the message and by [`Bounds`].

pub mod influx;
pub mod names;
mod point;

pub use point::{Bounds, Fault, Field, Message, Point, TooMany, Value};
