//! The subscriptions of one connection: what `subscribe`, `unsubscribe`, `pause` and `resume` do, whichever way they came.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use crate::{
    auth::{self, Identity},
    core::{
        channel::{Channel, ChannelKind, Selector},
        interval::format_interval,
        position::Position,
        publication::Publication,
        reader::{Filter, Reader},
        resume::{Resume, resume},
    },
    counters::{Counters, Limit},
    protocol::{
        command::{Rejection, Wanted},
        error::Code,
        message::{RequestId, ServerMessage, SubscribedChannel},
    },
};

/// What one connection may subscribe to, and how much.
pub(super) struct Rules<'a> {
    /// Whose connection it is.
    pub(super) identity: &'a Identity,
    /// Most subscriptions; 0 means no limit.
    pub(super) max: usize,
    /// Counts what is denied.
    pub(super) counters: &'a Counters,
}

/// What has to be left out of what `identity` asked for; `None` when nothing has.
pub(super) fn filter(identity: &Identity) -> Option<Rc<dyn Filter>> {
    if auth::sees_all(identity) {
        return None;
    }
    Some(Rc::new(Allowed(identity.clone())))
}

/// What this identity may read.
struct Allowed(Identity);

impl Filter for Allowed {
    fn allows_channel(&self, channel: &Channel) -> bool {
        auth::may_read_channel(&self.0, channel)
    }

    fn allows_event(&self, event: &Publication) -> bool {
        auth::may_read_event(&self.0, event)
    }
}

/// Starts or changes subscriptions; each is answered by a line. Those that are in `first` begin with these states.
pub(super) fn subscribe<'a>(
    reader: &mut Reader,
    rules: &Rules<'_>,
    request_id: Option<RequestId>,
    channels: Vec<Wanted>,
    since: Option<String>,
    mut first: HashMap<Selector, Vec<Arc<Publication>>>,
) -> ServerMessage<'a> {
    let limit = rules.max;
    // More than a connection may have are denied anyway.
    let most = if limit > 0 { limit } else { usize::MAX };
    let parsed = channels.iter().filter_map(|w| w.parsed.as_ref().ok());
    let readable = parsed.filter(|(selector, _)| auth::may_read(rules.identity, selector));
    let selectors: Vec<Selector> = readable.map(|(selector, _)| selector.clone()).take(most).collect();
    let resumed = since.map(|cursor| resume(reader.hub().log(), &cursor, &selectors));
    let from: Option<&Position> = resumed.as_ref().map(|(_, position)| position);
    let mut lines = Vec::with_capacity(channels.len());
    // A name that is there twice is subscribed once: a subscription with a cursor looks through the log.
    let mut done: Vec<Selector> = Vec::new();
    for Wanted { name, parsed, .. } in channels {
        let denied = |name, code, message: String| SubscribedChannel {
            name,
            status: "denied",
            code: Some(code),
            message: Some(message),
            interval: None,
        };
        lines.push(match parsed {
            Err(error) => denied(name, Code::InvalidMessage, error.to_string()),
            Ok((selector, _)) if !auth::may_read(rules.identity, &selector) => {
                denied(name, Code::Forbidden, "this token may not read it".into())
            }
            Ok((selector, _)) if limit > 0 && reader.active() >= limit && !reader.is_subscribed(&selector) => {
                rules.counters.limit(Limit::Subscriptions).inc();
                denied(name, Code::SubscriptionLimit, format!("a connection has at most {limit} subscriptions"))
            }
            Ok((selector, interval)) => {
                if !done.contains(&selector) {
                    let first = first.remove(&selector).unwrap_or_default();
                    reader.subscribe_with(selector.clone(), interval, from, first);
                    done.push(selector);
                }
                let interval = (!interval.is_zero()).then(|| format_interval(interval));
                SubscribedChannel { name, status: "active", code: None, message: None, interval }
            }
        });
    }
    let (resume, reason) = match resumed {
        None => (None, None),
        Some((Resume::Reset(reason), _)) => (Some("reset"), Some(reason.as_str())),
        Some((Resume::Replay(_), _)) if only_states(reader, &selectors) => (Some("snapshot"), None),
        Some((Resume::Replay(_), _)) => (Some("replayed"), None),
    };
    let active_subscriptions = reader.active();
    ServerMessage::Subscribed { request_id, channels: lines, active_subscriptions, resume, reason }
}

/// Ends subscriptions.
///
/// # Errors
/// A name that is not subscribed refuses the whole message; so it is for the two below.
pub(super) fn unsubscribe<'a>(
    reader: &mut Reader,
    request_id: Option<RequestId>,
    names: Vec<String>,
) -> Result<ServerMessage<'a>, Rejection> {
    let channels = each(reader, &request_id, names, Reader::unsubscribe)?;
    Ok(ServerMessage::Unsubscribed { request_id, channels, active_subscriptions: reader.active() })
}

/// Stops deliveries.
///
/// # Errors
/// See [`unsubscribe`].
pub(super) fn pause<'a>(
    reader: &mut Reader,
    request_id: Option<RequestId>,
    names: Vec<String>,
) -> Result<ServerMessage<'a>, Rejection> {
    let channels = each(reader, &request_id, names, Reader::pause)?;
    Ok(ServerMessage::Paused { request_id, channels, reason: "requested" })
}

/// Starts them again.
///
/// # Errors
/// See [`unsubscribe`].
pub(super) fn resume_paused<'a>(
    reader: &mut Reader,
    request_id: Option<RequestId>,
    names: Vec<String>,
) -> Result<ServerMessage<'a>, Rejection> {
    let channels = each(reader, &request_id, names, Reader::resume)?;
    Ok(ServerMessage::Resumed { request_id, channels, reason: "requested" })
}

/// Ends the subscriptions that `identity`, whose token has just changed, may not have; answers their names.
pub(super) fn recheck(reader: &mut Reader, identity: &Identity) -> Vec<String> {
    reader.set_filter(filter(identity));
    // What is allowed now and was not before has to come.
    reader.give_again();
    let lost: Vec<Selector> =
        reader.selectors().filter(|selector| !auth::may_read(identity, selector)).cloned().collect();
    for selector in &lost {
        reader.unsubscribe(selector);
    }
    lost.iter().map(Selector::to_string).collect()
}

fn only_states(reader: &Reader, selectors: &[Selector]) -> bool {
    selectors.iter().all(|selector| match selector {
        Selector::Exact(channel) => reader.hub().log().kind(channel) == Some(ChannelKind::State),
        Selector::Below(_) => false,
    })
}

/// Does something to each subscription named.
fn each(
    reader: &mut Reader,
    request_id: &Option<RequestId>,
    names: Vec<String>,
    act: fn(&mut Reader, &Selector) -> bool,
) -> Result<Vec<String>, Rejection> {
    let parsed = names.iter().map(|name| {
        let selector = Selector::parse(name).map_err(|error| (Code::InvalidMessage, error.to_string()))?;
        if reader.is_subscribed(&selector) {
            Ok(selector)
        } else {
            Err((Code::ResourceNotFound, format!("{selector} is not subscribed")))
        }
    });
    match parsed.collect::<Result<Vec<_>, _>>() {
        Ok(selectors) => {
            for selector in &selectors {
                act(reader, selector);
            }
            Ok(names)
        }
        Err((code, message)) => Err(Rejection::new(request_id.clone(), code, message)),
    }
}
