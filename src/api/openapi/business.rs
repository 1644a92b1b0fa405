//! OpenAPI schemas of orders and dashboards.

#![expect(dead_code, missing_docs, reason = "read by the derive macro alone; docs/protocol.md documents the fields")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{AllOfBuilder, ObjectBuilder, Ref, RefOr, Schema, schema::AnyOfBuilder},
};

use super::shapes::Time;

/// Status of an order.
#[derive(ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Pending,
    Processing,
    Shipped,
    Completed,
    Cancelled,
}

/// Priority of an order.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Low,
    Normal,
    High,
    Urgent,
}

/// An order.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"orderId": "ord-00000001", "status": "PENDING", "items": 2, "total": 19.9,
    "customerName": "Ada", "priority": "normal", "createdAt": "2024-07-15T14:00:05.120Z",
    "updatedAt": "2024-07-15T14:00:05.120Z"}))]
pub struct Order {
    #[schema(pattern = "^ord-[0-9]{8,19}$")]
    order_id: String,
    status: Status,
    #[schema(minimum = 1, maximum = 1_000_000)]
    items: u32,
    /// Amount in the currency of the server, with at most 2 decimals.
    #[schema(minimum = 0)]
    total: f64,
    customer_name: String,
    #[schema(nullable = false)]
    customer_id: Option<String>,
    priority: Priority,
    created_at: Time,
    updated_at: Time,
}

/// Fields of an order for a caller that may change orders but not read them.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"orderId": "ord-00000001", "status": "SHIPPED", "priority": "normal",
    "updatedAt": "2024-07-15T14:00:05.120Z"}))]
pub struct PartOfOrder {
    #[schema(pattern = "^ord-[0-9]{8,19}$")]
    order_id: String,
    status: Status,
    priority: Priority,
    updated_at: Time,
}

/// The order; without the permission `read:orders` only the fields that can be changed.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum ChangedOrder {
    Whole(Order),
    Part(PartOfOrder),
}

/// A new order.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"items": 2, "total": 19.9, "customerName": "Ada"}))]
pub struct NewOrder {
    #[schema(minimum = 1, maximum = 1_000_000)]
    items: u32,
    /// Amount in the currency of the server, with at most 2 decimals.
    #[schema(minimum = 0, exclusive_maximum = 1e11)]
    total: f64,
    customer_name: Words,
    customer_id: Option<Words>,
    /// Status; default `PENDING`.
    #[schema(nullable = false)]
    status: Option<Status>,
    /// Priority; default `normal`.
    #[schema(nullable = false)]
    priority: Option<Priority>,
}

/// Changes of an order.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"status": "SHIPPED"}))]
pub struct SomeChanges {
    status: Option<Status>,
    priority: Option<Priority>,
}

/// At least one change.
pub struct Changes;

impl PartialSchema for Changes {
    fn schema() -> RefOr<Schema> {
        let with = |name: &str, of: &str| {
            let object = ObjectBuilder::new().property(name, Ref::from_schema_name(of));
            object.required(name)
        };
        let one = AnyOfBuilder::new().item(with("status", "Status")).item(with("priority", "Priority"));
        let both = AllOfBuilder::new().item(Ref::from_schema_name("SomeChanges")).item(one);
        both.description(Some("Changes of an order: at least one of the fields.")).into()
    }
}

impl ToSchema for Changes {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("SomeChanges".into(), SomeChanges::schema()));
        SomeChanges::schemas(schemas);
    }
}

/// A page of orders, the newest first.
#[derive(ToSchema)]
pub struct OrderPage {
    orders: Vec<Order>,
    /// The `after` of the next page; `null` on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// Result of a deletion.
#[derive(ToSchema)]
#[schema(example = json!({"deleted": 1_000, "more": true}))]
pub struct Deletion {
    /// Number of deleted ones.
    #[schema(minimum = 0, maximum = 1_000)]
    deleted: u64,
    /// Whether there may be more to delete: repeat the call.
    more: bool,
}

/// A customer who visits; all fields are optional.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"customerId": "ada-1", "name": "Ada"}))]
pub struct NewCustomer {
    /// ID of the customer in the shop, at most 200 bytes. Default: an ID made by the server.
    customer_id: Option<Words>,
    /// Display name, at most 200 bytes.
    name: Option<Words>,
}

/// A customer.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"customerId": "ada-1", "firstSeenAt": "2024-07-15T14:00:05.120Z"}))]
pub struct Customer {
    customer_id: String,
    first_seen_at: Time,
}

/// Visits; all fields are optional.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"count": 1}))]
pub struct NewVisits {
    /// Validated but not stored, at most 200 bytes.
    visitor_id: Option<Words>,
    /// Number of visits; default 1.
    #[schema(nullable = false, minimum = 1, maximum = 10_000)]
    count: Option<u32>,
}

/// Number of counted visits.
#[derive(ToSchema)]
pub struct Counted {
    accepted: u64,
}

/// Four key figures.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"activeUsers": 12, "activeOrders": 3, "revenue": 45000.0,
    "timestamp": "2024-07-15T14:00:05.120Z"}))]
