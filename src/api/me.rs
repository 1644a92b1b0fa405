//! `GET /api/me`: the current user. `POST /api/tickets`: a short-lived credential for URLs.

use std::{sync::atomic::Ordering, time::Instant};

use actix_web::{HttpResponse, http::header};
use serde_json::json;

use super::openapi::shapes;
use crate::web::{
    authorized::{Anyone, Authorized},
    caller::Caller,
    problem::Problem,
};
use tricast_core::{clock::rfc3339, counters::Limit};

/// Handles `GET` and `HEAD /api/me`: returns `{user, tenant, permissions, capabilities, anonymous, expiresAt, demo}`.
#[utoipa::path(
    get,
    path = "/api/me",
    tag = "Callers",
    operation_id = "getMe",
    summary = "Current user",
    responses((status = 200, description = "User, tenant, permissions and expiry", body = shapes::Me))
)]
pub async fn get(access: Authorized<Anyone>) -> HttpResponse {
    let Authorized { state, caller: Caller { identity, .. }, .. } = access;
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "private, no-cache")).json(json!({
        "user": &*identity.user,
        "tenant": identity.tenant.as_str(),
        "permissions": identity.permissions.names().collect::<Vec<_>>(),
        "capabilities": tricast_auth::capabilities(&identity),
        "anonymous": identity.is_anonymous(),
        "expiresAt": identity.expires_at.map(rfc3339),
        "demo": state.shared.demo.load(Ordering::Relaxed),
    }))
}

/// Handles `POST /api/tickets`: 201 with `{ticket, expiresIn}`. A ticket opens one stream for the caller who requested it
/// (`?ticket=`).
///
/// A token in a URL ends up in logs and browser histories; a ticket expires after a moment.
#[utoipa::path(
    post,
    path = "/api/tickets",
    tag = "Callers",
    operation_id = "createTicket",
    summary = "Create a ticket",
    description = "A browser can't set headers on a WebSocket or an EventSource. A ticket opens one stream as the caller \
        who requested it (`?ticket=`), and expires after a moment.",
    responses((status = 201, description = "The ticket", body = shapes::Ticket))
)]
pub async fn ticket(access: Authorized<Anyone>) -> Result<HttpResponse, Problem> {
    let Authorized { state, caller: Caller { identity, .. }, .. } = access;
    let ticket = state.shared.access.tickets.issue(&identity, Instant::now()).map_err(|error| {
        state.shared.counters.limit(Limit::Tickets).inc();
        Problem::too_many(error.to_string(), tricast_auth::TICKET_LIFETIME)
    })?;
    if let Some(cluster) = state.shared.tenants.cluster() {
        let (name, kept) = (tricast_auth::ticket_name(&ticket), identity.to_json());
        cluster.store_once(&name, kept.as_bytes(), tricast_auth::TICKET_LIFETIME).await;
    }
    Ok(HttpResponse::Created()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({"ticket": ticket, "expiresIn": tricast_auth::TICKET_LIFETIME.as_secs()})))
}
