//! What history needs of a store. Implementations are elsewhere.
//!
//! ```text
//! points ── roll_up(Minute) ──▶ minutes ── roll_up(Hour) ──▶ hours ── roll_up(Day) ──▶ days
//! ```
//!
//! Each series has, for each rolled level, a time up to which it is rolled up. Below it the level's rows are whole and
//! true; from it on the finer level is read. So an answer is never behind, and a roll-up can stop anywhere.

use futures_util::future::BoxFuture;

use super::{Bucket, Calendar, HistoryError, Level};
use crate::core::channel::Channel;

/// A store's answer; dropping it does not undo a change.
pub type Answer<T> = BoxFuture<'static, Result<T, HistoryError>>;

/// Keeps the history of many tenants. One tenant's calls never see another's. Times are milliseconds since 1970.
///
/// Changes are made in the order of the calls. A change that was answered survives the end of the process. One that
/// failed has changed nothing, except that [`HistoryError::Unavailable`] leaves open whether it was made: every one may
/// be repeated, and comes to the same.
///
/// What takes long comes in steps ([`RollUp`], [`Forget`]), each a transaction of its own, so that other changes get their
/// turn in between. Steps of one tenant are asked for one after the other, and not while points of it are being written.
///
/// # Errors
/// Every method: [`HistoryError::Unavailable`] when too much waits for the store or it does not work,
/// [`HistoryError::Full`] when it has no room; [`HistoryError::Refused`] when it does not take something of what it was
/// given: nothing of that is changed then, and repeating it is of no use.
pub trait HistoryStore: Send + Sync {
    /// The ids of series, in the order of `names`; those that are not known are made, as long as the tenant has less than
    /// `max` (0: no limit), and are `None` beyond that. An id stays until [`HistoryStore::forget`] says that one went.
    fn series(&self, tenant: &str, names: Vec<SeriesName>, max: usize) -> Answer<Vec<Option<SeriesId>>>;

    /// Writes points, all or none. One of a time that its series has already takes the place of the other; one of a
    /// series that is gone or of another tenant is left out.
    ///
    /// A point before the time up to which its series is rolled up takes that time back, for every level, to the
    /// beginning of the bucket of `calendar` that holds the point.
    fn write(&self, tenant: &str, points: Vec<Point>, calendar: &Calendar) -> Answer<()>;

    /// Whether other processes write it, too.
    fn is_shared(&self) -> bool {
        false
    }

    /// Reads what is known of a channel, all of it as it is at one moment.
    fn read(&self, tenant: &str, query: Query) -> Answer<Vec<Track>>;

    /// Notes when channels ended. What is known of them stays.
    fn end(&self, tenant: &str, ends: Vec<(Channel, i64)>) -> Answer<()>;

    /// The newest point of each series, of `max` series at most; of one whose points are gone, its last minute. Series of
    /// channels that have ended since are left out.
    fn newest(&self, tenant: &str, max: usize) -> Answer<Vec<Newest>>;

    /// About how many bytes the store takes, for all tenants, without the room that is free for what comes; `None` when that is
    /// not known.
    fn bytes(&self) -> Answer<Option<u64>> {
        Box::pin(async { Ok(None) })
    }

    /// One step of a roll-up.
    fn roll_up(&self, tenant: &str, step: RollUp) -> Answer<Progress>;

    /// One step of forgetting.
    fn forget(&self, tenant: &str, step: Forget) -> Answer<Progress>;
}

/// The id of a series, given by the store. Ids of a tenant grow; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SeriesId(pub i64);

impl SeriesId {
    /// Returns the id after which a step continues with this series.
    pub const fn before(self) -> Self {
        Self(self.0 - 1)
    }
}

/// What a series is called within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeriesName {
    /// The state channel.
    pub channel: Channel,
    /// The path of a numeric field of its value, with dots; at most 256 bytes.
    pub field: Box<str>,
}

/// One reading of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Whose it is.
    pub series: SeriesId,
    /// When it was accepted.
    pub at: i64,
    /// A finite number.
    pub value: f64,
}

/// The newest reading of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// What the series is called.
    pub name: SeriesName,
    /// When it was accepted, or the beginning of the minute.
    pub at: i64,
    /// A finite number.
    pub value: f64,
}

/// Which part of a channel's history.
#[derive(Clone, Debug)]
pub struct Query {
    /// The channel.
    pub channel: Channel,
    /// The fields; `None` for all.
    pub fields: Option<Vec<Box<str>>>,
    /// The level that is wanted.
    pub level: Level,
    /// From this time on: the beginning of a bucket of `level`.
    pub from: i64,
    /// For each level, by its place in [`Level::ALL`], the time at which its rows end, not included. The first is the end
    /// of what is asked for, each other the beginning of the bucket of its level that holds that end.
    ///
    /// Of `level` the rows in `from..ends[level]` are read, as far as the series is rolled up; where that ends the
    /// next finer level goes on, and so on down to the points, which go to `ends[0]`.
    pub ends: [i64; 4],
    /// Most rows of a series. If there are more, the track is cut there and says so.
    pub limit: usize,
}

/// What is known of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// The path of the field.
    pub field: Box<str>,
    /// In the order of their times: of the level that was asked for, then of finer ones, down to points.
    pub rows: Vec<Bucket>,
    /// From this time on the rows are points: what is before it is in rows of other levels.
    pub points_from: i64,
    /// There would be more rows than the limit allows.
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

/// A step of rolling up one level of a tenant.
///
/// Series are taken by their ids. Of each, the rows of the finer level from the time up to which `level` is rolled up are
/// folded ([`fold`](super::fold)) into buckets, which take the place of those there are, and the time moves on, all in one
/// transaction. What is not there any more does not undo what was made of it: no bucket is deleted.
///
/// A series without new rows is left alone most of the time: its time moves on when a bucket of the next coarser level
/// is over ([`RollUp::moves_on`]), or the last one of a series that stopped would never be made, and its rows never go.
#[derive(Clone, Debug)]
pub struct RollUp {
    /// Any but [`Level::Raw`].
    pub level: Level,
    /// Rows from this time on are left: it is the beginning of a bucket of `level`. Never beyond the time up to which
    /// a series' finer level is rolled up.
    pub through: i64,
    /// Where buckets begin and end.
    pub calendar: Calendar,
    /// Go on after this series; 0 begins.
    pub after: SeriesId,
    /// About so many rows are read at most, but at least one bucket is made if there is one to make.
    pub rows: usize,
}

impl RollUp {
    /// Whether the time of a series without new rows moves on from `from` to `through`: a bucket of the next coarser level
    /// ends in between.
    pub fn moves_on(&self, from: i64, through: i64) -> bool {
        self.level.coarser().is_some_and(|coarser| self.calendar.start(coarser, through) > from)
    }
}

/// A step of forgetting what is older than it has to be kept.
///
/// Series are taken by their ids. What a coarser level is not yet made from is kept, however old it is. A series that has
/// nothing left at any level goes as well, and so does its id.
#[derive(Clone, Copy, Debug)]
pub struct Forget {
    /// For each level, by its place in [`Level::ALL`]: rows before this time go. `i64::MIN` keeps all.
    pub before: [i64; 4],
    /// Go on after this series; 0 begins.
    pub after: SeriesId,
    /// At most so many rows are deleted.
    pub rows: usize,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Where the next step goes on; `None` when all is done.
    pub next: Option<SeriesId>,
    /// Rows that were read, or deleted.
    pub rows: usize,
    /// Series that went.
    pub gone: usize,
}
