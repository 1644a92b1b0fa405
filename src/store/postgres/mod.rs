//! PostgreSQL: all tenants in one database, which several nodes may share.
//!
//! ```text
//! orders, customers, visits ─▶ bounded queue ─▶ writer: one connection, all that waits in one transaction   (group commit)
//! history, alerts, boards   ─▶ tenant queues: one change of a tenant after the other ─▶ pool of connections
//! reads                     ─▶ bounded number of tasks ─▶ pool of connections
//! monitor                   ─▶ one connection: is it there, which schema has it; says when it goes and when it is back
//! ```
//!
//! Everything runs on one thread that is given to the store, never on a worker. No wait is without an end: to connect, for
//! a place in the pool, for a statement (PostgreSQL ends it, and a second later the connection is given up).
//!
//! **Several nodes.** A transaction that changes anything of a tenant locks the tenant's row first. So numbers of orders,
//! keys, customers and counts are made by one node at a time, and what a node reads under the lock is the newest. Tenants are
//! locked in the order of their ids, so that nodes never wait for each other in a circle.
//!
//! **When PostgreSQL goes**, whoever asks is told so at once; what was on its way may have been committed, and nobody is told
//! that it was. The monitor tries to come back, at least every two seconds, and brings the schema up to date before anybody
//! else is let in.

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
use crate::{
    core::clock::Clock,
    ids::random_u64,
    orders::{self as domain, OrderError},
};

mod alerts;
mod config;
mod dashboards;
mod events;
mod failure;
mod health;
mod history;
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

pub use config::{MIN_CONNECTIONS, PostgresConfig, check_database_url};
use failure::{Abort, Failure};
use tenant_queues::TenantQueues;
use time::DatabaseTime;

/// Changes that wait for the writer, of all tenants together; more are refused.
const WRITE_QUEUE: usize = 4_096;

/// Reads and changes of dashboards that wait for a connection or for their answer; more are refused.
const IN_FLIGHT: usize = 1_024;

/// How long after PostgreSQL should have ended a statement the connection is given up.
const GRACE: Duration = Duration::from_secs(1);

/// How long the end of the store may take.
const CLOSING: Duration = Duration::from_secs(30);

/// Why a store can't be opened. That PostgreSQL does not answer is no reason: it may come.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not understood.
    #[error("database_url: {0}")]
    Url(String),
    /// The certificates can't be read.
    #[error("database.ca_file: {0}")]
    Authorities(io::Error),
    /// The database does not store UTF-8.
    #[error("database_url: the database is encoded in {0}, and tricast needs UTF8")]
    Encoding(String),
    /// Tables of that name are there, and tricast did not make them.
    #[error("database_url: the database has tables that are called as those of tricast are: {0}")]
    Foreign(String),
    /// Written by a later version of the program.
    #[error(
        "database_url: the database has schema {found}, and this version of tricast knows {known} at most: use the \
         version that wrote it, or a newer one"
    )]
    Newer {
        /// Its schema.
        found: i64,
        /// The last one that is known here.
        known: i64,
    },
    /// PostgreSQL answers, and refuses: the password, the database, a right.
    #[error("database_url: {0}")]
    Refused(String),
    /// PostgreSQL does not answer.
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

/// A store of all tenants in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    link: Arc<Link>,
    /// `None` once the store is closed. Held for the moment of handing in, never across an await.
    queues: RwLock<Option<Queues>>,
    in_flight: Arc<Semaphore>,
    /// `None` once the store is closed.
    tasks: Mutex<Option<Tasks>>,
    has_statements: AtomicBool,
}

struct Tasks {
    /// End with their queues.
    writing: Vec<JoinHandle<()>>,
    /// Is ended.
    monitor: JoinHandle<()>,
}

/// Where changes are handed in.
struct Queues {
    writes: mpsc::Sender<order_queue::Write>,
    by_tenant: TenantQueues,
}

/// The way to PostgreSQL, shared by everybody who goes it.
struct Link {
    pool: Pool,
    /// Whether PostgreSQL answers: it is asked while it does. Written by the monitor.
    available: watch::Sender<bool>,
    /// Whether it answers and takes changes. Written by the monitor.
    writable: watch::Sender<bool>,
    /// Wakes the monitor: a connection broke, or a change was refused.
    doubt: Notify,
    /// PostgreSQL refused a change: the monitor has to look whether it takes any.
    refused: AtomicBool,
    /// Longest time of a statement, as seen from here.
    patience: Duration,
    activity: Activity,
    time: DatabaseTime,
    /// The stream of the events that this process makes.
    stream: Arc<str>,
    /// Who this process is, among those that share the database.
    id: String,
}

