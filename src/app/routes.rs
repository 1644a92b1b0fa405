//! Routes of the server.

use actix_web::{
    HttpRequest, HttpResponse, guard,
    http::{Method, header},
    web,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        alerts, assets, channels, customers, dashboards, doctor,
        doors::influx,
        health, history, keys, me, metrics_page,
        openapi::{self, Document},
        orders, pages, push, sign_in, stats,
    },
    config::Config,
    transport::{
        poll::{self, PollConfig},
        socketio::{self, Registry, SocketIoConfig},
        sse::{self, SessionRegistry, SseConfig},
        websocket::{self, WebSocketConfig},
    },
    web::{
        json_response::JsonResponse,
        problem::Problem,
        route::{self, get_or_head},
        typed_query::NoParameters,
    },
};
use tricast_core::protocol::{
    SERVER_VERSION, SUBPROTOCOL,
    close::{CloseCode, CloseReason},
};

/// Routes with their settings.
#[derive(Clone)]
pub(super) struct Routes {
    websocket: WebSocketConfig,
    sse: SseConfig,
    /// Event streams of all workers.
    sse_sessions: web::Data<SessionRegistry>,
    poll: PollConfig,
    socketio: SocketIoConfig,
    /// Socket.IO sessions of all workers.
    socketio_sessions: web::Data<Registry>,
}

impl Routes {
    /// Returns the routes of a server with this configuration.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            websocket: WebSocketConfig { heartbeat: config.heartbeat, compression: config.compression },
            sse: SseConfig::default(),
            sse_sessions: web::Data::new(SessionRegistry::new(&config.limits)),
            poll: PollConfig { long_poll_max: config.long_poll_max.0 },
            socketio: SocketIoConfig { heartbeat: config.heartbeat, echo: None },
            socketio_sessions: web::Data::new(Registry::new(config.log.recovery.0)),
        }
    }

    /// Adds the paths of the transports. They come first, and have no span per request.
    pub(super) fn streams_and_polls(&self, services: &mut web::ServiceConfig) {
        route::add(services, "/api/metrics", "GET, HEAD, POST", |resource| {
            resource
                .app_data(web::Data::new(self.poll))
                .route(get_or_head().to(poll::poll))
                .route(web::post().to(push::post))
        });
        // Before the pattern: matching it takes a third of the instructions of a poll.
        services.service(
            web::scope("/api/metrics")
                .guard(guard::fn_guard(|context| poll::is_plain(context.head())))
                .app_data(web::Data::new(self.poll))
                .default_service(web::to(poll::poll_plain)),
        );
        route::add(services, "/api/metrics/{channel}", "GET, HEAD, DELETE", |resource| {
            resource
                .app_data(web::Data::new(self.poll))
                .route(get_or_head().to(poll::poll_channel))
                .route(web::delete().to(push::delete))
        });
        route::add(services, "/write", "POST", |resource| resource.route(web::post().to(influx::write)));
        route::add(services, "/api/v2/write", "POST", |resource| resource.route(web::post().to(influx::write_v2)));
        websocket::configure(services, self.websocket);
        sse::configure(services, self.sse, &self.sse_sessions);
        socketio::configure(services, self.socketio, &self.socketio_sessions);
    }

    /// Adds all other paths.
    pub(super) fn plain(&self, document: &Document, services: &mut web::ServiceConfig) {
        let mut read = |path: &str, with: fn() -> actix_web::Route| {
            route::add(services, path, "GET, HEAD", |resource| resource.route(with()));
        };
        read("/", || get_or_head().to(assets::index));
        read("/static/{path:.*}", || get_or_head().to(assets::get));
        read("/explore", || get_or_head().to(assets::explore));
        read("/docs", || get_or_head().to(assets::docs));
        read("/doctor", || get_or_head().to(assets::doctor));
        read("/basic", || get_or_head().to(pages::basic));
        read("/healthz", || get_or_head().to(health::live));
        read("/readyz", || get_or_head().to(health::ready));
        read("/metrics", || get_or_head().to(metrics_page::get));
        read("/api/channels", || get_or_head().to(channels::get));
        read("/api/history", || get_or_head().to(history::get));
        read("/api/stats", || get_or_head().to(stats::get));
        read("/api/me", || get_or_head().to(me::get));
        read("/api/doctor", || get_or_head().to(doctor::get));
        read("/api/protocol", || get_or_head().to(protocol));
        read("/ping", || get_or_head().to(influx::ping));
        read("/health", || get_or_head().to(influx::health));
        route::add(services, "/query", "GET, HEAD, POST", |resource| {
            resource.route(get_or_head().to(influx::query)).route(web::post().to(influx::query))
        });
        route::add(services, "/api/openapi.json", "GET, HEAD", |resource| {
            resource.app_data(web::Data::new(document.clone())).route(get_or_head().to(openapi::get))
        });
        route::add(services, "/api/doctor/echo", "POST", |resource| resource.route(web::post().to(doctor::echo)));
        route::add(services, "/api/session", "POST, DELETE", |resource| {
            resource.route(web::post().to(sign_in::create)).route(web::delete().to(sign_in::delete))
        });
        route::add(services, "/api/keys", "GET, HEAD, POST", |resource| {
            resource.route(get_or_head().to(keys::list)).route(web::post().to(keys::create))
        });
        route::add(services, "/api/keys/{id}", "DELETE", |resource| resource.route(web::delete().to(keys::revoke)));
        route::add(services, "/api/tickets", "POST", |resource| resource.route(web::post().to(me::ticket)));
        route::add(services, "/api/update-metrics", "POST", |resource| resource.route(web::post().to(push::post)));
        route::add(services, "/api/orders", "GET, HEAD, POST, DELETE", |resource| {
            resource
                .route(get_or_head().to(orders::list))
                .route(web::post().to(orders::create))
                .route(web::delete().to(orders::delete_orders))
        });
        route::add(services, "/api/orders/{id}", "GET, HEAD, PATCH", |resource| {
            resource.route(get_or_head().to(orders::get)).route(web::patch().to(orders::change))
        });
        route::add(services, "/api/customers", "POST, DELETE", |resource| {
            resource.route(web::post().to(customers::register)).route(web::delete().to(customers::delete))
        });
        route::add(services, "/api/visits", "POST", |resource| resource.route(web::post().to(customers::count_visits)));
        route::add(services, "/api/dashboards", "GET, HEAD, POST", |resource| {
            resource.route(get_or_head().to(dashboards::list)).route(web::post().to(dashboards::create))
        });
        route::add(services, "/api/dashboards/{id}", "GET, HEAD, PUT, DELETE", |resource| {
            resource
                .route(get_or_head().to(dashboards::get))
                .route(web::put().to(dashboards::replace))
                .route(web::delete().to(dashboards::delete))
        });
        route::add(services, "/api/dashboards/{id}/tiles", "POST", |resource| {
            resource.route(web::post().to(dashboards::add_tile))
        });
        // A tile may have the ID "order": operations on a tile have other methods.
        route::add(services, "/api/dashboards/{id}/tiles/{tile:order}", "PUT, PATCH, DELETE", |resource| {
            resource
                .route(web::put().to(dashboards::reorder))
                .route(web::patch().to(dashboards::change_tile))
                .route(web::delete().to(dashboards::remove_tile))
        });
        route::add(services, "/api/dashboards/{id}/tiles/{tile}", "PATCH, DELETE", |resource| {
            resource.route(web::patch().to(dashboards::change_tile)).route(web::delete().to(dashboards::remove_tile))
        });
        // Before alerts, none of which has the ID "rules".
        route::add(services, "/api/alerts/rules", "GET, HEAD, POST", |resource| {
            resource.route(get_or_head().to(alerts::rules)).route(web::post().to(alerts::create_rule))
        });
        route::add(services, "/api/alerts/rules/{id}", "GET, HEAD, PUT, DELETE", |resource| {
            resource
                .route(get_or_head().to(alerts::rule))
                .route(web::put().to(alerts::replace_rule))
                .route(web::delete().to(alerts::delete_rule))
        });
        route::add(services, "/api/alerts", "GET, HEAD", |resource| resource.route(get_or_head().to(alerts::list)));
        route::add(services, "/api/alerts/{id}", "GET, HEAD", |resource| resource.route(get_or_head().to(alerts::get)));
        route::add(services, "/api/alerts/{id}/acknowledge", "POST", |resource| {
            resource.route(web::post().to(alerts::acknowledge))
        });
        services.default_service(web::to(nothing_here));
    }
}

