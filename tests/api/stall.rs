//! Link to Redis that can be stalled: connections stay open and no data pass, as behind a dead switch.

use std::{path::PathBuf, thread};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{oneshot, watch},
};

use crate::redis::Redis;

/// Link to a Redis. Ends with the test.
pub(crate) struct StallableLink {
    directory: TempDir,
    stalled: watch::Sender<bool>,
    _end: oneshot::Sender<()>,
}

impl StallableLink {
    pub(crate) fn to(redis: &Redis) -> Self {
        let directory = tempfile::Builder::new().prefix("tricast-way-").tempdir().unwrap();
        let (from, to) = (directory.path().join("way.sock"), redis.directory().join("redis.sock"));
        let stalled = watch::Sender::new(false);
        let (end, ended) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let stall = stalled.clone();
        // A thread of its own, because tests may block their runtime.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(from).unwrap();
                ready.send(()).unwrap();
                tokio::select! {
                    () = accept(listener, to, stall) => {}
                    _ = ended => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self { directory, stalled, _end: end }
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("way.sock").display())
    }

    /// Stops the flow in both directions.
    pub(crate) fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// Passes the waiting data and resumes the flow.
    pub(crate) fn flow(&self) {
        self.stalled.send_replace(false);
    }
}

async fn accept(listener: UnixListener, to: PathBuf, stalled: watch::Sender<bool>) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let (to, up, down) = (to.clone(), stalled.subscribe(), stalled.subscribe());
        tokio::spawn(async move {
            let Ok(far) = UnixStream::connect(to).await else { return };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::select! {
                () = pass(near_in, far_out, up) => {}
                () = pass(far_in, near_out, down) => {}
            }
        });
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut stalled: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if stalled.wait_for(|stalled| !stalled).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
