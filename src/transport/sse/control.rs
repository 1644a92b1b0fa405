//! Control of an event stream: `POST /api/sessions/{id}`.
//!
//! An EventSource cannot send. The first event of a stream, `connected`, names its session; a message posted to that name
//! (`subscribe`, `unsubscribe`, `pause`, `resume`, `refresh_token`, as on a WebSocket) changes the stream without a
//! reconnect. The stream may live on another worker, so messages pass through a bounded [`Inbox`].

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use actix_web::{HttpResponse, http::StatusCode, http::header, web};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::schema::StreamCommand;
use crate::web::{
    access,
    authorized::{Anyone, Authorized},
    body::Body,
    problem::Problem,
};
use tricast_auth::Identity;
use tricast_core::{
    counters::Limit,
    protocol::{
        command::{self, Command, Message, Rejection},
        error::Code,
        message::RequestId,
    },
    settings::Limits,
};

/// Messages that may wait for one stream.
const MAX_WAITING: usize = 16;

/// Time that a stream has to reply. One whose client does not read does not reply.
const PATIENCE: Duration = Duration::from_secs(5);

/// Change of a stream.
pub(super) enum Control {
    /// A command about subscriptions.
    Command(Command),
    /// A newer token of the same user was verified.
    Refreshed(Identity),
}

/// One message for a stream.
pub(super) struct ControlMessage {
    /// Returned in the reply.
    pub(super) request_id: Option<RequestId>,
    /// Change of the stream that the request asks for.
    pub(super) control: Control,
    /// Receives the reply as JSON.
    pub(super) reply: oneshot::Sender<Result<String, Rejection>>,
}

/// Messages that wait for one stream. An empty inbox takes a few words, because there may be a million of them.
#[derive(Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    messages: VecDeque<ControlMessage>,
    waker: Option<Waker>,
}

impl Inbox {
    /// Returns the next message, or registers `waker` for it.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<ControlMessage> {
        let mut waiting = self.0.lock();
        match waiting.messages.pop_front() {
            Some(message) => Poll::Ready(message),
            None => {
                match &mut waiting.waker {
                    Some(known) => known.clone_from(waker),
                    empty => *empty = Some(waker.clone()),
                }
                Poll::Pending
            }
        }
    }

    fn put(&self, message: ControlMessage) -> Result<(), Full> {
        let mut waiting = self.0.lock();
        if waiting.messages.len() >= MAX_WAITING {
            return Err(Full);
        }
        waiting.messages.push_back(message);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        Ok(())
    }
}

struct Full;

/// The open event streams of this server by session. Shared by all workers.
pub struct SessionRegistry {
    quota: Option<Quota>,
    /// Largest message, in bytes; 0 means no limit.
    max_message: usize,
    open: Mutex<HashMap<Arc<str>, Entry>>,
}

struct Entry {
    identity: Identity,
    inbox: Arc<Inbox>,
    /// Created at the first message: most sessions receive none.
    limiter: Option<Box<DefaultDirectRateLimiter>>,
}

/// Registration of an open session; it ends when this is dropped.
pub(super) struct Registration {
    /// Random name of the session, which is also the right to control it.
    pub(super) id: Arc<str>,
    /// Messages for the session.
    pub(super) inbox: Arc<Inbox>,
    registry: Arc<SessionRegistry>,
}

impl SessionRegistry {
    /// Returns an empty registry. A session takes as many messages, of the same size, as a WebSocket.
    pub fn new(limits: &Limits) -> Self {
        let quota = NonZeroU32::new(limits.messages_per_second)
            .map(|rate| Quota::per_second(rate).allow_burst(NonZeroU32::new(limits.message_burst).unwrap_or(rate)));
        Self { quota, max_message: limits.max_message.0, open: Mutex::default() }
    }

    /// Registers a session of `identity`.
    ///
    /// # Errors
    /// 503 when the system has no random bytes: a predictable name is worse than none.
    pub(super) fn register(self: Arc<Self>, identity: &Identity) -> Result<Registration, Problem> {
        let id = tricast_auth::unguessable();
        let id: Arc<str> = id.ok_or_else(|| Problem::unavailable("there are no random bytes", PATIENCE))?.into();
        let inbox = Arc::<Inbox>::default();
        let entry = Entry { identity: identity.clone(), inbox: Arc::clone(&inbox), limiter: None };
        self.open.lock().insert(Arc::clone(&id), entry);
        Ok(Registration { id, inbox, registry: self })
    }

