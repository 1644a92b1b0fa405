//! One WebSocket connection: the client's frames and heartbeat on the stream engine.
//!
//! While the socket cannot take data, nothing is read from the client either, so that a client that does not read costs
//! its subscriptions' positions and no queue.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::{
    Compression, FrameError,
    config::WebSocketConfig,
    frame::{self, Decoder, Incoming},
    heartbeat::{Heartbeat, PING_PAYLOAD},
    output::Frames,
};
use crate::{
    transport::stream::{
        Output, Protocol, Session, Stream, StreamConfig,
        commands::{Commands, Replies},
        rate_limit::{MessageRate, RateExceeded},
    },
    web::upgrade::Wire,
};
use tricast_core::{
    clock::rfc3339,
    counters::{Limit, Transport},
    pause,
    protocol::{
        SERVER_VERSION,
        close::CloseReason,
        command::{self, Command, Message, Rejection},
        error::Code,
        message::ServerMessage,
    },
    reader::CatchUp,
};

/// Bytes of events per write.
const BUDGET: usize = 64 * 1024;

/// Bytes of replies that may wait for the socket; beyond that the client's next messages stay unread.
const MAX_PENDING: usize = 64 * 1024;

/// Messages carried out before the worker's other tasks run.
const MESSAGES_AT_ONCE: usize = 32;

/// One WebSocket connection, apart from its stream. The first two fields are those of a delivery.
#[repr(C)]
pub(super) struct WebSocket {
    wire: Wire,
    output: Frames,
    decoder: Decoder,
    commands: Commands,
    heartbeat: Heartbeat,
    rate: MessageRate,
    /// Pauses of this process that were seen.
    pauses: u64,
}

/// The engine's settings for a WebSocket.
pub(super) const STREAM: StreamConfig =
    StreamConfig { transport: Transport::WebSocket, order: CatchUp::StatesFirst, budget: BUDGET };

/// Returns the session of a connection that has just been upgraded. It greets the client.
pub(super) fn open(
    stream: Stream,
    config: &WebSocketConfig,
    wire: Wire,
    compression: Compression,
) -> Session<WebSocket> {
    let now = Instant::now();
    let (limits, heartbeat) = (stream.state.shared.limits, config.heartbeat);
    let mut output =
        Frames::new(std::rc::Rc::clone(&stream.state), compression == Compression::Both, limits.max_bad_messages, now);
    let caller = stream.caller();
    output.reply(&ServerMessage::Connected {
        connection_id: &stream.state.new_id(),
        timestamp: stream.timestamp(),
        server_version: SERVER_VERSION,
        capabilities: &caller.map(|caller| tricast_auth::capabilities(&caller.identity)).unwrap_or_default(),
        cursor: caller.map(|caller| caller.tenant.log.position().to_string()),
        heartbeat_interval: heartbeat.interval.0.as_millis() as u64,
        stale: stream.state.shared.tenants.is_stale(),
    });
    // So that a round trip is measured before the first heartbeat.
    frame::write(output.pending(), frame::PING, false, PING_PAYLOAD);
    let protocol = WebSocket {
        decoder: Decoder::new(limits.max_message.0, compression != Compression::None),
        output,
        commands: Commands::new(limits.max_requests),
        heartbeat: Heartbeat::new(heartbeat.interval.0, heartbeat.timeout.0, now),
        rate: MessageRate::new(limits.messages_per_second, limits.message_burst, now),
        pauses: pause::count(),
        wire,
    };
    Session::new(stream, protocol)
}

impl Protocol for WebSocket {
    type Output = Frames;

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn output(&mut self) -> &mut Frames {
        &mut self.output
    }

    fn receive(&mut self, stream: &mut Stream, cx: &mut Context<'_>) {
        self.read(stream, cx);
        // Results wait in their futures until the socket takes the replies before them.
        while self.output.pending().len() <= MAX_PENDING && self.commands.poll(stream, cx, &mut self.output) {
            // The result may be what the next message waits for.
            self.read(stream, cx);
        }
    }

