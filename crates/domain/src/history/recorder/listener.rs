//! Half of the recorder that reads the log. It never waits for the store.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::GROUP;
use crate::history::{shared::Shared, write_buffer::Lost};
use tricast_core::{
    publication::Publication,
    snapshot::{SNAPSHOT, View},
};

/// Number of channels that are taken under one lock.
const CHUNK: usize = 256;

/// Half of the recorder that reads the log.
pub(super) struct Listener {
    shared: Arc<Shared>,
    /// Offset up to which the log is read.
    seen: u64,
    /// Lost points that are counted already.
    lost: Lost,
}

impl Listener {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, seen: 0, lost: Lost::default() }
    }

    /// Reads the log until the future is dropped.
    pub(super) async fn run(&mut self) {
        let mut changed = self.shared.log.watch();
        let resolution = self.shared.config.resolution.0;
        // Within its span only the last version counts: not every one has to be read.
        let rest = (resolution / 20).min(Duration::from_millis(50));
        let mut is_asked = false;
        loop {
            self.take();
            if is_asked || self.shared.buffer.lock().len() >= GROUP {
                self.shared.wake.notify_one();
            }
            let flush = self.shared.flush.notified();
            tokio::pin!(flush);
            is_asked = tokio::select! {
                result = changed.changed() => {
                    if result.is_err() {
                        return std::future::pending().await;
                    }
                    timeout(rest, &mut flush).await.is_ok()
                }
                // Wakes up for the last version of a span that no other follows.
                () = sleep(resolution.max(Duration::from_millis(100))) => false,
                () = &mut flush => true,
            };
            changed.borrow_and_update();
        }
    }

    /// Takes all versions that the log has now.
    pub(super) fn take(&mut self) {
        let Shared { log, clock, buffer, .. } = &*self.shared;
        let head = log.head();
        let states = log.states_after(self.seen, self.seen, View::Full, |channel| channel.as_str() != SNAPSHOT);
        self.seen = states.last().map_or(self.seen, |newest| newest.offset);
        // In chunks, so that queries can read the buffer in between.
        for states in states.chunks(CHUNK) {
            let mut buffer = buffer.lock();
            // Restored values are in the store already.
            let new = |state: &&Arc<Publication>| state.timestamp.as_millisecond() >= 0 && !state.is_restored();
            for state in states.iter().filter(new) {
                match state.gone {
                    Some(_) => buffer.end(&state.channel, state.timestamp.as_millisecond()),
                    None => buffer.take(Arc::clone(state)),
                }
            }
        }
        buffer.lock().read_to(head);
        if states.iter().any(|state| state.gone.is_some()) {
            // Otherwise a restart in between would restore the channels.
            self.shared.wake.notify_one();
        }
        let now = clock.now().as_millisecond();
        while buffer.lock().close_spans(now, CHUNK) {}
        let lost = buffer.lock().lost();
        let counters = &self.shared.counters.history;
        counters.dropped.add(lost.dropped - self.lost.dropped);
        counters.refused.add(lost.refused - self.lost.refused);
        counters.beyond.add(lost.beyond - self.lost.beyond);
        self.lost = lost;
    }
}
