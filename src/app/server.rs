//! HTTP server: the application behind watched streams ([`Watched`]), which actix-web's own `HttpServer` does not support.

use std::{future::ready, io, net::SocketAddr, sync::Arc, time::Duration};

use actix_http::{HttpService, KeepAlive, Protocol, error::DispatchError};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{App, Error, dev::AppConfig, middleware::from_fn, web};
use tokio::net::{TcpStream, UnixStream};
use tracing_actix_web::TracingLogger;

use super::{ExtraPaths, StartError, listen, openapi, routes::Routes};
use crate::{
    api::openapi::Document,
    config::{Config, Listen},
    web::{
        connection::ConnectionConfig,
        middleware,
        request_span::RequestSpan,
        socket::Socket,
        state::{Shared, State},
        watched::Watched,
    },
};

/// Bytes of responses that a connection may buffer in user space: above it the next value is not even read, so that a
/// slow client gets the newest one.
const WRITE_BUFFER: usize = 2_048;

/// Binds the sockets and starts the workers. Returns the TCP addresses with the real ports.
///
/// # Errors
/// [`StartError::Listen`].
pub(super) fn start(
    config: &Config,
    shared: &Shared,
    extra: &ExtraPaths,
) -> Result<(Server, Vec<SocketAddr>), StartError> {
    let mut builder = Server::build()
        .disable_signals()
        .max_concurrent_connections(1_000_000)
        .shutdown_timeout(config.drain_timeout.0.as_secs().max(1));
    if config.workers > 0 {
        builder = builder.workers(config.workers);
    }
    let drained = builder.graceful_shutdown_signal();
    let routes = Routes::of(config);
    let document = Document::new(&openapi::document(config));
    let (of_all, extra) = (shared.clone(), Arc::clone(extra));
    let http = move || {
        let (shared, document, drained) = (of_all.clone(), document.clone(), drained.clone());
        let extra = Arc::clone(&extra);
        let app = App::new()
            .app_data(State::start(shared))
            .wrap(from_fn(middleware::around))
            .configure(|services| extra(services))
            .configure(|services| routes.streams_and_polls(services))
            .service(
                web::scope("")
                    .wrap(TracingLogger::<RequestSpan>::new())
                    .configure(|services| routes.plain(&document, services)),
            );
        let app = app.into_factory().map_err(|error: Error| error.error_response());
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let drained = drained.clone();
                async move { drained.notified().await }
            })
            // Connections are kept, and closed by the deadlines of `web::connection`.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            // Otherwise TCP stays open after a WebSocket's closing handshake.
            .client_disconnect_timeout(Duration::ZERO)
            // Otherwise an event stream whose client disconnected is not noticed until the next write.
            .h1_allow_half_closed(false)
            .h1_write_buffer_size(WRITE_BUFFER)
            .on_connect_ext(|io: &Watched, extensions| {
                extensions.insert(io.connection());
                extensions.insert(io.counted());
            })
            .finish(map_config(app, |()| AppConfig::default()))
    };
    let connections = Arc::new(ConnectionConfig {
        counters: Arc::clone(&shared.counters),
        limits: config.limits,
        admission: Arc::clone(&shared.admission),
        access: Arc::clone(&shared.access),
    });
    let mut addresses = Vec::new();
    for place in config.listen_places() {
        let error = |source| StartError::Listen { place: place.clone(), source };
        let (http, connections, name) = (http.clone(), Arc::clone(&connections), format!("{place:?}"));
        builder = match &place {
            Listen::Tcp(address) => {
                let listener = listen::tcp(*address, config.limits.stall_timeout.0).map_err(error)?;
                addresses.push(listener.local_addr().map_err(error)?);
                builder.listen(name, listener, move || {
                    let connections = Arc::clone(&connections);
                    let accept = move |io: TcpStream| {
                        // Without it responses are a little late.
                        let _ = io.set_nodelay(true);
                        let peer = io.peer_addr().ok();
                        let watched = Watched::new(Socket::Tcp(io), &connections, peer.map(|peer| peer.ip()));
                        ready(watched.map(|watched| (watched, Protocol::Http1, peer)).ok_or_else(too_many))
                    };
                    fn_service(accept).and_then(http())
                })
            }
            Listen::Unix(path) => builder.listen_uds(name, listen::unix(path).map_err(error)?, move || {
                let connections = Arc::clone(&connections);
                let accept = move |io: UnixStream| {
                    let watched = Watched::new(Socket::Unix(io), &connections, None);
                    ready(watched.map(|watched| (watched, Protocol::Http1, None)).ok_or_else(too_many))
                };
                fn_service(accept).and_then(http())
            }),
        }
        .map_err(error)?;
    }
    Ok((builder.run(), addresses))
}

/// Creates the error that closes the connection without a response.
fn too_many() -> DispatchError {
    DispatchError::Io(io::ErrorKind::ConnectionRefused.into())
}
