//! Echo over the server's own frame code, for conformance suites of RFC 6455.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::{BodySize, MessageBody},
    dev, web,
};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Sleep, sleep};
use tricast::{
    transport::websocket::{
        Compression, accept_deflate,
        frame::{self, Decoder, Incoming},
        handshake,
    },
    web::problem::Problem,
};
use tricast_core::protocol::close::CloseReason;

/// Largest message in bytes, as section 9 of the Autobahn suite sends it.
const MAX_MESSAGE: usize = 16 << 20;

/// Largest body of `POST /`, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Largest pending echoes in bytes; beyond that nothing more is read.
const MAX_WAITING: usize = 64 * 1024;

/// Time for which TCP stays open after a failed connection, so that a reset does not overtake the close frame.
const FAILED_WAIT: Duration = Duration::from_millis(250);

/// Serves `/echo` for WebSockets, and `/` for HTTP, with the server's settings of HTTP/1.1.
///
/// # Errors
/// Binding the listener failed.
pub(crate) fn serve(listener: std::net::TcpListener, workers: usize) -> std::io::Result<dev::Server> {
    let server = HttpServer::new(|| {
        App::new()
            .app_data(web::PayloadConfig::new(MAX_BODY))
            .route("/echo", web::get().to(open))
            .default_service(web::to(|body: Bytes| async { HttpResponse::Ok().body(body) }))
    });
    let server = server
        .workers(workers)
        .disable_signals()
        .client_disconnect_timeout(Duration::ZERO)
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
        .shutdown_timeout(1);
    Ok(server.listen(listener)?.run())
}

async fn open(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let mut response = handshake(&request).await?;
    let compression = accept_deflate(&request, &mut response);
    let echo = Echo {
        payload: payload.into_inner(),
        decoder: Decoder::new(MAX_MESSAGE, compression != Compression::None),
        out: Vec::new(),
        compress: compression == Compression::Both,
        state: State::Open,
    };
    Ok(response.set_body(echo).map_into_boxed_body())
}

/// Connection of the echo.
struct Echo {
    payload: dev::Payload,
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
                Ok(None) => match ready!(Pin::new(&mut self.payload).poll_next(cx)) {
                    Some(Ok(bytes)) => self.decoder.feed(&bytes),
                    Some(Err(_)) | None => self.state = State::Done,
                },
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

impl MessageBody for Echo {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        // The result does not matter: the socket is read again after each write.
        let _ = self.receive(cx);
        if !self.out.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.out).into())));
        }
        match &mut self.state {
            State::Open => Poll::Pending,
            State::Failed(until) => until.as_mut().poll(cx).map(|()| None),
            State::Done => Poll::Ready(None),
        }
    }
}
