//! The core: one log per tenant, one writer, and readers that are positions in it.
//!
//! The core depends on no transport, HTTP, SQL or bus. Time is read from [`clock`] and from tokio's clock, so that tests
//! control it.
//!
//! ```text
//! readings -> Aggregator -> Log  (newest value per state channel, ring of events)
//!                            |
//!                            +-- wake-up, one per worker -> Hub -> wakes the Readers that are due
//!                                                                  Reader::collect: data newer than its position
//! ```

pub mod aggregator;
pub mod built_in;
pub mod channel;
pub mod clock;
pub mod counters;
pub mod decider;
pub mod depth;
pub mod expiry;
pub mod field_times;
pub mod hub;
pub mod ids;
pub mod interval;
pub mod lives;
pub mod log;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod pace;
pub mod pause;
pub mod position;
pub mod presence;
pub mod protocol;
pub mod publication;
pub mod published;
pub mod reader;
pub mod reading;
pub mod resume;
pub mod sample;
pub mod settings;
pub mod snapshot;
pub mod span;
pub mod throttle_group;
pub mod version;
