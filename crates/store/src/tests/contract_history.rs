//! Contract of [`HistoryStore`]: the behaviour that all stores share.

use jiff::{Timestamp, tz::TimeZone};

use super::{SHOP, Stores};
use tricast_core::channel::Channel;
use tricast_domain::history::{
    Bucket, Calendar, Forget, HistoryStore, Level, Newest, Point, Progress, Query, RollUp, SeriesId, SeriesLimits,
    SeriesName, Track, fold,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn berlin() -> Calendar {
    Calendar::new(TimeZone::get("Europe/Berlin").unwrap())
}

/// Returns 22:00 on the evening before the clock is set back.
fn begin() -> i64 {
    "2026-10-24T20:00:00Z".parse::<Timestamp>().unwrap().as_millisecond()
}

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

async fn series(store: &dyn HistoryStore, tenant: &str, channel_name: &str, fields: &[&str]) -> Vec<SeriesId> {
    let name = |field: &&str| SeriesName { channel: channel(channel_name), field: (*field).into() };
    let ids = store.series(tenant, fields.iter().map(name).collect(), SeriesLimits::default()).await.unwrap();
    ids.into_iter().map(Option::unwrap).collect()
}

/// Returns points from `from` until `until`, one every `step`, whose values add up exactly.
fn points(series: SeriesId, from: i64, until: i64, step: i64) -> Vec<Point> {
    let value = |at: i64| f64::from(((at / 1_000) % 97 - 40) as i32) / 4.0;
    (from..until).step_by(step as usize).map(|at| Point { series, at, value: value(at) }).collect()
}

fn raw(points: &[Point]) -> Vec<Bucket> {
    points.iter().map(|point| Bucket::of_point(point.at, point.value)).collect()
}

fn query(level: Level, from: i64, until: i64) -> Query {
    let ends = Level::ALL.map(|level| if level == Level::Raw { until } else { berlin().start(level, until) });
    Query {
        channel: channel("metrics.a"),
        fields: None,
        level,
        from: berlin().start(level, from),
        ends,
        limit: 100_000,
    }
}

async fn read(store: &dyn HistoryStore, level: Level, from: i64, until: i64) -> Vec<Track> {
    store.read(SHOP, query(level, from, until)).await.unwrap()
}

/// Rolls one level up to the last whole bucket before `until`, in steps of `rows`. Returns the number of steps.
async fn roll_up(store: &dyn HistoryStore, level: Level, until: i64, rows: usize) -> usize {
    let (mut after, mut steps) = (SeriesId::default(), 0);
    loop {
        let through = berlin().start(level, until);
        let step = RollUp { level, through, calendar: berlin(), after, rows };
        let Progress { next, .. } = store.roll_up(SHOP, step).await.unwrap();
        steps += 1;
        assert!(steps < 10_000, "a roll-up does not end");
        match next {
            Some(next) => after = next,
            None => return steps,
        }
    }
}

async fn roll_all(store: &dyn HistoryStore, until: i64) {
    for level in Level::ROLLED {
        roll_up(store, level, until, 10_000).await;
    }
}

async fn forget(store: &dyn HistoryStore, before: [i64; 4], rows: usize) -> (usize, usize) {
    let (mut after, mut deleted, mut gone) = (SeriesId::default(), 0, 0);
    for _ in 0..10_000 {
        let progress = store.forget(SHOP, Forget { before, after, rows }).await.unwrap();
        assert!(progress.rows <= rows, "a step is bounded");
        (deleted, gone) = (deleted + progress.rows, gone + progress.gone);
        match progress.next {
            Some(next) => after = next,
            None => return (deleted, gone),
        }
    }
    panic!("deleting does not end");
}

/// Folds the rows of one field into buckets of `level`.
fn folded(tracks: &[Track], level: Level) -> Vec<Bucket> {
    let [track] = tracks else { panic!("one track, not {tracks:?}") };
    fold(track.rows.iter().copied(), level, &berlin())
}

pub(crate) async fn points_are_read_back_in_order(stores: Stores) {
    let store = &*stores.history;
    let ids = series(store, SHOP, "metrics.a", &["x", "y.z"]).await;
    let begin = begin();
    let (mut x, y) = (points(ids[0], begin, begin + 10_000, 1_000), points(ids[1], begin, begin + 5_000, 500));
    let mut all = [x.clone(), y.clone()].concat();
    all.reverse();
    store.write(SHOP, all, &berlin()).await.unwrap();
    store.write(SHOP, Vec::new(), &berlin()).await.unwrap();
    x.push(Point { series: ids[0], at: begin + 20_000, value: -1e300 });
    store.write(SHOP, x[10..].to_vec(), &berlin()).await.unwrap();
    let mut tracks = read(store, Level::Raw, begin, begin + HOUR).await;
    tracks.sort_by(|a, b| a.field.cmp(&b.field));
    let track = |field: &str, points| Track { field: field.into(), rows: raw(points), points_from: begin, cut: false };
    assert_eq!(tracks, [track("x", &x), track("y.z", &y)]);
    // From the first time, which is included, to the last, which is not.
    let part = read(store, Level::Raw, begin + 2_000, begin + 4_000).await;
    assert_eq!(part.iter().map(|track| track.rows.len()).sum::<usize>(), 2 + 4);
    let only = Query { fields: Some(vec!["y.z".into(), "no".into()]), ..query(Level::Raw, begin, begin + HOUR) };
    let only = store.read(SHOP, only).await.unwrap();
    assert_eq!(only.iter().map(|track| &*track.field).collect::<Vec<_>>(), ["y.z"]);
    let other = Query { channel: channel("metrics.b"), ..query(Level::Raw, begin, begin + HOUR) };
    assert_eq!(store.read(SHOP, other).await.unwrap(), []);
}

pub(crate) async fn a_point_may_be_written_again(stores: Stores) {
    let store = &*stores.history;
    let id = series(store, SHOP, "metrics.a", &["x"]).await[0];
    let begin = begin();
    for value in [1.0, 2.5] {
        let twice = vec![Point { series: id, at: begin, value: 9.0 }, Point { series: id, at: begin, value }];
        store.write(SHOP, twice, &berlin()).await.unwrap();
        let tracks = read(store, Level::Raw, begin, begin + 1).await;
        assert_eq!(tracks[0].rows, [Bucket::of_point(begin, value)], "the later one stays");
    }
}

pub(crate) async fn ids_stay_and_series_are_bounded(stores: Stores) {
    let store = &*stores.history;
    let ids = series(store, SHOP, "metrics.a", &["x", "y"]).await;
    assert!(ids[0] > SeriesId::default() && ids[0] != ids[1]);
    let name = |channel_name, field: &str| SeriesName { channel: channel(channel_name), field: field.into() };
    let names = vec![name("metrics.a", "y"), name("metrics.b", "x"), name("metrics.b", "y"), name("metrics.a", "x")];
    let of_tenant = |tenant| SeriesLimits { tenant, channel: 0 };
    let found = store.series(SHOP, names.clone(), of_tenant(3)).await.unwrap();
    assert_eq!((found[0], found[2], found[3]), (Some(ids[1]), None, Some(ids[0])), "the fourth exceeds the limit");
    assert!(found[1].is_some_and(|new| !ids.contains(&new)));
    assert!(store.series(SHOP, names.clone(), of_tenant(0)).await.unwrap()[2].is_some(), "0 means no limit");
    assert!(store.series("other", names, of_tenant(1)).await.unwrap()[0].is_some(), "each tenant has its own limit");
    let of_channel = SeriesLimits { tenant: 0, channel: 3 };
    let names = ["x", "y", "v", "w"].map(|field| name("metrics.a", field)).into_iter();
    let names = names.chain([name("metrics.c", "x")]).collect();
    let found: Vec<_> = store.series(SHOP, names, of_channel).await.unwrap().iter().map(Option::is_some).collect();
    assert_eq!(found, [true, true, true, false, true], "the fourth series of a channel exceeds the limit");
}

pub(crate) async fn a_query_returns_the_same_before_and_after_roll_ups(stores: Stores) {
    let store = &*stores.history;
    let id = series(store, SHOP, "metrics.a", &["x"]).await[0];
    let (begin, end) = (begin(), begin() + 50 * HOUR + 7 * MINUTE + 30_000);
    // Two and a half days, a point every 40 s, and a gap of some hours.
    let mut all = points(id, begin, begin + 10 * HOUR, 40_000);
    all.extend(points(id, begin + 15 * HOUR + 12_345, end, 40_000));
    store.write(SHOP, all.clone(), &berlin()).await.unwrap();
    let expected = Level::ALL.map(|level| fold(raw(&all), level, &berlin()));
    for until in [begin, begin + 90_000, begin + 2 * HOUR, begin + 27 * HOUR + 1, end] {
        for level in Level::ROLLED {
            roll_up(store, level, until, 10_000).await;
            for (level, expected) in Level::ALL.iter().zip(&expected) {
                let tracks = read(store, *level, begin, end).await;
                assert_eq!(folded(&tracks, *level), *expected, "{level:?}");
                let rows = &tracks[0].rows;
                assert!(rows.is_sorted_by(|a, b| a.at < b.at), "{level:?}");
                assert!(rows.iter().all(|row| row.at < tracks[0].points_from || row.count == 1), "{level:?}");
            }
        }
    }
    // Everything possible is rolled up: two whole days, and the past part of the third.
    let rows = read(store, Level::Day, begin, end).await.remove(0).rows.len();
    assert!(rows < 3 + 24 + 60 + 3, "{rows} rows");
}

pub(crate) async fn a_roll_up_continues_where_it_stopped(stores: Stores) {
    let store = &*stores.history;
    let ids = series(store, SHOP, "metrics.a", &["a", "b", "c"]).await;
    let (begin, end) = (begin(), begin() + 2 * HOUR);
    let all: Vec<Point> = ids.iter().flat_map(|id| points(*id, begin, end, 5_000)).collect();
    store.write(SHOP, all, &berlin()).await.unwrap();
    // A step that has too few rows for a minute makes one nevertheless.
    assert!(roll_up(store, Level::Minute, end, 5).await >= 3 * 120);
    assert!(roll_up(store, Level::Hour, end, 70).await >= 3);
    for track in read(store, Level::Minute, begin, end).await {
        assert_eq!((track.rows.len(), track.points_from), (120, end), "{}", track.field);
        assert!(track.rows.iter().all(|row| row.count == 12), "{}", track.field);
    }
    for track in read(store, Level::Hour, begin, end).await {
        assert_eq!(track.rows.iter().map(|row| row.count).collect::<Vec<_>>(), [720, 720]);
    }
    assert_eq!(roll_up(store, Level::Minute, end, 1_000).await, 1, "all points are rolled up");
}

pub(crate) async fn late_points_are_rolled_up_again(stores: Stores) {
    let store = &*stores.history;
    let ids = series(store, SHOP, "metrics.a", &["x"]).await;
    let (begin, end) = (begin(), begin() + 30 * HOUR);
    let mut all = points(ids[0], begin, end, 30_000);
    let late = all.remove(777);
    store.write(SHOP, all.clone(), &berlin()).await.unwrap();
    roll_all(store, end).await;
    // A late point, and a point that replaces another.
    let (replacing, place) = (Point { value: 400.25, ..all[5] }, 5);
    all[place] = replacing;
    all.insert(777, late);
    store.write(SHOP, vec![late, replacing], &berlin()).await.unwrap();
    for rolled in [false, true] {
        for level in Level::ALL {
            let expected = fold(raw(&all), level, &berlin());
            assert_eq!(folded(&read(store, level, begin, end).await, level), expected, "{level:?}, {rolled}");
        }
        roll_all(store, end).await;
    }
}

pub(crate) async fn only_whole_buckets_before_the_end_are_read(stores: Stores) {
    let store = &*stores.history;
    let id = series(store, SHOP, "metrics.a", &["x"]).await[0];
    let (begin, end) = (begin(), begin() + 30 * HOUR);
    let all = points(id, begin, end, 20_000);
    store.write(SHOP, all.clone(), &berlin()).await.unwrap();
    roll_all(store, end).await;
    for until in [begin, begin + 1, begin + 5 * HOUR + 61_000, begin + 26 * HOUR] {
        let before: Vec<Point> = all.iter().filter(|point| point.at < until).copied().collect();
        for level in Level::ALL {
            let expected = fold(raw(&before), level, &berlin());
            assert_eq!(folded(&read(store, level, begin, until).await, level), expected, "{level:?} {until}");
        }
    }
}

pub(crate) async fn old_rows_are_deleted_once_they_are_rolled_up(stores: Stores) {
    let store = &*stores.history;
    let id = series(store, SHOP, "metrics.a", &["x"]).await[0];
    let (begin, end) = (begin(), begin() + 60 * HOUR);
    let all = points(id, begin, end, 60_000);
    store.write(SHOP, all.clone(), &berlin()).await.unwrap();
    let everything = [i64::MAX; 3];
    let keep_days = [everything[0], everything[1], everything[2], i64::MIN];
    assert_eq!(forget(store, keep_days, 500).await, (0, 0), "nothing is rolled up yet");
    roll_up(store, Level::Minute, begin + 10 * HOUR, 100_000).await;
    assert_eq!(forget(store, [begin + 4 * HOUR, i64::MIN, i64::MIN, i64::MIN], 100).await, (240, 0));
    assert_eq!(forget(store, keep_days, 500).await, (360, 0), "points that are rolled up into minutes");
    let expected = |level| fold(raw(&all), level, &berlin());
    assert_eq!(folded(&read(store, Level::Minute, begin, end).await, Level::Minute), expected(Level::Minute));
    roll_all(store, end).await;
    assert!(forget(store, keep_days, 500).await.0 > 0);
    let days = berlin().start(Level::Day, end);
    let whole: Vec<Bucket> = expected(Level::Day).into_iter().filter(|day| day.at < days).collect();
    let found = folded(&read(store, Level::Day, begin, end).await, Level::Day);
    assert_eq!(found[..whole.len()], whole, "days outlive the rows that they summarize");
    // A roll-up does not miss deleted rows.
    roll_all(store, end).await;
    assert_eq!(folded(&read(store, Level::Day, begin, end).await, Level::Day), found);
}

pub(crate) async fn a_series_that_stopped_is_rolled_up_and_deleted(stores: Stores) {
    let store = &*stores.history;
    let id = series(store, SHOP, "metrics.a", &["x"]).await[0];
    let begin = berlin().start(Level::Day, begin());
    let end = berlin().bucket(Level::Day, begin).end;
    store.write(SHOP, points(id, begin, begin + 5 * MINUTE, 10_000), &berlin()).await.unwrap();
    // Minute by minute, as the recorder does.
    for until in (begin..=end).step_by(MINUTE as usize * 7).chain([end]) {
        roll_all(store, until).await;
    }
    let days = folded(&read(store, Level::Day, begin, end).await, Level::Day);
    assert_eq!(days.iter().map(|day| day.count).collect::<Vec<_>>(), [30]);
    assert_eq!(forget(store, [end; 4], 100).await.1, 1, "the series is deleted");
}

pub(crate) async fn an_empty_series_is_deleted(stores: Stores) {
    let store = &*stores.history;
    let ids = series(store, SHOP, "metrics.a", &["x", "y"]).await;
    let begin = berlin().start(Level::Day, begin());
    let day = berlin().bucket(Level::Day, begin);
    let two = ids.iter().map(|id| Point { series: *id, at: begin, value: 1.0 });
    store.write(SHOP, two.collect(), &berlin()).await.unwrap();
    store.write(SHOP, vec![Point { series: ids[1], at: day.end, value: 1.0 }], &berlin()).await.unwrap();
    roll_all(store, day.end).await;
    let all = [day.end; 4];
    assert_eq!(forget(store, all, 1).await, (8, 1), "a point, minute, hour and day of each");
    let again = series(store, SHOP, "metrics.a", &["y", "x"]).await;
    assert_eq!(again[0], ids[1], "a series with rows stays");
    // A late point for the deleted series, by a caller that still uses its id, does no harm.
    store.write(SHOP, vec![Point { series: ids[0], at: day.end, value: 1.0 }], &berlin()).await.unwrap();
    let tracks = read(store, Level::Raw, begin, day.end + 1).await;
    let fields: Vec<_> = tracks.iter().filter(|track| !track.rows.is_empty()).map(|track| &*track.field).collect();
    assert!(fields == ["y"] || again[1] == ids[0], "{fields:?}");
}

pub(crate) async fn a_track_is_cut_at_the_limit(stores: Stores) {
    let store = &*stores.history;
    let ids = series(store, SHOP, "metrics.a", &["few", "many"]).await;
    let begin = begin();
    let mut all = points(ids[0], begin, begin + 10 * MINUTE, 60_000);
    all.extend(points(ids[1], begin, begin + 10 * MINUTE, 10_000));
    store.write(SHOP, all, &berlin()).await.unwrap();
    roll_up(store, Level::Minute, begin + 5 * MINUTE, 1_000).await;
    for (level, limit, expected) in [
        (Level::Raw, 10, [(10, false), (10, true)]),
        (Level::Raw, 60, [(10, false), (60, false)]),
        (Level::Minute, 10, [(10, false), (10, true)]),
        (Level::Minute, 35, [(10, false), (35, false)]),
        (Level::Minute, 4, [(4, true), (4, true)]),
    ] {
        let query = Query { limit, ..query(level, begin, begin + 10 * MINUTE) };
        let mut tracks = store.read(SHOP, query).await.unwrap();
        tracks.sort_by(|a, b| a.field.cmp(&b.field));
        let found: Vec<_> = tracks.iter().map(|track| (track.rows.len(), track.cut)).collect();
        assert_eq!(found, expected, "{level:?} {limit}");
    }
}

pub(crate) async fn tenants_share_no_history(stores: Stores) {
    let store = &*stores.history;
    let ours = series(store, SHOP, "metrics.a", &["x"]).await[0];
    let theirs = series(store, "other", "metrics.a", &["x"]).await[0];
    let begin = begin();
    let point = |series, value| Point { series, at: begin, value };
    store.write(SHOP, vec![point(ours, 1.0)], &berlin()).await.unwrap();
    store.write("other", vec![point(theirs, 2.0)], &berlin()).await.unwrap();
    assert_eq!(read(store, Level::Raw, begin, begin + 1).await[0].rows, [Bucket::of_point(begin, 1.0)]);
    // Not even with the id of a series of the other tenant.
    store.write(SHOP, vec![point(theirs, 9.0)], &berlin()).await.unwrap();
    let theirs = store.read("other", query(Level::Raw, begin, begin + 1)).await.unwrap();
    assert_eq!(theirs[0].rows, [Bucket::of_point(begin, 2.0)]);
    assert_eq!(store.read("unknown", query(Level::Raw, begin, begin + 1)).await.unwrap(), []);
    roll_all(store, begin + 60 * HOUR).await;
    assert_eq!(
        store.read("other", query(Level::Day, begin, begin + 1)).await.unwrap()[0].points_from,
        begin - 22 * HOUR
    );
    forget(store, [i64::MAX; 4], 100).await;
    assert_eq!(store.read("other", query(Level::Raw, begin, begin + 1)).await.unwrap().len(), 1);
}

pub(crate) async fn the_newest_point_of_each_series_is_found(stores: Stores) {
    let store = stores.history;
    assert_eq!(store.newest(SHOP, 9).await.unwrap(), []);
    let (from, calendar) = (begin(), berlin());
    let one = series(&*store, SHOP, "metrics.a", &["x", "y"]).await;
    let other = series(&*store, "other", "metrics.a", &["x"]).await[0];
    store.write(SHOP, points(one[0], from, from + 5 * MINUTE, 1_000), &calendar).await.unwrap();
    store.write(SHOP, points(one[1], from, from + 2 * HOUR, 1_000), &calendar).await.unwrap();
    store.write("other", points(other, from, from + HOUR, 1_000), &calendar).await.unwrap();
    let newest = |field: &str, at: i64| {
        let name = SeriesName { channel: channel("metrics.a"), field: field.into() };
        let value = points(SeriesId(1), at, at + 1, 1_000)[0].value;
        Newest { name, at, value }
    };
    let sorted = |mut found: Vec<Newest>| {
        found.sort_by(|a, b| a.name.field.cmp(&b.name.field));
        found
    };
    let (x, y) = (newest("x", from + 5 * MINUTE - 1_000), newest("y", from + 2 * HOUR - 1_000));
    // For a channel that ended only later points count, and only those of this tenant.
    let end = |tenant: &str, at: i64| store.end(tenant, vec![(channel("metrics.a"), at), (channel("metrics.no"), at)]);
    end("unknown", i64::MAX).await.unwrap();
    end("other", i64::MAX).await.unwrap();
    end(SHOP, from + 2 * HOUR - 1_001).await.unwrap();
    assert_eq!(store.newest(SHOP, 9).await.unwrap(), std::slice::from_ref(&y));
    assert_eq!(store.newest("other", 9).await.unwrap(), []);
    end(SHOP, 0).await.unwrap();
    assert_eq!(sorted(store.newest(SHOP, 9).await.unwrap()), [x.clone(), y.clone()]);
    assert_eq!(store.newest(SHOP, 1).await.unwrap().len(), 1);

    let roll_up = RollUp {
        level: Level::Minute,
        through: from + 2 * HOUR,
        calendar,
        after: SeriesId::default(),
        rows: usize::MAX / 4,
    };
    assert_eq!(store.roll_up(SHOP, roll_up).await.unwrap().next, None);
    let before = [from + HOUR, i64::MIN, i64::MIN, i64::MIN];
    store.forget(SHOP, Forget { before, after: SeriesId::default(), rows: usize::MAX / 4 }).await.unwrap();
    let minute = Newest { at: from + 4 * MINUTE, ..x };
    assert_eq!(sorted(store.newest(SHOP, 9).await.unwrap()), [minute, y], "its last minute replaces its points");
}
