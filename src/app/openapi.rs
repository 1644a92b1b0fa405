//! OpenAPI document of the whole server, combined from the descriptions beside the handlers.

use actix_web::{App, web};
use utoipa::{
    Modify, OpenApi,
    openapi::{self, RefOr, path::Parameter},
};

use super::routes::{self, Routes};
use crate::{
    api::{
        alerts, assets, channels, customers, dashboards, doctor,
        doors::influx,
        health, history, keys, me, metrics_page,
        openapi::{
            self as parts, Document, Facts,
            common::{self, Common},
        },
        orders, pages, push, sign_in, stats,
    },
    config::Config,
    transport::{poll, socketio, sse, websocket},
    web::{
        problem::ProblemBody,
        route::{self, Registered},
    },
};

/// Aliases of paths: the path, its alias, and the suffix of the operation IDs.
const ALIASES: [(&str, &str, &str); 4] = [
    (websocket::PATHS[0], websocket::PATHS[1], "OfDashboard"),
    (sse::PATHS[0], sse::PATHS[1], "BelowApi"),
    ("/api/metrics", "/api/update-metrics", "Update"),
    (socketio::PATHS[0], socketio::PATHS[1], "WithoutSlash"),
];

/// Path of a tile, and path of a tile with the ID "order", which also sets the order of tiles.
const TILE: &str = "/api/dashboards/{id}/tiles/{tile}";
const TILE_ORDER: &str = "/api/dashboards/{id}/tiles/order";

#[derive(OpenApi)]
#[openapi(
    info(
        description = "Live metrics from one aggregator over WebSocket, Server-Sent Events and polling. A value has \
            the same version on all of them, and a `cursor` from one transport is valid on any other.\n\n\
            Errors are `application/problem+json` (RFC 9457). Unsupported methods \
            return 405 with `Allow`. Every response has an `X-Request-Id`.",
        license(name = "MIT", identifier = "MIT")
    ),
    tags(
        (name = "Polling", description = "Snapshot, channels and history over plain HTTP: `ETag`, long polls, cursors."),
        (name = "Streams", description = "WebSocket, Server-Sent Events and Socket.IO."),
        (name = "Push", description = "Values, events and samples from clients."),
        (name = "Doors", description = "Protocols by which other programs send metrics."),
        (name = "Business", description = "Orders, customers and visits, and their figures."),
        (name = "Dashboards", description = "Dashboards of tiles. Each change is an event on the channel `dashboards`."),
        (name = "Alerts", description = "Alerts and the rules that raise them."),
        (name = "Callers", description = "The current user, and tickets for streams."),
        (name = "Operation", description = "Health, metrics and diagnosis of the server."),
        (name = "Pages", description = "Pages for browsers."),
    ),
    paths(
        poll::poll, poll::poll_channel, channels::get, history::get,
        websocket::open, socketio::get, socketio::post, sse::open, sse::control::post,
        push::post, push::delete,
        influx::write, influx::write_v2, influx::ping, influx::health, influx::query, influx::query_by_post,
        orders::list, orders::create, orders::get, orders::change, orders::delete_orders,
        customers::register, customers::count_visits, customers::delete, stats::get,
        dashboards::list, dashboards::create, dashboards::get, dashboards::replace, dashboards::delete,
        dashboards::add_tile, dashboards::change_tile, dashboards::remove_tile, dashboards::reorder,
        alerts::list, alerts::get, alerts::acknowledge,
        alerts::rules, alerts::create_rule, alerts::rule, alerts::replace_rule, alerts::delete_rule,
        me::get, sign_in::create, sign_in::delete, me::ticket,
        keys::list, keys::create, keys::revoke,
        health::live, health::ready, metrics_page::get, routes::protocol, parts::get, doctor::get, doctor::echo,
        assets::index, pages::basic, assets::explore, assets::docs, assets::doctor, assets::get,
    ),
    components(schemas(ProblemBody))
)]
struct Described;

/// Returns the document of a server with this configuration.
pub fn document(config: &Config) -> openapi::OpenApi {
    let mut document = Described::openapi();
    let facts = Facts {
        tokens: config.auth.is_required(),
        cookie: config.auth.cookie.clone(),
        url: config.public_url.as_deref().map_or_else(|| config.base_path().to_string(), str::to_owned),
    };
    Common(facts).modify(&mut document);
    for (path, name, suffix) in ALIASES {
        common::alias(&mut document, path, name, suffix);
    }
    // A tile may have the ID "order": the operations on a tile apply to it too.
    let tile = document.paths.paths.get(TILE).cloned();
    if let (Some(mut tile), Some(order)) = (tile, document.paths.paths.get_mut(TILE_ORDER)) {
        for operation in [&mut tile.patch, &mut tile.delete].into_iter().flatten() {
            operation.operation_id = operation.operation_id.take().map(|id| format!("{id}WithIdOrder"));
            operation.description = Some(format!("The same as `{TILE}` for a tile with the ID \"order\"."));
            let is_tile = |of: &RefOr<Parameter>| matches!(of, RefOr::T(of) if of.name == "tile");
            operation.parameters.as_mut().into_iter().for_each(|all| all.retain(|of| !is_tile(of)));
        }
        (order.patch, order.delete) = (tile.patch, tile.delete);
    }
    // The alias accepts pushes only.
    if let Some(item) = document.paths.paths.get_mut(ALIASES[2].1) {
        (item.get, item.head) = (None, None);
    }
    document
}

/// Returns every path that a server with this configuration registers, with its methods.
pub fn registered(config: &Config) -> Vec<Registered> {
    let routes = Routes::of(config);
    let document = Document::new(&document(config));
    route::listed(|| {
        let app = App::new().configure(|services: &mut web::ServiceConfig| {
            routes.streams_and_polls(services);
            routes.plain(&document, services);
        });
        drop(app);
    })
}
