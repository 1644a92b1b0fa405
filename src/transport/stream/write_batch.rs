//! One write per wake-up: all data that is due for one client, appended to the bytes that already wait.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::Encoder;
use tricast_core::{
    channel::Selector,
    counters::TransportCounters,
    position::Position,
    publication::Publication,
    reader::{Reader, Sink},
};

/// Bytes to write, and whether more data is due.
pub(super) struct Batch {
    /// One buffer; `None` if there is nothing to write.
    pub(super) bytes: Option<Bytes>,
    /// The budget was used up before all due data was read.
    pub(super) more: bool,
    /// Time since which the data waited for the client.
    pub(super) since: Option<Instant>,
}

/// Reads the data that is due for `reader` at `now`, at most about `budget` bytes of events, behind the bytes in `waiting`, and
/// counts it.
pub(super) fn drain(
    reader: &mut Reader,
    budget: usize,
    waiting: Vec<u8>,
    now: Instant,
    counters: &TransportCounters,
    encoder: &impl Encoder,
) -> Batch {
    let mut writer = Writer { only: None, out: waiting, now: now.into_std(), counters, encoder };
    let collected = reader.collect(budget, &mut writer);
    counters.deliveries.add(collected.delivered as u64);
    if collected.conflated > 0 {
        counters.conflations.add(collected.conflated);
    }
    if collected.gaps > 0 {
        counters.gaps.add(collected.gaps as u64);
    }
    Batch { bytes: writer.finish(), more: collected.more, since: collected.waiting_since }
}

struct Writer<'a, E> {
    /// The only message so far: shared bytes are passed on without a copy.
    only: Option<Bytes>,
    out: Vec<u8>,
    now: std::time::Instant,
    counters: &'a TransportCounters,
    encoder: &'a E,
}

impl<E: Encoder> Writer<'_, E> {
    fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            // This transport has no message for it.
            return;
        }
        if self.only.is_none() && self.out.is_empty() {
            self.only = Some(bytes);
            return;
        }
        if let Some(only) = self.only.take() {
            self.out.extend_from_slice(&only);
        }
        self.out.extend_from_slice(E::SEPARATOR);
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

impl<E: Encoder> Sink for Writer<'_, E> {
    fn publication(&mut self, publication: &Arc<Publication>, cursor: Option<Position>) {
        self.counters.delivery_latency.observe(self.now.saturating_duration_since(publication.made), 1);
        self.push(self.encoder.publication(publication, cursor));
    }

    fn gap(&mut self, channels: &[Selector], cursor: Position) {
        self.push(self.encoder.gap(channels, &cursor));
    }
}
