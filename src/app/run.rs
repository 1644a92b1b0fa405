//! Running the server: serving, draining, and stopping the parts in order.

use std::{future::Future, io, sync::atomic::Ordering, time::Duration};

use actix_web::dev::ServerHandle;
use serde_json::json;
use tokio::time::Instant;

use super::{Application, thread::Thread};
use crate::web::state::Shared;
use tricast_domain::sources::{self, demo::ServerAddress};
use tricast_store::Store;

/// Time for which a stopping server waits for the last requests on kept connections.
const LINGER: Duration = Duration::from_millis(500);

/// Longest time that a node waits for the log of its cluster before it serves without it.
const UNTIL_LOADED: Duration = Duration::from_secs(10);

impl Application {
    /// Serves until `stop` completes, then drains: it is not ready, asks streams to reconnect elsewhere, and finishes pending
    /// requests, all within `drain_timeout`.
    ///
    /// # Errors
    /// The server's accept loop failed.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { server, shared, addresses, writer, readers, store_thread, store, drain_timeout, .. } = self;
        let (supervisor, greeting) = (self.supervisor, self.greeting);
        if let Some(cluster) = shared.tenants.cluster()
            && !cluster.is_loaded(UNTIL_LOADED).await
        {
            tracing::error!("the bus does not respond: this node starts without the earlier values");
        }
        let handle = server.handle();
        let mut serving = tokio::spawn(server);
        let alive = supervisor.map(|supervisor| tokio::spawn(supervisor.keep_alive(shared.tenants.clone())));
        if let Some(supervisor) = supervisor {
            supervisor.ready().await;
        }
        if let Some(greeting) = greeting {
            wait_for_a_worker(&shared).await;
            greeting();
        }
        let shop = addresses.first().filter(|_| shared.demo.load(Ordering::Relaxed)).map(|address| {
            let server = ServerAddress { address: *address, base_path: shared.base_path.to_string() };
            tokio::spawn(sources::demo::run(server))
        });
        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = stop => None,
        };
        if let Some(shop) = shop {
            shop.abort();
        }
        let result = match ended {
            Some(ended) => ended.unwrap_or_else(|error| Err(io::Error::other(error))),
            None => {
                if let Some(supervisor) = supervisor {
                    supervisor.stopping().await;
                }
                stop_serving(&shared, &handle, Instant::now() + drain_timeout).await;
                serving.await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        // Before the aggregators, which it checks.
        if let Some(alive) = alive {
            alive.abort();
        }
        stop_parts(shared, writer, readers, store, store_thread).await;
        tracing::info!("stopped");
        result
    }
}

/// Drains the streams, waits for the last requests, and closes the sockets at `deadline` at the latest.
async fn stop_serving(shared: &Shared, handle: &ServerHandle, deadline: Instant) {
    drain(shared, deadline).await;
    linger(shared, deadline).await;
    // Running requests get the rest of the time.
    if tokio::time::timeout_at(deadline, handle.stop(true)).await.is_err() {
        handle.stop(false).await;
    }
}

/// Stops the parts of the server in the order in which they depend on each other.
async fn stop_parts(shared: Shared, writer: Thread, readers: Thread, store: Store, store_thread: Option<Thread>) {
    let tenants = shared.tenants.clone();
    if let Some(cluster) = tenants.cluster() {
        cluster.leave().await;
    }
    drop(shared);
    writer.stop().await;
    // After the aggregators: nothing is published that they would miss.
    tenants.finish().await;
    drop(tenants);
    readers.stop().await;
    // Last, so that all pending writes are done.
    store.close().await;
    if let Some(store_thread) = store_thread {
        store_thread.stop().await;
    }
}

/// Waits a moment until a worker has started, so that its log lines come before the greeting.
async fn wait_for_a_worker(shared: &Shared) {
    for _ in 0..100 {
        if shared.requests.workers() > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks every stream to end and waits until all have, or until the deadline.
async fn drain(shared: &Shared, deadline: Instant) {
    let streams = shared.counters.streams();
    tracing::info!(streams, "draining");
    if shared.tenants.cluster().is_none() {
        // Subscribers of `system` get this like any other event; the writer may have stopped already. In a cluster the
        // service continues: only this node's streams are notified, each by itself.
        let _ = shared.tenants.announce("maintenance", &json!({"reason": "SERVER_MAINTENANCE"})).await;
    }
    shared.shutdown.start_draining();
    let gone = async {
        while shared.counters.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout_at(deadline, gone).await.is_err() {
        tracing::warn!(streams = shared.counters.streams(), "not all streams ended in time");
    }
}

/// Waits a little for connections that a proxy keeps for later requests: each is closed with its next response, and so not
/// during a request. The proxy could not retry a push on such a connection.
async fn linger(shared: &Shared, deadline: Instant) {
    let until = deadline.min(Instant::now() + LINGER);
    while shared.counters.sockets.get() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
