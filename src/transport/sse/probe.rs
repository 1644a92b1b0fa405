//! Stream of timed events, by which the path doctor measures buffering and cuts. It has the path of the event stream,
//! because the settings of a proxy depend on the path.
//!
//! ```text
//! > GET /events?probe=12&every=250&bytes=512
//! < event: seen
//! < data: {"http":"1.1","host":"live.example",...,"heartbeat":15000}
//! <
//! < event: probe
//! < data: {"n":0,"of":12,"at":0,"padding":"..."}
//! ```
//!
//! `at` is the time in ms since the start of the stream, so that a delay by a buffer shows. Nothing is sent between the
//! events, not even a comment: two events a minute apart show whether an idle stream is cut.

use std::{convert::Infallible, rc::Rc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Query, SseConfig, event, head};
use crate::{
    shutdown::Shutdown,
    web::{
        diagnostics,
        problem::Problem,
        state::{State, StreamSlot},
    },
};
use tricast_core::counters::Transport;

/// Most events of one stream.
const MAX_EVENTS: u32 = 40;

/// Longest time that a stream may take.
const MAX_TOTAL: Duration = Duration::from_secs(300);

/// Most padding of one event, in bytes.
const MAX_PADDING: usize = 2_048;

/// Default time between two events.
const EVERY: Duration = Duration::from_millis(250);

/// Parameters of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProbeSettings {
    events: u32,
    every: Duration,
    padding: usize,
}

impl ProbeSettings {
    /// Reads the query.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub(super) fn read(events: u32, query: &Query) -> Result<Self, Problem> {
        let every = query.every.map_or(EVERY, Duration::from_millis);
        let padding = query.bytes.unwrap_or(0);
        if !(1..=MAX_EVENTS).contains(&events) {
            return Err(Problem::bad_request(format!("probe: 1 to {MAX_EVENTS} events")));
        }
        if every.checked_mul(events - 1).is_none_or(|total| total > MAX_TOTAL) || every > MAX_TOTAL {
            return Err(Problem::bad_request(format!("every: {} s at most in all", MAX_TOTAL.as_secs())));
        }
        if padding > MAX_PADDING {
            return Err(Problem::bad_request(format!("bytes: at most {MAX_PADDING}")));
        }
        Ok(Self { events, every, padding })
    }
}

/// Event stream that the path doctor uses to measure the path.
struct Probe {
    settings: ProbeSettings,
    /// Events that were sent.
    sent: u32,
    start: Instant,
    greeting: Option<String>,
    shutdown: Shutdown,
    _slot: StreamSlot,
    _permit: OwnedSemaphorePermit,
}

/// Responds with the stream. It counts as an event stream without a user.
///
/// # Errors
/// 429 and 503 when there are too many streams, or too many of these.
pub(super) fn open(
    state: &Rc<State>,
    request: &HttpRequest,
    config: SseConfig,
    settings: ProbeSettings,
) -> Result<HttpResponse, Problem> {
    let slot = state.open_stream(Transport::Sse, state.address(request))?;
    let permit = diagnostics::probe_permit(state)?;
    let mut seen = json!(diagnostics::seen(state, request));
    seen["heartbeat"] = (config.comment_interval.as_millis() as u64).into();
    let mut greeting = String::new();
    // Longer than any measurement: an EventSource whose stream was cut must not reconnect.
    event::write_retry(&mut greeting, MAX_TOTAL);
    event::write_json(&mut greeting, None, "seen", &seen);
    let probe = Probe {
        settings,
        sent: 0,
        start: Instant::now(),
        greeting: Some(greeting),
        shutdown: state.shared.shutdown.clone(),
        _slot: slot,
        _permit: permit,
    };
    let events = stream::unfold(probe, |mut probe| async {
        let event = probe.next().await?;
        Some((Ok::<_, Infallible>(event), probe))
    });
    // No other request may use a connection that was held for a measurement.
    Ok(head(StatusCode::OK).force_close().streaming(events))
}

impl Probe {
    /// Returns the next event at its time; `None` after the last one, and when the server drains.
    async fn next(&mut self) -> Option<Bytes> {
        if self.sent == self.settings.events {
            return None;
        }
        let mut draining = self.shutdown.watch();
        tokio::select! {
            () = tokio::time::sleep_until(self.start + self.settings.every * self.sent) => {}
            // The sender lives as long as the server.
            _ = draining.wait_for(|draining| *draining) => return None,
        }
        let mut out = self.greeting.take().unwrap_or_default();
        let data = json!({
            "n": self.sent,
            "of": self.settings.events,
            "at": self.start.elapsed().as_millis() as u64,
            "padding": "-".repeat(self.settings.padding),
        });
        event::write_json(&mut out, None, "probe", &data);
        self.sent += 1;
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_are_too_long_or_too_large_are_refused() {
        let read = |events, every, bytes| ProbeSettings::read(events, &Query { every, bytes, ..Query::default() });
        assert_eq!(read(12, None, None).unwrap(), ProbeSettings { events: 12, every: EVERY, padding: 0 });
        assert!(read(2, Some(300_000), Some(2_048)).is_ok() && read(1, Some(300_000), None).is_ok());
        for (events, every, bytes, part) in [
            (0, None, None, "probe"),
            (41, None, None, "probe"),
            (u32::MAX, Some(u64::MAX), None, "probe"),
            (3, Some(150_001), None, "every"),
            (1, Some(300_001), None, "every"),
            (40, Some(u64::MAX), None, "every"),
            (2, None, Some(2_049), "bytes"),
        ] {
            let problem = read(events, every, bytes).unwrap_err();
            assert!(problem.status == StatusCode::BAD_REQUEST && problem.detail.starts_with(part), "{problem}");
        }
    }
}