pub struct Stats {
    active_users: u64,
    /// Orders of the last 24 hours with the status `PROCESSING`; `null` without the permission `read:orders`.
    active_orders: Option<u64>,
    /// Revenue of today; `null` without the permission `read:orders`.
    revenue: Option<f64>,
    timestamp: Time,
}

/// Presentation of a tile.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TileType {
    Number,
    Chart,
    Table,
    Alerts,
    Text,
}

/// One tile of a dashboard.
#[derive(ToSchema)]
#[schema(example = json!({"id": "cpu", "type": "chart", "title": "CPU", "channel": "metrics.infrastructure",
    "field": "cpu_usage"}))]
pub struct Tile {
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: String,
    r#type: TileType,
    title: String,
    #[schema(nullable = false)]
    channel: Option<String>,
    #[schema(nullable = false)]
    field: Option<String>,
    #[schema(nullable = false)]
    fields: Option<Vec<String>>,
    #[schema(nullable = false, minimum = 1, maximum = 12)]
    width: Option<u8>,
    #[schema(nullable = false, minimum = 1, maximum = 12)]
    height: Option<u8>,
    #[schema(nullable = false)]
    options: Option<BTreeMap<String, Value>>,
}

/// A new tile.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"type": "chart", "title": "CPU", "channel": "metrics.infrastructure", "field": "cpu_usage"}))]
pub struct NewTile {
    /// ID on the dashboard. Default: an ID made by the server.
    #[schema(nullable = false, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
    r#type: TileType,
    title: Words,
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,128}$")]
    channel: Option<String>,
    field: Option<FieldName>,
    #[schema(min_items = 1, max_items = 32)]
    fields: Option<Vec<FieldName>>,
    /// Width in cells of the grid.
    #[schema(minimum = 1, maximum = 12)]
    width: Option<u8>,
    /// Height in cells of the grid.
    #[schema(minimum = 1, maximum = 12)]
    height: Option<u8>,
    /// Display options of the page, at most 2 KiB of JSON.
    options: Option<BTreeMap<String, Value>>,
}

/// Name of a field, at most 256 bytes.
#[derive(ToSchema)]
#[schema(value_type = String, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$")]
pub struct FieldName(String);

/// Changes of a tile: each named field is replaced; `null` removes it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"title": "Load", "width": 2}))]
pub struct TileChanges {
    #[schema(nullable = false)]
    r#type: Option<TileType>,
    #[schema(nullable = false)]
    title: Option<Words>,
    #[schema(pattern = r"^[A-Za-z0-9_.:-]{1,128}$")]
    channel: Option<String>,
    field: Option<FieldName>,
    #[schema(min_items = 1, max_items = 32)]
    fields: Option<Vec<FieldName>>,
    /// Width in cells of the grid.
    #[schema(minimum = 1, maximum = 12)]
    width: Option<u8>,
    /// Height in cells of the grid.
    #[schema(minimum = 1, maximum = 12)]
    height: Option<u8>,
    /// Display options of the page, at most 2 KiB of JSON.
    options: Option<BTreeMap<String, Value>>,
}

/// A dashboard.
#[derive(ToSchema)]
#[schema(example = json!({"id": "shop", "name": "Shop", "tiles": [{"id": "cpu", "type": "chart", "title": "CPU",
    "channel": "metrics.infrastructure", "field": "cpu_usage"}], "version": 1}))]
pub struct Dashboard {
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: String,
    name: String,
    /// In the order in which they are shown.
    tiles: Vec<Tile>,
    /// 1 for a new dashboard; grows with each change.
    version: u64,
}

/// All dashboards, ordered by ID.
#[derive(ToSchema)]
pub struct DashboardList {
    dashboards: Vec<Dashboard>,
}

/// A new dashboard, at most 64 KiB of JSON.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Shop", "tiles": [{"type": "number", "title": "Orders today",
    "channel": "metrics.orders", "field": "ordersToday"}]}))]
pub struct NewDashboard {
    /// ID of the dashboard. Default: an ID made by the server.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
    name: Words,
    /// Tiles with unique IDs.
    #[schema(nullable = false, max_items = 50)]
    tiles: Option<Vec<NewTile>>,
    /// On replacement: the version that the client has seen; 412 if it is another. Ignored on creation.
    #[schema(minimum = 0, maximum = 18_446_744_073_709_551_615_u64, format = "uint64")]
    version: Option<u64>,
}

/// Order of the tiles: each ID once.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"order": ["alerts", "cpu", "orders", "orders-today", "requests", "revenue-today",
    "users-online"]}))]
pub struct TileOrder {
    order: Vec<String>,
}

/// Text: not blank, without control characters, at most 200 bytes.
#[derive(ToSchema)]
#[schema(value_type = String, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$")]
pub struct Words(String);
