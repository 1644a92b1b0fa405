//! PostgreSQL: all tenants in one database, which several nodes may share.
//!
//! ```text
//! orders, customers, visits ─▶ bounded queue ─▶ writer: one connection, all waiting changes in one transaction (group commit)
//! history, alerts, boards   ─▶ tenant queues: one change of a tenant after the other ─▶ pool of connections
//! reads                     ─▶ bounded number of tasks ─▶ pool of connections
//! monitor                   ─▶ one connection: checks whether PostgreSQL can be reached and accepts changes; runs migrations
//! ```
//!
//! Everything runs on one thread that belongs to the store, never on a worker. Every wait has a limit: connecting,
//! waiting for a connection of the pool, a statement (PostgreSQL ends it, and a second later the connection is closed).
//!
//! **Several nodes.** A transaction that changes data of a tenant locks the tenant's row first. So order numbers, keys,
//! customers and counts are assigned by one node at a time, and what a node reads under the lock is the newest. Tenants
//! are locked in the order of their ids, so that nodes never deadlock.
//!
//! **When PostgreSQL fails**, callers are refused at once. Changes that were under way may have been committed; none of
//! them is confirmed. The monitor reconnects, with at most two seconds between attempts, and brings the schema up to
//! date before it admits callers.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{Client, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::future::{BoxFuture, join_all};
use jiff::SignedDuration;
use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::NoTls;

use super::{
    abort::FromFailure,
    activity::{Activity, Gauges, Kind},
};
use tricast_core::{clock::Clock, ids::random_u64};
use tricast_domain::orders::{self as domain, OrderError};

mod alerts;
mod config;
mod dashboards;
mod events;
mod failure;
mod health;
mod history;
mod keys;
mod order_batch;
mod order_queue;
mod order_writer;
mod orders;
mod outbox;
mod row;
mod schema;
mod statistics;
mod tenant_queues;
mod time;
mod tls;
mod transaction;

pub use config::{DatabaseConfig, MIN_CONNECTIONS, PostgresConfig, check_database_url};
use failure::{Abort, Failure};
use tenant_queues::TenantQueues;
use time::DatabaseTime;

/// Largest number of changes that wait for the writer, of all tenants together; more are refused.
const WRITE_QUEUE: usize = 4_096;

/// Largest number of reads and changes that wait for a connection or a result; more are refused.
const IN_FLIGHT: usize = 1_024;

/// Time after the limit of a statement at which its connection is closed, if PostgreSQL has not ended the statement.
const GRACE: Duration = Duration::from_secs(1);

/// Longest time that closing the store may take.
const CLOSING: Duration = Duration::from_secs(30);

/// Reason why a store can't be opened. An unreachable PostgreSQL is none: it may be started later.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is invalid.
    #[error("database_url: {0}")]
    Url(String),
    /// The certificates can't be read.
    #[error("database.ca_file: {0}")]
    Authorities(io::Error),
    /// The database does not store UTF-8.
    #[error("database_url: the database is encoded in {0}, and tricast needs UTF8")]
    Encoding(String),
    /// Tables with the names of tricast's exist, and tricast did not create them.
    #[error("database_url: the database has tables with the names of tricast's, which tricast did not create: {0}")]
    Foreign(String),
    /// The schema was written by a later version of the program.
    #[error(
        "database_url: the database has schema {found}, and this version of tricast supports {known} at most: use the \
         version that wrote it, or a newer one"
    )]
    Newer {
        /// Schema of the database.
        found: i64,
        /// Newest schema that this version supports.
        known: i64,
    },
    /// PostgreSQL rejects the connection: the password, the database, a permission.
    #[error("database_url: {0}")]
    Refused(String),
    /// PostgreSQL can't be reached.
    #[error("database_url: {0}")]
    Unavailable(String),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        if failure.may_pass() { Self::Unavailable(text) } else { Self::Refused(text) }
    }
}

impl From<tokio_postgres::Error> for OpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::from(error).into()
    }
}

/// Store of all tenants in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    link: Arc<Link>,
    /// `None` once the store is closed. Locked only to queue work, never across an await.
    queues: RwLock<Option<Queues>>,
    in_flight: Arc<Semaphore>,
    /// `None` once the store is closed.
    tasks: Mutex<Option<Tasks>>,
    has_statements: AtomicBool,
}

