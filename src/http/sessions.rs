//! Speaking to an event stream: `POST /api/sessions/{id}`.
//!
//! An EventSource can't send. The stream's first event, `connected`, names its session; a message posted to that name
//! (`subscribe`, `unsubscribe`, `pause`, `resume`, `refresh_token`, the same as on a WebSocket) changes the stream without
//! a reconnect. The stream may live on another worker, so messages go through a small [`Mailbox`].

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;

use super::{access, body, problem::Problem, state::State};
use crate::{
    auth::Identity,
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
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<Arc<str>, Entry>>,
}

struct Entry {
    identity: Identity,
    mailbox: Arc<Mailbox>,
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
    /// Opens a session of `identity`.
    pub fn open(self: &Arc<Self>, identity: &Identity) -> Session {
        let id: Arc<str> = unguessable().into();
        let mailbox = Arc::<Mailbox>::default();
        let entry = Entry { identity: identity.clone(), mailbox: Arc::clone(&mailbox) };
        self.open.lock().insert(Arc::clone(&id), entry);
        Session { id, mailbox, sessions: Arc::clone(self) }
    }

    /// The mailbox of a session of the same user; somebody else's is as unknown as none.
    fn find(&self, id: &str, identity: &Identity) -> Option<Arc<Mailbox>> {
        let open = self.open.lock();
        let entry = open.get(id).filter(|entry| entry.identity.is_same_user(identity))?;
        Some(Arc::clone(&entry.mailbox))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.open.lock().remove(&self.id);
    }
}

/// 128 random bits of the system's generator.
fn unguessable() -> String {
    let mut bits = [0; 16];
    if SystemRandom::new().fill(&mut bits).is_err() {
        // The system has none: two hashes with keys of their own are the next best thing.
        bits[..8].copy_from_slice(&crate::shutdown::random().to_ne_bytes());
        bits[8..].copy_from_slice(&crate::shutdown::random().to_ne_bytes());
    }
    bits.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `POST /api/sessions/{id}`: 200 with the message that a WebSocket would be sent.
pub async fn post(request: HttpRequest, id: web::Path<String>, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    access::check_origin(&state, &request)?;
    let caller = access::identify(&state, &request).await?;
    let body = body::read(&state, &request, &mut payload.into_inner()).await?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    let Message { request_id, command } = command::parse(text).map_err(Problem::from)?;
    let gone = || Problem::not_found("there is no such session of yours");
    let mailbox = state.sessions.find(&id, &caller.identity).ok_or_else(gone)?;
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
