//! The actions of `request`: questions with an id, answered on the same connection.

use serde_json::{Map, Value, json};

use crate::{
    auth::{self, Identity},
    core::channel::{Channel, Selector},
    http::{channels, state::State},
    protocol::error::Code,
};

/// Most channels of one `get_snapshot`.
const MAX_NAMES: usize = 1_000;

/// Answers one request, or says why not.
pub(super) fn answer(
    state: &State,
    identity: &Identity,
    action: &str,
    params: &Map<String, Value>,
) -> Result<Value, (Code, String)> {
    match action {
        "get_snapshot" => snapshot(state, identity, params),
        "list_channels" => Ok(channels::list(state, identity)),
        other => {
            let shown: String = other.chars().take(40).collect();
            Err((
                Code::InvalidMessage,
                format!("there is no action {shown:?}; there are get_snapshot and list_channels"),
            ))
        }
    }
}

fn snapshot(state: &State, identity: &Identity, params: &Map<String, Value>) -> Result<Value, (Code, String)> {
    let invalid = |message: String| (Code::InvalidMessage, message);
    let names: Vec<&str> = match params.get("channels") {
        None | Some(Value::Null) => vec!["metrics"],
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| name.as_str().ok_or(()))
            .collect::<Result<_, _>>()
            .map_err(|()| invalid("\"channels\" has to be a list of names".into()))?,
        Some(_) => return Err(invalid("\"channels\" has to be a list of names".into())),
    };
    let mut values = Map::new();
    for name in names.into_iter().take(MAX_NAMES) {
        if values.contains_key(name) {
            continue;
        }
        let channel = Channel::parse(name).map_err(|error| invalid(format!("{name:?}: {error}")))?;
        if !auth::reading(&Selector::Exact(channel.clone())).is_none_or(|permission| identity.may(permission)) {
            return Err((Code::Forbidden, format!("this token may not read {name:?}")));
        }
        let Some(publication) = state.log.state(&channel) else {
            return Err((Code::ResourceNotFound, format!("there is no state channel {name:?}")));
        };
        let data = serde_json::from_slice(&publication.data).unwrap_or(Value::Null);
        values.insert(name.to_owned(), data);
    }
    Ok(json!({"channels": values, "cursor": state.log.position().to_string()}))
}