struct Tasks {
    /// Tasks that end with their queues.
    writing: Vec<JoinHandle<()>>,
    /// Task that is aborted.
    monitor: JoinHandle<()>,
}

/// Queues of changes that wait for a connection.
struct Queues {
    writes: mpsc::Sender<order_queue::Write>,
    by_tenant: TenantQueues,
}

/// Connections and their state, shared by all tasks of the store.
struct Link {
    pool: Pool,
    /// Whether PostgreSQL can be reached; nothing is sent to it otherwise. Set by the monitor.
    available: watch::Sender<bool>,
    /// Whether PostgreSQL can be reached and accepts changes. Set by the monitor.
    writable: watch::Sender<bool>,
    /// Wakes the monitor: a connection broke, or a change failed.
    doubt: Notify,
    /// Whether a change failed, so that the monitor has to test whether changes are accepted.
    refused: AtomicBool,
    /// Longest time of a statement, measured here.
    patience: Duration,
    activity: Activity,
    time: DatabaseTime,
    /// Stream of the events that this process stores.
    stream: Arc<str>,
    /// Id of this process among those that share the database.
    id: String,
}

impl PostgresStore {
    /// Opens the store in the database that `database` names. All its work is done on `runtime`. If PostgreSQL can't be
    /// reached, the store is returned nevertheless, and works as soon as PostgreSQL can be reached.
    ///
    /// # Errors
    /// [`OpenError`], except [`OpenError::Unavailable`].
    pub async fn open(database: DatabaseConfig, runtime: Handle) -> Result<Self, OpenError> {
        let DatabaseConfig { url, shares_log, connections: config } = database;
        let target = config::target(&url, config.ca_file.is_some()).map_err(OpenError::Url)?.bounded(&config);
        let address = target.address();
        let id = format!("{:016x}", random_u64());
        let link = Arc::new(Link {
            pool: pool(&config, target)?,
            available: watch::Sender::new(false),
            writable: watch::Sender::new(false),
            doubt: Notify::new(),
            refused: AtomicBool::new(false),
            patience: config.statement_timeout.0 + GRACE,
            activity: Activity::default(),
            time: DatabaseTime::default(),
            stream: if shares_log { "".into() } else { id.clone().into() },
            id,
        });
        let monitor = health::Monitor::new(Arc::clone(&link), address);
        // Connections belong to the runtime that they are created on.
        let start = runtime.spawn(monitor.begin()).await.map_err(|error| OpenError::Unavailable(error.to_string()))?;
        let monitor = runtime.spawn(start?.run());
        let (writes, queue) = mpsc::channel(WRITE_QUEUE);
        let (by_tenant, mut writing) = TenantQueues::start(&link, &runtime);
        writing.push(runtime.spawn(order_writer::OrderWriter::new(Arc::clone(&link), queue).run()));
        Ok(Self {
            inner: Arc::new(Inner {
                runtime,
                link,
                queues: RwLock::new(Some(Queues { writes, by_tenant })),
                in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
                tasks: Mutex::new(Some(Tasks { writing, monitor })),
                has_statements: AtomicBool::new(true),
            }),
        })
    }

    /// Returns whether PostgreSQL can be reached and accepts changes.
    pub fn is_available(&self) -> bool {
        *self.inner.link.writable.borrow()
    }

    /// Returns a watch that is true while PostgreSQL can be reached and accepts changes. Reachability and read-only
    /// mode are checked every second, commits every five.
    pub fn available(&self) -> watch::Receiver<bool> {
        self.inner.link.writable.subscribe()
    }

    /// Returns the clock of the database, or `clock` until the former was read for the first time.
    pub fn clock(&self, clock: &Clock) -> Clock {
        let (link, clock) = (Arc::clone(&self.inner.link), clock.clone());
        Clock::from_fn(move || link.time.now().unwrap_or_else(|| clock.now()))
    }

    /// Returns how far that clock is ahead of `clock`; `None` until it was read for the first time.
    pub fn clock_offset(&self, clock: &Clock) -> Option<SignedDuration> {
        Some(self.inner.link.time.now()?.duration_since(clock.now()))
    }

    /// Returns the counters of reads and changes.
    pub fn activity(&self) -> &Activity {
        &self.inner.link.activity
    }

