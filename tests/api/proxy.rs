//! Link to Redis with configurable faults.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    task::JoinHandle,
};

/// TCP port in front of a Unix socket. Ends with the test.
pub(crate) struct Proxy {
    port: u16,
    limits: Arc<Limits>,
    serving: JoinHandle<()>,
}

/// Largest write that passes in each direction; 0 means no limit. A larger one is dropped with everything that follows on
/// the connection, as on a link where small packets pass and large ones do not.
#[derive(Default)]
struct Limits {
    questions: AtomicUsize,
    answers: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limits = Arc::<Limits>::default();
        let shared = Arc::clone(&limits);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (limits, socket) = (Arc::clone(&shared), socket.clone());
                tokio::spawn(async move {
                    // If Redis is down, the connection ends at once, as without a proxy.
                    let Ok(server) = UnixStream::connect(socket).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = pump(from_client, to_server, &limits.questions) => {}
                        () = pump(from_server, to_client, &limits.answers) => {}
                    }
                });
            }
        });
        Self { port, limits, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Limits the size of writes to Redis.
    pub(crate) fn drop_requests_above(&self, bytes: usize) {
        self.limits.questions.store(bytes, Ordering::SeqCst);
    }

    /// Limits the size of writes from Redis.
    pub(crate) fn drop_replies_above(&self, bytes: usize) {
        self.limits.answers.store(bytes, Ordering::SeqCst);
    }

    /// Removes the limits; connections that dropped data stay broken.
    pub(crate) fn heal(&self) {
        self.drop_requests_above(0);
        self.drop_replies_above(0);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, limit: &AtomicUsize) {
    let mut buffer = vec![0; 256 * 1024];
    let mut is_cut = false;
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let limit = limit.load(Ordering::SeqCst);
        is_cut |= limit > 0 && read > limit;
        if !is_cut && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
