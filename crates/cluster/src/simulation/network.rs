//! Network between the nodes and Redis: it delays requests and replies, loses connections, and can be cut.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value, aio::ConnectionLike};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::redis::{Keyspace, Refusal, Server};

/// Longest time of an attempt to connect, as in the client library.
const CONNECT: Duration = Duration::from_secs(2);

/// Largest write, in bytes, that fits into one packet.
const PACKET: usize = 1_400;

/// Interval at which the state of the server is saved, so that later changes can be lost.
const COPY_EVERY: Duration = Duration::from_millis(100);

/// Behaviour of the path between one node and Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Path {
    /// Requests and replies take up to a few milliseconds.
    #[default]
    Good,
    /// They take up to this long.
    Slow(Duration),
    /// Nothing arrives, and connections do not end.
    Dead,
    /// Connections are refused and closed.
    Refused,
    /// Large packets do not arrive.
    SmallOnly,
}

/// Redis and the paths to it.
pub(super) struct World {
    server: Mutex<Server>,
    random: Mutex<fastrand::Rng>,
    /// Time at the start, in microseconds since 1970.
    epoch: u64,
    start: Instant,
    paths: Vec<Mutex<Path>>,
    /// Number that grows when the server closes all connections.
    generation: Mutex<u64>,
    up: AtomicBool,
    /// Notifies of changes of the data.
    changed: Notify,
    copies: Mutex<Vec<(Instant, Keyspace)>>,
}

impl World {
    pub(super) fn new(seed: u64, nodes: usize) -> Arc<Self> {
        Arc::new(Self {
            server: Mutex::new(Server::new()),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            epoch: 1_700_000_000_000_000,
            start: Instant::now(),
            paths: (0..nodes).map(|_| Mutex::default()).collect(),
            generation: Mutex::new(0),
            up: AtomicBool::new(true),
            changed: Notify::new(),
            copies: Mutex::default(),
        })
    }

    /// Returns the time in microseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.epoch + u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn random(&self) -> parking_lot::MutexGuard<'_, fastrand::Rng> {
        self.random.lock()
    }

    pub(super) fn set_path(&self, node: usize, path: Path) {
        *self.paths[node].lock() = path;
        if path == Path::Refused {
            self.changed.notify_waiters();
        }
    }

    pub(super) fn path(&self, node: usize) -> Path {
        *self.paths[node].lock()
    }

    pub(super) fn set_refusal(&self, refusal: Option<Refusal>) {
        self.server.lock().refuses = refusal;
    }

    /// Stops the server, or starts it again with its data.
    pub(super) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Release);
        self.close_all();
    }

    /// Restarts the server with its data of `age` ago; without any if it has not run for that long.
    pub(super) fn lose_since(&self, age: Duration) {
        let at = Instant::now() - age.min(self.start.elapsed());
        let copies = self.copies.lock();
        let then = copies.iter().rev().find(|(copied_at, _)| *copied_at <= at).map(|(_, keys)| keys.clone());
        self.server.lock().restore(then.unwrap_or_default());
        drop(copies);
        self.copies.lock().retain(|(copied_at, _)| *copied_at <= at);
        self.close_all();
    }

    /// Empties the server, without a restart.
    pub(super) fn flush(&self) {
        self.server.lock().restore(Keyspace::default());
        self.copies.lock().clear();
    }

    fn close_all(&self) {
        *self.generation.lock() += 1;
        self.changed.notify_waiters();
    }

    fn execute(&self, command: &[Vec<u8>]) -> RedisResult<Value> {
        let now = Instant::now();
        let mut server = self.server.lock();
        {
            let mut copies = self.copies.lock();
            if copies.last().is_none_or(|(at, _)| now.duration_since(*at) >= COPY_EVERY) {
                copies.push((now, server.copy()));
            }
        }
        let reply = server.execute(self.now(), command);
        self.changed.notify_waiters();
        reply.map_err(|refused| {
            let (code, detail) = refused.split_once(' ').unwrap_or((&refused, ""));
            server_error(code, detail)
        })
    }

    fn delay(&self, path: Path) -> Duration {
        let longest = if let Path::Slow(longest) = path { longest } else { Duration::from_millis(3) };
        let micros = self.random().u64(50..=u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).max(51));
        Duration::from_micros(micros)
    }
}

/// Path from one node to Redis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NodeNetwork {
    world: Arc<World>,
    node: usize,
}

/// Connection to the simulated server. Requests on it arrive in order.
#[derive(Clone)]
pub(crate) struct Connection {
    network: NodeNetwork,
    generation: u64,
    /// Longest time until a reply.
    patience: Duration,
    shared: Arc<Mutex<Order>>,
    broken: Arc<AtomicBool>,
}

struct Order {
    /// Earliest arrival of the next request.
    arrival: Instant,
    /// Earliest arrival of the next reply.
    reply: Instant,
}

impl NodeNetwork {
    pub(super) fn new(world: &Arc<World>, node: usize) -> Self {
        Self { world: Arc::clone(world), node }
    }

