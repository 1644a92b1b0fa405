//! Contract tests on a file and in memory, and tests of SQLite's own behaviour.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::tests::{Stores, contract};
use tricast_domain::{
    orders::{Draft, Money, NewOrder, OrderError, OrderId, OrderStore, Priority, Query, RowLimits, Status},
    service::StoreError,
};

fn stores(store: SqliteStore, guard: Option<TempDir>) -> Stores {
    let store = Arc::new(store);
    Stores {
        orders: Arc::<SqliteStore>::clone(&store),
        dashboards: Arc::<SqliteStore>::clone(&store),
        history: Arc::<SqliteStore>::clone(&store),
        alerts: Arc::<SqliteStore>::clone(&store),
        keys: Arc::<SqliteStore>::clone(&store),
        events: store,
        _guard: Box::new(guard),
    }
}

mod on_a_file {
    use super::*;

    async fn make() -> Stores {
        let directory = tempfile::tempdir().unwrap();
        stores(SqliteStore::open(directory.path()).unwrap(), Some(directory))
    }

    #[tokio::test]
    async fn only_the_owner_can_read_the_files() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let files = || fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        let store = SqliteStore::open(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
        let made: Vec<_> = files().collect();
        assert!(made.len() >= 3, "{made:?}");
        made.iter().for_each(|path| assert_eq!(mode(path), 0o600, "{}", path.display()));
        store.close().await;
        // Permissions that an earlier version set.
        files().for_each(|path| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap());
        let store = SqliteStore::open(&directory).unwrap();
        files().for_each(|path| assert_eq!(mode(&path), 0o600, "{}", path.display()));
        store.close().await;
        // Permissions that the administrator chose.
        let file = directory.join(FILE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        SqliteStore::open(&directory).unwrap().close().await;
        assert_eq!(mode(&file), 0o640);
    }

    contract!(make);
}

mod in_memory {
    use super::*;

    async fn make() -> Stores {
        stores(SqliteStore::in_memory().unwrap(), None)
    }

    contract!(make);
}

fn draft(name: &str) -> Draft {
    let new = NewOrder {
        items: 1,
        total: Money { cents: 100 },
        customer_name: name.into(),
        customer_id: None,
        status: Status::Pending,
        priority: Priority::Normal,
    };
    Draft { new, key: None, at: "2026-06-01T12:00:00Z".parse().unwrap(), limits: RowLimits::default() }
}

fn refusal(directory: &Path) -> OpenError {
    match SqliteStore::open(directory) {
        Ok(_) => panic!("was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn data_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let nested = directory.path().join("made/as/needed");
    for number in 1..=3 {
        let store = SqliteStore::open(&nested).unwrap();
        let created = store.create("shop", draft("Ada")).await.unwrap();
        assert_eq!(created.order.order_id, OrderId::new(number));
        assert_eq!(store.rollup("shop", 0).await.unwrap().open, number as i64);
        store.close().await;
        assert_eq!(
            store.order("shop", OrderId::new(1)).await,
            Err(StoreError::Unavailable.into()),
            "the store is closed"
        );
        assert_eq!(store.create("shop", draft("Ada")).await.unwrap_err(), StoreError::Unavailable.into());
    }
}

#[tokio::test]
async fn queued_changes_are_written_before_the_store_closes() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let asked: Vec<_> = (0..2_000).map(|_| store.create("shop", draft("Ada"))).collect();
    store.close().await;
    for answer in asked {
        answer.await.unwrap();
    }
    let store = SqliteStore::open(directory.path()).unwrap();
    assert_eq!(store.rollup("shop", 0).await.unwrap().open, 2_000);
}

#[tokio::test]
async fn a_second_user_of_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::InUse(_)));
    store.close().await;
    SqliteStore::open(directory.path()).unwrap();
}

#[test]
fn a_foreign_file_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    std::fs::write(&path, "no database at all, but long enough to be looked at as one ".repeat(100)).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Damaged { .. }));
    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Foreign(_)));
    assert!(std::fs::read(&path).unwrap() == before, "a foreign file stays as it was");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(refusal(&file), OpenError::Directory { .. }));
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    store.create("shop", draft("Ada")).await.unwrap();
    store.close().await;
    let file = File::options().write(true).open(directory.path().join(FILE)).unwrap();
    file.set_len(4_096 + 100).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    SqliteStore::open(directory.path()).unwrap().close().await;
    let path = directory.path().join(FILE);
    Connection::open(&path).unwrap().execute("INSERT INTO migrations VALUES (99, 'later')", []).unwrap();
    let error = refusal(directory.path());
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("schema 99") && text.contains(FILE), "{text}");
}

