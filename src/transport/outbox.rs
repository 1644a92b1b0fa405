//! One write per wake-up: everything that is due for one client, gathered behind what waits already.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    core::{
        channel::Channel,
        position::Position,
        publication::Publication,
        reader::{Reader, Sink},
    },
    counters::TransportCounters,
    pause,
};

/// How a transport writes what a reader finds.
pub(super) trait Format {
    /// A state or event; `cursor` is `None` when the shared bytes fit.
    fn publication(&self, publication: &Publication, cursor: Option<Position>) -> Bytes;
    /// A gap.
    fn gap(&self, channels: &[Channel], cursor: &Position) -> Bytes;
}

/// What is to be written, and whether more is due already.
pub(super) struct Told {
    /// One buffer; `None` when there is nothing.
    pub(super) bytes: Option<Bytes>,
    /// The budget ran out.
    pub(super) more: bool,
    /// How long it has waited for the client.
    pub(super) waited: Duration,
}

/// Reads what is due for `reader`, at most about `budget` bytes of events, and counts it.
pub(super) fn tell(
    reader: &mut Reader,
    budget: usize,
    waiting: Vec<u8>,
    counters: &TransportCounters,
    format: &impl Format,
) -> Told {
    let now = Instant::now();
    let mut outbox = Outbox { only: None, out: waiting, now, counters, format };
    let collected = reader.collect(budget, &mut outbox);
    counters.deliveries.add(collected.delivered as u64);
    if collected.conflated > 0 {
        counters.conflations.add(collected.conflated);
    }
    if collected.gaps > 0 {
        counters.gaps.add(collected.gaps as u64);
    }
    // While this process stood still nobody could take anything.
    let since = collected.waiting_since.map(|since| pause::awake_since(since.into_std()));
    let waited = since.map(|since| now.saturating_duration_since(since));
    Told { bytes: outbox.finish(), more: collected.more, waited: waited.unwrap_or_default() }
}

struct Outbox<'a, F> {
    /// The one thing to write so far: shared bytes are passed on without a copy.
    only: Option<Bytes>,
    out: Vec<u8>,
    now: Instant,
    counters: &'a TransportCounters,
    format: &'a F,
}

impl<F> Outbox<'_, F> {
    fn push(&mut self, bytes: Bytes) {
        if self.only.is_none() && self.out.is_empty() {
            self.only = Some(bytes);
            return;
        }
        if let Some(only) = self.only.take() {
            self.out.extend_from_slice(&only);
        }
        self.out.extend_from_slice(&bytes);
    }

    fn finish(self) -> Option<Bytes> {
        match self.only {
            Some(only) => Some(only),
            None if self.out.is_empty() => None,
            None => Some(self.out.into()),
        }
    }
}

impl<F: Format> Sink for Outbox<'_, F> {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        self.counters.delivery_latency.observe(self.now.saturating_duration_since(publication.made), 1);
        self.push(self.format.publication(publication, cursor));
    }

    fn gap(&mut self, channels: &[Channel], cursor: Position) {
        self.push(self.format.gap(channels, &cursor));
    }
}
