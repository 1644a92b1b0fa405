//! Recorder: a reader of one tenant's log that writes points into the store.
//!
//! It has two halves: the listener reads the log and never waits for the store; the writer writes. Between them is the
//! [`WriteBuffer`](super::write_buffer::WriteBuffer), which is bounded. When the store hangs, `degraded` is published
//! on `system` once, and `recovered` at the end, with the number of points that did not fit.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use self::{listener::Listener, writer::Writer};
use super::shared::Shared;
use tricast_core::aggregator::AggregatorHandle;

mod listener;
mod notices;
mod upkeep;
mod writer;

/// Number of points that are written at once, and from which on the writer does not wait.
const GROUP: usize = 20_000;

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Task that records one tenant's history.
pub struct Recorder {
    shared: Arc<Shared>,
}

impl Recorder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reads the log and writes the store until [`History::finish`](super::History::finish) is called. Returns at once if
    /// history is disabled.
    pub async fn run(self, aggregator: AggregatorHandle) {
        let Self { shared } = self;
        if !shared.config.enabled {
            return;
        }
        let mut ending = shared.ending.subscribe();
        let mut listener = Listener::new(Arc::clone(&shared));
        let mut writer = Writer::new(Arc::clone(&shared), aggregator);
        tokio::select! {
            () = listener.run() => {}
            () = writer.run() => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
        // A write that was interrupted is repeated: the result is the same.
        shared.buffer.lock().end_writing(false);
        listener.take();
        shared.buffer.lock().close_all();
        if !writer.wrote {
            shared.buffer.lock().discard_before(i64::MAX);
        }
        while shared.buffer.lock().len() > 0 {
            if writer.write_some().await.is_err() {
                sleep(RETRY).await;
            }
        }
        if writer.wrote {
            let ends = shared.buffer.lock().take_ends();
            if writer.write_ends(&ends).await.is_err() {
                tracing::warn!(
                    tenant = &*shared.tenant,
                    "cannot store the ends of channels: the last ended ones may exist again after a restart"
                );
            }
        }
        shared.ended.send_replace(true);
    }
}