    /// Returns the current state.
    pub fn gauges(&self) -> Gauges {
        let pool = self.inner.link.pool.status();
        let queued = |queues: &Queues| WRITE_QUEUE - queues.writes.capacity() + queues.by_tenant.waiting();
        let queued = self.inner.queues.read().as_ref().map_or(0, queued);
        Gauges {
            waiting: queued + IN_FLIGHT.saturating_sub(self.inner.in_flight.available_permits()),
            connections: pool.size,
            in_use: pool.size.saturating_sub(pool.available),
        }
    }

    /// Writes all queued changes and closes the connections. Later calls fail with `StoreError::Unavailable`.
    pub async fn close(&self) {
        // The writing tasks end when their queues do.
        drop(self.inner.queues.write().take());
        self.inner.in_flight.close();
        let Some(Tasks { writing, monitor }) = self.inner.tasks.lock().take() else { return };
        if timeout(CLOSING, join_all(writing)).await.is_err() {
            tracing::error!("the store did not close in time");
        }
        monitor.abort();
        self.inner.link.available.send_replace(false);
        self.inner.link.writable.send_replace(false);
        self.inner.link.pool.close();
    }

    /// Queues a change of orders. Changes are made in the order of the calls.
    fn write<T: Send + 'static>(
        &self,
        tenant: &str,
        work: impl FnOnce(order_queue::Slot<T>) -> order_queue::Work,
    ) -> domain::StoreFuture<T> {
        let (slot, answer) = order_queue::Slot::new();
        let write = order_queue::Write { tenant: tenant.to_owned(), work: work(slot), start: Instant::now() };
        let sent = match &*self.inner.queues.read() {
            Some(Queues { writes, .. }) => writes.try_send(write).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Failure::QueueFull,
                mpsc::error::TrySendError::Closed(_) => Failure::Closed,
            }),
            None => Err(Failure::Closed),
        };
        Box::pin(async move {
            sent.map_err(OrderError::from_failure)?;
            answer.await.unwrap_or_else(|_| Err(OrderError::from_failure(Failure::Unconfirmed)))
        })
    }

    /// Queues a change of `subject` as one transaction, behind earlier changes of the tenant. `work` gets the tenant's
    /// number and runs under the lock of the tenant's row.
    fn transact<T, E>(
        &self,
        subject: &'static str,
        tenant: &str,
        work: impl for<'a> FnOnce(&'a Client, i64) -> BoxFuture<'a, Result<T, Abort<E>>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let name = tenant.to_owned();
        self.enqueue(subject, tenant, move |link| Box::pin(async move { link.transact(&name, work).await }))
    }

    /// Queues a change that manages its transactions itself.
    fn change<T, E>(
        &self,
        subject: &'static str,
        tenant: &str,
        work: impl for<'a> FnOnce(&'a mut Client) -> BoxFuture<'a, Result<T, Abort<E>>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        self.enqueue(subject, tenant, move |link| Box::pin(async move { link.with_client(work).await }))
    }

    fn enqueue<T, E>(
        &self,
        subject: &'static str,
        tenant: &str,
        work: impl FnOnce(Arc<Link>) -> BoxFuture<'static, Result<T, E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let sent = match &*self.inner.queues.read() {
            Some(Queues { by_tenant, .. }) => by_tenant.enqueue(subject, tenant, work),
            None => Err(Failure::Closed),
        };
        Box::pin(async move {
            let answer = sent.map_err(E::from_failure)?;
            answer.await.unwrap_or_else(|_| Err(E::from_failure(Failure::Unconfirmed)))
        })
    }

    /// Runs `work` on a connection of the pool, whether or not the caller waits for the result.
    fn read_on_pool<T, E>(
        &self,
        kind: Kind,
        work: impl for<'a> FnOnce(&'a mut Client) -> BoxFuture<'a, Result<T, Abort<E>>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let permit = Arc::clone(&self.inner.in_flight).try_acquire_owned();
        let permit = permit.map_err(|_| if self.is_closed() { Failure::Closed } else { Failure::QueueFull });
        let asked = permit.and_then(|permit| {
            // Refused at once instead of waiting.
            if !*self.inner.link.available.borrow() {
                return Err(Failure::Down);
            }
            let link = Arc::clone(&self.inner.link);
            let start = Instant::now();
            Ok(self.inner.runtime.spawn(async move {
                let result = link.with_client(work).await;
                link.activity.record(kind, start);
                drop(permit);
                result
            }))
        });
        Box::pin(async move {
            let answer = asked.map_err(E::from_failure)?;
            answer.await.unwrap_or_else(|_| Err(E::from_failure(Failure::Closed)))
        })
    }

    fn is_closed(&self) -> bool {
        self.inner.queues.read().is_none()
    }
}