    /// Opens a connection on which a reply may take `patience`.
    pub(crate) async fn connect(&self, patience: Duration) -> RedisResult<Connection> {
        let world = &self.world;
        let path = world.path(self.node);
        let connected = timeout(CONNECT, async {
            sleep(world.delay(path)).await;
            match world.path(self.node) {
                Path::Dead => std::future::pending().await,
                Path::Refused => false,
                _ => world.up.load(Ordering::Acquire),
            }
        });
        if !connected.await.unwrap_or(false) {
            return Err(io("the connection is refused"));
        }
        let now = Instant::now();
        Ok(Connection {
            network: self.clone(),
            generation: *world.generation.lock(),
            patience,
            shared: Arc::new(Mutex::new(Order { arrival: now, reply: now })),
            broken: Arc::default(),
        })
    }
}

impl Connection {
    /// Sends a command. It may be executed although no reply arrives.
    fn send(&self, command: Vec<Vec<u8>>) -> RedisFuture<'static, Value> {
        let (reply, received) = oneshot::channel();
        let connection = self.clone();
        let patience = self.patience;
        // A sent command does not depend on the caller any more.
        tokio::task::spawn_local(async move {
            let outcome = connection.carry(command).await;
            if outcome.as_ref().is_err_and(RedisError::is_io_error) {
                connection.broken.store(true, Ordering::Release);
            }
            drop(reply.send(outcome));
        });
        Box::pin(async move {
            match timeout(patience, received).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(io("the connection is closed")),
                Err(_) => Err(io("no reply in time")),
            }
        })
    }

    async fn carry(&self, command: Vec<Vec<u8>>) -> RedisResult<Value> {
        let NodeNetwork { world, node } = &self.network;
        self.usable()?;
        let size: usize = command.iter().map(Vec::len).sum();
        let arrival = {
            let order = &mut *self.shared.lock();
            order.arrival = order.arrival.max(Instant::now() + world.delay(world.path(*node)));
            order.arrival
        };
        sleep_until(arrival).await;
        self.passes(size).await?;
        self.usable()?;
        let outcome =
            if is_blocking(&command) { self.wait_for_entries(&command).await } else { world.execute(&command) };
        let arrival = {
            let order = &mut *self.shared.lock();
            order.reply = order.reply.max(Instant::now() + world.delay(world.path(*node)));
            order.reply
        };
        sleep_until(arrival).await;
        self.passes(0).await?;
        self.usable()?;
        outcome
    }

    /// Waits until a stream has a new entry, for the blocking time of the command.
    async fn wait_for_entries(&self, command: &[Vec<u8>]) -> RedisResult<Value> {
        let world = &self.network.world;
        let block: u64 = String::from_utf8_lossy(&command[4]).parse().unwrap_or(1_000);
        let until = Instant::now() + Duration::from_millis(block);
        loop {
            let changed = world.changed.notified();
            if world.server.lock().has_entries(command) {
                return world.execute(command);
            }
            self.usable()?;
            if timeout(until.saturating_duration_since(Instant::now()), changed).await.is_err() {
                return Ok(Value::Nil);
            }
        }
    }

    /// Waits for ever if the path does not pass data of `size` bytes.
    async fn passes(&self, size: usize) -> RedisResult<()> {
        match self.network.world.path(self.network.node) {
            Path::Dead => std::future::pending().await,
            Path::SmallOnly if size > PACKET => std::future::pending().await,
            Path::Refused => Err(io("the connection was reset")),
            _ => Ok(()),
        }
    }

    fn usable(&self) -> RedisResult<()> {
        let world = &self.network.world;
        let is_good = !self.broken.load(Ordering::Acquire)
            && world.up.load(Ordering::Acquire)
            && *world.generation.lock() == self.generation
            && world.path(self.network.node) != Path::Refused;
        if is_good { Ok(()) } else { Err(io("the connection is closed")) }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.send(arguments(command))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let replies: Vec<_> = pipeline.cmd_iter().map(|command| self.send(arguments(command))).collect();
        Box::pin(async move {
            let mut values = Vec::with_capacity(replies.len());
            for reply in replies {
                values.push(reply.await?);
            }
            Ok(values.into_iter().skip(offset).take(count).collect())
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

fn arguments(command: &Cmd) -> Vec<Vec<u8>> {
    command
        .args_iter()
        .map(|argument| match argument {
            redis::Arg::Simple(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        })
        .collect()
}

fn is_blocking(command: &[Vec<u8>]) -> bool {
    command.first().is_some_and(|name| name == b"XREAD")
}

fn io(message: &'static str) -> RedisError {
    RedisError::from(std::io::Error::new(std::io::ErrorKind::ConnectionReset, message))
}

/// Creates the error for an error reply of the server.
fn server_error(code: &str, detail: &str) -> RedisError {
    let line = format!("-{code} {detail}\r\n");
    match redis::parse_redis_value(line.as_bytes()) {
        Ok(value) => match value.extract_error() {
            Err(error) => error,
            Ok(_) => RedisError::from((ErrorKind::UnexpectedReturnType, "no error")),
        },
        Err(error) => error,
    }
}