/// Pages whose paths have no slash at their end, since their links are relative to the root.
const PAGES: [&str; 4] = ["/explore", "/docs", "/doctor", "/basic"];

/// Handles all other paths: 404, and a redirect for a page with a slash.
async fn nothing_here(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = request.path().strip_suffix('/').filter(|path| PAGES.contains(path));
    match (page, request.method()) {
        (Some(page), &(Method::GET | Method::HEAD)) => {
            // Relative, for a proxy that strips a path in front.
            let location = match request.query_string() {
                "" => format!("..{page}"),
                query => format!("..{page}?{query}"),
            };
            Ok(HttpResponse::PermanentRedirect().insert_header((header::LOCATION, location)).finish())
        }
        _ => Err(Problem::not_found("there is nothing at this path")),
    }
}

/// Constants of the protocol.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    /// Version of the server.
    version: &'static str,
    /// Subprotocol of the WebSocket.
    subprotocol: &'static str,
    close_codes: Vec<CloseCode>,
}

/// Handles `GET /api/protocol`: constants for client libraries, from the tables that the server itself uses.
#[utoipa::path(
    get,
    path = "/api/protocol",
    tag = "Operation",
    operation_id = "getProtocol",
    summary = "Protocol constants for client libraries",
    description = "Version, subprotocol and close codes of the WebSocket, from the tables that the server itself uses.",
    responses((status = 200, description = "The constants", body = Protocol)),
    security(())
)]
pub(super) async fn protocol(_: NoParameters) -> JsonResponse<Protocol> {
    JsonResponse::no_cache(Protocol {
        version: SERVER_VERSION,
        subprotocol: SUBPROTOCOL,
        close_codes: CloseReason::ALL.iter().map(|reason| reason.entry()).collect(),
    })
}
