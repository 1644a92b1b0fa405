//! Cost of an order, and of a start, with a million orders in the store.
//!
//! The baseline of both is an empty store. The orders are at most a minute apart, over a year, a tenth of them open. The
//! store is on the file system of the temporary directory (`TMPDIR`); the wall time of an order is mostly its flush of
//! the disk, which the CPU time excludes. There is one client at a time, so no flush is shared.

use std::{
    collections::VecDeque,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jiff::{Timestamp, ToSpan};
use serde_json::Value;
use tricast_domain::orders::{Created, Draft, Money, NewOrder, OrderStore, Priority, RowLimits, Status, StoreFuture};
use tricast_store::sqlite::SqliteStore;

use crate::{
    Outcome,
    http::Connection,
    process::Process,
    settings::Settings,
    table::{Ratio, Table},
};

/// Most orders that are queued in the store at once while it is filled.
const AHEAD: usize = 2_000;

/// Measures figure 9: CPU per new order.
pub(crate) fn measure(settings: &Settings, table: &mut Table) -> Outcome<()> {
    let orders: u64 = if settings.quick { 100_000 } else { 1_000_000 };
    let (full, empty) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(fill(full.path(), orders))?;
    let (mut start, mut work, mut wall) = (Ratio::default(), Ratio::default(), Ratio::default());
    for _ in 0..settings.repetitions {
        let ours = once(settings, full.path())?;
        let beside = once(settings, empty.path())?;
        start.add(ours.start, beside.start);
        work.add(ours.work, beside.work);
        wall.add(ours.wall, beside.wall);
    }
    let note = format!("{orders} orders in the store; baseline: none");
    table.line("CPU of one more order", "us", &work, "<= 1000 us", &note);
    table.line("POST of one more order", "us", &wall, "", "with its flush of the disk");
    table.line("start to the order numbers", "ms", &start, "<= 300 ms", "rebuilt from the counts by minute");
    Ok(())
}

struct Turn {
    start: f64,
    work: f64,
    wall: f64,
}

fn once(settings: &Settings, directory: &Path) -> Outcome<Turn> {
    let path = directory.to_str().ok_or("the path of the directory is not UTF-8")?;
    let server = Process::tricast_with(settings, &["--data-dir", path])?;
    let mut connection = Connection::open(server.address)?;
    let start = loop {
        let answer = connection.get("/api/metrics/metrics.orders", "")?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if value["data"]["pendingOrders"].is_u64() {
            break server.started.elapsed();
        }
        thread::sleep(Duration::from_micros(200));
    };
    // Idle again after the start.
    thread::sleep(Duration::from_millis(300));
    let order = r#"{"items":2,"total":19.99,"customerName":"Ada Lovelace","priority":"high"}"#;
    let count = settings.seconds(100, 500).as_secs() as u32;
    let (cpu, started_at) = (server.cpu()?, Instant::now());
    for _ in 0..count {
        let answer = connection.post("/api/orders", order)?;
        if answer.status != 201 {
            return Err(format!("an order was answered {}", answer.status).into());
        }
    }
    let (wall, work) = (started_at.elapsed() / count, (server.cpu()? - cpu) / count);
    server.terminate()?;
    Ok(Turn { start: start.as_secs_f64() * 1e3, work: work.as_secs_f64() * 1e6, wall: wall.as_secs_f64() * 1e6 })
}

/// Writes this many orders into the store, the newest a minute ago.
async fn fill(directory: &Path, orders: u64) -> Outcome<()> {
    let store = Arc::new(SqliteStore::open(directory)?);
    let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond())?;
    let step = (365 * 24 * 3_600_000 / orders) as i64;
    let mut asked: VecDeque<StoreFuture<Created>> = VecDeque::new();
    for number in 0..orders {
        let new = NewOrder {
            items: 2,
            total: Money { cents: (number % 20_000) as i64 },
            customer_name: "Ada Lovelace".into(),
            customer_id: None,
            status: if number % 10 == 0 { Status::Pending } else { Status::Completed },
            priority: Priority::Normal,
        };
        let at = now - 1.minute() - ((orders - number) as i64 * step).milliseconds();
        asked.push_back(store.create("default", Draft { new, key: None, at, limits: RowLimits::default() }));
        if asked.len() >= AHEAD
            && let Some(oldest) = asked.pop_front()
        {
            oldest.await?;
        }
    }
    for answer in asked {
        answer.await?;
    }
    store.close().await;
    Ok(())
}