    /// Returns the inbox of a session of the same user, and the time to wait if it received too many messages. A session of
    /// another user is as unknown as none.
    fn find(&self, id: &str, identity: &Identity) -> Option<(Arc<Inbox>, Option<Duration>)> {
        let mut open = self.open.lock();
        let entry = open.get_mut(id).filter(|entry| entry.identity.is_same_user(identity))?;
        let wait = self.quota.and_then(|quota| {
            let limiter = entry.limiter.get_or_insert_with(|| Box::new(RateLimiter::direct(quota)));
            let until = limiter.check().err()?;
            Some(until.wait_time_from(governor::clock::DefaultClock::default().now()))
        });
        Some((Arc::clone(&entry.inbox), wait))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.open.lock().remove(&self.id);
    }
}

/// Handles `POST /api/sessions/{id}`: 200 with the reply, as on a WebSocket.
#[utoipa::path(
    post,
    path = "/api/sessions/{id}",
    tag = "Streams",
    operation_id = "sendCommand",
    summary = "Send a command to an event stream",
    description = "An EventSource cannot send. The first event of a stream, `connected`, has the ID of its session; a message \
        posted to that ID changes the stream without a reconnection.",
    params(("id" = String, Path, description = "The `session` of the event `connected`", example = "0f8fad5bd9cb469fa165e3b2a2f3c9d7")),
    request_body = StreamCommand,
    responses((status = 200, description = "The reply, as on a WebSocket", body = BTreeMap<String, Value>))
)]
pub(crate) async fn post(
    id: web::Path<String>,
    registry: web::Data<SessionRegistry>,
    access: Authorized<Anyone>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let Authorized { state, caller, .. } = access;
    let gone = || Problem::not_found("there is no such session of yours");
    let (inbox, wait) = registry.find(&id, &caller.identity).ok_or_else(gone)?;
    if let Some(wait) = wait {
        state.shared.counters.limit(Limit::Messages).inc();
        return Err(Problem::too_many("too many messages: wait a moment", wait).and_close());
    }
    let body = body.bytes().await?;
    if registry.max_message > 0 && body.len() > registry.max_message {
        state.shared.counters.limit(Limit::Message).inc();
        let detail = format!("a message has at most {} bytes", registry.max_message);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidMessage, detail));
    }
    let text = std::str::from_utf8(&body).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    let Message { request_id, command } = command::parse(text).map_err(Problem::from)?;
    let log = &caller.tenant.log;
    if let Command::Subscribe { since: Some(cursor), .. } = &command
        && let Some(ahead) = state.shared.tenants.ahead(log, cursor)
    {
        state.shared.tenants.catch_up(log, &ahead).await?;
    }
    let control = match command {
        Command::Subscribe { .. } | Command::Unsubscribe(_) | Command::Pause(_) | Command::Resume(_) => {
            Control::Command(command)
        }
        Command::RefreshToken(token) => {
            let identity = access::verify(&state, &token.0, caller.identity.address()).await;
            let identity = identity.map_err(access::token_problem)?;
            if !identity.is_same_user(&caller.identity) {
                return Err(Problem::forbidden("this token is of another user"));
            }
            Control::Refreshed(identity)
        }
        _ => {
            return Err(Problem::bad_request(
                "an event stream understands subscribe, unsubscribe, pause, resume and refresh_token",
            ));
        }
    };
    let (reply, answer) = oneshot::channel();
    if inbox.put(ControlMessage { request_id, control, reply }).is_err() {
        state.shared.counters.limit(Limit::Messages).inc();
        return Err(Problem::too_many("too many messages wait for this session", Duration::from_secs(1)));
    }
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(json))) => Ok(HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(json)),
        Ok(Ok(Err(rejection))) => Err(rejection.into()),
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(Problem::unavailable(
            "the client does not read its stream: the message is executed once it does",
            PATIENCE,
        )),
    }
}
