//! A rhythm instead of events: what a path doctor measures buffering and cuts by. It comes from the same path as the
//! events do, for a proxy has its settings by path.
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
//! `at` is the time in ms since the stream began, so a piece that was held back shows. Between the beats there is
//! nothing, not even a comment: two beats a minute apart show whether a silent stream is cut.

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

/// Most beats of one stream.
const MAX_BEATS: u32 = 40;

/// Longest stream.
const MAX_TOTAL: Duration = Duration::from_secs(300);

/// Most padding of one beat, in bytes.
const MAX_PADDING: usize = 2_048;

/// Between two beats, if nothing else is asked for.
const EVERY: Duration = Duration::from_millis(250);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rhythm {
    beats: u32,
    every: Duration,
    padding: usize,
}

impl Rhythm {
    /// Reads the query.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub(super) fn read(beats: u32, query: &Query) -> Result<Self, Problem> {
        let every = query.every.map_or(EVERY, Duration::from_millis);
        let padding = query.bytes.unwrap_or(0);
        if !(1..=MAX_BEATS).contains(&beats) {
            return Err(Problem::bad_request(format!("probe: 1 to {MAX_BEATS} beats")));
        }
        if every.checked_mul(beats - 1).is_none_or(|total| total > MAX_TOTAL) || every > MAX_TOTAL {
            return Err(Problem::bad_request(format!("every: {} s at most in all", MAX_TOTAL.as_secs())));
        }
        if padding > MAX_PADDING {
            return Err(Problem::bad_request(format!("bytes: at most {MAX_PADDING}")));
        }
        Ok(Self { beats, every, padding })
    }
}

/// A stream that is under way.
struct Probe {
    rhythm: Rhythm,
    /// Beats that were given.
    given: u32,
    began: Instant,
    greeting: Option<String>,
    shutdown: Shutdown,
    _slot: StreamSlot,
    _permit: OwnedSemaphorePermit,
}

/// Answers with the rhythm. It counts as an event stream, and as nobody's.
///
/// # Errors
/// 429 and 503 when there are too many streams, or too many of these.
pub(super) fn open(
    state: &Rc<State>,
    request: &HttpRequest,
    config: SseConfig,
    rhythm: Rhythm,
) -> Result<HttpResponse, Problem> {
    let slot = state.open_stream(Transport::Sse, state.address(request))?;
    let permit = diagnostics::probe_permit(state)?;
    let mut seen = json!(diagnostics::seen(state, request));
    seen["heartbeat"] = (config.comment_interval.as_millis() as u64).into();
    let mut greeting = String::new();
    // Longer than anybody wants to measure: an EventSource that is cut must not begin again.
    event::write_retry(&mut greeting, MAX_TOTAL);
    event::write_json(&mut greeting, None, "seen", &seen);
    let probe = Probe {
        rhythm,
        given: 0,
        began: Instant::now(),
        greeting: Some(greeting),
        shutdown: state.shared.shutdown.clone(),
        _slot: slot,
        _permit: permit,
    };
    let beats = stream::unfold(probe, |mut probe| async {
        let beat = probe.next().await?;
        Some((Ok::<_, Infallible>(beat), probe))
    });
    // Nothing else may come over a connection that was held for a measurement.
    Ok(head(StatusCode::OK).force_close().streaming(beats))
}

impl Probe {
    /// The next beat, at its time; `None` after the last, and when the server is going away.
    async fn next(&mut self) -> Option<Bytes> {
        if self.given == self.rhythm.beats {
            return None;
        }
        let mut draining = self.shutdown.watch();
        tokio::select! {
            () = tokio::time::sleep_until(self.began + self.rhythm.every * self.given) => {}
            // The sender lives in the server.
            _ = draining.wait_for(|draining| *draining) => return None,
        }
        let mut out = self.greeting.take().unwrap_or_default();
        let beat = json!({
            "n": self.given,
            "of": self.rhythm.beats,
            "at": self.began.elapsed().as_millis() as u64,
            "padding": "-".repeat(self.rhythm.padding),
        });
        event::write_json(&mut out, None, "probe", &beat);
        self.given += 1;
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_take_too_long_or_too_much_is_refused() {
        let read = |beats, every, bytes| Rhythm::read(beats, &Query { every, bytes, ..Query::default() });
        assert_eq!(read(12, None, None).unwrap(), Rhythm { beats: 12, every: EVERY, padding: 0 });
        assert!(read(2, Some(300_000), Some(2_048)).is_ok() && read(1, Some(300_000), None).is_ok());
        for (beats, every, bytes, part) in [
            (0, None, None, "probe"),
            (41, None, None, "probe"),
            (u32::MAX, Some(u64::MAX), None, "probe"),
            (3, Some(150_001), None, "every"),
            (1, Some(300_001), None, "every"),
            (40, Some(u64::MAX), None, "every"),
            (2, None, Some(2_049), "bytes"),
        ] {
            let problem = read(beats, every, bytes).unwrap_err();
            assert!(problem.status == StatusCode::BAD_REQUEST && problem.detail.starts_with(part), "{problem}");
        }
    }
}
