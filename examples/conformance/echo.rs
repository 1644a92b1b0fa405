//! Echo over the server's own frame code, for conformance suites of RFC 6455.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tricast::{
    app::{Application, ExtraPaths},
    config::{Config, Limits},
    transport::websocket::{
        Compression, accept_deflate,
        frame::{self, Decoder, Incoming},
        handshake,
    },
    web::{
        problem::Problem,
        upgrade::{Upgraded, Wire, upgrade},
    },
};
use tricast_core::{clock::Clock, protocol::close::CloseReason};

/// Largest message in bytes, as section 9 of the Autobahn suite sends it.
const MAX_MESSAGE: usize = 16 << 20;

/// Largest body of `POST /`, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Largest pending echoes in bytes; beyond that nothing more is read.
const MAX_WAITING: usize = 64 * 1024;

/// Time for which TCP stays open after a failed connection, so that a reset does not overtake the close frame.
const FAILED_WAIT: Duration = Duration::from_millis(250);

/// Builds a server at `address` that has the paths of `extra`, too. The suites are pages of another origin.
///
/// # Errors
/// The server cannot be built, for example because the address is in use.
pub(crate) fn build(address: String, limits: Limits, extra: ExtraPaths) -> io::Result<Application> {
    let mut config = Config { listen: vec![address], allowed_origins: vec!["*".into()], limits, ..Config::default() };
    config.limits.handshakes_per_second_per_address = 0;
    Application::build_with(&config, Clock::system(), extra).map_err(io::Error::other)
}

/// Adds `/echo` for WebSockets, and `/` for HTTP.
pub(crate) fn configure(services: &mut web::ServiceConfig) {
    services.route("/echo", web::get().to(open));
    let bodies = web::resource("/").app_data(web::PayloadConfig::new(MAX_BODY));
    services.service(bodies.to(|body: Bytes| async { HttpResponse::Ok().body(body) }));
}

async fn open(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let mut response = handshake(&request).await?;
    let compression = accept_deflate(&request, &mut response);
    upgrade(&request, response, payload, move |wire| Echo {
        wire,
        decoder: Decoder::new(MAX_MESSAGE, compression != Compression::None),
        out: Vec::new(),
        compress: compression == Compression::Both,
        state: State::Open,
    })
}

/// Connection of the echo.
struct Echo {
    wire: Wire,
    decoder: Decoder,
    out: Vec<u8>,
    compress: bool,
    state: State,
}

enum State {
    Open,
    /// The server's close is written; incoming data are discarded until then.
    Failed(Pin<Box<Sleep>>),
    /// Nothing more to do once `out` is written.
    Done,
}

impl Echo {
    fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Text(text) => frame::write_text(&mut self.out, &text, self.compress),
            Incoming::Binary(data) => frame::write_message(&mut self.out, frame::BINARY, &data, self.compress),
            Incoming::Ping(payload) => frame::write(&mut self.out, frame::PONG, false, &payload),
            Incoming::Pong(_) => {}
            Incoming::Close(reason) => {
                let code = reason.map_or(CloseReason::Normal.code(), |(code, _)| code);
                frame::write_close(&mut self.out, code, "");
                self.state = State::Done;
            }
        }
    }

    /// Reads the client's data; `Pending` if there are none at the moment.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !matches!(self.state, State::Done) && self.out.len() < MAX_WAITING {
            match self.decoder.next_message() {
                Ok(Some(incoming)) => self.take(incoming),
                Ok(None) => {
                    if !ready!(self.wire.poll_read(cx, |bytes| self.decoder.feed(bytes))) {
                        self.state = State::Done;
                    }
                }
                Err(error) => {
                    let reason = error.close_reason();
                    frame::write_close(&mut self.out, reason.code(), reason.text());
                    self.state = State::Failed(Box::pin(sleep(FAILED_WAIT)));
                }
            }
        }
        Poll::Ready(())
    }
}

impl Upgraded for Echo {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        // The result does not matter: the socket is read again after each write.
        let _ = self.receive(cx);
        if !self.out.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.out).into()));
        }
        match &mut self.state {
            State::Open => Poll::Pending,
            State::Failed(until) => until.as_mut().poll(cx).map(|()| None),
            State::Done => Poll::Ready(None),
        }
    }
}
