//! Maintains one link to the server, over the chosen transport or the best one that works.
//!
//! ```text
//!                open
//!   connecting ────────▶ live
//!       ▲  └─ next transport │ down
//!       └──── waiting ◀──────┘        end: the server asked not to reconnect, or nothing has ever worked
//! ```
//!
//! Changes are make-before-break: the old link delivers until the new one is open, and `position` drops duplicates. A transport
//! that fails or stays silent is replaced by the next one, and a better one is tried again later, beside the running link. A server
//! that can't be reached says nothing about the transport, so the same one is tried again. So is a transport that has worked and was
//! interrupted, until that happens too often within a short time.

use std::{collections::HashSet, time::Duration};

use reqwest::Method;
use tokio::time::{Instant, sleep_until};

use crate::{
    answer,
    error::Error,
    server::{PATIENCE, Server, Token},
    transport::{Down, Link, Message, Transport, Wants},
};

/// Longest time until a link is open, increased after failures. After it the transport counts as blocked.
const OPEN: Duration = Duration::from_secs(4);
const LONGEST_OPEN: Duration = Duration::from_secs(12);

/// A link that was alive for less than this is short.
const SHORTEST_GOOD: Duration = Duration::from_secs(5);

/// Short links in a row after which the next transport is tried: something on the way cuts them.
const MOST_SHORT_LINKS: u32 = 3;

/// Attempts with a transport that has worked before, of which no link came, after which the next transport is tried. The server is
/// probably restarting behind a proxy.
const MOST_ATTEMPTS: u32 = 3;

/// Delay before a better transport is tried again; it doubles each time.
const BETTER: Duration = Duration::from_secs(30);
const LONGEST_BETTER: Duration = Duration::from_secs(600);

/// Servers mostly return within this time, during which users wait.
const SOON: Duration = Duration::from_secs(60);

/// Times that a changed token is tried in a row.
const MOST_REFUSALS: u32 = 3;

/// Transports to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The best one that works.
    #[default]
    Auto,
    /// This one only.
    Only(Transport),
}

impl Choice {
    /// The transport to begin with.
    fn first(self) -> Transport {
        match self {
            Self::Auto => Transport::ALL[0],
            Self::Only(transport) => transport,
        }
    }
}

/// What to do while nothing has worked yet. Afterwards a lost connection is always restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// End with the reason, because the URL is probably wrong.
    #[default]
    GiveUp,
    /// Try again as long as the reason may pass: the server may be starting.
    KeepTrying,
}

/// Change of the connection.
#[derive(Clone, Debug)]
pub enum Status {
    /// A link works.
    Live(Transport),
    /// A transport does not work, and the next one is tried.
    Fallback {
        /// The transport that failed.
        from: Transport,
        /// The next one.
        to: Transport,
        /// The reason.
        reason: Error,
    },
    /// The connection is lost and will be restored.
    Lost {
        /// The reason.
        reason: Error,
        /// Time until the next attempt.
        wait: Duration,
    },
}

/// Input of the reader of a connection.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    Status(Status),
}

struct Attempt {
    transport: Transport,
    link: Link,
    /// Time at which it was open.
    opened: Option<Instant>,
    /// Time at which it has to be open.
    deadline: Instant,
    /// Token that it was opened with.
    token: Option<Token>,
}

/// The connection. It is driven by [`next`](Self::next).
pub(crate) struct Connection {
    server: Server,
    wants: Wants,
    choice: Choice,
    patience: Patience,
    active: Option<Attempt>,
    opening: Option<Attempt>,
    /// Transport of the next attempt.
    next: Transport,
    /// Failures in a row.
    failures: u32,
    /// Short links in a row, all of the same transport.
    short_links: u32,
    /// Attempts since the last link.
    attempts: u32,
    /// Transport of the last link.
    worked: Option<Transport>,
    /// Refusals of the token in a row.
    refusals: u32,
    better_tries: u32,
    /// Time at which the last working link was lost.
    lost_at: Instant,
    retry_at: Option<Instant>,
    better_at: Option<Instant>,
    /// Channels that the token does not permit.
    denied: HashSet<String>,
    /// First reason of a failure since a link worked.
    reason: Option<Error>,
}

/// What happened first.
enum Step {
    Active(Message),
    Opening(Message),
    Late,
    Retry,
    Better,
}

impl Connection {
    pub(crate) fn new(server: Server, wants: Wants, choice: Choice, patience: Patience) -> Self {
        Self {
            server,
            wants,
            choice,
            patience,
            active: None,
            opening: None,
            next: choice.first(),
            failures: 0,
            short_links: 0,
            attempts: 0,
            worked: None,
            refusals: 0,
            better_tries: 0,
            lost_at: Instant::now(),
            // At once.
            retry_at: Some(Instant::now()),
            better_at: None,
            denied: HashSet::new(),
            reason: None,
        }
    }

