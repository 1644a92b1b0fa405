//! Orders, customers and visits (docs/protocol.md, section 6.2).

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::openapi::{business, params};
use crate::web::{
    authorized::{Authorized, Requirement},
    body::Body,
    caller::Caller,
    precondition,
    problem::Problem,
    query::{self, Params},
    versioned::Versioned,
};
use tricast_auth::Permission;
use tricast_core::{clock::rfc3339, counters::Limit, protocol::error::Code};
use tricast_domain::orders::{
    Changes, Deletion, IdempotencyKey, NewCustomer, NewOrder, NewVisits, Order, OrderError, Status,
};

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::Invalid(_) | OrderError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidMessage, detail)
            }
            OrderError::TooManyOrders(_) => Self::at_limit(Limit::Orders, detail),
            OrderError::TooManyCustomers(_) => Self::at_limit(Limit::Customers, detail),
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

/// Callers that may read orders.
pub struct ReadOrders;

impl Requirement for ReadOrders {
    const PERMISSIONS: &'static [Permission] = &[Permission::ReadOrders];
}

/// Callers that may create and change orders, customers and visits.
pub struct WriteOrders;

impl Requirement for WriteOrders {
    const PERMISSIONS: &'static [Permission] = &[Permission::WriteOrders];
    const CHANGES_STORE: bool = true;
}

/// Callers that may delete orders and customers.
pub struct DeleteOrders;

impl Requirement for DeleteOrders {
    const PERMISSIONS: &'static [Permission] = &[Permission::Admin];
    const CHANGES_STORE: bool = true;
}

/// Most orders on a page.
const MAX_PAGE: usize = 200;

/// Orders on a page without `limit`.
const PAGE: usize = 50;

/// Handles `POST /api/orders`: 201 with the order. A repeated `Idempotency-Key` gets the first response again.
#[utoipa::path(
    post,
    path = "/api/orders",
    tag = "Business",
    operation_id = "createOrder",
    summary = "Create an order",
    params(params::Repeatable),
    request_body = business::NewOrder,
    responses(
        (status = 201, description = "The order", body = business::Order, headers(
            ("Location" = String, description = "Its path"),
            ("ETag" = String, description = "For `If-Match`"),
        )),
        (status = 422, description = "A value is not valid, or the key was used for another order"),
    )
)]
pub async fn create(
    request: HttpRequest,
    access: Authorized<WriteOrders>,
    body: Body,
) -> Result<Versioned<Order>, Problem> {
    let key = idempotency_key(&request)?;
    let order = access.caller.tenant.orders.create(body.json::<NewOrder>().await?, key).await?;
    let location = format!("/api/orders/{}", order.order_id);
    Ok(Versioned::created(order.version(), location, order).no_store())
}

/// Handles `GET /api/orders`: returns `{orders, next}`, the newest first.
#[utoipa::path(
    get,
    path = "/api/orders",
    tag = "Business",
    operation_id = "getOrders",
    summary = "List orders",
    params(params::Orders),
    responses(
        (status = 200, description = "One page", body = business::OrderPage),
        (status = 422, description = "`after` is not the ID of an order"),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn list(request: HttpRequest, access: Authorized<ReadOrders>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["status", "limit", "after"])?;
    let limit = params.number("limit")?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let page = access.caller.tenant.orders.list(params.word::<Status>("status")?, limit, params.one("after")?).await?;
    let body = json!({"orders": page.orders, "next": page.next});
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(body))
}

/// Handles `GET /api/orders/{id}`: returns the order, or 304.
#[utoipa::path(
    get,
    path = "/api/orders/{id}",
    tag = "Business",
    operation_id = "getOrder",
    summary = "Get an order",
    params(("id" = String, Path, description = "Its id", example = "ord-00000001"), params::Conditional),
    responses(
        (status = 200, description = "The order", body = business::Order),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(id: web::Path<String>, access: Authorized<ReadOrders>) -> Result<Versioned<Order>, Problem> {
    let order = access.caller.tenant.orders.get(&id).await?;
    Ok(Versioned::ok(order.version(), order))
}

/// Handles `PATCH /api/orders/{id}`: changes status or priority; with `If-Match` only if the version still matches.
#[utoipa::path(
    patch,
    path = "/api/orders/{id}",
    tag = "Business",
    operation_id = "changeOrder",
    summary = "Update an order",
    description = "Needs `write:orders`. Without `read:orders` the response has only the fields that can be changed.",
    params(("id" = String, Path, description = "Its id", example = "ord-00000001"), params::Guarded),
    request_body = business::Changes,
    responses(
        (status = 200, description = "The order as it is now", body = business::ChangedOrder, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 422, description = "No field to change"),
    )
)]
pub async fn change(
    request: HttpRequest,
    id: web::Path<String>,
    access: Authorized<WriteOrders>,
    body: Body,
) -> Result<Versioned<Value>, Problem> {
    let if_match = precondition::if_match(request.headers())?;
    let changes = body.json::<Changes>().await?;
    let Caller { identity, tenant, .. } = &access.caller;
    let order = tenant.orders.change(&id, changes, if_match, &identity.user).await?;
    let version = order.version();
    let mut order = json!(order);
    if !identity.may(Permission::ReadOrders)
        && let Some(fields) = order.as_object_mut()
    {
        // The other fields are for callers that may read orders.
        fields.retain(|name, _| ["orderId", "status", "priority", "updatedAt"].contains(&name.as_str()));
    }
    Ok(Versioned::ok(version, order))
}

