//! One write per wake-up: all data that is due for one client, appended to the bytes that already wait.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Encoder, Output, StreamConfig};
use tricast_core::{
    channel::Selector,
    counters::{Counters, Transport, TransportCounters},
    hub::Pass,
    position::Position,
    publication::Publication,
    reader::{DueState, Reader, Sink},
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

/// Reads the data that is due for `reader`, at most about the budget of `config`, behind the pending bytes of `output`, and counts
/// it.
#[inline]
pub(super) fn drain<O: Output>(
    reader: &mut Reader,
    config: &StreamConfig,
    pass: &Pass,
    counters: &Arc<Counters>,
    output: &mut O,
) -> Batch {
    let transport = config.transport;
    if output.pending().is_empty()
        && let Some(DueState { publication, cursor, conflated, waiting_since }) = reader.take_state()
    {
        // Most writes are one message, whose shared bytes are passed on.
        let bytes = output.publication(&publication, cursor);
        pass.count(counters, transport, &publication);
        count(counters.of(transport), conflated, 0);
        return Batch { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), more: false, since: waiting_since };
    }
    let out = std::mem::take(output.pending());
    let mut writer = Writer { only: None, out, pass, counters, transport, encoder: &*output };
    let collected = reader.collect(config.budget, &mut writer);
    count(counters.of(transport), collected.conflated, collected.gaps);
    Batch { bytes: writer.finish(), more: collected.more, since: collected.waiting_since }
}

fn count(counters: &TransportCounters, conflated: u64, gaps: usize) {
    if conflated > 0 {
        counters.conflations.add(conflated);
    }
    if gaps > 0 {
        counters.gaps.add(gaps as u64);
    }
}

struct Writer<'a, E> {
    /// The only message so far: shared bytes are passed on without a copy.
    only: Option<Bytes>,
    out: Vec<u8>,
    pass: &'a Pass,
    counters: &'a Arc<Counters>,
    transport: Transport,
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
        self.pass.count(self.counters, self.transport, publication);
        self.push(self.encoder.publication(publication, cursor));
    }

    fn gap(&mut self, channels: &[Selector], cursor: Position) {
        self.push(self.encoder.gap(channels, &cursor));
    }
}
