//! The core: one log per tenant, one writer, and readers that are positions in it.
//!
//! Nothing in here knows a transport, HTTP, SQL or a bus. Time comes from [`clock`] and from tokio's clock,
//! so tests own it.
//!
//! ```text
//! readings -> Aggregator -> Log  (newest value per state channel, ring of events)
//!                            |
//!                            +-- wake-up, one per worker -> Hub -> wakes the Readers that are due
//!                                                                  Reader::collect: what is newer than my position?
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
pub mod snapshot;
pub mod span;
pub mod throttle_group;
pub mod version;