/// Handles `POST /api/customers`: 201 for a new customer, 200 for a known one.
#[utoipa::path(
    post,
    path = "/api/customers",
    tag = "Business",
    operation_id = "createCustomer",
    summary = "Register a customer",
    request_body = Option<business::NewCustomer>,
    responses(
        (status = 200, description = "The customer was known", body = business::Customer),
        (status = 201, description = "The customer is new", body = business::Customer),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn customer(access: Authorized<WriteOrders>, body: Body) -> Result<HttpResponse, Problem> {
    let new = body.json_or_default::<NewCustomer>().await?;
    let customer = access.caller.tenant.orders.customer(new).await?;
    let status = if customer.tally.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let answer = json!({"customerId": customer.id, "firstSeenAt": rfc3339(customer.first_seen)});
    Ok(HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// Handles `POST /api/visits`: 202 with the number of counted visits.
#[utoipa::path(
    post,
    path = "/api/visits",
    tag = "Business",
    operation_id = "countVisits",
    summary = "Count visits",
    request_body = Option<business::NewVisits>,
    responses(
        (status = 202, description = "Number of counted visits", body = business::Counted),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn visit(access: Authorized<WriteOrders>, body: Body) -> Result<HttpResponse, Problem> {
    let new = body.json_or_default::<NewVisits>().await?;
    let accepted = access.caller.tenant.orders.visit(new).await?;
    Ok(HttpResponse::Accepted().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({"accepted": accepted})))
}

/// `DELETE /api/orders?before=`: 200 with the number of deleted orders.
#[utoipa::path(
    delete,
    path = "/api/orders",
    tag = "Business",
    operation_id = "deleteOrders",
    summary = "Delete old orders",
    description = "Deletes orders that were created before a time and are neither `PENDING` nor `PROCESSING`, the oldest \
        first. One call deletes at most 1,000: repeat it while `more` is true. The numbers of past days stay.",
    params(params::Before),
    responses(
        (status = 200, description = "Number of deleted orders", body = business::Deletion),
        (status = 422, description = "`before` is less than 24 h ago"),
    )
)]
pub async fn delete_orders(request: HttpRequest, access: Authorized<DeleteOrders>) -> Result<HttpResponse, Problem> {
    Ok(deletion(access.caller.tenant.orders.delete_orders(before(&request)?).await?))
}

/// `DELETE /api/customers?before=`: 200 with the number of deleted customers.
#[utoipa::path(
    delete,
    path = "/api/customers",
    tag = "Business",
    operation_id = "deleteCustomers",
    summary = "Delete old customers",
    description = "Deletes customers who were first recorded before a time, the oldest first. One call deletes at most \
        1,000: repeat it while `more` is true. Their orders stay. A customer who comes again counts as new.",
    params(params::Before),
    responses(
        (status = 200, description = "Number of deleted customers", body = business::Deletion),
        (status = 422, description = "`before` is less than 24 h ago"),
    )
)]
pub async fn delete_customers(request: HttpRequest, access: Authorized<DeleteOrders>) -> Result<HttpResponse, Problem> {
    Ok(deletion(access.caller.tenant.orders.delete_customers(before(&request)?).await?))
}

/// Reads the parameter `before`, which has to be there: nothing is deleted by mistake.
fn before(request: &HttpRequest) -> Result<Timestamp, Problem> {
    let params = Params::read(request, &["before"])?;
    let text = params.one("before")?.ok_or_else(|| Problem::bad_request("before: a time has to be given"))?;
    text.parse().map_err(|_| query::bad("before", &"write a time such as 2026-01-31T00:00:00Z"))
}

fn deletion(Deletion { deleted, more }: Deletion) -> HttpResponse {
    let body = json!({"deleted": deleted, "more": more});
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(body)
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
