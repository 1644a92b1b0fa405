//! `GET /api/stats`: four figures for a page that wants no more.
//!
//! ```json
//! {"activeUsers": 12, "activeOrders": 3, "revenue": 45000.0, "timestamp": "2024-07-15T14:00:05.120Z"}
//! ```

use std::rc::Rc;

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;

use super::{access, problem::Problem, state::State};
use crate::{auth::Permission, core::clock::rfc3339, orders::OrderService};

/// `GET /api/stats`.
pub async fn get(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (state, orders) = enter(&request).await?;
    let stats = orders.stats().await?;
    let answer = json!({
        "activeUsers": state.presence.online().current,
        "activeOrders": stats.active_orders,
        "revenue": stats.revenue,
        "timestamp": rfc3339(stats.at),
    });
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(answer))
}

/// Lets a request in that may read metrics.
async fn enter(request: &HttpRequest) -> Result<(Rc<State>, OrderService), Problem> {
    let state = State::of(request)?;
    if !access::identify(&state, request)?.may(Permission::ReadMetrics) {
        return Err(Problem::forbidden("this token may not do that"));
    }
    let orders = state.orders.clone();
    Ok((state, orders))
}
