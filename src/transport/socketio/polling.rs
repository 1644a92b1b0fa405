//! Polling: the requests of a session, and the task that drives it between them.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use actix_web::{HttpMessage, HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use bytes::Bytes;
use tokio::time::Instant;

use super::{
    EngineFailure,
    codec::engine,
    config::MAX_PACKETS,
    connection::Connection,
    link::{Framing, Input, Link, LinkError, Ready},
    registry::Registry,
};
use crate::web::{body, connection::be_patient, middleware::Held, problem::Problem, state::State, turn::Turn};
use tricast_core::{counters::Limit, hub::Pass};

/// Least time between two empty polls while a WebSocket is probed.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// Time that a closed session waits for a poll, or for a WebSocket that does not take data, to report the end.
const LINGER: Duration = Duration::from_secs(5);

/// Time that the session of a client that has left waits for a poll that was sent beside its last packet.
const LAST_POLL: Duration = Duration::from_millis(500);

/// Starts a session that is carried by requests and returns its first payload.
pub(super) fn start(mut connection: Connection, registry: web::Data<Registry>) -> HttpResponse {
    let link = Arc::new(Link::default());
    let sid = Arc::clone(connection.sid());
    registry.insert(sid, Arc::clone(&link));
    let open = connection.next_write(&Pass::begin(), Framing::Payload).unwrap_or_default();
    let session =
        Session { connection, link, registry, turn: Turn::default(), next_noop: Instant::now(), linger: None };
    actix_web::rt::spawn(session.run());
    payload(open)
}

fn payload(bytes: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=UTF-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(bytes)
}

/// A session that is carried by requests, and after its upgrade by a WebSocket.
struct Session {
    connection: Connection,
    link: Arc<Link>,
    registry: web::Data<Registry>,
    turn: Turn,
    /// The next time at which a poll is released while a WebSocket is probed.
    next_noop: Instant,
    /// Until when a closed session waits for its client.
    linger: Option<Instant>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.link.close();
        self.registry.remove(self.connection.sid());
    }
}

impl Session {
    async fn run(mut self) {
        poll_fn(|cx| {
            let mut takes_data = false;
            loop {
                while !self.connection.is_congested()
                    && let Some(input) = self.link.take(cx)
                {
                    match input {
                        Input::Packets(packets) => {
                            packets.into_iter().for_each(|packet| self.connection.receive(packet));
                        }
                        Input::Broken(reason) => self.connection.fail(reason),
                    }
                }
                self.connection.poll(cx);
                let pass = Pass::begin();
                let now = pass.now;
                self.connection.keep_time(now);
                if self.connection.is_done() {
                    // A poll of a client that has left is released, whichever of its requests came first.
                    match self.link.ready(cx) {
                        Ready::For(Framing::Payload) | Ready::LastPoll => self.link.write(Bytes::from_static(b"6")),
                        Ready::Busy(Framing::Payload)
                            if self.connection.has_left() && !self.has_lingered(now, LAST_POLL) =>
                        {
                            break;
                        }
                        _ => {}
                    }
                    return Poll::Ready(());
                }
                let ready = match self.link.ready(cx) {
                    // A session that ends does not wait for its upgrade.
                    Ready::Probing { has_poll: true } if self.connection.is_closing() => Ready::For(Framing::Payload),
                    Ready::Probing { has_poll: false } if self.connection.is_closing() => Ready::Busy(Framing::Payload),
                    ready => ready,
                };
                let framing = match ready {
                    Ready::For(framing) => framing,
                    Ready::Busy(framing) => {
                        let waits = framing == Framing::Frames || self.connection.has_last_message();
                        if self.connection.is_closing() && (!waits || self.has_lingered(now, LINGER)) {
                            return Poll::Ready(());
                        }
                        break;
                    }
                    Ready::LastPoll => {
                        self.link.write(Bytes::from_static(b"6"));
                        continue;
                    }
                    Ready::Probing { has_poll: true } if now >= self.next_noop => {
                        self.next_noop = now + PROBE_PAUSE;
                        self.link.write(Bytes::from_static(b"6"));
                        continue;
                    }
                    Ready::Probing { .. } => break,
                    Ready::Aborted => {
                        self.connection.end();
                        return Poll::Ready(());
                    }
                };
                // Many sessions have data at the same time, and the response to each poll is followed by another one.
                if framing == Framing::Payload && self.connection.is_unfinished() && self.turn.poll(cx).is_pending() {
                    break;
                }
                match self.connection.next_write(&pass, framing) {
                    Some(bytes) => self.link.write(bytes),
                    None if !self.connection.is_done() => {
                        takes_data = true;
                        break;
                    }
                    None => {}
                }
                if self.connection.is_done() {
                    return Poll::Ready(());
                }
            }
            let is_probing = matches!(self.link.ready(cx), Ready::Probing { has_poll: true });
            self.connection.arm(takes_data, self.linger.or(is_probing.then_some(self.next_noop)));
            Poll::Pending
        })
        .await;
    }

