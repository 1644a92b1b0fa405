//! Orders (docs/protocol.md, section 6.2).

use actix_web::{HttpRequest, http::StatusCode, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::web::{
    authorized::{Authorized, Requirement},
    body::Body,
    caller::Caller,
    json_response::JsonResponse,
    parameters::{IfMatch, IfNoneMatch},
    problem::Problem,
    query,
    typed_query::PageSize,
    versioned::Versioned,
};
use tricast_auth::Permission;
use tricast_core::{clock::rfc3339, counters::Limit, openapi::Time, protocol::error::Code};
use tricast_domain::orders::{
    Changes, Deletion, IdempotencyKey, NewOrder, Order, OrderChanges, OrderError, OrderId, Page, Priority, Status,
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

/// Header of a request that can be repeated safely.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive macro alone")]
struct IdempotencyKeyHeader {
    /// 1 to 255 visible characters. For a day the same key with the same order gets the first response again; with another
    /// order it is refused.
    #[param(rename = "Idempotency-Key", nullable = false, pattern = "^[!-~]{1,255}$", example = "7f9c24e8")]
    idempotency_key: Option<String>,
}

/// Handles `POST /api/orders`: 201 with the order. A repeated `Idempotency-Key` gets the first response again.
#[utoipa::path(
    post,
    path = "/api/orders",
    tag = "Business",
    operation_id = "createOrder",
    summary = "Create an order",
    description = "Needs the permission `write:orders`.",
    params(IdempotencyKeyHeader),
    request_body = NewOrder,
    responses(
        (status = 201, description = "The order", body = Order, headers(
            ("Location" = String, description = "Path of the order"),
            ("ETag" = String, description = "Tag of this version, for `If-Match`"),
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

/// Query of the list of orders.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OrderQuery {
    /// Only orders with this status.
    status: Option<Status>,
    /// Orders on a page, 1 to 200. Default 50; values out of range are clamped.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// Start after this order: `next` of the previous page.
    #[param(
        pattern = "^ord-(0{7}[1-9]|0{6}[1-9][0-9]|0{5}[1-9][0-9]{2}|0{4}[1-9][0-9]{3}|000[1-9][0-9]{4}|00[1-9][0-9]{5}|0[1-9][0-9]{6}|[1-9][0-9]{7,17})$",
        example = "ord-00000001"
    )]
    after: Option<String>,
}

/// Handles `GET /api/orders`: returns `{orders, next}`, the newest first.
#[utoipa::path(
    get,
    path = "/api/orders",
    tag = "Business",
    operation_id = "getOrders",
    summary = "List orders",
    description = "The newest first. Needs the permission `read:orders`.",
    params(OrderQuery),
    responses(
        (status = 200, description = "A page of orders", body = Page),
        (status = 422, description = "`after` is not the ID of an order"),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn list(access: Authorized<ReadOrders, OrderQuery>) -> Result<JsonResponse<Page>, Problem> {
    let Authorized { caller, query: OrderQuery { status, limit, after }, .. } = access;
    Ok(JsonResponse::no_cache(caller.tenant.orders.list(status, limit.0, after.as_deref()).await?))
}

/// Handles `GET /api/orders/{id}`: returns the order, or 304.
#[utoipa::path(
    get,
    path = "/api/orders/{id}",
    tag = "Business",
    operation_id = "getOrder",
    summary = "Get an order",
    description = "Needs the permission `read:orders`.",
    params(("id" = String, Path, description = "ID of the order", example = "ord-00000001"), IfNoneMatch),
    responses(
        (status = 200, description = "The order", body = Order),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(id: web::Path<String>, access: Authorized<ReadOrders>) -> Result<Versioned<Order>, Problem> {
    let order = access.caller.tenant.orders.get(&id).await?;
    Ok(Versioned::ok(order.version(), order))
}

/// Fields of an order for a caller that may change orders but not read them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"orderId": "ord-00000001", "status": "SHIPPED", "priority": "normal",
    "updatedAt": "2024-07-15T14:00:05.120Z"}))]
pub struct OrderState {
    order_id: OrderId,
    status: Status,
    priority: Priority,
    /// Time of the last change.
    #[schema(value_type = Time)]
    updated_at: String,
}

/// The order; without the permission `read:orders` only the fields that can be changed.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum UpdatedOrder {
    /// The whole order, for callers that may read orders.
    Order(Box<Order>),
    /// The fields that can be changed, for other callers.
    State(OrderState),
}

/// Handles `PATCH /api/orders/{id}`: changes status or priority; with `If-Match` only if the version still matches.
#[utoipa::path(
    patch,
    path = "/api/orders/{id}",
    tag = "Business",
    operation_id = "changeOrder",
    summary = "Update an order",
    description = "Needs the permission `write:orders`. Without `read:orders` the response has only the fields that can be \
        changed.",
    params(("id" = String, Path, description = "ID of the order", example = "ord-00000001"), IfMatch),
    request_body = OrderChanges,
    responses(
        (status = 200, description = "The order after the change", body = UpdatedOrder,
            headers(("ETag" = String, description = "Tag of this version, for `If-Match`"))),
        (status = 422, description = "There is no field to change"),
    )
)]
pub async fn change(
    id: web::Path<String>,
    access: Authorized<WriteOrders>,
    body: Body,
) -> Result<Versioned<UpdatedOrder>, Problem> {
    let if_match = access.if_match()?;
    let changes = body.json::<Changes>().await?;
    let Caller { identity, tenant, .. } = &access.caller;
    let order = tenant.orders.change(&id, changes, if_match, &identity.user).await?;
    let version = order.version();
    let order = if identity.may(Permission::ReadOrders) {
        UpdatedOrder::Order(Box::new(order))
    } else {
        let Order { order_id, status, priority, updated_at, .. } = order;
        UpdatedOrder::State(OrderState { order_id, status, priority, updated_at: rfc3339(updated_at) })
    };
    Ok(Versioned::ok(version, order))
}

/// Query of a deletion of old rows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeletionQuery {
    /// Time in RFC 3339 that is at least 24 h ago: rows that were created before it are deleted.
    #[param(
        pattern = "^(19[7-9][0-9]|20[01][0-9])-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
        example = "2019-01-31T00:00:00Z"
    )]
    before: String,
}

impl DeletionQuery {
    /// Parses the parameter, which is required, so that nothing is deleted by mistake.
    pub(super) fn before(&self) -> Result<Timestamp, Problem> {
        self.before.parse().map_err(|_| query::bad("before", &"write a time such as 2026-01-31T00:00:00Z"))
    }
}

/// Handles `DELETE /api/orders?before=`: 200 with the number of deleted orders.
#[utoipa::path(
    delete,
    path = "/api/orders",
    tag = "Business",
    operation_id = "deleteOrders",
    summary = "Delete old orders",
    description = "Deletes orders that were created before a time and are neither `PENDING` nor `PROCESSING`, the oldest \
        first. One call deletes at most 1,000: repeat it while `more` is true. The figures of past days stay. Needs the \
        permission `admin`.",
    params(DeletionQuery),
    responses(
        (status = 200, description = "Number of deleted orders", body = Deletion),
        (status = 422, description = "`before` is less than 24 h ago"),
    )
)]
pub async fn delete_orders(access: Authorized<DeleteOrders, DeletionQuery>) -> Result<JsonResponse<Deletion>, Problem> {
    Ok(JsonResponse::no_store(access.caller.tenant.orders.delete_orders(access.query.before()?).await?))
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
