//! Orders, customers and visits (docs/protocol.md, section 6.2).

use std::rc::Rc;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{Method, StatusCode, header},
    web,
};
use serde_json::json;

use super::openapi::{business, params};
use crate::{
    auth::Permission,
    core::clock::rfc3339,
    orders::{Changes, IdempotencyKey, NewCustomer, NewOrder, NewVisits, Order, OrderError, Status},
    protocol::error::Code,
    web::{
        access::{self, Caller},
        body, precondition,
        problem::Problem,
        query::Params,
        state::State,
    },
};

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::Invalid(_) | OrderError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidMessage, detail)
            }
            OrderError::NotFound => Self::not_found(detail),
            OrderError::Moved => Self::new(StatusCode::PRECONDITION_FAILED, Code::InvalidMessage, detail),
            _ if error.is_unknown() => Self::unknown(
                "the store did not confirm the change, which may have been made: repeat it with the same \
                 Idempotency-Key, or read it back",
            ),
            OrderError::Store(error) => error.into(),
            OrderError::Service(error) => error.into(),
        }
    }
}

/// Most orders on a page.
const MAX_PAGE: usize = 200;

/// Orders on a page that was asked for without `limit`.
const PAGE: usize = 50;

/// `POST /api/orders`: 201 with the order. A repeated `Idempotency-Key` is answered as the first time.
#[utoipa::path(
    post,
    path = "/api/orders",
    tag = "Business",
    operation_id = "createOrder",
    summary = "A new order",
    params(params::Repeatable),
    request_body = business::NewOrder,
    responses(
        (status = 201, description = "The order", body = business::Order, headers(
            ("Location" = String, description = "Where it is"),
            ("ETag" = String, description = "For `If-Match`"),
        )),
        (status = 422, description = "A value is not possible, or the key was used for another order"),
    )
)]
pub async fn create(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let (state, caller) = enter(&request, Permission::WriteOrders).await?;
    let key = idempotency_key(&request)?;
    let new = body::json::<NewOrder>(&state, &request, payload).await?;
    let order = caller.tenant.orders.create(new, key).await?;
    let location = format!("/api/orders/{}", order.order_id);
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, location))
        .insert_header((header::ETAG, precondition::tag(order.version())))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(order))
}

/// `GET /api/orders`: `{orders, next}`, the newest first.
#[utoipa::path(
    get,
    path = "/api/orders",
    tag = "Business",
    operation_id = "getOrders",
    summary = "Orders, the newest first",
    params(params::Orders),
    responses(
        (status = 200, description = "A page of them", body = business::OrderPage),
        (status = 422, description = "`after` is no order's id"),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn list(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (_, caller) = enter(&request, Permission::ReadOrders).await?;
    let params = Params::read(&request, &["status", "limit", "after"])?;
    let limit = params.number("limit")?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let page = caller.tenant.orders.list(params.word::<Status>("status")?, limit, params.one("after")?).await?;
    Ok(no_cache().json(json!({"orders": page.orders, "next": page.next})))
}

/// `GET /api/orders/{id}`: the order, or 304.
#[utoipa::path(
    get,
    path = "/api/orders/{id}",
    tag = "Business",
    operation_id = "getOrder",
    summary = "One order",
    params(("id" = String, Path, description = "Its id", example = "ord-00000001"), params::Conditional),
    responses(
        (status = 200, description = "The order", body = business::Order),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (_, caller) = enter(&request, Permission::ReadOrders).await?;
    let order = caller.tenant.orders.get(&id).await?;
    if precondition::is_fresh(request.headers(), order.version()) {
        let tag = precondition::tag(order.version());
        return Ok(HttpResponse::NotModified()
            .insert_header((header::ETAG, tag))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .finish());
    }
    Ok(answer(order))
}

/// `PATCH /api/orders/{id}`: status or priority; with `If-Match` only if it has not moved.
#[utoipa::path(
    patch,
    path = "/api/orders/{id}",
    tag = "Business",
    operation_id = "changeOrder",
    summary = "Another status or priority",
    description = "Needs `write:orders`. Without `read:orders` the answer has only what can be changed.",
    params(("id" = String, Path, description = "Its id", example = "ord-00000001"), params::Guarded),
    request_body = business::Changes,
    responses(
        (status = 200, description = "The order as it is now", body = business::ChangedOrder, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 422, description = "Nothing is to change"),
    )
)]
pub async fn change(
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (state, caller) = enter(&request, Permission::WriteOrders).await?;
    let if_match = precondition::if_match(request.headers())?;
    let changes = body::json::<Changes>(&state, &request, payload).await?;
    let order = caller.tenant.orders.change(&id, changes, if_match, &caller.identity.user).await?;
    if caller.identity.may(Permission::ReadOrders) {
        return Ok(answer(order));
    }
    // What was changed; the rest is for those who may read orders.
    let tag = precondition::tag(order.version());
    let mut order = json!(order);
    if let Some(fields) = order.as_object_mut() {
        fields.retain(|name, _| ["orderId", "status", "priority", "updatedAt"].contains(&name.as_str()));
    }
    Ok(no_cache().insert_header((header::ETAG, tag)).json(order))
}