    /// Returns whether a closed session has waited for its client for `patience`.
    fn has_lingered(&mut self, now: Instant, patience: Duration) -> bool {
        now >= *self.linger.get_or_insert(now + patience)
    }
}

/// Handles a `GET` with a session: returns the next packets, as soon as there are some.
pub(super) async fn get(request: &HttpRequest, link: &Link) -> Result<HttpResponse, EngineFailure> {
    // The next ones of all clients arrive when an update was sent to all of them.
    be_patient(request);
    let started = Instant::now();
    let receiver = link.poll()?;
    let received = receiver.await;
    request.extensions_mut().insert(Held(started.elapsed()));
    match received {
        Ok(bytes) => Ok(payload(bytes)),
        Err(_) => Err(EngineFailure::UnknownSession),
    }
}

/// Handles a `POST` with a session: processes the client's packets.
pub(super) async fn post(
    state: &Rc<State>,
    request: &HttpRequest,
    payload: web::Payload,
    link: &Link,
) -> Result<HttpResponse, PostFailure> {
    let posting = link.post().map_err(EngineFailure::from)?;
    if request.content_type().eq_ignore_ascii_case("application/octet-stream") {
        return Err(EngineFailure::BadRequest("binary data is sent as base64 in a payload").into());
    }
    let body = body::read(&state.shared, request, &mut payload.into_inner()).await?;
    let most = state.shared.limits.max_message.0;
    if most > 0 && body.len() > most {
        state.shared.counters.limit(Limit::Message).inc();
        return Err(PostFailure::TooLarge(most));
    }
    let text = std::str::from_utf8(&body).map_err(|_| EngineFailure::BadRequest("the payload is not UTF-8"));
    let packets = text.and_then(|text| {
        engine::parse_payload(text, MAX_PACKETS).map_err(|_| EngineFailure::BadRequest("the payload has a bad packet"))
    });
    match packets {
        Ok(packets) => posting.send(Input::Packets(packets)).map_err(EngineFailure::from)?,
        Err(failure) => {
            // A session that has ended is not ended again.
            let _ = posting.send(Input::Broken("a payload that cannot be read"));
            return Err(failure.into());
        }
    }
    Ok(HttpResponse::build(StatusCode::OK)
        .insert_header((header::CONTENT_TYPE, "text/html"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body("ok"))
}

/// Reason why a POST was refused.
pub(super) enum PostFailure {
    /// Reason defined by the protocol.
    Engine(EngineFailure),
    /// The body was larger than this.
    TooLarge(usize),
    /// The body could not be read.
    Body(Problem),
}

impl From<EngineFailure> for PostFailure {
    fn from(failure: EngineFailure) -> Self {
        Self::Engine(failure)
    }
}

impl From<Problem> for PostFailure {
    fn from(problem: Problem) -> Self {
        Self::Body(problem)
    }
}

impl From<LinkError> for EngineFailure {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unusable => Self::BadRequest("the session is not carried by requests any more"),
            LinkError::Duplicate => Self::BadRequest("the session has such a request already"),
            LinkError::Full => Self::BadRequest("too many packets wait for the session"),
        }
    }
}
