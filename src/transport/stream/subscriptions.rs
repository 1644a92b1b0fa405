//! Subscriptions of one stream: `subscribe`, `unsubscribe`, `pause` and `resume`, for all transports.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use super::{Stream, resume::Verdict};
use tricast_auth::Identity;
use tricast_core::{
    channel::{Channel, Selector},
    counters::Limit,
    interval::format_interval,
    position::Position,
    protocol::{
        command::{Rejection, Wanted},
        error::{Code, MAX_LISTED},
        message::{RequestId, ServerMessage, SubscribedChannel},
    },
    publication::Publication,
    reader::{Filter, Reader},
    resume::ResetReason,
};

/// Returns the filter of the data that `identity` may not read within its selectors; `None` if it may read everything.
pub(in crate::transport) fn filter(identity: &Identity) -> Option<Rc<dyn Filter>> {
    if tricast_auth::sees_all(identity) {
        return None;
    }
    Some(Rc::new(Allowed(identity.clone())))
}

/// Filter by the permissions of an identity.
struct Allowed(Identity);

impl Filter for Allowed {
    fn allows_channel(&self, channel: &Channel) -> bool {
        tricast_auth::may_read_channel(&self.0, channel)
    }

    fn allows_event(&self, event: &Publication) -> bool {
        tricast_auth::may_read_event(&self.0, event)
    }
}

impl Stream {
    /// Starts or changes subscriptions and returns the answer, with a line for each channel; denied ones beyond
    /// [`MAX_LISTED`] are only counted. Subscriptions in `first` begin with these states.
    pub(in crate::transport) fn subscribe<'a>(
        &mut self,
        identity: &Identity,
        request_id: Option<RequestId>,
        channels: Vec<Wanted>,
        since: Option<String>,
        mut first: HashMap<Selector, Vec<Arc<Publication>>>,
    ) -> ServerMessage<'a> {
        let limit = self.state.shared.limits.max_subscriptions;
        // Channels beyond the limit are denied in any case.
        let most = if limit > 0 { limit } else { usize::MAX };
        let parsed = channels.iter().filter_map(|w| w.parsed.as_ref().ok());
        let readable = parsed.filter(|(selector, _)| tricast_auth::may_read(identity, selector));
        let selectors: Vec<Selector> = readable.map(|(selector, _)| selector.clone()).take(most).collect();
        let verdict = since.map(|cursor| Verdict::of(self.reader.hub().log(), &cursor, &selectors));
        let from: Option<&Position> = verdict.as_ref().map(|verdict| &verdict.position);
        let (mut lines, mut denied) = (Vec::new(), 0);
        // A repeated name is subscribed once: a subscription with a cursor searches the log.
        let mut done: Vec<Selector> = Vec::new();
        for Wanted { name, parsed, .. } in channels {
            let mut deny = |name, code, message: String| {
                denied += 1;
                let (code, message) = (Some(code), Some(message));
                (denied <= MAX_LISTED).then_some(SubscribedChannel {
                    name,
                    status: "denied",
                    code,
                    message,
                    interval: None,
                })
            };
            lines.extend(match parsed {
                Err(error) => deny(name, Code::InvalidMessage, error.to_string()),
                Ok((selector, _)) if !tricast_auth::may_read(identity, &selector) => {
                    deny(name, Code::Forbidden, "this token may not read it".into())
                }
                Ok((selector, _)) if self.is_full_for(&selector) => {
                    self.state.shared.counters.limit(Limit::Subscriptions).inc();
                    deny(name, Code::SubscriptionLimit, format!("a connection has at most {limit} subscriptions"))
                }
                Ok((selector, interval)) => {
                    if !done.contains(&selector) {
                        let first = first.remove(&selector).unwrap_or_default();
                        self.reader.subscribe_with(selector.clone(), interval, from, first);
                        done.push(selector);
                    }
                    let interval = (!interval.is_zero()).then(|| format_interval(interval));
                    Some(SubscribedChannel { name, status: "active", code: None, message: None, interval })
                }
            });
        }
        let log = self.reader.hub().log();
        ServerMessage::Subscribed {
            request_id,
            channels: lines,
            active_subscriptions: self.reader.active(),
            denied: (denied > MAX_LISTED).then_some(denied),
            resume: verdict.as_ref().map(|verdict| verdict.outcome(log, &selectors)),
            reason: verdict.as_ref().and_then(Verdict::reason).map(ResetReason::as_str),
        }
    }

    /// Returns whether a subscription to `selector` would exceed the limit.
    pub(in crate::transport) fn is_full_for(&self, selector: &Selector) -> bool {
        let limit = self.state.shared.limits.max_subscriptions;
        limit > 0 && self.reader.active() >= limit && !self.reader.is_subscribed(selector)
    }
}

/// Ends subscriptions.
///
/// # Errors
/// A name that is not subscribed refuses the whole message; the same holds for the two functions below.
pub(in crate::transport) fn unsubscribe<'a>(
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
pub(in crate::transport) fn pause<'a>(
    reader: &mut Reader,
    request_id: Option<RequestId>,
    names: Vec<String>,
) -> Result<ServerMessage<'a>, Rejection> {
    let channels = each(reader, &request_id, names, Reader::pause)?;
    Ok(ServerMessage::Paused { request_id, channels, reason: "requested" })
}

/// Starts deliveries again.
///
/// # Errors
/// See [`unsubscribe`].
pub(in crate::transport) fn resume_paused<'a>(
    reader: &mut Reader,
    request_id: Option<RequestId>,
    names: Vec<String>,
) -> Result<ServerMessage<'a>, Rejection> {
    let channels = each(reader, &request_id, names, Reader::resume)?;
    Ok(ServerMessage::Resumed { request_id, channels, reason: "requested" })
}

/// Ends the subscriptions that `identity`, whose token has just changed, may not have; returns their names.
pub(super) fn recheck(reader: &mut Reader, identity: &Identity) -> Vec<String> {
    reader.set_filter(filter(identity));
    // Channels that only the new token allows have to be delivered.
    reader.reapply_filter();
    let lost: Vec<Selector> =
        reader.selectors().filter(|selector| !tricast_auth::may_read(identity, selector)).cloned().collect();
    for selector in &lost {
        reader.unsubscribe(selector);
    }
    lost.iter().map(Selector::to_string).collect()
}

/// Applies `act` to each subscription of `names`.
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
