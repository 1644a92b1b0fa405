//! Passes of a hub over readers with due data, in which it delivers in place of their tasks.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    counters::{Counters, Latency, Transport},
    publication::Publication,
};

/// Delivery of due data by the hub itself, on a connection whose socket accepts data: waking a task for it costs more
/// than the delivery.
///
/// The hub first prepares the writes of many readers, and then writes them. Each of the two loops finds its code and data in
/// the caches; one loop that prepares and writes would find neither, because a write replaces both.
pub trait Deliver {
    /// Prepares the write of the due data of one reader.
    fn prepare(&self, pass: &Pass) -> Prepared;

    /// Writes what was prepared. Returns `false` if the task has to continue.
    fn write(&self) -> bool;
}

/// Result of [`Deliver::prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// There is nothing to write, or the task waits for the socket.
    Nothing,
    /// There are so many bytes for [`Deliver::write`].
    Write(usize),
    /// The task has to continue.
    NeedsTask,
}

/// Pass over one or many readers that get their due data. The clock is read once for all of them, and their deliveries are counted
/// together at its end.
#[derive(Debug)]
pub struct Pass {
    /// Time at which the pass began.
    pub now: Instant,
    /// Time at which the last publication was made, and its latency.
    last: Cell<(std::time::Instant, Latency)>,
    tally: RefCell<Option<Tally>>,
}

/// Deliveries with the same latency on one transport.
#[derive(Debug)]
struct Tally {
    counters: Arc<Counters>,
    transport: Transport,
    latency: Latency,
    count: u64,
}

impl Pass {
    /// Begins a pass.
    pub fn begin() -> Self {
        let now = Instant::now();
        let last = Cell::new((now.into_std(), Latency::of(Duration::ZERO)));
        Self { now, last, tally: RefCell::new(None) }
    }

    /// Counts the delivery of `publication`.
    #[inline]
    pub fn count(&self, counters: &Arc<Counters>, transport: Transport, publication: &Publication) {
        let latency = self.latency(publication);
        let mut tally = self.tally.borrow_mut();
        match &mut *tally {
            Some(tally) if tally.transport == transport && tally.latency == latency => tally.count += 1,
            other => *other = Some(Tally { counters: Arc::clone(counters), transport, latency, count: 1 }),
        }
    }

    /// Returns the time since `publication` was made. Readers mostly get the same one, one after the other.
    #[inline]
    fn latency(&self, publication: &Publication) -> Latency {
        let (made, latency) = self.last.get();
        if made == publication.made {
            return latency;
        }
        let latency = Latency::of(self.now.into_std().saturating_duration_since(publication.made));
        self.last.set((publication.made, latency));
        latency
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let counters = self.counters.of(self.transport);
        counters.deliveries.add(self.count);
        counters.delivery_latency.add(self.latency, self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channel::Channel, position::Epoch};

    #[test]
    fn deliveries_are_counted_at_the_end_of_a_pass_by_transport_and_latency() {
        let counters = Arc::<Counters>::default();
        let publication = || {
            let channel = Channel::parse("metrics.a").unwrap();
            Publication::new(Epoch::random(), channel, None, 1, jiff::Timestamp::UNIX_EPOCH, "{}".into())
        };
        let (first, second) = (publication(), publication());
        let pass = Pass::begin();
        for _ in 0..3 {
            pass.count(&counters, Transport::WebSocket, &first);
        }
        pass.count(&counters, Transport::Sse, &first);
        pass.count(&counters, Transport::Sse, &second);
        drop(pass);
        let of = |transport| {
            let of = counters.of(transport);
            (of.deliveries.get(), of.delivery_latency.read().1)
        };
        assert_eq!((of(Transport::WebSocket), of(Transport::Sse)), ((3, 3), (2, 2)));
    }
}
