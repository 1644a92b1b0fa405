//! `GET /api/stats`: four key figures for simple pages.
//!
//! ```json
//! {"activeUsers": 12, "activeOrders": 3, "revenue": 45000.0, "timestamp": "2024-07-15T14:00:05.120Z"}
//! ```

use serde::Serialize;
use utoipa::ToSchema;

use crate::web::{
    authorized::{Authorized, ReadMetrics},
    json_response::JsonResponse,
    problem::Problem,
};
use tricast_auth::Permission;
use tricast_core::{clock::rfc3339, openapi::Time};
use tricast_domain::orders::Money;

/// Four key figures for simple pages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"activeUsers": 12, "activeOrders": 3, "revenue": 45000.0,
    "timestamp": "2024-07-15T14:00:05.120Z"}))]
pub struct KeyFigures {
    /// Users who are online.
    active_users: usize,
    /// Orders of the last 24 hours with the status `PROCESSING`; `null` without the permission `read:orders`.
    #[schema(required = true, minimum = 0)]
    active_orders: Option<i64>,
    /// Revenue of today in the currency of the server; `null` without the permission `read:orders`.
    #[schema(required = true, value_type = Option<f64>)]
    revenue: Option<Money>,
    /// Time at which the figures were computed.
    #[schema(value_type = Time)]
    timestamp: String,
}

/// Handles `GET /api/stats`: figures of orders are `null` for callers that may not read orders.
#[utoipa::path(
    get,
    path = "/api/stats",
    tag = "Business",
    operation_id = "getStats",
    summary = "Get four key figures",
    description = "`activeOrders` and `revenue` are `null` without the permission `read:orders`.",
    responses(
        (status = 200, description = "The figures", body = KeyFigures),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(access: Authorized<ReadMetrics>) -> Result<JsonResponse<KeyFigures>, Problem> {
    let caller = &access.caller;
    let stats = caller.tenant.orders.stats().await?;
    // Figures of orders require the permission to read orders on every path.
    let of_orders = caller.identity.may(Permission::ReadOrders);
    Ok(JsonResponse::no_cache(KeyFigures {
        active_users: caller.tenant.presence.online().current,
        active_orders: of_orders.then_some(stats.active_orders),
        revenue: of_orders.then_some(stats.revenue),
        timestamp: rfc3339(stats.at),
    }))
}
