//! `GET /api/stats`: four key figures for simple pages.
//!
//! ```json
//! {"activeUsers": 12, "activeOrders": 3, "revenue": 45000.0, "timestamp": "2024-07-15T14:00:05.120Z"}
//! ```

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;

use super::openapi::business;
use crate::web::{
    authorized::{Authorized, ReadMetrics},
    problem::Problem,
    query::Params,
};
use tricast_auth::Permission;
use tricast_core::clock::rfc3339;

/// Handles `GET /api/stats`.
#[utoipa::path(
    get,
    path = "/api/stats",
    tag = "Business",
    operation_id = "getStats",
    summary = "Get four key figures",
    description = "`activeOrders` and `revenue` are `null` without the permission `read:orders`.",
    responses(
        (status = 200, description = "The figures", body = business::Stats),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(request: HttpRequest, access: Authorized<ReadMetrics>) -> Result<HttpResponse, Problem> {
    let caller = &access.caller;
    Params::read(&request, &[])?;
    let stats = caller.tenant.orders.stats().await?;
    // Figures of orders require the permission to read orders on every path.
    let of_orders = caller.identity.may(Permission::ReadOrders);
    let answer = json!({
        "activeUsers": caller.tenant.presence.online().current,
        "activeOrders": of_orders.then_some(stats.active_orders),
        "revenue": of_orders.then_some(stats.revenue),
        "timestamp": rfc3339(stats.at),
    });
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(answer))
}