    /// Returns the next message of the working link, or change of the connection. Cancel safe, except while the channels that are not
    /// permitted are determined.
    ///
    /// # Errors
    /// The reason why the connection has ended. No call may follow.
    pub(crate) async fn next(&mut self) -> Result<Heard, Error> {
        loop {
            let heard = match self.step().await {
                Step::Active(Message::Down(down)) => self.down(true, down).await?,
                Step::Opening(Message::Down(down)) => self.down(false, down).await?,
                Step::Active(message) => Some(self.hear(message)),
                Step::Opening(Message::Open) => Some(self.opened()),
                // A link that is not open yet can only report its start.
                Step::Opening(message) => Some(self.hear(message)),
                Step::Late => {
                    let asked = self.server.asked("");
                    let after = self.patience_of_an_attempt();
                    self.down(false, Error::TimedOut { host: asked.host, after }.into()).await?
                }
                Step::Retry => {
                    self.begin(self.next)?;
                    None
                }
                Step::Better => {
                    self.begin_better()?;
                    None
                }
            };
            if let Some(heard) = heard {
                return Ok(heard);
            }
        }
    }

    async fn step(&mut self) -> Step {
        async fn message(attempt: &mut Option<Attempt>) -> Message {
            match attempt {
                Some(attempt) => attempt.link.next().await,
                None => std::future::pending().await,
            }
        }
        async fn at(time: Option<Instant>) {
            match time {
                Some(time) => sleep_until(time).await,
                None => std::future::pending().await,
            }
        }
        let late = self.opening.as_ref().map(|attempt| attempt.deadline);
        tokio::select! {
            // What the running link has goes first, so that its cursor is the one that a new link begins with.
            biased;
            message = message(&mut self.active) => Step::Active(message),
            message = message(&mut self.opening) => Step::Opening(message),
            () = at(late) => Step::Late,
            () = at(self.retry_at) => Step::Retry,
            () = at(self.better_at) => Step::Better,
        }
    }

    /// Records the position that a message has.
    fn hear(&mut self, message: Message) -> Heard {
        let streams = self.active.as_ref().is_some_and(|attempt| attempt.transport < Transport::LongPoll);
        match &message {
            Message::Start(cursor) => self.wants.since = Some(crate::position::without_states(cursor)),
            Message::Cursor(cursor) | Message::Event { cursor: Some(cursor), .. } => {
                self.wants.since = Some(cursor.clone())
            }
            // The cursor of a response to a poll covers all of its states.
            Message::State { cursor: Some(cursor), .. } | Message::Gone { cursor: Some(cursor), .. } if streams => {
                self.wants.since = Some(cursor.clone());
            }
            Message::Denied { channel, .. } => {
                self.denied.insert(channel.clone());
            }
            _ => {}
        }
        Heard::Message(message)
    }

    fn patience_of_an_attempt(&self) -> Duration {
        LONGEST_OPEN.min(OPEN * (1 + self.failures))
    }

    /// Opens a link beside the running one.
    fn begin(&mut self, transport: Transport) -> Result<(), Error> {
        self.retry_at = None;
        self.better_at = None;
        self.next = transport;
        let mut wants = self.wants.clone();
        wants.channels.retain(|name| !self.denied.contains(name));
        let token = self.server.token()?;
        let deadline = Instant::now() + self.patience_of_an_attempt();
        let link = Link::open(transport, self.server.clone(), wants);
        self.opening = Some(Attempt { transport, link, opened: None, deadline, token });
        Ok(())
    }

    fn begin_better(&mut self) -> Result<(), Error> {
        let rung = self.active.as_ref().map_or(0, |attempt| attempt.transport as u32);
        let transport = Transport::ALL[(self.better_tries % rung.max(1)) as usize];
        self.better_tries += 1;
        self.begin(transport)
    }

    fn plan_better(&mut self) {
        let is_best = self.active.as_ref().is_none_or(|attempt| attempt.transport == Transport::ALL[0]);
        self.better_at = match self.choice {
            Choice::Auto if !is_best => {
                let wait = BETTER.saturating_mul(1 << self.better_tries.min(10)).min(LONGEST_BETTER);
                Some(Instant::now() + wait)
            }
            _ => None,
        };
    }

    /// Replaces the running link by the one that is open now.
    fn opened(&mut self) -> Heard {
        self.active = self.opening.take();
        self.refusals = 0;
        self.attempts = 0;
        self.reason = None;
        if let Some(attempt) = &mut self.active {
            attempt.opened = Some(Instant::now());
        }
        self.plan_better();
        let transport = self.active.as_ref().map_or(self.next, |attempt| attempt.transport);
        if self.worked.replace(transport) != Some(transport) {
            self.short_links = 0;
        }
        Heard::Status(Status::Live(transport))
    }

