//! Customers and visits (docs/protocol.md, section 6.2).

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::orders::{DeleteOrders, DeletionQuery, WriteOrders};
use crate::web::{authorized::Authorized, body::Body, json_response::JsonResponse, problem::Problem};
use tricast_core::{clock::rfc3339, openapi::Time};
use tricast_domain::orders::{Deletion, NewCustomer, NewVisits};

/// Response to the registration of a customer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"customerId": "ada-1", "firstSeenAt": "2024-07-15T14:00:05.120Z"}))]
pub struct Customer {
    /// ID of the customer in the shop, or the one that the server assigned.
    customer_id: String,
    /// Time at which the customer was first recorded.
    #[schema(value_type = Time)]
    first_seen_at: String,
}

/// Handles `POST /api/customers`: 201 for a new customer, 200 for a known one.
#[utoipa::path(
    post,
    path = "/api/customers",
    tag = "Business",
    operation_id = "createCustomer",
    summary = "Register a customer",
    description = "Needs the permission `write:orders`.",
    request_body = Option<NewCustomer>,
    responses(
        (status = 200, description = "The customer was registered before", body = Customer),
        (status = 201, description = "The customer is new", body = Customer),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn register(access: Authorized<WriteOrders>, body: Body) -> Result<JsonResponse<Customer>, Problem> {
    let new = body.json_or_default::<NewCustomer>().await?;
    let customer = access.caller.tenant.orders.customer(new).await?;
    let status = if customer.tally.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let customer = Customer { customer_id: customer.id, first_seen_at: rfc3339(customer.first_seen) };
    Ok(JsonResponse::no_store(customer).with_status(status))
}

/// Number of counted visits.
#[derive(Serialize, ToSchema)]
pub struct CountedVisits {
    /// Number of visits that were counted.
    #[schema(minimum = 0)]
    accepted: u32,
}

/// Handles `POST /api/visits`: 202 with the number of counted visits.
#[utoipa::path(
    post,
    path = "/api/visits",
    tag = "Business",
    operation_id = "countVisits",
    summary = "Count visits",
    description = "Needs the permission `write:orders`.",
    request_body = Option<NewVisits>,
    responses(
        (status = 202, description = "Number of counted visits", body = CountedVisits),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn count_visits(access: Authorized<WriteOrders>, body: Body) -> Result<JsonResponse<CountedVisits>, Problem> {
    let new = body.json_or_default::<NewVisits>().await?;
    let accepted = access.caller.tenant.orders.visit(new).await?;
    Ok(JsonResponse::no_store(CountedVisits { accepted }).with_status(StatusCode::ACCEPTED))
}

/// Handles `DELETE /api/customers?before=`: 200 with the number of deleted customers.
#[utoipa::path(
    delete,
    path = "/api/customers",
    tag = "Business",
    operation_id = "deleteCustomers",
    summary = "Delete old customers",
    description = "Deletes customers who were first recorded before a time, the oldest first. One call deletes at most \
        1,000: repeat it while `more` is true. Their orders stay. A customer who returns later counts as new. Needs the \
        permission `admin`.",
    params(DeletionQuery),
    responses(
        (status = 200, description = "Number of deleted customers", body = Deletion),
        (status = 422, description = "`before` is less than 24 h ago"),
    )
)]
pub async fn delete(access: Authorized<DeleteOrders, DeletionQuery>) -> Result<JsonResponse<Deletion>, Problem> {
    Ok(JsonResponse::no_store(access.caller.tenant.orders.delete_customers(access.query.before()?).await?))
}
