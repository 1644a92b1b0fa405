//! One link to the server over one transport. A link reports what it receives and never reconnects.

use std::{fmt, str::FromStr, time::Duration};

use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use crate::{error::Error, server::Server};

mod poll;
mod sse;
mod websocket;

/// Messages that wait between a link and its reader. A reader that is late stops the link from reading, so the server reduces
/// what it sends.
const QUEUE: usize = 64;

/// A way to receive updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// WebSocket.
    WebSocket,
    /// Server-Sent Events.
    Sse,
    /// Requests that the server holds until something changes.
    LongPoll,
    /// Requests every few seconds.
    Poll,
}

impl Transport {
    /// The order in which they are tried.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Sse, Self::LongPoll, Self::Poll];

    /// Returns the name, as in the browser's library.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::LongPoll => "long-poll",
            Self::Poll => "poll",
        }
    }

    /// Returns the name in sentences.
    pub fn title(self) -> &'static str {
        match self {
            Self::WebSocket => "WebSocket",
            Self::Sse => "Server-Sent Events",
            Self::LongPoll => "long polling",
            Self::Poll => "polling",
        }
    }

    /// Returns the next transport to try, if there is one.
    pub(crate) fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|other| *other > self)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|transport| transport.name() == name);
        known.ok_or_else(|| format!("there are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// What a link follows, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Wants {
    /// Names and patterns.
    pub(crate) channels: Vec<String>,
    /// Shortest time between two updates of a state channel.
    pub(crate) interval: Option<Duration>,
    /// Cursor to resume from.
    pub(crate) since: Option<String>,
    /// Time between two requests of [`Transport::Poll`].
    pub(crate) poll_interval: Duration,
}

/// Message of a link.
#[derive(Debug)]
pub(crate) enum Message {
    /// The link works: the server accepted it.
    Open,
    /// Position of a link that began without a cursor.
    Start(String),
    /// Value of a state channel.
    State { channel: String, data: Value, timestamp: Option<String>, cursor: Option<String> },
    /// End of a channel; `gone` is the reason.
    Gone { channel: String, gone: String, timestamp: Option<String>, cursor: Option<String> },
    /// Event. Without a cursor it is in no log.
    Event { channel: String, event: String, data: Value, timestamp: Option<String>, cursor: Option<String> },
    /// Events were lost. An empty list of channels stands for all.
    Gap { reason: String, channels: Vec<String> },
    /// Everything up to here was sent.
    Cursor(String),
    /// A channel that the token does not permit, or whose name is not valid.
    Denied { channel: String, code: String, detail: String },
    /// The link has ended. Nothing follows.
    Down(Down),
}

/// End of a link.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    /// The reason.
    pub(crate) error: Error,
    /// Time after which the server asks to reconnect.
    pub(crate) retry_after: Option<Duration>,
    /// Time for which nothing had arrived before.
    pub(crate) silent: Duration,
}

impl From<Error> for Down {
    fn from(error: Error) -> Self {
        let retry_after = error.problem().and_then(|problem| problem.retry_after);
        Self { error, retry_after, silent: Duration::ZERO }
    }
}

/// Sender of a link's messages. Its methods fail once nobody reads them.
pub(crate) struct Emit(mpsc::Sender<Message>);

/// The reader of a link is gone, so the link ends, too.
pub(crate) struct Dropped;

/// Reason for the end of a link's task.
pub(crate) enum End {
    Down(Down),
    Dropped,
}

impl From<Dropped> for End {
    fn from(_: Dropped) -> Self {
        Self::Dropped
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Down(error.into())
    }
}

impl From<Down> for End {
    fn from(down: Down) -> Self {
        Self::Down(down)
    }
}

impl Emit {
    /// Sends a message; waits while the reader is behind.
    pub(crate) async fn send(&self, message: Message) -> Result<(), Dropped> {
        self.0.send(message).await.map_err(|_| Dropped)
    }
}

/// Running link. Dropping it closes the connection.
pub(crate) struct Link {
    messages: mpsc::Receiver<Message>,
    task: JoinHandle<()>,
}

impl Link {
    /// Opens a link on a task of its own.
    pub(crate) fn open(transport: Transport, server: Server, wants: Wants) -> Self {
        let (sender, messages) = mpsc::channel(QUEUE);
        let emit = Emit(sender);
        let task = tokio::spawn(async move {
            let ended = match transport {
                Transport::WebSocket => websocket::run(&server, &wants, &emit).await,
                Transport::Sse => sse::run(&server, &wants, &emit).await,
                Transport::LongPoll => poll::run(&server, &wants, &emit, true).await,
                Transport::Poll => poll::run(&server, &wants, &emit, false).await,
            };
            if let Err(End::Down(down)) = ended {
                // Nobody may read it any more.
                let _ = emit.send(Message::Down(down)).await;
            }
        });
        Self { messages, task }
    }

    /// Returns the next message. Cancel safe.
    pub(crate) async fn next(&mut self) -> Message {
        let lost = || Message::Down(Error::Unreadable("the connection ended without a reason".into()).into());
        self.messages.recv().await.unwrap_or_else(lost)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Times the silence of a link.
pub(crate) struct Silence {
    last: Instant,
    /// Silence after which the link counts as dead.
    dead: Duration,
}

impl Silence {
    pub(crate) fn new(dead: Duration) -> Self {
        Self { last: Instant::now(), dead }
    }

    /// Waits for input, at most until the link counts as dead. Time spent elsewhere, such as waiting for the reader, does not count if
    /// there is input.
    pub(crate) async fn limit<T>(&mut self, host: &str, input: impl Future<Output = T>) -> Result<T, Down> {
        match tokio::time::timeout_at(self.last + self.dead, input).await {
            Ok(input) => {
                self.last = Instant::now();
                Ok(input)
            }
            Err(_) => Err(Down {
                error: Error::Lost {
                    host: host.to_owned(),
                    cause: format!("silent for {}", crate::error::seconds(self.dead)),
                },
                retry_after: None,
                silent: self.last.elapsed(),
            }),
        }
    }
}
