//! Dashboards and their tiles (docs/protocol.md, section 6.3).

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::web::{
    authorized::{Authorized, ReadMetrics, Requirement},
    body::Body,
    caller::Caller,
    json_response::JsonResponse,
    parameters::{IfMatch, IfNoneMatch},
    problem::Problem,
    versioned::Versioned,
};
use tricast_auth::Permission;
use tricast_core::{counters::Limit, protocol::error::Code};
use tricast_domain::dashboards::{Board, DashboardError, Edit, Edited, NewBoard, NewTile, Tile, TileChanges};

/// Callers that may change dashboards.
pub struct WriteDashboards;

impl Requirement for WriteDashboards {
    const PERMISSIONS: &'static [Permission] = &[Permission::WriteDashboards];
    const CHANGES_STORE: bool = true;
}

impl From<DashboardError> for Problem {
    fn from(error: DashboardError) -> Self {
        let detail = error.to_string();
        let invalid = |status| Self::new(status, Code::InvalidMessage, detail.clone());
        match error {
            DashboardError::Invalid(_) => invalid(StatusCode::UNPROCESSABLE_ENTITY),
            DashboardError::NotFound | DashboardError::NoTile => Self::not_found(detail),
            DashboardError::Taken(_) => invalid(StatusCode::CONFLICT),
            DashboardError::Moved => invalid(StatusCode::PRECONDITION_FAILED),
            DashboardError::TooMany(_) => Self::at_limit(Limit::Dashboards, detail),
            DashboardError::Store(error) => error.into(),
            DashboardError::Service(error) => error.into(),
        }
    }
}

/// All dashboards, ordered by ID.
#[derive(Serialize, ToSchema)]
pub struct DashboardList {
    dashboards: Vec<Board>,
}