    fn keep_alive(&mut self, stream: &mut Stream, now: Instant) {
        self.output.check_close(now);
        if !self.output.is_open() {
            return;
        }
        let pauses = pause::count();
        if self.pauses != pauses {
            // What the client sent during the pause may not be here yet.
            self.pauses = pauses;
            self.heartbeat.renew(now);
            stream.auth.renew(now);
        }
        if self.heartbeat.is_lost(now) {
            return self.output.close(CloseReason::HeartbeatLost);
        }
        let state = &stream.state;
        if let Some(timestamp) = self.heartbeat.ping(now, || rfc3339(state.shared.clock.now())) {
            self.output.reply(&ServerMessage::Ping { timestamp, server_load: state.shared.counters.load() });
            frame::write(self.output.pending(), frame::PING, false, PING_PAYLOAD);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.output.is_open() {
            true => Some(self.heartbeat.deadline()),
            false => self.output.close_deadline(),
        }
    }

    fn is_finished(&self) -> bool {
        self.output.is_finished()
    }
}

impl WebSocket {
    /// Reads the client's messages and carries them out.
    fn read(&mut self, stream: &mut Stream, cx: &mut Context<'_>) {
        let mut handled = 0;
        while !self.commands.is_holding() {
            match self.decoder.next_message() {
                Ok(Some(incoming)) => {
                    self.heartbeat.seen();
                    self.handle(stream, incoming);
                    handled += 1;
                }
                Ok(None) => match self.wire.poll_read(cx, |bytes| self.decoder.feed(bytes)) {
                    Poll::Ready(true) => {}
                    // The client is gone without a close frame.
                    Poll::Ready(false) => return self.output.abandon(),
                    Poll::Pending => return,
                },
                Err(error) => {
                    tracing::debug!(%error, "a client's frames broke the protocol");
                    if matches!(error, FrameError::TooBig(_)) {
                        stream.state.shared.counters.limit(Limit::Message).inc();
                    }
                    self.output.fail(error.close_reason());
                }
            }
            if self.output.is_finished() {
                return;
            }
            if handled >= MESSAGES_AT_ONCE || self.output.pending().len() > MAX_PENDING {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }

    fn handle(&mut self, stream: &mut Stream, incoming: Incoming) {
        if !self.output.is_open() {
            // Only the client's close frame matters now.
            if let Incoming::Close(_) = incoming {
                self.output.closed_by_client();
            }
            return;
        }
        if !matches!(incoming, Incoming::Close(_))
            && let Err(exceeded) = self.rate.check()
        {
            return self.refuse(stream, exceeded, &incoming);
        }
        match incoming {
            Incoming::Text(text) => match command::parse(&text) {
                Ok(message) => self.carry_out(stream, message),
                Err(rejection) => self.output.reject(rejection),
            },
            Incoming::Binary(_) => self.output.close(CloseReason::Unsupported),
            Incoming::Ping(payload) => frame::write(self.output.pending(), frame::PONG, false, &payload),
            Incoming::Pong(payload) => self.heartbeat.pong_frame(&payload),
            Incoming::Close(reason) => self.output.answer_close(reason.map(|(code, _)| code)),
        }
    }

    /// Refuses a message that exceeds the rate limit, and closes a connection that keeps exceeding it.
    fn refuse(&mut self, stream: &Stream, exceeded: RateExceeded, incoming: &Incoming) {
        stream.state.shared.counters.limit(Limit::Messages).inc();
        match exceeded {
            RateExceeded::Close => self.output.close(CloseReason::RateLimited),
            RateExceeded::Wait(wait) => {
                let request_id = match incoming {
                    Incoming::Text(text) => command::request_id(text),
                    _ => None,
                };
                let rejection = Rejection::new(request_id, Code::RateLimited, "too many messages: wait a moment");
                self.output.reject(Rejection { retry_after: Some(wait), ..rejection });
            }
        }
    }

    fn carry_out(&mut self, stream: &mut Stream, Message { request_id, command }: Message) {
        match command {
            Command::Ping => {
                let (latency, timestamp) = (self.heartbeat.latency_ms(), stream.timestamp());
                self.output.reply(&ServerMessage::Pong { request_id, latency, timestamp });
            }
            Command::Pong(timestamp) => self.heartbeat.pong_message(timestamp.as_ref()),
            Command::Configure { interval, timeout } if stream.caller().is_some() => {
                let settings = self.heartbeat.configure(interval, timeout);
                self.output.reply(&ServerMessage::Configured { request_id, settings });
            }
            Command::Disconnect => {
                self.output.reply(&ServerMessage::disconnecting("CLIENT_REQUEST", "good-bye", None));
                self.output.close(CloseReason::Normal);
            }
            command => self.commands.execute(stream, request_id, command, &mut self.output),
        }
    }
}