#[tokio::test]
async fn a_full_store_reports_it_and_keeps_its_data() {
    let store = SqliteStore::in_memory_of(1 << 20, Arc::default()).unwrap();
    let mut kept = 0;
    let error = loop {
        // Many in one group, so that some fit and some don't.
        let asked: Vec<_> = (0..100).map(|_| store.create("shop", draft(&"x".repeat(200)))).collect();
        let mut failed = None;
        for answer in asked {
            match answer.await {
                Ok(_) => kept += 1,
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            break error;
        }
    };
    assert_eq!(error, StoreError::Full.into());
    assert_eq!(store.rollup("shop", 0).await.unwrap().open, kept);
    let page = store.orders("shop", Query { limit: 1, ..Query::default() }).await.unwrap();
    assert_eq!(page[0].order_id, OrderId::new(kept as u64), "the confirmed orders are the stored ones");
}

/// A file, too, has room again once rows are deleted, without a restart.
#[tokio::test]
async fn a_file_grows_to_its_limit_and_has_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_within(directory.path(), 1 << 20).unwrap();
    let run =
        |sql: &'static str| store.write(move |connection| Ok::<_, Abort<Failure>>(connection.execute_batch(sql)?));
    run("CREATE TABLE filler (bytes BLOB)").await.unwrap();
    let mut filled = 0;
    while filled < 100 && run("INSERT INTO filler VALUES (zeroblob(20000))").await.is_ok() {
        filled += 1;
    }
    assert!((30..53).contains(&filled), "{filled} times 20 kB in 1 MiB");
    let mut refused = None;
    for _ in 0..200 {
        refused = refused.or(store.create("shop", draft(&"x".repeat(200))).await.err());
    }
    assert_eq!(refused, Some(StoreError::Full.into()));
    run("DELETE FROM filler").await.unwrap();
    store.create("shop", draft("Ada")).await.unwrap();
    store.close().await;
    assert!(directory.path().join(FILE).metadata().unwrap().len() <= 1 << 20);
    // With a smaller limit the file grows no further; without a limit it does.
    let store = SqliteStore::open_within(directory.path(), 1).unwrap();
    store.create("shop", draft("Ada")).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(directory.path()).unwrap();
    let filled = store.write(|connection| {
        connection.execute_batch("INSERT INTO filler VALUES (zeroblob(2000000))")?;
        Ok::<_, Abort<Failure>>(())
    });
    filled.await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_read_only_store_is_unavailable_until_it_accepts_changes() {
    let store = SqliteStore::in_memory_of(1 << 20, Arc::default()).unwrap();
    let mut available = store.available();
    let watching = tokio::spawn(store.clone().watch());
    let run =
        |sql: &'static str| store.write(move |connection| Ok::<_, Abort<Failure>>(connection.execute_batch(sql)?));
    run("CREATE TABLE filler (bytes BLOB)").await.unwrap();
    while run("INSERT INTO filler VALUES (zeroblob(20000))").await.is_ok() {}
    while store.create("shop", draft(&"x".repeat(200))).await.is_ok() {}
    assert!(!*available.wait_for(|available| !available).await.unwrap());
    assert!(store.rollup("shop", 0).await.is_ok() && !store.responds().await, "reads still succeed");

    run("DROP TABLE filler").await.unwrap();
    available.wait_for(|available| *available).await.unwrap();
    assert!(store.responds().await);

    assert!(store.order("shop", OrderId::new(9_999)).await.is_err());
    assert!(*available.borrow(), "a refusal of the domain is no fault of the store");
    store.close().await;
    watching.await.unwrap();
}

/// Stops the writing thread in the middle of a group until the returned sender is dropped.
fn hold(store: &SqliteStore) -> SyncSender<()> {
    let (hold, begins) = hold_at(store);
    begins.recv().unwrap();
    hold
}

/// Stops the writing thread when it reaches this change, and reports that.
fn hold_at(store: &SqliteStore) -> (SyncSender<()>, Receiver<()>) {
    let (hold, held) = sync_channel::<()>(0);
    let (start, begins) = sync_channel::<()>(0);
    drop(store.write::<(), OrderError>(move |_| {
        start.send(()).unwrap();
        // `Err`, because the sender is dropped.
        let _ = held.recv();
        Ok(())
    }));
    (hold, begins)
}

#[tokio::test]
async fn changes_beyond_the_queue_are_refused_at_once() {
    let store = SqliteStore::in_memory().unwrap();
    let hold = hold(&store);
    let asked: Vec<_> = (0..WRITE_QUEUE + 100).map(|_| store.create("shop", draft("Ada"))).collect();
    drop(hold);
    let (mut kept, mut refused) = (0, 0);
    for answer in asked {
        match answer.await {
            Ok(_) => kept += 1,
            Err(OrderError::Store(StoreError::Unavailable)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused == 100 && kept == WRITE_QUEUE as i64, "{kept} kept, {refused} refused");
    assert_eq!(store.rollup("shop", 0).await.unwrap().open, kept);
}

#[tokio::test]
async fn no_change_is_confirmed_before_its_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let first = hold(&store);
    let mut asked = store.create("shop", draft("Ada"));
    let (held, begins) = hold_at(&store);
    // One group: the order, and the change that stops the thread behind it.
    drop(first);
    begins.recv().unwrap();
    assert!(futures_util::poll!(&mut asked).is_pending());
    let seen = || store.order("shop", OrderId::new(1));
    assert_eq!(seen().await, Err(OrderError::NotFound), "others don't see it either");
    drop(held);
    let order = asked.await.unwrap().order;
    assert_eq!(seen().await.unwrap(), order);
}

#[tokio::test]
async fn no_change_of_a_failed_commit_is_confirmed() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let kept = store.create("shop", draft("Ada")).await.unwrap();
    // SQLite rolls back on its own in the middle of a group, as it does when the disk fails.
    let broken = store.write::<(), OrderError>(|connection| {
        connection.execute_batch("ROLLBACK")?;
        Err(OrderError::NotFound.into())
    });
    broken.await.unwrap_err();
    let asked = (store.create("shop", draft("Bob")), store.order("shop", kept.order.order_id));
    assert_eq!(asked.0.await.unwrap().order.order_id, OrderId::new(2));
    assert_eq!(asked.1.await.unwrap(), kept.order);
    // One group: changes before the roll-back fail with it, those after it don't.
    let hold = hold(&store);
    let before = store.create("shop", draft("before"));
    let broken = store.write::<(), OrderError>(|connection| {
        connection.execute_batch("ROLLBACK")?;
        Err(OrderError::NotFound.into())
    });
    let after = store.create("shop", draft("after"));
    drop(hold);
    assert_eq!(before.await.unwrap_err(), StoreError::Unavailable.into());
    broken.await.unwrap_err();
    let after = after.await.unwrap().order;
    assert_eq!((after.order_id, after.customer_name.as_str()), (OrderId::new(3), "after"));
    assert_eq!(store.rollup("shop", 0).await.unwrap().open, 3);
}

#[tokio::test]
async fn reads_use_an_index() {
    let store = SqliteStore::in_memory().unwrap();
    store.create("shop", draft("Ada")).await.unwrap();
    for sql in [
        "SELECT * FROM orders WHERE tenant = 1 AND number < 9 ORDER BY number DESC LIMIT 9",
        "SELECT * FROM orders WHERE tenant = 1 AND status = 'PENDING' AND number < 9 ORDER BY number DESC LIMIT 9",
        "SELECT * FROM minutes WHERE tenant = 1 AND minute >= 5 ORDER BY minute",
        "SELECT tenant, key FROM idempotency_keys WHERE used_ms <= 5 ORDER BY used_ms LIMIT 4",
    ] {
        let plan = store.read::<Vec<String>, OrderError>(move |connection| {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let rows = explain.query_map([], |row| row.get(3))?;
            Ok(rows.collect::<Result<_, _>>()?)
        });
        let plan = plan.await.unwrap().join("; ");
        assert!(plan.contains("SEARCH") && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
