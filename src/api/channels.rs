//! `GET /api/channels`: the channels that a caller may subscribe to.

use actix_web::{HttpRequest, HttpResponse, http::header};

use super::openapi::{params, shapes};
use crate::web::{
    authorized::{Anyone, Authorized},
    channels,
    problem::Problem,
    query::Params,
};

/// Handles `GET` and `HEAD /api/channels`.
#[utoipa::path(
    get,
    path = "/api/channels",
    tag = "Polling",
    operation_id = "getChannels",
    summary = "List channels",
    params(params::Channels),
    responses((status = 200, description = "The channels that the caller may read", body = shapes::ChannelList))
)]
pub async fn get(request: HttpRequest, access: Authorized<Anyone>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["channels"])?;
    let wanted = params.list("channels").as_deref().map(channels::parse_list).transpose()?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    Ok(response.json(channels::list(access.state.shared.clock.now(), &access.caller, wanted.as_deref())))
}
