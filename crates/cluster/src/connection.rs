//! Connections to a Redis of any kind, and the one that all short requests share.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{
    Cmd, Pipeline, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};
use tokio::time::sleep;

use super::config::{RESPONSE, Target, connection_config};

/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(200);

/// Connection. Cheap to clone; clones use the same socket.
#[derive(Clone)]
pub(super) enum Connection {
    /// Connection to a single server.
    One(MultiplexedConnection),
    /// Connection to a Redis Cluster.
    Cluster(ClusterConnection),
    /// Connection to a simulated server.
    #[cfg(test)]
    Simulated(super::simulation::Connection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
            #[cfg(test)]
            Self::Simulated(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
            #[cfg(test)]
            Self::Simulated(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
            #[cfg(test)]
            Self::Simulated(connection) => connection.get_db(),
        }
    }
}

/// Access of this node to Redis: opens connections, and shares one among short requests.
pub(super) struct Link {
    target: Target,
    /// Connection that short requests share, while there is one.
    shared: Mutex<Option<Connection>>,
}

impl Link {
    pub(super) fn new(target: Target) -> Self {
        Self { target, shared: Mutex::new(None) }
    }

    /// Opens a separate connection, on which a reply may take `wait` and some time more.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub(super) async fn connect(&self, wait: Duration) -> RedisResult<Connection> {
        let config = connection_config(RESPONSE + wait);
        Ok(match &self.target {
            Target::One(client) => Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?),
            Target::Sentinel(client) => {
                // One task queries the sentinels; the others wait for its result.
                let mut client = client.lock().await;
                let master = client.async_get_client().await?;
                Connection::One(master.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Target::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
            #[cfg(test)]
            Target::Simulated(network) => Connection::Simulated(network.connect(RESPONSE + wait).await?),
        })
    }

    /// Waits until the shared connection is open. Requests on it may fail nevertheless.
    pub(super) async fn ready(&self) {
        while self.shared().await.is_err() {
            sleep(RETRY).await;
        }
    }

    async fn shared(&self) -> RedisResult<Connection> {
        if let Some(connection) = self.shared.lock().clone() {
            return Ok(connection);
        }
        let connection = self.connect(Duration::ZERO).await?;
        Ok(self.shared.lock().get_or_insert(connection).clone())
    }

    /// Drops the shared connection, because it does not respond.
    pub(super) fn give_up(&self) {
        *self.shared.lock() = None;
    }

    /// Sends a request on the shared connection, which is opened if necessary.
    ///
    /// # Errors
    /// Redis cannot be reached, or refused the request. Whether the request had an effect is unknown.
    pub(super) async fn request<T>(&self, send: impl AsyncFnOnce(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let mut connection = self.shared().await?;
        let reply = send(&mut connection).await;
        if reply.is_err() {
            // The next request opens a new connection, and queries the sentinels for the master.
            self.give_up();
        }
        reply
    }
}