impl Link {
    /// Runs `work` on a connection, with the time limit of a statement for all of it.
    async fn with_client<T, E: FromFailure<Failure>>(
        &self,
        work: impl for<'a> FnOnce(&'a mut Client) -> BoxFuture<'a, Result<T, Abort<E>>>,
    ) -> Result<T, E> {
        let mut client = self.client().await.map_err(E::from_failure)?;
        match timeout(self.patience, work(&mut client)).await {
            Ok(result) => {
                if client.is_closed() {
                    self.doubt.notify_one();
                }
                result.map_err(Abort::report)
            }
            Err(_) => {
                self.give_up(client);
                Err(E::from_failure(Failure::TimedOut))
            }
        }
    }

    /// Takes a connection from the pool.
    async fn client(&self) -> Result<Client, Failure> {
        self.pool.get().await.map_err(|error| {
            self.doubt.notify_one();
            error.into()
        })
    }

    /// Wakes the monitor because a change failed: it tests whether changes are accepted.
    fn doubt_changes(&self) {
        self.refused.store(true, Ordering::Relaxed);
        self.doubt.notify_one();
    }

    /// Closes a connection that may still be busy or inside a transaction.
    fn give_up(&self, client: Client) {
        drop(Object::take(client));
        self.doubt.notify_one();
    }
}

/// Creates a pool that connects as `config` says, when a connection is needed.
fn pool(config: &PostgresConfig, target: config::Target) -> Result<Pool, OpenError> {
    let ms = config.statement_timeout.0.as_millis();
    // A node that is stopped inside a transaction must not block the others at the tenant's row.
    let session = format!(
        "SET statement_timeout = {ms}; SET lock_timeout = {ms}; SET idle_in_transaction_session_timeout = {}; \
         SET client_min_messages = warning",
        ms + GRACE.as_millis()
    );
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = if target.may_encrypt() {
        let tls = tls::connector(target.trust, config.ca_file.as_deref()).map_err(OpenError::Authorities)?;
        Manager::from_config(target.config, tls, recycling)
    } else {
        Manager::from_config(target.config, NoTls, recycling)
    };
    let prepare = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let session = session.clone();
        Box::pin(async move { client.batch_execute(&session).await.map_err(HookError::Backend) })
    });
    let patience = Some(config.connect_timeout.0);
    let pool = Pool::builder(manager)
        .max_size(config.connections.max(MIN_CONNECTIONS))
        .wait_timeout(patience)
        .create_timeout(patience)
        .recycle_timeout(patience)
        .post_create(prepare)
        .runtime(Runtime::Tokio1)
        .build();
    pool.map_err(|error| OpenError::Url(error.to_string()))
}

/// Returns the number of a tenant; `None` for a tenant that never wrote.
async fn tenant(client: &Client, name: &str) -> Result<Option<i64>, tokio_postgres::Error> {
    let find = client.prepare_cached("SELECT id FROM tricast_tenants WHERE name = $1").await?;
    Ok(client.query_opt(&find, &[&name]).await?.map(|row| row.get(0)))
}

/// Returns the number of a tenant, which is assigned if it has none.
async fn tenant_or_new(client: &Client, name: &str) -> Result<i64, tokio_postgres::Error> {
    if let Some(id) = tenant(client, name).await? {
        return Ok(id);
    }
    let add =
        client.prepare_cached("INSERT INTO tricast_tenants (name) VALUES ($1) ON CONFLICT (name) DO NOTHING").await?;
    client.execute(&add, &[&name]).await?;
    let find = client.prepare_cached("SELECT id FROM tricast_tenants WHERE name = $1").await?;
    Ok(client.query_one(&find, &[&name]).await?.get(0))
}

/// Locks the tenant's row until the end of the transaction, so that no other node changes the tenant's data.
async fn lock_tenant(
    transaction: &deadpool_postgres::Transaction<'_>,
    tenant: i64,
) -> Result<(), tokio_postgres::Error> {
    let lock = transaction.prepare_cached("SELECT FROM tricast_tenants WHERE id = $1 FOR NO KEY UPDATE").await?;
    transaction.query(&lock, &[&tenant]).await.map(drop)
}

#[cfg(test)]
mod tests;
