//! Remote procedure calls of a client: the actions of `request`, each answered as soon as its result is there.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, stream::FuturesUnordered};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::web::{caller::Caller, channels, problem::Problem, state::State, typed_query::PageSize};
use tricast_auth::Permission;
use tricast_core::{channel::Channel, protocol::error::Code};
use tricast_domain::{
    history::{Asked, Question},
    orders::{Changes, Priority, Status},
};

/// Most channels of one `get_snapshot`.
const MAX_NAMES: usize = 1_000;

/// Most bytes of the values of several channels in one `get_snapshot`. The reply of a client that does not read is held.
const MAX_VALUES: usize = 4 << 20;

/// Most buckets of one `get_history`: a long message delays those behind it.
const MAX_BUCKETS: usize = 10_000;

/// Error of an action: its code, and a message for people.
pub(in crate::transport) type RpcError = (Code, String);

type Futures<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T>>>>;

/// Futures that a connection waits for. It takes one word while there are none.
pub(in crate::transport) struct InFlight<T> {
    futures: Option<Box<Futures<T>>>,
}

impl<T> InFlight<T> {
    pub(in crate::transport) fn new() -> Self {
        Self { futures: None }
    }

    pub(in crate::transport) fn len(&self) -> usize {
        self.futures.as_ref().map_or(0, |futures| futures.len())
    }

    pub(in crate::transport) fn push(&mut self, future: impl Future<Output = T> + 'static) {
        self.futures.get_or_insert_default().push(Box::pin(future));
    }

    /// Returns the next result, in the order of completion; `None` while there is none.
    pub(in crate::transport) fn poll_next(&mut self, cx: &mut Context<'_>) -> Option<T> {
        let futures = self.futures.as_mut()?;
        match Pin::new(&mut **futures).poll_next(cx) {
            Poll::Ready(Some(done)) => Some(done),
            Poll::Ready(None) => {
                self.futures = None;
                None
            }
            Poll::Pending => None,
        }
    }
}

/// Carries out one action and returns its result.
///
/// # Errors
/// [`RpcError`].
pub(super) async fn call(
    state: &State,
    caller: Caller,
    action: String,
    params: Map<String, Value>,
) -> Result<Value, RpcError> {
    match action.as_str() {
        "get_snapshot" => snapshot(&caller, &params),
        "list_channels" => Ok(json!(channels::list(state.shared.clock.now(), &caller, None))),
        "get_history" => history_of(state, &caller, read(params)?).await,
        "get_order_details" => {
            needs(&caller, Permission::ReadOrders)?;
            let OrderId { order_id } = read(params)?;
            Ok(json!(caller.tenant.orders.get(&order_id).await.map_err(failure)?))
        }
        "list_orders" => {
            needs(&caller, Permission::ReadOrders)?;
            let List { status, limit, after } = read(params)?;
            let page = caller
                .tenant
                .orders
                .list(status, limit.unwrap_or_default().0, after.as_deref())
                .await
                .map_err(failure)?;
            Ok(json!(page))
        }
        "mark_order_priority" => {
            needs(&caller, Permission::WriteOrders)?;
            let Mark { order_id, priority } = read(params)?;
            let changes = Changes { priority: Some(priority), ..Changes::default() };
            let orders = &caller.tenant.orders;
            let order = orders.change(&order_id, changes, None, &caller.identity.user).await.map_err(failure)?;
            let order = json!(order);
            Ok(json!({"orderId": order_id, "priority": order["priority"], "updatedAt": order["updatedAt"]}))
        }
        other => {
            let shown: String = other.chars().take(40).collect();
            let known = "get_snapshot, get_history, list_channels, get_order_details, list_orders, mark_order_priority";
            Err((Code::InvalidMessage, format!("there is no action {shown:?}; there are {known}")))
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OrderId {
    order_id: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mark {
    order_id: String,
    priority: Priority,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    status: Option<Status>,
    limit: Option<PageSize>,
    after: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryParams {
    channel: String,
    field: Option<OneOrMany>,
    from: Option<String>,
    to: Option<String>,
    interval: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

async fn history_of(state: &State, caller: &Caller, params: HistoryParams) -> Result<Value, RpcError> {
    let HistoryParams { channel, field, from, to, interval } = &params;
    let fields = match field {
        None => Vec::new(),
        Some(OneOrMany::One(field)) => vec![field.as_str()],
        Some(OneOrMany::Many(fields)) => fields.iter().map(String::as_str).collect(),
    };
    let asked = Asked { fields, from: from.as_deref(), to: to.as_deref(), interval: interval.as_deref() };
    let channel = channels::parse_readable(channel, &caller.identity).map_err(failure)?;
    let question = Question::read(channel, &asked, state.shared.clock.now()).map_err(failure)?;
    let one = match question.fields.as_deref() {
        Some([field]) => Some(field.clone()),
        _ => None,
    };
    let chapter = caller.tenant.history.ask(question).await.map_err(failure)?;
    if chapter.buckets() > MAX_BUCKETS {
        let message = format!("more than {MAX_BUCKETS} buckets: use GET /api/history, or query less");
        return Err((Code::InvalidMessage, message));
    }
    Ok(serde_json::from_str(&chapter.to_json(one.as_deref())).unwrap_or(Value::Null))
}

fn read<T: DeserializeOwned>(params: Map<String, Value>) -> Result<T, RpcError> {
    serde_path_to_error::deserialize(Value::Object(params)).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        (Code::InvalidMessage, format!("params: {place}{}", error.inner()))
    })
}

fn needs(caller: &Caller, permission: Permission) -> Result<(), RpcError> {
    caller.needs(permission).map_err(|problem| (problem.code, problem.detail))
}

/// Converts an error to the code and text that HTTP has for it.
fn failure(error: impl Into<Problem>) -> RpcError {
    let Problem { code, detail, .. } = error.into();
    (code, detail)
}

fn snapshot(caller: &Caller, params: &Map<String, Value>) -> Result<Value, RpcError> {
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
    if names.len() > MAX_NAMES {
        return Err(invalid(format!("\"channels\" names more than {MAX_NAMES} channels")));
    }
    let log = &caller.tenant.log;
    let (mut values, mut bytes) = (Map::new(), 0);
    for name in names {
        if values.contains_key(name) {
            continue;
        }
        let channel = Channel::parse(name).map_err(|error| invalid(format!("{name:?}: {error}")))?;
        if !tricast_auth::may_read_channel(&caller.identity, &channel) {
            return Err((Code::Forbidden, format!("this token may not read {name:?}")));
        }
        let Some(publication) = log.state(&channel, tricast_auth::view(&caller.identity)) else {
            return Err((Code::ResourceNotFound, format!("there is no state channel {name:?}")));
        };
        bytes += publication.data.len();
        if bytes > MAX_VALUES && !values.is_empty() {
            return Err(invalid("the values have more than 4 MiB: name fewer channels, or subscribe to them".into()));
        }
        let data = serde_json::from_slice(&publication.data).unwrap_or(Value::Null);
        values.insert(name.to_owned(), data);
    }
    Ok(json!({"channels": values, "cursor": log.position().to_string()}))
}
