//! Contract tests on PostgreSQL, and tests of its own behaviour.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use tokio::runtime::Handle;

use super::*;
use tricast_core::{channel::Channel, span::Span};
use tricast_domain::{
    alerts::{Alert, AlertStore, NewDelivery, NewRule, Outgoing, Raised, Severity, Target},
    history::{self, Calendar, Forget, HistoryStore, Level, Point, RollUp, SeriesId, SeriesLimits, SeriesName},
    orders::{Draft, Money, NewOrder, OrderError, OrderId, OrderStore, Priority, RowLimits, Status},
    service::StoreError,
    sources::store::Slow,
};

#[path = "../../../../tests/api/cluster.rs"]
mod cluster;

use cluster::Cluster;

mod unconfirmed;

mod every_store {
    use super::*;
    use crate::tests::{Stores, contract};

    async fn make() -> Stores {
        let store = Arc::new(open(&Cluster::shared().database()).await);
        Stores {
            orders: store.clone(),
            dashboards: store.clone(),
            history: store.clone(),
            alerts: store.clone(),
            events: store.clone(),
            keys: store.clone(),
            _guard: Box::new(store),
        }
    }

    contract!(make);
}

fn config(url: &str) -> DatabaseConfig {
    database(url, PostgresConfig { connections: 4, ..PostgresConfig::default() })
}

fn database(url: &str, connections: PostgresConfig) -> DatabaseConfig {
    DatabaseConfig { url: url.into(), shares_log: false, connections }
}

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(config(url), Handle::current()).await.unwrap()
}

