//! Connections that break during the commit, by a proxy between the store and PostgreSQL.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU8, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
};

use super::*;
use tricast_domain::{
    dashboards::{Board, DashboardStore, NewBoard},
    orders::Query,
    relay::NewEvent,
};

/// Behaviour of the proxy.
#[derive(Clone, Copy)]
enum Does {
    Passes = 0,
    /// Forwards a COMMIT and cuts the connection before the response.
    CutsAfterCommit = 1,
    /// Cuts the connection before the COMMIT.
    CutsBeforeCommit = 2,
    /// As the first, and rejects all connections from then on.
    CutsForGood = 3,
    LetsNobodyIn = 4,
}

struct Proxy {
    does: Arc<AtomicU8>,
    address: SocketAddr,
}

impl Proxy {
    /// Starts a proxy in front of the PostgreSQL at `url`.
    async fn start(url: &str) -> Self {
        let directory = url.split_once("?host=").unwrap().1.split('&').next().unwrap();
        let socket = format!("{directory}/.s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, does) = (listener.local_addr().unwrap(), Arc::new(AtomicU8::new(0)));
        let mode = Arc::clone(&does);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if mode.load(Ordering::SeqCst) == Does::LetsNobodyIn as u8 {
                    continue;
                }
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&mode)));
            }
        });
        Self { does, address }
    }

    fn will(&self, does: Does) {
        self.does.store(does as u8, Ordering::SeqCst);
    }
}

async fn pass(mut client: tokio::net::TcpStream, mut server: UnixStream, mode: Arc<AtomicU8>) {
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let commits = asked[..read].windows(7).any(|bytes| bytes == b"COMMIT\0");
                let does = mode.load(Ordering::SeqCst);
                if commits && does == Does::CutsBeforeCommit as u8 {
                    return mode.store(Does::Passes as u8, Ordering::SeqCst);
                }
                server.write_all(&asked[..read]).await.unwrap();
                if commits && does != Does::Passes as u8 {
                    // The response shows that it was committed.
                    let _ = server.read(&mut answered).await;
                    let next = if does == Does::CutsForGood as u8 { Does::LetsNobodyIn } else { Does::Passes };
                    return mode.store(next as u8, Ordering::SeqCst);
                }
            }
            read = server.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn behind_a_proxy() -> (PostgresStore, Proxy) {
    let url = Cluster::shared().database();
    let proxy = Proxy::start(&url).await;
    let name = url.strip_prefix("postgres:///").unwrap().split('?').next().unwrap();
    let url = format!("postgres://tricast@{}/{name}?sslmode=disable", proxy.address);
    let config =
        PostgresConfig { statement_timeout: Span::from_millis(500), connections: 4, ..PostgresConfig::default() };
    let config = database(&url, config);
    (PostgresStore::open(config, Handle::current()).await.unwrap(), proxy)
}

fn board(id: &str) -> Board {
    let new = serde_json::from_value::<NewBoard>(json!({"id": id, "name": "B", "tiles": []})).unwrap();
    new.build("2026-06-01T12:00:00Z".parse().unwrap()).unwrap()
}

fn event() -> NewEvent {
    NewEvent::new("dashboards", "dashboard_updated", &json!({}))
}

async fn orders(store: &PostgresStore) -> usize {
    store.orders("shop", Query { limit: 99, ..Query::default() }).await.unwrap().len()
}

#[tokio::test]
async fn the_outcome_of_an_unconfirmed_commit_is_looked_up() {
    let (store, proxy) = behind_a_proxy().await;
    store.create("shop", draft("Ada")).await.unwrap();
    proxy.will(Does::CutsAfterCommit);
    let made = store.create("shop", draft("Bob")).await.unwrap();
    assert_eq!((made.order.order_id, orders(&store).await), (OrderId::new(2), 2), "the order was made");
    proxy.will(Does::CutsBeforeCommit);
    assert_eq!(store.create("shop", draft("Eve")).await.unwrap_err(), StoreError::Unavailable.into());
    assert_eq!(orders(&store).await, 2, "the order was not made");
    assert_eq!(store.create("shop", draft("Eve")).await.unwrap().order.order_id, OrderId::new(3));

    proxy.will(Does::CutsAfterCommit);
    store.insert("shop", board("a"), 9, event()).await.unwrap();
    proxy.will(Does::CutsBeforeCommit);
    assert_eq!(store.insert("shop", board("b"), 9, event()).await.unwrap_err(), StoreError::Unavailable.into());
    assert_eq!(store.boards("shop").await.unwrap(), [board("a")]);
}

#[tokio::test]
async fn a_commit_that_can_not_be_looked_up_is_reported_as_unknown() {
    let (store, proxy) = behind_a_proxy().await;
    proxy.will(Does::CutsForGood);
    assert_eq!(store.create("shop", draft("Ada")).await.unwrap_err(), StoreError::Unknown.into());
    proxy.will(Does::Passes);
    store.available().wait_for(|available| *available).await.unwrap();
    assert_eq!(orders(&store).await, 1, "the order was made");
    proxy.will(Does::CutsForGood);
    assert_eq!(store.insert("shop", board("a"), 9, event()).await.unwrap_err(), StoreError::Unknown.into());
}

#[tokio::test]
async fn another_transaction_with_the_same_number_confirms_nothing() {
    let store = open(&Cluster::shared().database()).await;
    store.create("shop", draft("Ada")).await.unwrap();
    let client = store.inner.link.client().await.unwrap();
    client.batch_execute(transaction::BEGIN).await.unwrap();
    let number: i64 = client.query_one("SELECT txid_current()", &[]).await.unwrap().get(0);
    let mine = transaction::TransactionId::new(number);
    let Ok(client) = store.inner.link.commit(client, mine).await else { panic!("was not committed") };
    drop(client);
    assert_eq!(store.inner.link.was_committed(mine).await, Some(true));
    // As after a crash, which makes PostgreSQL assign a number again.
    let lost = transaction::TransactionId::new(number);
    assert_eq!(store.inner.link.was_committed(lost).await, None);
}
