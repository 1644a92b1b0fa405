//! Channels in queries, and `GET /api/channels`: what there is to subscribe to.

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::{Value, json};

use super::{access, problem::Problem, state::State};
use crate::{
    auth::{self, Identity},
    core::channel::{Channel, Selector},
};

/// What a stream or a poll with `since` carries when it names no channels.
pub const DEFAULT: &str = "metrics,alerts";

/// Reads `a,b.*,c`.
///
/// # Errors
/// 400 that names the part that is no channel.
pub fn parse_list(list: &str) -> Result<Vec<Selector>, Problem> {
    let mut selectors = Vec::new();
    for name in list.split(',') {
        let shown: String = name.chars().take(60).collect();
        let selector =
            Selector::parse(name).map_err(|error| Problem::bad_request(format!("channels: {shown:?}: {error}")))?;
        if !selectors.contains(&selector) {
            selectors.push(selector);
        }
    }
    Ok(selectors)
}

/// Parses the name of one channel.
///
/// # Errors
/// 400 that says what is wrong with it.
pub fn parse_one(name: &str) -> Result<Channel, Problem> {
    Channel::parse(name).map_err(|error| Problem::bad_request(format!("channel: {error}")))
}

/// `GET` and `HEAD /api/channels`.
pub async fn get(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let identity = access::identify(&state, &request)?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    Ok(response.json(list(&state, &identity)))
}

/// The channels that `identity` may read, each with kind, version (the offset of its newest publication) and age
/// (ISO 8601; `null` before the first).
pub fn list(state: &State, identity: &Identity) -> Value {
    let now = state.clock.now();
    let channels: Vec<Value> = state
        .log
        .channels()
        .into_iter()
        .filter(|info| {
            let selector = Selector::Exact(info.channel.clone());
            auth::reading(&selector).is_none_or(|permission| identity.may(permission))
        })
        .map(|info| {
            let age = info
                .changed
                .map(|changed| crate::sources::iso_duration(now.duration_since(changed).as_secs().max(0) as u64));
            json!({"channel": info.channel, "kind": info.kind, "version": info.version, "age": age})
        })
        .collect();
    json!({"channels": channels, "cursor": state.log.position().to_string()})
}