async fn refusal(url: &str) -> OpenError {
    match PostgresStore::open(config(url), Handle::current()).await {
        Ok(_) => panic!("was opened"),
        Err(error) => error,
    }
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

#[tokio::test]
async fn data_survive_a_restart() {
    let url = Cluster::shared().database();
    for number in 1..=3 {
        let store = open(&url).await;
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
    let url = Cluster::shared().database();
    let store = open(&url).await;
    let asked: Vec<_> = (0..2_000).map(|_| store.create("shop", draft("Ada"))).collect();
    store.close().await;
    for answer in asked {
        answer.await.unwrap();
    }
    assert_eq!(open(&url).await.rollup("shop", 0).await.unwrap().open, 2_000);
}

#[tokio::test]
async fn nodes_that_start_together_create_the_tables_once() {
    let url = Cluster::shared().database();
    let stores = join_all((0..6).map(|_| open(&url))).await;
    for (number, store) in (1..).zip(&stores) {
        let created = store.create("shop", draft("Ada")).await.unwrap();
        assert_eq!(created.order.order_id, OrderId::new(number), "each continues after the others");
    }
}

#[tokio::test]
async fn nodes_that_write_at_once_assign_no_number_twice() {
    let url = Cluster::shared().database();
    let stores = [open(&url).await, open(&url).await];
    let tenants = ["a", "b", "c"];
    let mut asked = Vec::new();
    for step in 0..600 {
        // Tenants in different orders, so that the groups of the two overlap in every way.
        let store = &stores[step % 2];
        asked.push((step % 3, store.create(tenants[(step * 7) % 3], draft("Ada"))));
        drop(store.visits(tenants[(step + 1) % 3], 1, "2026-06-01T12:00:00Z".parse().unwrap()));
    }
    let mut numbers = std::collections::HashSet::new();
    for (step, (_, answer)) in asked.into_iter().enumerate() {
        let order = answer.await.unwrap().order;
        assert!(numbers.insert((step * 7 % 3, order.order_id)), "{:?} twice", order.order_id);
    }
    for tenant in tenants {
        let rollup = stores[0].rollup(tenant, 0).await.unwrap();
        assert_eq!(rollup.open, 200);
        let sum =
            rollup.minutes.iter().fold(tricast_domain::orders::Minute::default(), |sum, (_, minute)| sum.plus(*minute));
        assert_eq!((sum.orders, sum.visits), (200, 200), "{tenant}");
    }
}

#[tokio::test]
async fn a_recount_includes_changes_of_other_nodes() {
    let url = Cluster::shared().database();
    let (one, other) = (open(&url).await, open(&url).await);
    assert_eq!(one.recount("shop", 0).await, Ok(None), "the tenant never wrote");
    one.create("shop", draft("Ada")).await.unwrap();
    one.recount("shop", 0).await.unwrap();
    assert_eq!(one.recount("shop", 0).await, Ok(None));
    one.create("shop", draft("Ada")).await.unwrap();
    assert_eq!(one.recount("shop", 0).await, Ok(None), "it knows its own changes");
    other.create("shop", draft("Bob")).await.unwrap();
    // In order with the changes: two before, one after.
    let before = one.create("shop", draft("Ada"));
    let recount = one.recount("shop", 0);
    let after = one.create("shop", draft("Ada"));
    assert_eq!(recount.await.unwrap().unwrap().open, 4);
    before.await.unwrap();
    after.await.unwrap();
    assert_eq!(one.recount("shop", 0).await, Ok(None));
    assert_eq!(other.recount("shop", 0).await.unwrap().unwrap().open, 5);
}

#[tokio::test]
async fn a_change_that_postgres_rejects_fails_alone() {
    let store = open(&Cluster::shared().database()).await;
    // The domain rejects such a name; PostgreSQL rejects it, and the whole group with it.
    let asked = ["Ada", "B\0b", "Eve"].map(|name| store.create("shop", draft(name)));
    let [ada, bob, eve] = asked;
    assert_eq!(ada.await.unwrap().order.order_id, OrderId::new(1));
    assert_eq!(bob.await.unwrap_err(), StoreError::Refused.into());
    assert_eq!(eve.await.unwrap().order.order_id, OrderId::new(2), "no number was lost");
}

#[tokio::test]
async fn a_series_that_postgres_rejects_is_refused() {
    let store = open(&Cluster::shared().database()).await;
    let name = |field: &str| SeriesName { channel: Channel::parse("metrics.a").unwrap(), field: field.into() };
    let refused = store.series("shop", vec![name("x"), name("a\0b")], SeriesLimits::default()).await;
    assert_eq!(refused, Err(StoreError::Refused.into()));
    assert!(store.series("shop", vec![name("x")], SeriesLimits::default()).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_broken_connection_is_replaced_without_an_error() {
    let url = Cluster::shared().database();
    let store = open(&url).await;
    store.create("shop", draft("Ada")).await.unwrap();
    let cut: Result<u64, OrderError> = store
        .read_on_pool(Kind::Read, |client| {
            Box::pin(async move {
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
                Ok(client.execute(cut, &[]).await?)
            })
        })
        .await;
    assert!(cut.unwrap() >= 2, "the writer's and the monitor's");
    let order = store.create("shop", draft("Ada")).await.unwrap().order;
    assert_eq!(order.order_id, OrderId::new(2));
    assert!(*store.available().borrow());
}

#[tokio::test]
async fn an_unsuitable_database_is_refused() {
    let cluster = Cluster::shared();
    assert!(matches!(refusal(&cluster.url("tricast", "nowhere")).await, OpenError::Refused(_)));
    assert!(matches!(refusal(&cluster.url("nobody", "postgres")).await, OpenError::Refused(_)));

    let foreign = cluster.database();
    open(&foreign).await.close().await;
    let store = open(&foreign).await;
    sql(&store, "DROP TABLE tricast_migrations").await;
    let error = refusal(&foreign).await;
    assert!(matches!(&error, OpenError::Foreign(text) if text.contains("tricast_tenants")), "{error}");

    let newer = cluster.database();
    let store = open(&newer).await;
    sql(&store, "INSERT INTO tricast_migrations VALUES (99, 'later')").await;
    let error = refusal(&newer).await;
    assert!(matches!(error, OpenError::Newer { found: 99, .. }) && error.to_string().contains("schema 99"), "{error}");

    cluster.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    assert!(matches!(refusal(&cluster.url("tricast", "latin")).await, OpenError::Encoding(_)));
}

#[tokio::test]
async fn tables_are_in_the_schema_of_the_search_path() {
    let url = Cluster::shared().database();
    let store = open(&url).await;
    sql(&store, "CREATE SCHEMA live").await;
    sql(&store, "CREATE TABLE orders (theirs int)").await;
    store.create("shop", draft("Ada")).await.unwrap();
    let elsewhere = open(&format!("{url}&options=-csearch_path%3Dlive")).await;
    assert_eq!(elsewhere.create("shop", draft("Ada")).await.unwrap().order.order_id, OrderId::new(1));
    assert_eq!(elsewhere.rollup("shop", 0).await.unwrap().open, 1);
}

#[tokio::test]
async fn statistics_work_with_and_without_the_extension() {
    let url = Cluster::shared().database();
    let store = open(&url).await;
    for _ in 0..20 {
        store.create("shop", draft("Ada")).await.unwrap();
    }
    let totals = store.totals().await.unwrap();
    assert!(totals.connections >= Some(3) && totals.cache.is_some(), "{totals:?}");
    assert!(totals.queries > Some(0) && totals.slow == Some(Slow::Now(0)), "{totals:?}");
    sql(&store, "CREATE EXTENSION pg_stat_statements").await;
    let store = open(&url).await;
    for _ in 0..20 {
        store.create("shop", draft("Ada")).await.unwrap();
    }
    sql(&store, "SELECT pg_sleep(0.15)").await;
    let totals = store.totals().await.unwrap();
    assert!(totals.queries >= Some(100), "{totals:?}");
    assert!(matches!(totals.slow, Some(Slow::Total(1..))), "{totals:?}");
}

#[tokio::test]
async fn one_of_two_nodes_raises_an_alert_and_one_sends_it() {
    let url = Cluster::shared().database();
    let nodes = [open(&url).await, open(&url).await];
    let at = "2026-06-01T12:00:00Z".parse().unwrap();
    let rules = 0..20;
    for number in rules.clone() {
        let rule = json!({
            "id": format!("r{number}"), "name": "R", "channel": "metrics.a", "field": "x", "condition": {"above": 1},
            "severity": "critical",
        });
        let rule = serde_json::from_value::<NewRule>(rule).unwrap().build(at).unwrap();
        nodes[0].insert_rule("shop", rule, 100).await.unwrap();
    }
    let raise = |node: usize, number: i32| {
        let id = format!("alt-{:020x}", number * 2 + node as i32);
        let alert = Alert {
            id: id.clone(),
            rule_id: format!("r{number}"),
            severity: Severity::Critical,
            metric: "metrics.a.x".into(),
            message: "R".into(),
            value: Some(2.0),
            threshold: 1.0,
            raised_at: at,
            resolved_at: None,
            acknowledged_by: None,
            acknowledged_at: None,
            targets: vec![Target::Webhook],
        };
        let delivery =
            NewDelivery { id: format!("d{number}-{node}"), target: Target::Webhook, alert: id, body: "{}".into(), at };
        nodes[node].raise("shop", alert, Outgoing { deliveries: vec![delivery], room: 1_000 })
    };
    let asked: Vec<_> = rules.clone().flat_map(|number| [raise(0, number), raise(1, number)]).collect();
    let raised = join_all(asked).await.into_iter().map(Result::unwrap);
    assert_eq!(
        raised.filter(|raised| matches!(raised, Raised::New { .. })).count(),
        20,
        "one of the two nodes, each time"
    );
    let until = "2026-06-01T12:01:00Z".parse().unwrap();
    let mut sent = Vec::new();
    for _ in 0..5 {
        let taken =
            join_all(nodes.iter().flat_map(|node| [4, 4].map(|most| node.take(Target::Webhook, at, until, most))));
        sent.extend(taken.await.into_iter().flat_map(Result::unwrap).map(|delivery| delivery.id));
    }
    let different: std::collections::HashSet<_> = sent.iter().collect();
    assert_eq!((sent.len(), different.len()), (20, 20), "each delivery to one of them");
}

#[tokio::test]
async fn nodes_that_record_the_same_series_count_nothing_twice() {
    let url = Cluster::shared().database();
    let nodes = [open(&url).await, open(&url).await];
    let calendar = Calendar::new(jiff::tz::TimeZone::UTC);
    let name = || SeriesName { channel: Channel::parse("metrics.a").unwrap(), field: "x".into() };
    let ids =
        join_all(nodes.iter().map(|node| node.series("shop", vec![name()], SeriesLimits { tenant: 1, channel: 0 })))
            .await;
    let id = ids[0].clone().unwrap()[0].unwrap();
    assert_eq!(ids[1], Ok(vec![Some(id)]), "both use the one series that fits");
    let points: Vec<_> = (0..600).map(|second| Point { series: id, at: second * 1_000, value: 1.0 }).collect();
    let written = nodes.iter().map(|node| HistoryStore::write(node, "shop", points.clone(), &calendar));
    join_all(written).await.into_iter().for_each(|written| written.unwrap());
    let step =
        RollUp { level: Level::Minute, through: 600_000, calendar: calendar.clone(), after: SeriesId(0), rows: 99 };
    for _ in 0..10 {
        join_all(nodes.iter().map(|node| node.roll_up("shop", step.clone()))).await;
    }
    let query = || history::Query {
        channel: name().channel,
        fields: None,
        level: Level::Minute,
        from: 0,
        ends: [600_000; 4],
        limit: 1_000,
    };
    let tracks = HistoryStore::read(&nodes[0], "shop", query()).await.unwrap();
    assert_eq!(tracks[0].points_from, 600_000);
    assert_eq!(tracks[0].rows.iter().map(|row| row.count).collect::<Vec<_>>(), [60; 10]);
    // One node deletes the series; the other does not know of it and writes a point.
    const DAY: i64 = 86_400_000;
    for level in Level::ROLLED {
        let step = RollUp { level, through: DAY, rows: 10_000, ..step.clone() };
        nodes[0].roll_up("shop", step).await.unwrap();
    }
    let all = Forget { before: [i64::MAX; 4], after: SeriesId(0), rows: 10_000 };
    assert_eq!(nodes[0].forget("shop", all).await.unwrap().gone, 1);
    assert_eq!(HistoryStore::read(&nodes[0], "shop", query()).await, Ok(vec![]));
    let late = vec![Point { series: id, at: DAY + 1, value: 7.0 }];
    HistoryStore::write(&nodes[1], "shop", late, &calendar).await.unwrap();
    let after = history::Query { level: Level::Raw, from: DAY, ends: [2 * DAY; 4], ..query() };
    let tracks = HistoryStore::read(&nodes[0], "shop", after).await.unwrap();
    assert_eq!(tracks[0].rows.last().map(|row| row.last), Some(7.0));
}

#[tokio::test]
async fn certificates_are_checked_as_sslmode_requires() {
    let key = |name: &str| format!("{}/../../tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = |name: &str| std::fs::read_to_string(key(name)).unwrap();
    let (cluster, address) = Cluster::start_with_tls(&text("server.pem"), &text("server.key"));
    let try_to = |host: &str, mode: &str, ca_file: Option<String>| {
        let url = format!("postgres://tricast@{host}/postgres?hostaddr={address}&sslmode={mode}");
        let config = database(&url, PostgresConfig { ca_file: ca_file.map(Into::into), ..PostgresConfig::default() });
        async move {
            let store = PostgresStore::open(config, Handle::current()).await?;
            let encrypted: Result<bool, OrderError> = store
                .read_on_pool(Kind::Read, |client| {
                    Box::pin(async move {
                        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                        Ok(client.query_one(sql, &[]).await?.get(0))
                    })
                })
                .await;
            Ok::<_, OpenError>(encrypted.unwrap())
        }
    };
    let ca = || Some(key("ca.pem"));
    for (host, mode, ca_file, expected) in [
        ("localhost", "disable", None, Some(false)),
        ("localhost", "prefer", None, Some(true)),
        ("localhost", "require", None, Some(true)),
        ("localhost", "verify-full", ca(), Some(true)),
        ("db.example", "verify-ca", ca(), Some(true)),
        ("db.example", "require", ca(), Some(true)),
        ("db.example", "verify-full", ca(), None),
        ("localhost", "verify-full", None, None),
        ("localhost", "verify-ca", Some(key("server.pem")), None),
    ] {
        let case = format!("{host} {mode} {ca_file:?}");
        match (try_to(host, mode, ca_file).await, expected) {
            (Ok(encrypted), Some(expected)) => assert_eq!(encrypted, expected, "{case}"),
            (Err(OpenError::Refused(text)), None) => assert!(text.contains("certificate"), "{case}: {text}"),
            (result, _) => panic!("{case}: {result:?}"),
        }
    }
    drop(cluster);
    let none = PostgresConfig { ca_file: Some(key("README.md").into()), ..PostgresConfig::default() };
    let none = database("postgres://a@b/c?sslmode=require", none);
    assert!(matches!(PostgresStore::open(none, Handle::current()).await.err(), Some(OpenError::Authorities(_))));
}

#[tokio::test]
async fn reads_use_an_index() {
    let store = open(&Cluster::shared().database()).await;
    store.create("shop", draft("Ada")).await.unwrap();
    for query in [
        "SELECT * FROM tricast_orders WHERE tenant = 1 AND number < 9 ORDER BY number DESC LIMIT 9",
        "SELECT * FROM tricast_orders WHERE tenant = 1 AND status = 'PENDING' AND number < 9 ORDER BY number DESC LIMIT 9",
        "SELECT * FROM tricast_minutes WHERE tenant = 1 AND minute >= 5 ORDER BY minute",
        "SELECT tenant, key FROM tricast_idempotency_keys WHERE used_ms <= 5 ORDER BY used_ms LIMIT 4",
    ] {
        let plan: Result<String, OrderError> = store
            .read_on_pool(Kind::Read, move |client| {
                Box::pin(async move {
                    // Tables this small are scanned, unless that is forbidden.
                    client.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off").await?;
                    let rows = client.query(&format!("EXPLAIN {query}"), &[]).await?;
                    Ok(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("; "))
                })
            })
            .await;
        let plan = plan.unwrap();
        assert!(plan.contains("Index") && !plan.contains("Seq Scan") && !plan.contains("Sort"), "{query}: {plan}");
    }
}

async fn sql(store: &PostgresStore, sql: &'static str) {
    let done: Result<(), OrderError> = store
        .read_on_pool(Kind::Write, move |client| Box::pin(async move { Ok(client.batch_execute(sql).await?) }))
        .await;
    done.unwrap();
}
