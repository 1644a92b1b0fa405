//! Orders, customers and visits (contract, section 6).

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    access::{self, Caller},
    body,
    problem::Problem,
    state::State,
};
use crate::{
    auth::Permission,
    orders::{Changes, NewOrder, OrderError, Status},
    protocol::error::Code,
};

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidMessage, detail),
            OrderError::NotFound => Self::not_found(detail),
            OrderError::Full(_) | OrderError::Stopped => Self::unavailable(detail, Duration::from_secs(10)),
        }
    }
}

/// Query of the list.
#[derive(Debug, Deserialize)]
struct ListQuery {
    status: Option<Status>,
    limit: Option<usize>,
    after: Option<String>,
}

/// Most orders on a page.
const MAX_PAGE: usize = 200;

/// `POST /api/orders`: 201 with the order.
pub async fn create(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let caller = writer(&state, &request).await?;
    let order = caller.tenant.orders.create(json_body::<NewOrder>(&state, &request, payload).await?).await?;
    let location = format!("/api/orders/{}", order.order_id);
    Ok(HttpResponse::Created().insert_header((header::LOCATION, location)).json(order))
}

/// `GET /api/orders`: `{orders, next}`, the newest first.
pub async fn list(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let caller = reader(&state, &request).await?;
    let query = web::Query::<ListQuery>::from_query(request.query_string());
    let query = query.map_err(|error| Problem::bad_request(format!("the query is not understood: {error}")))?;
    let page = caller
        .tenant
        .orders
        .list(query.status, query.limit.unwrap_or(50).clamp(1, MAX_PAGE), query.after.as_deref())
        .await?;
    Ok(no_cache().json(json!({"orders": page.orders, "next": page.next})))
}

/// `GET /api/orders/{id}`.
pub async fn get(request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let caller = reader(&state, &request).await?;
    Ok(no_cache().json(caller.tenant.orders.get(&id).await?))
}

/// `PATCH /api/orders/{id}`: status or priority.
pub async fn change(
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let caller = writer(&state, &request).await?;
    let changes = json_body::<Changes>(&state, &request, payload).await?;
    Ok(no_cache().json(caller.tenant.orders.change(&id, changes, None, &caller.identity.user).await?))
}

/// `POST /api/customers`: 201 with the customer's id.
pub async fn customer(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let caller = writer(&state, &request).await?;
    body::read(&state, &request, &mut payload.into_inner()).await?;
    Ok(HttpResponse::Created().json(json!({"customerId": caller.tenant.orders.customer()})))
}

/// `POST /api/visits`: 202.
pub async fn visit(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let caller = writer(&state, &request).await?;
    body::read(&state, &request, &mut payload.into_inner()).await?;
    caller.tenant.orders.visit();
    Ok(HttpResponse::Accepted().json(json!({"accepted": 1})))
}

fn no_cache() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response
}

async fn reader(state: &State, request: &HttpRequest) -> Result<Caller, Problem> {
    let caller = access::identify(state, request).await?;
    caller.needs(Permission::ReadOrders).map(|()| caller)
}

async fn writer(state: &State, request: &HttpRequest) -> Result<Caller, Problem> {
    access::check_origin(state, request)?;
    let caller = access::identify(state, request).await?;
    caller.needs(Permission::WriteOrders).map(|()| caller)
}

async fn json_body<T: DeserializeOwned>(
    state: &State,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Problem> {
    let bytes = body::read(state, request, &mut payload.into_inner()).await?;
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = error.path().to_string();
        let place = if place == "." { String::new() } else { format!("{place}: ") };
        Problem::bad_request(format!("{place}{}", error.inner()))
    })
}