    /// Decides what follows the end of a link.
    async fn down(&mut self, is_active: bool, down: Down) -> Result<Option<Heard>, Error> {
        let attempt = if is_active { self.active.take() } else { self.opening.take() };
        let Some(attempt) = attempt else { return Ok(None) };
        let Down { error, retry_after, silent } = down;
        if let (false, Some(active)) = (is_active, &self.active)
            && active.transport != attempt.transport
        {
            // An attempt with a better transport has failed.
            self.plan_better();
            return Ok(None);
        }
        self.active = None;
        self.opening = None;
        self.better_at = None;
        if let Some(end) = self.end(&attempt, &error).await? {
            return Err(end);
        }
        if self.opening.is_some() {
            // A new token, or fewer channels.
            return Ok(None);
        }
        let lived = attempt.opened.map(|opened| opened.elapsed().saturating_sub(silent));
        match lived {
            Some(lived) if lived >= SHORTEST_GOOD => (self.failures, self.short_links) = (0, 0),
            Some(_) => self.short_links += 1,
            None => self.attempts += 1,
        }
        if self.failures == 0 {
            self.lost_at = Instant::now();
        }
        let is_interruption = match lived {
            // A link that is open and carries nothing takes long to be noticed.
            Some(_) if !silent.is_zero() => self.failures == 0,
            Some(_) => self.short_links < MOST_SHORT_LINKS,
            None => {
                let is_of_the_server = matches!(error, Error::Gateway { .. } | Error::Lost { .. });
                is_of_the_server && self.worked == Some(attempt.transport) && self.attempts < MOST_ATTEMPTS
            }
        };
        let next = match self.choice {
            Choice::Auto => attempt.transport.next(),
            Choice::Only(_) => None,
        };
        let is_of_the_transport = !is_interruption && retry_after.is_none() && !error.is_of_every_transport();
        if let (true, Some(next)) = (is_of_the_transport, next) {
            self.reason.get_or_insert_with(|| error.clone());
            self.begin(next)?;
            return Ok(Some(Heard::Status(Status::Fallback { from: attempt.transport, to: next, reason: error })));
        }
        let reason = if error.is_of_every_transport() { error } else { self.reason.take().unwrap_or(error) };
        if self.worked.is_none() && (self.patience == Patience::GiveUp || !reason.is_temporary()) {
            return Err(reason);
        }
        let is_ladder_over = is_of_the_transport && next.is_none();
        self.next = if is_ladder_over { self.choice.first() } else { attempt.transport };
        self.failures += 1;
        let wait = match retry_after {
            Some(after) => after + backoff(1, Duration::ZERO),
            None => backoff(self.failures, self.lost_at.elapsed()),
        };
        self.retry_at = Some(Instant::now() + wait);
        Ok(Some(Heard::Status(Status::Lost { reason, wait })))
    }

    /// Returns the reason if no further attempt makes sense. Begins a new attempt at once after a new token, or without the channels
    /// that are not permitted.
    async fn end(&mut self, attempt: &Attempt, error: &Error) -> Result<Option<Error>, Error> {
        if let Error::Ended(_) = error {
            return Ok(Some(error.clone()));
        }
        if error.is_unauthorized() {
            self.refusals += 1;
            if self.refusals < MOST_REFUSALS && self.server.token()? != attempt.token {
                self.begin(attempt.transport)?;
                return Ok(None);
            }
            return Ok(Some(error.clone()));
        }
        if error.is_forbidden() {
            if !self.sift().await? {
                return Ok(Some(error.clone()));
            }
            self.begin(attempt.transport)?;
            return Ok(None);
        }
        let is_last = attempt.transport.next().is_none() || self.choice != Choice::Auto;
        let is_refused = match error {
            Error::Problem(problem) => (400..429).contains(&problem.status),
            Error::NotTricast { status, .. } => *status < 429,
            _ => false,
        };
        Ok((is_last && is_refused).then(|| error.clone()))
    }

    /// Finds the channels that are not permitted, because a stream or a poll is refused as a whole. Returns whether there are some
    /// that are, and some that are not.
    async fn sift(&mut self) -> Result<bool, Error> {
        let asked = self.server.asked("api/metrics");
        let before = self.denied.len();
        for channel in &self.wants.channels {
            if self.denied.contains(channel) {
                continue;
            }
            let request = self.server.request(Method::HEAD, "api/metrics", &[("channels", channel)])?;
            let response = self.server.send(&asked, request, PATIENCE).await?;
            if response.status().as_u16() == 403 {
                self.denied.insert(channel.clone());
            } else {
                // Any other fault shows in the next attempt.
                drop(answer::accepted(&asked, response).await);
            }
        }
        Ok(self.denied.len() > before && self.denied.len() < self.wants.channels.len())
    }

    /// Returns the channels that the token does not permit.
    pub(crate) fn denied(&self) -> &HashSet<String> {
        &self.denied
    }
}

/// Returns a random delay (full jitter), so that clients of a restarted server do not reconnect at once. The bound doubles from
/// 0.5 s to 5 s, after the first minute to 20 s.
fn backoff(failures: u32, since: Duration) -> Duration {
    let most = if since < SOON { Duration::from_secs(5) } else { Duration::from_secs(20) };
    let bound = Duration::from_millis(500).saturating_mul(1 << (failures.max(1) - 1).min(10)).min(most);
    bound.mul_f64(fastrand::f64())
}
