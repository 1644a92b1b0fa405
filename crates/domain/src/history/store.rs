//! Interface between history and a store. The implementations are in `tricast_store`.
//!
//! ```text
//! points ── roll_up(Minute) ──▶ minutes ── roll_up(Hour) ──▶ hours ── roll_up(Day) ──▶ days
//! ```
//!
//! Each series has, for each rolled-up level, a time up to which it is rolled up. Below it the rows of the level are
//! complete; from there on the finer level is read. So a response is always up to date, and a roll-up can stop
//! anywhere.

use futures_util::future::BoxFuture;

use super::{Bucket, Calendar, HistoryError, Level};
use tricast_core::channel::Channel;

/// Result of a call to a store; dropping it does not undo a change.
pub type StoreFuture<T> = BoxFuture<'static, Result<T, HistoryError>>;

/// Keeps the history of many tenants. A call for one tenant never sees data of another. Times are milliseconds since
/// 1970.
///
/// Changes are made in the order of the calls. An acknowledged change survives the end of the process. A change
/// that failed has changed nothing, or it is unknown whether it was made: each one may be repeated, with the same
/// result.
///
/// Long work is done in steps ([`RollUp`], [`Forget`]), each a transaction of its own, so that other changes are made
/// in between. Steps of one tenant are called one after the other, and not while points of it are being written.
///
/// # Errors
/// Every method: [`HistoryError::Store`]; with [`StoreError::Refused`](crate::service::StoreError::Refused) when the
/// store does not accept the data: nothing was changed then, and repeating the call does not help.
pub trait HistoryStore: Send + Sync {
    /// Returns the ids of series, in the order of `names`. Unknown ones are created within `limits`, and are `None` beyond
    /// them. An id is valid until [`HistoryStore::forget`] reports deleted series.
    fn series(&self, tenant: &str, names: Vec<SeriesName>, limits: SeriesLimits) -> StoreFuture<Vec<Option<SeriesId>>>;

    /// Writes points, all or none. A point replaces another one of its series with the same time; a point of a deleted
    /// series, or of one of another tenant, is left out.
    ///
    /// A late point, before the time up to which its series is rolled up, sets that time back for every level, to the
    /// start of the bucket of `calendar` that holds the point.
    fn write(&self, tenant: &str, points: Vec<Point>, calendar: &Calendar) -> StoreFuture<()>;

    /// Returns whether other processes write the store.
    fn is_shared(&self) -> bool {
        false
    }

    /// Reads the history of a channel, in one snapshot.
    fn read(&self, tenant: &str, query: Query) -> StoreFuture<Vec<Track>>;

    /// Records the times at which channels ended. Their history stays.
    fn end(&self, tenant: &str, ends: Vec<(Channel, i64)>) -> StoreFuture<()>;

    /// Returns the newest point of each series, of at most `max` series; for a series without points, its last minute.
    /// Series of channels that have ended since are left out.
    fn newest(&self, tenant: &str, max: usize) -> StoreFuture<Vec<Newest>>;

    /// Returns the approximate size of the store in bytes, for all tenants, without free space; `None` if it is
    /// unknown.
    fn bytes(&self) -> StoreFuture<Option<u64>> {
        Box::pin(async { Ok(None) })
    }

    /// Makes one step of a roll-up.
    fn roll_up(&self, tenant: &str, step: RollUp) -> StoreFuture<Progress>;

    /// Makes one step of deleting old rows.
    fn forget(&self, tenant: &str, step: Forget) -> StoreFuture<Progress>;
}

/// Largest numbers of series; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Series of a tenant.
    pub tenant: usize,
    /// Series of one channel of it.
    pub channel: usize,
}

impl SeriesLimits {
    /// Returns the number of series that the tenant may still add, where it has `count`.
    pub fn room(self, count: usize) -> usize {
        room(self.tenant, count)
    }

    /// Returns the number of series that a channel may still add, where it has `count`.
    pub fn room_of_channel(self, count: usize) -> usize {
        room(self.channel, count)
    }
}

fn room(max: usize, count: usize) -> usize {
    if max == 0 { usize::MAX } else { max.saturating_sub(count) }
}

/// Id of a series, assigned by the store. Ids of a tenant grow; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SeriesId(pub i64);

impl SeriesId {
    /// Returns the id after which a step continues with this series.
    pub const fn before(self) -> Self {
        Self(self.0 - 1)
    }
}