/// `POST /api/customers`: 201 for a customer who was never seen, 200 for one who was.
#[utoipa::path(
    post,
    path = "/api/customers",
    tag = "Business",
    operation_id = "createCustomer",
    summary = "A customer, who counts in `new_users_today` when new",
    request_body = Option<business::NewCustomer>,
    responses(
        (status = 200, description = "The customer, who was seen before", body = business::Customer),
        (status = 201, description = "The customer, who was never seen", body = business::Customer),
        (status = 422, description = "A value is not possible"),
    )
)]
pub async fn customer(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let (state, caller) = enter(&request, Permission::WriteOrders).await?;
    let new = body::json_or_default::<NewCustomer>(&state, &request, payload).await?;
    let customer = caller.tenant.orders.customer(new).await?;
    let status = if customer.tally.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let answer = json!({"customerId": customer.id, "firstSeenAt": rfc3339(customer.first_seen)});
    Ok(HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// `POST /api/visits`: 202 with how many were counted.
#[utoipa::path(
    post,
    path = "/api/visits",
    tag = "Business",
    operation_id = "countVisits",
    summary = "Visits, which `conversion_rate` is made from",
    request_body = Option<business::NewVisits>,
    responses(
        (status = 202, description = "How many were counted", body = business::Counted),
        (status = 422, description = "A value is not possible"),
    )
)]
pub async fn visit(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let (state, caller) = enter(&request, Permission::WriteOrders).await?;
    let new = body::json_or_default::<NewVisits>(&state, &request, payload).await?;
    let accepted = caller.tenant.orders.visit(new).await?;
    Ok(HttpResponse::Accepted().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({"accepted": accepted})))
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<IdempotencyKey>, Problem> {
    let mut keys = request.headers().get_all("idempotency-key");
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(Problem::bad_request("Idempotency-Key: more than one"));
    }
    let key = IdempotencyKey::parse(key.to_str().unwrap_or_default());
    key.map(Some).map_err(|error| Problem::bad_request(error.to_string()))
}

fn answer(order: Order) -> HttpResponse {
    no_cache().insert_header((header::ETAG, precondition::tag(order.version()))).json(order)
}

fn no_cache() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response
}

/// Lets a request in that may do this.
async fn enter(request: &HttpRequest, permission: Permission) -> Result<(Rc<State>, Caller), Problem> {
    let state = State::of(request)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        access::check_origin(&state, request)?;
    }
    let caller = access::identify(&state, request).await?;
    caller.needs(permission)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        state.change(&caller)?;
    }
    Ok((state, caller))
}
