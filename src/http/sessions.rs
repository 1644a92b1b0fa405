//! Speaking to an event stream: `POST /api/sessions/{id}`.
//!
//! An EventSource can't send. The stream's first event, `connected`, names its session; a message posted to that name
//! (`subscribe`, `unsubscribe`, `pause`, `resume`, `refresh_token`, the same as on a WebSocket) changes the stream without
//! a reconnect. The stream may live on another worker, so messages go through a small [`Mailbox`].

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{access, body, openapi::shapes, problem::Problem, state::State};
use crate::{
    auth::{self, Identity},
    counters::Limit,
    protocol::{
        command::{self, Command, Message, Rejection},
        error::Code,
        message::RequestId,
    },
};

/// Messages that may wait for one stream.
const MAX_WAITING: usize = 16;

/// How long a stream may take to answer. One whose client does not read takes for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a stream is told.
pub enum Instruction {
    /// One of the messages about subscriptions.
    Command(Command),
    /// A newer token was verified, and is of the same user.
    Refreshed(Identity),
}

/// One message for a stream.
pub struct Letter {
    /// Given back in the answer.
    pub request_id: Option<RequestId>,
    /// What to do.
    pub instruction: Instruction,
    /// Gets the answer as JSON.
    pub reply: oneshot::Sender<Result<String, Rejection>>,
}

/// The messages that wait for one stream. Empty it costs a few words: there may be a million of them.
#[derive(Default)]
pub struct Mailbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    letters: VecDeque<Letter>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// The next message, or the promise to wake `waker` when there is one.
    pub fn poll(&self, waker: &Waker) -> Poll<Letter> {
        let mut waiting = self.0.lock();
        match waiting.letters.pop_front() {
            Some(letter) => Poll::Ready(letter),
            None => {
                match &mut waiting.waker {
                    Some(known) => known.clone_from(waker),
                    empty => *empty = Some(waker.clone()),
                }
                Poll::Pending
            }
        }
    }

    fn put(&self, letter: Letter) -> Result<(), Full> {
        let mut waiting = self.0.lock();
        if waiting.letters.len() >= MAX_WAITING {
            return Err(Full);
        }
        waiting.letters.push_back(letter);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        Ok(())
    }
}

struct Full;

/// The event streams of this server by session. Shared by all workers.
pub struct Sessions {
    quota: Option<Quota>,
    /// Largest message, in bytes.
    max_message: usize,
    open: Mutex<HashMap<Arc<str>, Entry>>,
}

struct Entry {
    identity: Identity,
    mailbox: Arc<Mailbox>,
    /// Made at the first message: most sessions are never spoken to.
    limiter: Option<Box<DefaultDirectRateLimiter>>,
}

/// A session that is open; it ends when this is dropped.
pub struct Session {
    /// Its name, which nobody can guess.
    pub id: Arc<str>,
    /// What it is told.
    pub mailbox: Arc<Mailbox>,
    sessions: Arc<Sessions>,
}

impl Sessions {
    /// None is open. A session takes as many messages, and as large ones, as a WebSocket; 0 means no limit.
    pub fn new(messages_per_second: u32, message_burst: u32, max_message: usize) -> Self {
        let quota = NonZeroU32::new(messages_per_second)
            .map(|rate| Quota::per_second(rate).allow_burst(NonZeroU32::new(message_burst).unwrap_or(rate)));
        Self { quota, max_message, open: Mutex::default() }
    }

    /// Opens a session of `identity`.
    ///
    /// # Errors
    /// 503 when the system has no random bytes: a name that can be guessed is worse than none.
    pub fn open(self: &Arc<Self>, identity: &Identity) -> Result<Session, Problem> {
        let id = auth::unguessable();
        let id: Arc<str> = id.ok_or_else(|| Problem::unavailable("there are no random bytes", PATIENCE))?.into();
        let mailbox = Arc::<Mailbox>::default();
        let entry = Entry { identity: identity.clone(), mailbox: Arc::clone(&mailbox), limiter: None };
        self.open.lock().insert(Arc::clone(&id), entry);
        Ok(Session { id, mailbox, sessions: Arc::clone(self) })
    }

