//! `GET /api/channels`: the channels that a caller may subscribe to.

use serde::Deserialize;

use crate::web::{
    authorized::{Anyone, Authorized},
    channels::{self, ChannelList},
    json_response::JsonResponse,
    parameters::Channels,
    problem::Problem,
};

/// Query of the list of channels, described by [`Channels`].
#[derive(Deserialize)]
pub struct ChannelQuery {
    #[serde(default)]
    channels: Vec<String>,
}

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
pub async fn get(access: Authorized<Anyone, ChannelQuery>) -> Result<JsonResponse<ChannelList>, Problem> {
    let ChannelQuery { channels: lists } = &access.query;
    let wanted = if lists.is_empty() { None } else { Some(channels::parse_list(&lists.join(","))?) };
    let now = access.state.shared.clock.now();
    Ok(JsonResponse::no_cache(channels::list(now, &access.caller, wanted.as_deref())))
}