impl PostgresStore {
    /// The store in the database that `config` names. Everything it does is done on `runtime`. When PostgreSQL does not answer,
    /// the store is there all the same, and comes up when it does.
    ///
    /// # Errors
    /// [`OpenError`], but for [`OpenError::Unavailable`].
    pub async fn open(config: PostgresConfig, runtime: Handle) -> Result<Self, OpenError> {
        let target = config::target(&config.url, config.ca_file.is_some()).map_err(OpenError::Url)?.bounded(&config);
        let place = target.place();
        let id = format!("{:016x}", random_u64());
        let link = Arc::new(Link {
            pool: pool(&config, target)?,
            available: watch::Sender::new(false),
            writable: watch::Sender::new(false),
            doubt: Notify::new(),
            refused: AtomicBool::new(false),
            patience: config.statement_timeout + GRACE,
            activity: Activity::default(),
            time: DatabaseTime::default(),
            stream: if config.shares_log { "".into() } else { id.clone().into() },
            id,
        });
        let monitor = health::Monitor::new(Arc::clone(&link), place);
        // Connections belong to the runtime they are made on.
        let begun = runtime.spawn(monitor.begin()).await.map_err(|error| OpenError::Unavailable(error.to_string()))?;
        let monitor = runtime.spawn(begun?.run());
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

    /// Whether PostgreSQL answers and takes changes, as of the last look: a second ago at most whether it answers and is not
    /// read-only, five whether a change is committed.
    pub fn available(&self) -> watch::Receiver<bool> {
        self.inner.link.writable.subscribe()
    }

    /// The clock of the database; `clock` until it was read for the first time.
    pub fn clock(&self, clock: &Clock) -> Clock {
        let (link, clock) = (Arc::clone(&self.inner.link), clock.clone());
        Clock::from_fn(move || link.time.now().unwrap_or_else(|| clock.now()))
    }

    /// By how much that clock is ahead of `clock`; `None` until it was read for the first time.
    pub fn clock_offset(&self, clock: &Clock) -> Option<SignedDuration> {
        Some(self.inner.link.time.now()?.duration_since(clock.now()))
    }

    /// What it has done.
    pub fn activity(&self) -> &Activity {
        &self.inner.link.activity
    }

    /// How it is right now.
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

    /// Writes what waits and closes the connections. Whoever asks afterwards finds the store unavailable.
    pub async fn close(&self) {
        // Those who write end when their queues do.
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

    /// Hands in a change, in the order of the calls.
    fn write<T: Send + 'static>(
        &self,
        tenant: &str,
        work: impl FnOnce(order_queue::Slot<T>) -> order_queue::Work,
    ) -> domain::Answer<T> {
        let (slot, answer) = order_queue::Slot::new();
        let write = order_queue::Write { tenant: tenant.to_owned(), work: work(slot), begun: Instant::now() };
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

    /// Hands in a change that is part of `what`, behind those of this tenant that came before: one transaction under the
    /// lock of the tenant's row, whose number `work` is given.
    fn transact<T, E>(
        &self,
        what: &'static str,
        tenant: &str,
        work: impl for<'a> FnOnce(&'a Client, i64) -> BoxFuture<'a, Result<T, Abort<E>>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let name = tenant.to_owned();
        self.hand_in(what, tenant, move |link| Box::pin(async move { link.transact(&name, work).await }))
    }

    /// The same for work that sees to its transactions itself.
    fn change<T, E>(
        &self,
        what: &'static str,
        tenant: &str,
        work: impl for<'a> FnOnce(&'a mut Client) -> BoxFuture<'a, Result<T, Abort<E>>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        self.hand_in(what, tenant, move |link| Box::pin(async move { link.with_client(work).await }))
    }

    fn hand_in<T, E>(
        &self,
        what: &'static str,
        tenant: &str,
        work: impl FnOnce(Arc<Link>) -> BoxFuture<'static, Result<T, E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let sent = match &*self.inner.queues.read() {
            Some(Queues { by_tenant, .. }) => by_tenant.hand_in(what, tenant, work),
            None => Err(Failure::Closed),
        };
        Box::pin(async move {
            let answer = sent.map_err(E::from_failure)?;
            answer.await.unwrap_or_else(|_| Err(E::from_failure(Failure::Unconfirmed)))
        })
    }

    /// Has `work` done on a connection of the pool. It is done whether or not somebody waits for the answer.
    fn ask<T, E>(
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
            // Not worth a wait.
            if !*self.inner.link.available.borrow() {
                return Err(Failure::Down);
            }
            let link = Arc::clone(&self.inner.link);
            let begun = Instant::now();
            Ok(self.inner.runtime.spawn(async move {
                let result = link.with_client(work).await;
                link.activity.note(kind, begun);
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
    /// Has `work` done on a connection, within the time of a statement for all of it.
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

    /// A connection of the pool.
    async fn client(&self) -> Result<Client, Failure> {
        self.pool.get().await.map_err(|error| {
            self.doubt.notify_one();
            error.into()
        })
    }

    /// PostgreSQL refused a change: the monitor looks whether it takes any.
    fn doubt_changes(&self) {
        self.refused.store(true, Ordering::Relaxed);
        self.doubt.notify_one();
    }

    /// Closes a connection that may still be busy, or in the middle of a transaction.
    fn give_up(&self, client: Client) {
        drop(Object::take(client));
        self.doubt.notify_one();
    }
}

/// A pool that connects as `config` says, when a connection is asked for.
fn pool(config: &PostgresConfig, target: config::Target) -> Result<Pool, OpenError> {
    let ms = config.statement_timeout.as_millis();
    // A node that is stopped in the middle of a transaction must not keep the others from the tenant's row.
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
    let patience = Some(config.connect_timeout);
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

/// The number by which a tenant's rows are known; `None` for one that never wrote.
async fn tenant(client: &Client, name: &str) -> Result<Option<i64>, tokio_postgres::Error> {
    let find = client.prepare_cached("SELECT id FROM tricast_tenants WHERE name = $1").await?;
    Ok(client.query_opt(&find, &[&name]).await?.map(|row| row.get(0)))
}

/// The same for a tenant that is about to write.
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

/// Keeps others from changing what belongs to a tenant until the end of the transaction.
async fn lock_tenant(
    transaction: &deadpool_postgres::Transaction<'_>,
    tenant: i64,
) -> Result<(), tokio_postgres::Error> {
    let lock = transaction.prepare_cached("SELECT FROM tricast_tenants WHERE id = $1 FOR NO KEY UPDATE").await?;
    transaction.query(&lock, &[&tenant]).await.map(drop)
}

#[cfg(test)]
mod tests;
