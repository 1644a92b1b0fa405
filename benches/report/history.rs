//! Cost of history: points per second into a file, bytes of a point, and a query of a month of 200 fields by hour.
//!
//! Points come as the recorder sends them: five seconds of 2,000 series, one per second, sorted, in transactions of
//! 2,000. The store is on the file system of the temporary directory (`TMPDIR`). The month is rolled up from minutes with
//! one point each, and queried over HTTP, all fields in one response; the baseline is the same for one field.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use tricast_core::channel::Channel;
use tricast_domain::history::{Calendar, HistoryStore, Level, Point, RollUp, SeriesId, SeriesLimits, SeriesName};
use tricast_store::sqlite::SqliteStore;

use crate::{
    Outcome,
    http::Connection,
    process::{self, Process},
    settings::Settings,
    table::{Ratio, Table},
};

/// Points of one transaction, as in the recorder.
const BATCH: usize = 2_000;

/// Series that make a point every second.
const SERIES: usize = 2_000;

const DAY_MS: i64 = 24 * 3_600_000;

/// Measures figure 10: writing and reading history.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let seconds = settings.seconds(30, 300).as_secs() as i64;
    let directory = tempfile::tempdir()?;
    let (rate, worst, bytes) = runtime.block_on(write(directory.path(), seconds))?;
    let note = format!("{SERIES} series, {seconds} points of each, with the flushes of the disk");
    table.single("points into the store", "/s", rate, ">= 50000/s", &note);
    table.single("longest transaction of points", "ms", worst, "", "so long an order may wait");
    table.single("a point on disk", "B", bytes, "", "the file, when it is closed");

    let directory = tempfile::tempdir()?;
    runtime.block_on(fill_month(directory.path()))?;
    let path = directory.path().to_str().ok_or("the path of the directory is not UTF-8")?;
    // Two threads of the store read a long response: they get all cores of the machine, as without a benchmark.
    let all = format!("0-{}", settings.cores - 1);
    let free = Settings { pinned: settings.pinned && !process::stay_on(&all), ..settings.clone() };
    let mut server = Process::tricast_with(&free, &["--data-dir", path])?;
    let mut connection = Connection::open(server.address)?;
    let mut month = Ratio::default();
    let mut ask = |field: &str| -> Outcome<f64> {
        let path = format!("/api/history?channel=metrics.month&interval=hour&from=-30d{field}");
        let start = Instant::now();
        let answer = connection.get(&path, "")?;
        if answer.status != 200 || answer.body.len() < 1_000 {
            return Err(format!("a month was answered {} with {} bytes", answer.status, answer.body.len()).into());
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    ask("")?;
    for _ in 0..settings.repetitions {
        month.add(ask("")?, ask("&field=f0")?);
    }
    table.line("a month of 200 fields by hour", "ms", &month, "", "the whole answer, all cores; beside: one field");
    server.terminate()?;
    while !server.has_ended()? {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut store = Ratio::default();
    for _ in 0..settings.repetitions {
        let (all, one) = runtime.block_on(read_month(directory.path()))?;
        store.add(all, one);
    }
    table.line("the same, the store's part", "ms", &store, "<= 50 ms", "144,000 buckets; beside: one field");
    if settings.pinned {
        process::stay_on(&format!("1-{}", settings.cores - 1));
    }
    Ok(())
}

fn calendar() -> Calendar {
    Calendar::new(TimeZone::UTC)
}

async fn series(store: &SqliteStore, channel: &str, count: usize) -> Outcome<Vec<SeriesId>> {
    let channel = Channel::parse(channel)?;
    let name = |n| SeriesName { channel: channel.clone(), field: format!("f{n}").into() };
    let ids = store.series("default", (0..count).map(name).collect(), SeriesLimits::default()).await?;
    Ok(ids.into_iter().flatten().collect())
}

/// Returns points per second, the longest transaction in ms, and bytes of a point.
async fn write(directory: &Path, seconds: i64) -> Outcome<(f64, f64, f64)> {
    let store = SqliteStore::open(directory)?;
    let ids = series(&store, "metrics.many", SERIES).await?;
    let begin = Timestamp::now().as_millisecond() - DAY_MS;
    let (mut spent, mut worst) = (Duration::ZERO, Duration::ZERO);
    for five in 0..seconds / 5 {
        let point = |id: &SeriesId, n: i64| {
            let at = begin + (five * 5 + n) * 1_000 + id.0 % 977;
            Point { series: *id, at, value: ((at / 7) % 100_000) as f64 / 100.0 }
        };
        let points: Vec<Point> = ids.iter().flat_map(|id| (0..5).map(move |n| point(id, n))).collect();
        for batch in points.chunks(BATCH) {
            let start = Instant::now();
            store.write("default", batch.to_vec(), &calendar()).await?;
            spent += start.elapsed();
            worst = worst.max(start.elapsed());
        }
    }
    store.close().await;
    let points = (seconds / 5 * 5) as f64 * SERIES as f64;
    let size = fs::metadata(directory.join("tricast.sqlite"))?.len() as f64;
    Ok((points / spent.as_secs_f64(), worst.as_secs_f64() * 1e3, size / points))
}

/// Creates 31 days of 200 fields, rolled up to hours; there is a point every ten minutes.
async fn fill_month(directory: &Path) -> Outcome<()> {
    let store = SqliteStore::open(directory)?;
    let ids = series(&store, "metrics.month", 200).await?;
    let now = Timestamp::now().as_millisecond();
    for id in &ids {
        let times = (now - 31 * DAY_MS..now).step_by(600_000);
        let points: Vec<Point> =
            times.map(|at| Point { series: *id, at, value: (at / 600_000 % 1_000) as f64 / 7.0 }).collect();
        store.write("default", points, &calendar()).await?;
    }
    for level in Level::ROLLED {
        let (through, mut after) = (calendar().start(level, now), SeriesId::default());
        loop {
            let step = RollUp { level, through, calendar: calendar(), after, rows: 50_000 };
            match store.roll_up("default", step).await?.next {
                Some(next) => after = next,
                None => break,
            }
        }
    }
    store.close().await;
    Ok(())
}

/// Returns the milliseconds for all fields, and for one.
async fn read_month(directory: &Path) -> Outcome<(f64, f64)> {
    let store = SqliteStore::open(directory)?;
    let to = Timestamp::now().as_millisecond();
    let ends = Level::ALL.map(|level| if level == Level::Raw { to } else { calendar().start(level, to) });
    let from = calendar().start(Level::Hour, to - 30 * DAY_MS);
    let channel = Channel::parse("metrics.month")?;
    let mut took = Vec::new();
    // All fields in two parts, as the service reads them.
    let named = |from: usize, to: usize| (from..to).map(|n| format!("f{n}").into()).collect::<Vec<Box<str>>>();
    for parts in [vec![named(0, 100), named(100, 200)], vec![named(0, 100), named(100, 200)], vec![named(0, 1)]] {
        let query = |fields| tricast_domain::history::Query {
            channel: channel.clone(),
            fields: Some(fields),
            level: Level::Hour,
            from,
            ends,
            limit: 1_500,
        };
        let start = Instant::now();
        let answers = parts.into_iter().map(|fields| store.read("default", query(fields)));
        let tracks = futures_util::future::try_join_all(answers).await?.concat();
        took.push(start.elapsed().as_secs_f64() * 1e3);
        if tracks.iter().any(|track| track.rows.len() < 700) {
            return Err("the month is incomplete".into());
        }
    }
    store.close().await;
    // The first query found a cold cache.
    Ok((took[1], took[2]))
}