/// Handles `GET /api/dashboards`: returns `{dashboards}`, ordered by ID.
#[utoipa::path(
    get,
    path = "/api/dashboards",
    tag = "Dashboards",
    operation_id = "getDashboards",
    summary = "List dashboards",
    responses(
        (status = 200, description = "All dashboards, ordered by ID", body = DashboardList),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn list(access: Authorized<ReadMetrics>) -> Result<JsonResponse<DashboardList>, Problem> {
    let dashboards = access.caller.tenant.dashboards.list().await?;
    Ok(JsonResponse::no_cache(DashboardList { dashboards }))
}

/// Handles `POST /api/dashboards`: creates a dashboard; 201 with the dashboard.
#[utoipa::path(
    post,
    path = "/api/dashboards",
    tag = "Dashboards",
    operation_id = "createDashboard",
    summary = "Create a dashboard",
    description = "Needs the permission `write:dashboards`.",
    request_body = NewBoard,
    responses(
        (status = 201, description = "The dashboard", body = Board, headers(
            ("Location" = String, description = "Path of the dashboard"),
            ("ETag" = String, description = "Tag of this version, for `If-Match`"),
        )),
        (status = 409, description = "The ID is taken"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn create(access: Authorized<WriteDashboards>, body: Body) -> Result<Versioned<Board>, Problem> {
    let Caller { identity, tenant, .. } = &access.caller;
    let board = tenant.dashboards.create(body.json::<NewBoard>().await?, &identity.user).await?.board;
    let location = format!("/api/dashboards/{}", board.id);
    Ok(Versioned::created(board.version(), location, board))
}

/// Handles `GET /api/dashboards/{id}`: returns the dashboard, or 304.
#[utoipa::path(
    get,
    path = "/api/dashboards/{id}",
    tag = "Dashboards",
    operation_id = "getDashboardById",
    summary = "Get a dashboard",
    params(("id" = String, Path, description = "ID of the dashboard", example = "default"), IfNoneMatch),
    responses(
        (status = 200, description = "The dashboard", body = Board),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(id: web::Path<String>, access: Authorized<ReadMetrics>) -> Result<Versioned<Board>, Problem> {
    let board = access.caller.tenant.dashboards.get(&id).await?;
    Ok(Versioned::ok(board.version(), board))
}

/// Handles `PUT /api/dashboards/{id}`: replaces name and tiles; returns the dashboard.
#[utoipa::path(
    put,
    path = "/api/dashboards/{id}",
    tag = "Dashboards",
    operation_id = "replaceDashboard",
    summary = "Replace a dashboard",
    description = "Replaces name and tiles. Needs the permission `write:dashboards`.",
    params(("id" = String, Path, description = "ID of the dashboard", example = "default"), IfMatch),
    request_body = NewBoard,
    responses(
        (status = 200, description = "The dashboard after the change", body = Board,
            headers(("ETag" = String, description = "Tag of this version, for `If-Match`"))),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn replace(
    id: web::Path<String>,
    access: Authorized<WriteDashboards>,
    body: Body,
) -> Result<Versioned<Board>, Problem> {
    let new = body.json::<NewBoard>().await?;
    let board = edit(&access, &id, Edit::Replace(new)).await?.board;
    Ok(Versioned::ok(board.version(), board))
}

/// Handles `DELETE /api/dashboards/{id}`: deletes the dashboard; 204.
#[utoipa::path(
    delete,
    path = "/api/dashboards/{id}",
    tag = "Dashboards",
    operation_id = "deleteDashboard",
    summary = "Delete a dashboard",
    description = "Needs the permission `write:dashboards`.",
    params(("id" = String, Path, description = "ID of the dashboard", example = "default"), IfMatch),
    responses((status = 204, description = "Deleted"))
)]
pub async fn delete(id: web::Path<String>, access: Authorized<WriteDashboards>) -> Result<HttpResponse, Problem> {
    edit(&access, &id, Edit::Delete).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Handles `POST /api/dashboards/{id}/tiles`: 201 with the tile. The tag is that of the dashboard, here and below.
#[utoipa::path(
    post,
    path = "/api/dashboards/{id}/tiles",
    tag = "Dashboards",
    operation_id = "addTile",
    summary = "Add a tile",
    description = "The tag is that of the dashboard. Needs the permission `write:dashboards`.",
    params(("id" = String, Path, description = "ID of the dashboard", example = "default"), IfMatch),
    request_body = NewTile,
    responses(
        (status = 201, description = "The tile", body = Tile, headers(
            ("Location" = String, description = "Path of the tile"),
            ("ETag" = String, description = "Tag of this version, for `If-Match`"),
        )),
        (status = 409, description = "The dashboard has a tile with that ID"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn add_tile(
    id: web::Path<String>,
    access: Authorized<WriteDashboards>,
    body: Body,
) -> Result<Versioned<Option<Tile>>, Problem> {
    let tile = body.json::<NewTile>().await?;
    let Edited { board, tile, .. } = edit(&access, &id, Edit::AddTile(tile)).await?;
    let name = tile.as_ref().map_or("", |tile| &tile.id);
    let location = format!("/api/dashboards/{}/tiles/{name}", board.id);
    Ok(Versioned::created(board.version(), location, tile))
}

/// Handles `PATCH /api/dashboards/{id}/tiles/{tileId}`: replaces the named fields and removes those that are `null`;
/// returns the tile.
#[utoipa::path(
    patch,
    path = "/api/dashboards/{id}/tiles/{tile}",
    tag = "Dashboards",
    operation_id = "changeTile",
    summary = "Update a tile",
    description = "The tag is that of the dashboard. Needs the permission `write:dashboards`.",
    params(
        ("id" = String, Path, description = "ID of the dashboard", example = "default"),
        ("tile" = String, Path, description = "ID of the tile", example = "cpu"),
        IfMatch,
    ),
    request_body = TileChanges,
    responses(
        (status = 200, description = "The tile after the change", body = Tile,
            headers(("ETag" = String, description = "Tag of this version of the dashboard, for `If-Match`"))),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn change_tile(
    path: web::Path<(String, String)>,
    access: Authorized<WriteDashboards>,
    body: Body,
) -> Result<Versioned<Option<Tile>>, Problem> {
    let (id, tile) = path.into_inner();
    let changes = body.json::<Map<String, Value>>().await?;
    let Edited { board, tile, .. } = edit(&access, &id, Edit::ChangeTile { id: tile, changes }).await?;
    Ok(Versioned::ok(board.version(), tile))
}

/// Handles `DELETE /api/dashboards/{id}/tiles/{tileId}`: deletes the tile; 204 with the tag of the dashboard.
#[utoipa::path(
    delete,
    path = "/api/dashboards/{id}/tiles/{tile}",
    tag = "Dashboards",
    operation_id = "removeTile",
    summary = "Delete a tile",
    description = "The tag is that of the dashboard. Needs the permission `write:dashboards`.",
    params(
        ("id" = String, Path, description = "ID of the dashboard", example = "default"),
        ("tile" = String, Path, description = "ID of the tile", example = "cpu"),
        IfMatch,
    ),
    responses((status = 204, description = "Deleted", headers(("ETag" = String, description = "Tag of this version, for `If-Match`"))))
)]
pub async fn remove_tile(
    path: web::Path<(String, String)>,
    access: Authorized<WriteDashboards>,
) -> Result<Versioned<()>, Problem> {
    let (id, tile) = path.into_inner();
    let board = edit(&access, &id, Edit::RemoveTile(tile)).await?.board;
    Ok(Versioned::no_content(board.version()))
}

/// Order of the tiles: the ID of each tile once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"order": ["cpu", "requests", "alerts"]}))]
struct TileOrder {
    order: Vec<String>,
}

/// Handles `PUT /api/dashboards/{id}/tiles/order` with `{order}`, each tile's ID once; returns the dashboard.
#[utoipa::path(
    put,
    path = "/api/dashboards/{id}/tiles/order",
    tag = "Dashboards",
    operation_id = "reorderTiles",
    summary = "Reorder tiles",
    description = "Needs the permission `write:dashboards`.",
    params(("id" = String, Path, description = "ID of the dashboard", example = "default"), IfMatch),
    request_body = TileOrder,
    responses(
        (status = 200, description = "The dashboard after the change", body = Board,
            headers(("ETag" = String, description = "Tag of this version, for `If-Match`"))),
        (status = 422, description = "The list does not name each tile of the dashboard once"),
    )
)]
pub async fn reorder(
    path: web::Path<(String, String)>,
    access: Authorized<WriteDashboards>,
    body: Body,
) -> Result<Versioned<Board>, Problem> {
    let (id, _) = path.into_inner();
    let TileOrder { order } = body.json().await?;
    let board = edit(&access, &id, Edit::Reorder(order)).await?.board;
    Ok(Versioned::ok(board.version(), board))
}

async fn edit(access: &Authorized<WriteDashboards>, id: &str, edit: Edit) -> Result<Edited, Problem> {
    let if_match = access.if_match()?;
    let Caller { identity, tenant, .. } = &access.caller;
    Ok(tenant.dashboards.edit(id, edit, if_match, &identity.user).await?)
}
