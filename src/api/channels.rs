//! `GET /api/channels`: the channels that a caller may subscribe to.

use actix_web::HttpRequest;

use crate::web::{
    authorized::{Anyone, Authorized},
    channels::{self, ChannelList},
    json_response::JsonResponse,
    parameters::Channels,
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
    params(Channels),
    responses((status = 200, description = "The channels that the caller may read", body = ChannelList))
)]
pub async fn get(request: HttpRequest, access: Authorized<Anyone>) -> Result<JsonResponse<ChannelList>, Problem> {
    let params = Params::read(&request, &["channels"])?;
    let wanted = params.list("channels").as_deref().map(channels::parse_list).transpose()?;
    let now = access.state.shared.clock.now();
    Ok(JsonResponse::no_cache(channels::list(now, &access.caller, wanted.as_deref())))
}