/// Name of a series within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeriesName {
    /// State channel of the series.
    pub channel: Channel,
    /// Path of a numeric field of its value, with dots; at most 256 bytes.
    pub field: Box<str>,
}

/// Point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Id of the series.
    pub series: SeriesId,
    /// Time at which the value was accepted.
    pub at: i64,
    /// Value of the point; a finite number.
    pub value: f64,
}

/// Newest point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// Name of the series.
    pub name: SeriesName,
    /// Time at which the value was accepted, or the start of the minute.
    pub at: i64,
    /// Value of the point; a finite number.
    pub value: f64,
}

/// Query of a channel's rows.
#[derive(Clone, Debug)]
pub struct Query {
    /// State channel of the query.
    pub channel: Channel,
    /// Fields; `None` for all.
    pub fields: Option<Vec<Box<str>>>,
    /// Level that the rows are requested from.
    pub level: Level,
    /// Start of the query: the start of a bucket of `level`.
    pub from: i64,
    /// End of the rows of each level, not included, by its index in [`Level::ALL`]. The first is the end of the query,
    /// each other the start of the bucket of its level that holds that end.
    ///
    /// Of `level` the rows in `from..ends[level]` are read, as far as the series is rolled up; from there on the next
    /// finer level, and so on down to the points, which reach to `ends[0]`.
    pub ends: [i64; 4],
    /// Largest number of rows of a series. A track with more is cut there.
    pub limit: usize,
}

/// Rows of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Path of the field.
    pub field: Box<str>,
    /// Rows in the order of their times: of the requested level, then of finer ones, down to points.
    pub rows: Vec<Bucket>,
    /// Time from which on the rows are points; earlier ones are rows of other levels.
    pub points_from: i64,
    /// Whether there are more rows than the limit allows.
    pub cut: bool,
}

impl Track {
    /// Creates the track of a field from its rows, of which at most `limit` and one more were read.
    pub fn new(field: Box<str>, mut rows: Vec<Bucket>, points_from: i64, limit: usize) -> Self {
        let cut = rows.len() > limit;
        rows.truncate(limit);
        Self { field, rows, points_from, cut }
    }
}

/// Step of rolling up one level of a tenant.
///
/// Series are taken in the order of their ids. The rows of the finer level since the time up to which `level` is rolled
/// up are folded ([`fold`](super::fold)) into buckets, which replace existing ones, and the time advances, all in one
/// transaction. Deleted rows do not delete buckets that were made from them.
///
/// A series without new rows is mostly left alone: its time advances when a bucket of the next coarser level is over
/// ([`RollUp::moves_on`]). Otherwise the last bucket of a series that stopped would never be made, and its rows never
/// deleted.
#[derive(Clone, Debug)]
pub struct RollUp {
    /// Level to make: any but [`Level::Raw`].
    pub level: Level,
    /// Time from which on rows are left alone: the start of a bucket of `level`. Never beyond the time up to which a
    /// series' finer level is rolled up.
    pub through: i64,
    /// Calendar that determines the buckets.
    pub calendar: Calendar,
    /// Series after which the step begins; 0 for the first one.
    pub after: SeriesId,
    /// Approximate limit of the rows that are read; at least one bucket is made if there is one to make.
    pub rows: usize,
}

impl RollUp {
    /// Returns whether the time of a series without new rows advances from `from` to `through`: a bucket of the next
    /// coarser level ends in between.
    pub fn moves_on(&self, from: i64, through: i64) -> bool {
        self.level.coarser().is_some_and(|coarser| self.calendar.start(coarser, through) > from)
    }
}

/// Step of deleting rows that are older than their retention time.
///
/// Series are taken in the order of their ids. Rows that are not rolled up yet are not deleted, however old
/// they are. A series without rows at any level is deleted, and its id becomes invalid.
#[derive(Clone, Copy, Debug)]
pub struct Forget {
    /// Time before which rows are deleted, for each level by its index in [`Level::ALL`]; `i64::MIN` keeps all.
    pub before: [i64; 4],
    /// Series after which the step begins; 0 for the first one.
    pub after: SeriesId,
    /// Largest number of rows that are deleted.
    pub rows: usize,
}

/// Result of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Series after which the next step begins; `None` when all is done.
    pub next: Option<SeriesId>,
    /// Number of rows that were read or deleted.
    pub rows: usize,
    /// Number of series that were deleted.
    pub gone: usize,
}
