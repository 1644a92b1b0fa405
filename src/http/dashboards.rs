//! Dashboards and their tiles (contract, section 6).

use std::{rc::Rc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{Method, StatusCode, header},
    web,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    access::{self, Caller},
    body, precondition,
    problem::Problem,
    state::State,
};
use crate::{
    auth::Permission,
    dashboards::{Board, DashboardError, Edit, Edited, NewBoard, NewTile},
    protocol::error::Code,
};

/// What reading takes.
const READ: Permission = Permission::ReadMetrics;

/// What changing takes.
const WRITE: Permission = Permission::WriteDashboards;

/// What the path of a tile answers to.
pub const TILE_METHODS: &str = "PATCH, DELETE";

impl From<DashboardError> for Problem {
    fn from(error: DashboardError) -> Self {
        let detail = error.to_string();
        let invalid = |status| Self::new(status, Code::InvalidMessage, detail.clone());
        match error {
            DashboardError::Invalid(_) => invalid(StatusCode::UNPROCESSABLE_ENTITY),
            DashboardError::NotFound | DashboardError::NoTile => Self::not_found(detail),
            DashboardError::Taken(_) => invalid(StatusCode::CONFLICT),
            DashboardError::Moved => invalid(StatusCode::PRECONDITION_FAILED),
            DashboardError::TooMany(_) => Self::too_many(detail, Duration::from_secs(60)),
            DashboardError::Unavailable => Self::unavailable(detail, Duration::from_secs(2)),
            DashboardError::Stopped => Self::unavailable(detail, Duration::from_secs(10)),
            DashboardError::Full => Self::unavailable(detail, Duration::from_secs(60)),
        }
    }
}

/// `GET /api/dashboards`: `{dashboards}`, by id.
pub async fn list(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let door = enter(&request, READ).await?;
    let boards = door.caller.tenant.dashboards.list().await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(json!({"dashboards": boards})))
}

/// `POST /api/dashboards`: 201 with the dashboard.
pub async fn create(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let door = enter(&request, WRITE).await?;
    let new = body::json::<NewBoard>(&door.state, &request, payload).await?;
    let board = door.caller.tenant.dashboards.create(new, &door.caller.identity.user).await?.board;
    let location = format!("/api/dashboards/{}", board.id);
    Ok(tagged(StatusCode::CREATED, &board).insert_header((header::LOCATION, location)).json(board))
}

/// `GET /api/dashboards/{id}`: the dashboard, or 304.
pub async fn get(request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let door = enter(&request, READ).await?;
    let board = door.caller.tenant.dashboards.get(&id).await?;
    if precondition::is_fresh(request.headers(), board.version()) {
        return Ok(tagged(StatusCode::NOT_MODIFIED, &board).finish());
    }
    Ok(tagged(StatusCode::OK, &board).json(board))
}

/// `PUT /api/dashboards/{id}`: another name and other tiles; answers the dashboard.
pub async fn replace(
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let door = enter(&request, WRITE).await?;
    let new = body::json::<NewBoard>(&door.state, &request, payload).await?;
    let board = door.edit(&request, &id, Edit::Replace(new)).await?.board;
    Ok(tagged(StatusCode::OK, &board).json(board))
}

/// `DELETE /api/dashboards/{id}`: 204.
pub async fn delete(request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let door = enter(&request, WRITE).await?;
    door.edit(&request, &id, Edit::Delete).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/dashboards/{id}/tiles`: 201 with the tile. The tag is the dashboard's, here and below.
pub async fn add_tile(
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let door = enter(&request, WRITE).await?;
    let tile = body::json::<NewTile>(&door.state, &request, payload).await?;
    let Edited { board, tile, .. } = door.edit(&request, &id, Edit::AddTile(tile)).await?;
    let name = tile.as_ref().map_or("", |tile| &tile.id);
    let location = format!("/api/dashboards/{}/tiles/{name}", board.id);
    Ok(tagged(StatusCode::CREATED, &board).insert_header((header::LOCATION, location)).json(tile))
}

/// `PATCH /api/dashboards/{id}/tiles/{tileId}`: the named fields are replaced, `null` takes one away; answers the tile.
pub async fn change_tile(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (id, tile) = path.into_inner();
    let door = enter(&request, WRITE).await?;
    let changes = body::json::<Map<String, Value>>(&door.state, &request, payload).await?;
    let Edited { board, tile, .. } = door.edit(&request, &id, Edit::ChangeTile { id: tile, changes }).await?;
    Ok(tagged(StatusCode::OK, &board).json(tile))
}

/// `DELETE /api/dashboards/{id}/tiles/{tileId}`: 204.
pub async fn remove_tile(request: HttpRequest, path: web::Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let (id, tile) = path.into_inner();
    let door = enter(&request, WRITE).await?;
    let board = door.edit(&request, &id, Edit::RemoveTile(tile)).await?.board;
    Ok(tagged(StatusCode::NO_CONTENT, &board).finish())
}

/// Body of a new order of tiles.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TileOrder {
    order: Vec<String>,
}

/// `PUT /api/dashboards/{id}/tiles/order`: `{order}`, each tile's id once; answers the dashboard. A tile may be named
/// "order" all the same: what is done to a tile goes by other methods.
pub async fn reorder(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let (id, tile) = path.into_inner();
    if tile != "order" {
        return Err(Problem::method_not_allowed(TILE_METHODS));
    }
    let door = enter(&request, WRITE).await?;
    let TileOrder { order } = body::json(&door.state, &request, payload).await?;
    let board = door.edit(&request, &id, Edit::Reorder(order)).await?.board;
    Ok(tagged(StatusCode::OK, &board).json(board))
}

fn tagged(status: StatusCode, board: &Board) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::ETAG, precondition::tag(board.version())));
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response
}

/// Somebody who was let in.
struct Door {
    state: Rc<State>,
    caller: Caller,
}

impl Door {
    async fn edit(&self, request: &HttpRequest, id: &str, edit: Edit) -> Result<Edited, Problem> {
        let if_match = precondition::if_match(request.headers())?;
        let Caller { identity, tenant } = &self.caller;
        Ok(tenant.dashboards.edit(id, edit, if_match, &identity.user).await?)
    }
}

/// Lets a request in that may do this.
async fn enter(request: &HttpRequest, permission: Permission) -> Result<Door, Problem> {
    let state = State::of(request)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        access::check_origin(&state, request)?;
    }
    let caller = access::identify(&state, request).await?;
    caller.needs(permission)?;
    Ok(Door { state, caller })
}
