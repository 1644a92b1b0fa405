//! A way to Redis that can be made bad, as a broken link makes it.

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

/// A TCP port in front of a Unix socket. Ends with the test.
pub(crate) struct Proxy {
    port: u16,
    limits: Arc<Limits>,
    serving: JoinHandle<()>,
}

/// Writes that are larger are swallowed, and with them all that follows on the same connection: as where small packets
/// pass and large ones do not. 0: none is.
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
                    // Redis may be away: then the connection ends at once, as it does without a proxy.
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

    /// What goes to Redis passes up to so many bytes at once.
    pub(crate) fn swallow_questions_above(&self, bytes: usize) {
        self.limits.questions.store(bytes, Ordering::SeqCst);
    }

    /// What comes from Redis passes up to so many bytes at once.
    pub(crate) fn swallow_answers_above(&self, bytes: usize) {
        self.limits.answers.store(bytes, Ordering::SeqCst);
    }

    /// The link is good again; connections that swallowed something stay as they are.
    pub(crate) fn heal(&self) {
        self.swallow_questions_above(0);
        self.swallow_answers_above(0);
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
