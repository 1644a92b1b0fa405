//! `CONNECT`: a client joins a namespace, or has its session there restored.

use std::{rc::Rc, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    super::{
        namespace::Namespace,
        output::push,
        recovery::{Hold, Recovery, Saved},
        socket::Socket,
    },
    Connection,
};
use crate::web::{access, caller::Caller, problem::Problem, state::State};

/// Most `CONNECT`s in flight, with those whose client has left the namespace again.
const MAX_CONNECTING: usize = 16;

/// Pending `CONNECT` with a known identity.
pub(super) struct Connecting {
    namespace: Namespace,
    number: u64,
    caller: Result<Caller, Problem>,
    with_offset: bool,
    /// Session that the client wants to recover, and the cursor of the data that it received.
    recovered: Option<(Hold, Option<String>)>,
}

impl Connection {
    pub(super) fn connect(&mut self, namespace: Namespace, auth: Map<String, Value>) {
        if self.is_pending(namespace) {
            return;
        }
        if self.connecting.len() >= MAX_CONNECTING {
            return self.fail("too many CONNECTs in flight");
        }
        self.connects += 1;
        let number = self.connects;
        self.pending.push((namespace, number));
        let state = Rc::clone(&self.state);
        let address = self.slot.client();
        let handshake = self.caller.clone();
        let with_offset = auth.get("recovery").and_then(Value::as_bool).unwrap_or(self.with_offset);
        let recovery = with_offset.then(|| Arc::clone(&self.recovery));
        self.connecting.push(async move {
            let caller = identify(&state, &auth, handshake, address).await;
            let recovered = match (&caller, recovery) {
                (Ok(caller), Some(recovery)) => recover(&state, &recovery, caller, namespace, &auth).await,
                _ => None,
            };
            Connecting { namespace, number, caller, with_offset, recovered }
        });
    }

    /// Returns whether a `CONNECT` to the namespace is in flight.
    pub(super) fn is_pending(&self, namespace: Namespace) -> bool {
        self.pending.iter().any(|(pending, _)| *pending == namespace)
    }

    /// Gives up a `CONNECT` in flight: the client has left the namespace.
    pub(super) fn give_up_connect(&mut self, namespace: Namespace) {
        self.pending.retain(|(pending, _)| *pending != namespace);
        self.await_connect();
    }

    pub(super) fn finish_connect(&mut self, done: Connecting) {
        let Connecting { namespace, number, caller, with_offset, recovered } = done;
        let Some(at) = self.pending.iter().position(|pending| *pending == (namespace, number)) else {
            if let Some((mut hold, _)) = recovered {
                hold.forget();
            }
            return;
        };
        self.pending.swap_remove(at);
        let admitted = caller.and_then(|caller| self.admit(&caller).map(|()| caller));
        let caller = match admitted {
            Ok(caller) => caller,
            Err(Problem { code, detail, retry_after, .. }) => {
                let mut error = json!({"message": detail, "data": {"code": code, "message": detail}});
                if let Some(after) = retry_after {
                    error["data"]["retryAfter"] = (after.as_millis() as u64).into();
                }
                push(&mut self.packets, '4', namespace.as_str(), None, &error.to_string());
                return self.await_connect();
            }
        };
        let state = Rc::clone(&self.state);
        let restored = recovered
            .and_then(|(hold, offset)| Socket::restore(namespace, Rc::clone(&state), &caller, hold, offset.as_deref()));
        if let Some(socket) = restored {
            push(&mut self.packets, '0', namespace.as_str(), None, &socket.connected().to_string());
            self.sockets.push(socket);
        } else {
            // Not the session's ID, which is secret: a client that knows it can act as this one.
            let sid = state.new_id();
            let mut socket = Socket::open(namespace, state, caller, sid, with_offset);
            if with_offset {
                socket.keep(&self.recovery);
            }
            push(&mut self.packets, '0', namespace.as_str(), None, &socket.connected().to_string());
            socket.join(&mut self.packets);
            self.sockets.push(socket);
        }
        self.connect_until = None;
    }

    /// Takes one of the user's connection permits, once for all namespaces.
    fn admit(&mut self, caller: &Caller) -> Result<(), Problem> {
        match &self.user {
            Some(user) if user.is_same_user(&caller.identity) => Ok(()),
            Some(_) => Err(Problem::forbidden("this connection is of another user: open one of its own")),
            None => {
                self.state.attribute_stream(&mut self.slot, caller)?;
                self.user = Some(caller.identity.clone());
                Ok(())
            }
        }
    }
}

/// Returns the identity of a `CONNECT`: by `auth.token`, or by the credentials of the handshake.
async fn identify(
    state: &State,
    auth: &Map<String, Value>,
    handshake: Option<Caller>,
    address: Option<std::net::IpAddr>,
) -> Result<Caller, Problem> {
    match auth.get("token") {
        Some(Value::String(token)) if state.shared.access.requires_tokens() => {
            let identity = access::verify(state, token, address).await.map_err(access::token_problem)?;
            state.caller(identity.with_address(address))
        }
        None | Some(Value::Null | Value::String(_)) => match handshake.filter(|caller| !caller.identity.is_revoked()) {
            Some(caller) => Ok(caller),
            None => Err(Problem::unauthorized(None, "authentication is required: send a token in auth.token")),
        },
        Some(_) => Err(Problem::unauthorized(None, "auth.token has to be a string")),
    }
}

/// Returns the session that a `CONNECT` requests by `pid`, with the cursor of the data that its client received. This
/// node has then read up to that cursor.
async fn recover(
    state: &State,
    recovery: &Arc<Recovery>,
    caller: &Caller,
    namespace: Namespace,
    auth: &Map<String, Value>,
) -> Option<(Hold, Option<String>)> {
    let pid = auth.get("pid")?.as_str()?;
    let offset = auth.get("offset").and_then(Value::as_str).map(str::to_owned);
    let (tenants, log) = (&state.shared.tenants, &caller.tenant.log);
    let catches_up = async |saved: &Saved| {
        let cursors = offset.iter().chain(saved.subscriptions.iter().map(|subscription| &subscription.since));
        for ahead in cursors.filter_map(|cursor| tenants.ahead(log, cursor)).collect::<Vec<_>>() {
            if tenants.catch_up(log, &ahead).await.is_err() {
                return false;
            }
        }
        true
    };
    let hold = recovery.restore(tenants.cluster(), pid, namespace.as_str(), &caller.identity, catches_up).await?;
    Some((hold, offset))
}
