//! `GET /api/me`: the current user. `POST /api/tickets`: a short-lived credential for URLs.

use std::{sync::atomic::Ordering, time::Instant};

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::{
    authorized::{Anyone, Authorized},
    caller::Caller,
    json_response::JsonResponse,
    problem::Problem,
};
use tricast_auth::{Binding, BindingLists};
use tricast_core::{clock::rfc3339, counters::Limit, openapi::Time};

/// The current user, with permissions and tenant.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"user": "ada", "tenant": "shop", "permissions": ["read:metrics"], "capabilities": ["metrics",
    "system"], "anonymous": false, "expiresAt": "2024-07-15T15:00:00Z", "demo": false}))]
pub struct CurrentUser {
    /// ID of the user: `sub` of the token.
    user: String,
    /// Name of the tenant whose data the user sees.
    tenant: String,
    /// Names of the user's permissions; none of a token that is bound to channels.
    permissions: Vec<&'static str>,
    /// Channels that the token is bound to; left out for a token with permissions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    channels: Option<BoundChannels>,
    /// Families of channels that the user may read.
    capabilities: Vec<&'static str>,
    /// Whether the caller has no token, because the server requires none.
    anonymous: bool,
    /// Expiry of the token; `null` if it does not expire.
    #[schema(required = true, value_type = Option<Time>)]
    expires_at: Option<String>,
    /// Whether the server runs the simulated shop (`--demo`), whose data are made up.
    demo: bool,
}

/// Channels that a token is bound to, as selectors.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"read": ["orders"], "push": ["metrics.ci.*"]}))]
struct BoundChannels {
    /// Channels that it may read.
    read: Vec<String>,
    /// Channels that it may push to and delete.
    push: Vec<String>,
}

impl From<&Binding> for BoundChannels {
    fn from(binding: &Binding) -> Self {
        let BindingLists { read, push } = binding.into();
        Self { read, push }
    }
}

/// Handles `GET` and `HEAD /api/me`: returns `{user, tenant, permissions, channels, capabilities, anonymous, expiresAt, demo}`.
#[utoipa::path(
    get,
    path = "/api/me",
    tag = "Callers",
    operation_id = "getMe",
    summary = "Current user",
    responses((status = 200, description = "User, tenant, permissions and expiry", body = CurrentUser))
)]
pub async fn get(access: Authorized<Anyone>) -> JsonResponse<CurrentUser> {
    let Authorized { state, caller: Caller { identity, .. }, .. } = access;
    JsonResponse::private_no_cache(CurrentUser {
        user: identity.user.to_string(),
        tenant: identity.tenant.to_string(),
        permissions: identity.permissions.names().collect(),
        channels: identity.binding().map(BoundChannels::from),
        capabilities: tricast_auth::capabilities(&identity),
        anonymous: identity.is_anonymous(),
        expires_at: identity.expires_at.map(rfc3339),
        demo: state.shared.demo.load(Ordering::Relaxed),
    })
}

/// A credential for one stream.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// Value of the parameter `ticket`.
    #[schema(pattern = "^[0-9a-f]{48}$")]
    ticket: String,
    /// Lifetime of the ticket in seconds.
    expires_in: u64,
}

/// Handles `POST /api/tickets`: 201 with `{ticket, expiresIn}`. A ticket authenticates one stream as the caller who
/// requested it (`?ticket=`).
///
/// A token in a URL ends up in logs and browser histories; a ticket expires after a moment.
#[utoipa::path(
    post,
    path = "/api/tickets",
    tag = "Callers",
    operation_id = "createTicket",
    summary = "Create a ticket",
    description = "Browsers cannot set headers on a WebSocket or an EventSource. A ticket (`?ticket=`) authenticates one stream as \
        the caller who requested it, and expires after a moment.",
    responses((status = 201, description = "The ticket", body = Ticket))
)]
pub async fn ticket(access: Authorized<Anyone>) -> Result<JsonResponse<Ticket>, Problem> {
    let Authorized { state, caller: Caller { identity, .. }, .. } = access;
    let ticket = state.shared.access.tickets.issue(&identity, Instant::now()).map_err(|error| {
        state.shared.counters.limit(Limit::Tickets).inc();
        Problem::too_many(error.to_string(), tricast_auth::TICKET_LIFETIME)
    })?;
    if let Some(cluster) = state.shared.tenants.cluster() {
        let (name, kept) = (tricast_auth::ticket_name(&ticket), identity.to_json());
        cluster.store_once(&name, kept.as_bytes(), tricast_auth::TICKET_LIFETIME).await;
    }
    let expires_in = tricast_auth::TICKET_LIFETIME.as_secs();
    Ok(JsonResponse::no_store(Ticket { ticket, expires_in }).with_status(StatusCode::CREATED))
}