    /// The mailbox of a session of the same user; somebody else's is as unknown as none. With it, how long to wait if
    /// it was sent too many messages.
    fn find(&self, id: &str, identity: &Identity) -> Option<(Arc<Mailbox>, Option<Duration>)> {
        let mut open = self.open.lock();
        let entry = open.get_mut(id).filter(|entry| entry.identity.is_same_user(identity))?;
        let wait = self.quota.and_then(|quota| {
            let limiter = entry.limiter.get_or_insert_with(|| Box::new(RateLimiter::direct(quota)));
            let until = limiter.check().err()?;
            Some(until.wait_time_from(governor::clock::DefaultClock::default().now()))
        });
        Some((Arc::clone(&entry.mailbox), wait))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.open.lock().remove(&self.id);
    }
}

/// `POST /api/sessions/{id}`: 200 with the message that a WebSocket would be sent.
#[utoipa::path(
    post,
    path = "/api/sessions/{id}",
    tag = "Streams",
    operation_id = "tellSession",
    summary = "Speak to an event stream",
    description = "An EventSource can't send. The stream's first event, `connected`, names its session; what is posted \
        to that name changes the stream without a reconnect.",
    params(("id" = String, Path, description = "The `session` of the event `connected`", example = "0f8fad5bd9cb469fa165e3b2a2f3c9d7")),
    request_body = shapes::SessionMessage,
    responses((status = 200, description = "What a WebSocket would be answered", body = shapes::Anything))
)]
pub async fn post(request: HttpRequest, id: web::Path<String>, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    access::check_origin(&state, &request)?;
    let caller = access::identify(&state, &request).await?;
    let gone = || Problem::not_found("there is no such session of yours");
    let (mailbox, wait) = state.sessions.find(&id, &caller.identity).ok_or_else(gone)?;
    if let Some(wait) = wait {
        state.counters.limit(Limit::Messages).inc();
        return Err(Problem::too_many("too many messages: wait a moment", wait).and_close());
    }
    let body = body::read(&state, &request, &mut payload.into_inner()).await?;
    if state.sessions.max_message > 0 && body.len() > state.sessions.max_message {
        state.counters.limit(Limit::Message).inc();
        let detail = format!("a message has at most {} bytes", state.sessions.max_message);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidMessage, detail));
    }
    let text = std::str::from_utf8(&body).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    let Message { request_id, command } = command::parse(text).map_err(Problem::from)?;
    let log = &caller.tenant.log;
    if let Command::Subscribe { since: Some(cursor), .. } = &command
        && let Some(ahead) = state.tenants.ahead(log, cursor)
    {
        state.tenants.catch_up(log, &ahead).await?;
    }
    let instruction = match command {
        Command::Subscribe { .. } | Command::Unsubscribe(_) | Command::Pause(_) | Command::Resume(_) => {
            Instruction::Command(command)
        }
        Command::RefreshToken(token) => {
            let identity = access::verify(&state, &token.0).await;
            let identity = identity.map_err(access::token_problem)?;
            if !identity.is_same_user(&caller.identity) {
                return Err(Problem::forbidden("this token is of another user"));
            }
            Instruction::Refreshed(identity)
        }
        _ => {
            return Err(Problem::bad_request(
                "an event stream understands subscribe, unsubscribe, pause, resume and refresh_token",
            ));
        }
    };
    let (reply, answer) = oneshot::channel();
    let letter = Letter { request_id, instruction, reply };
    if mailbox.put(letter).is_err() {
        state.counters.limit(Limit::Messages).inc();
        return Err(Problem::too_many("this session has messages enough that wait", Duration::from_secs(1)));
    }
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(json))) => Ok(HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(json)),
        Ok(Ok(Err(rejection))) => Err(rejection.into()),
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(Problem::unavailable(
            "the stream does not take anything: its client does not read. The message is carried out when it does",
            PATIENCE,
        )),
    }
}

impl From<Rejection> for Problem {
    fn from(Rejection { code, message, .. }: Rejection) -> Self {
        match code {
            Code::ResourceNotFound => Self::not_found(message),
            Code::Forbidden => Self::forbidden(message),
            Code::Unauthorized => Self::unauthorized(None, message),
            Code::RateLimited | Code::SubscriptionLimit => {
                Self { code, ..Self::too_many(message, Duration::from_secs(1)) }
            }
            Code::InvalidMessage => Self::bad_request(message),
            Code::ServerError => Self { code, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message) },
        }
    }
}
