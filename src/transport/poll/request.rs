//! Parsed request of a poll: the query and the headers.

use std::time::Duration;

use actix_web::{HttpRequest, http::header};

use super::PollConfig;
use crate::web::{
    caller::Caller,
    channels,
    problem::Problem,
    query::{Params, bad},
};
use tricast_core::{
    channel::{Channel, Selector},
    interval::parse_interval,
    log::Log,
    position::Position,
    resume::{Resume, judge},
    settings::Limits,
};
use tricast_domain::history::parse_backfill;

/// Parameters of a poll of several channels; a poll of a channel in the path has all but the first.
const PARAMETERS: [&str; 6] = ["channels", "since", "wait", "interval", "format", "backfill"];

/// Channels that a poll requests.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The snapshot by itself.
    Snapshot,
    /// The value of one channel, by itself.
    One(Channel),
    /// Several channels, states and events.
    Several(Vec<Selector>),
}

/// Position of the client's cursor at the time of the response.
#[derive(Clone, Debug)]
pub(super) struct Since {
    /// Position from which events are read.
    pub position: Position,
    /// Whether events before it are lost, so that the response has all current values.
    pub gap: bool,
}

/// Poll after parsing its parameters and headers.
#[derive(Debug)]
pub(super) struct PollRequest {
    /// Channels whose values the client requests.
    pub target: Target,
    /// Cursor of the client.
    pub cursor: Option<Position>,
    /// Longest time that the client waits for a change.
    pub wait: Option<Duration>,
    /// Whether the wait was requested by `Prefer`, so that the response has to confirm it.
    pub preferred: bool,
    /// Shortest time between the request and a response with a change.
    pub interval: Duration,
    /// Whether the response is text for people.
    pub text: bool,
    /// Time span of the history to include.
    pub backfill: Option<Duration>,
}

impl PollRequest {
    /// Parses the request; `one` is the channel in the path, if there is one.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub(super) fn read(
        request: &HttpRequest,
        one: Option<&str>,
        caller: &Caller,
        config: PollConfig,
        limits: &Limits,
    ) -> Result<Self, Problem> {
        let params = Params::read(request, if one.is_some() { &PARAMETERS[1..] } else { &PARAMETERS })?;
        let since = params.one("since")?;
        let target = match (one, params.list("channels")) {
            (Some(name), _) => Target::One(channels::parse_one(name)?),
            (None, Some(list)) => Target::Several(channels::parse_list(&list)?),
            (None, None) if since.is_some() => Target::Several(channels::default_for(&caller.identity)?),
            (None, None) => Target::Snapshot,
        };
        let selectors = target.selectors()?;
        let most = limits.max_subscriptions;
        if most > 0 && selectors.len() > most {
            return Err(bad("channels", &format_args!("at most {most} at once")));
        }
        let cursor = since.map(str::parse::<Position>).transpose().map_err(|error| bad("since", &error))?;
        let interval = match params.one("interval")? {
            None => Duration::ZERO,
            Some(text) => parse_interval(text).map_err(|error| bad("interval", &error))?,
        };
        let asked = match params.one("wait")? {
            None => None,
            Some(text) => Some(text.parse::<u32>().map_err(|_| bad("wait", &"write a whole number of seconds"))?),
        };
        let preferred = preferred_wait(request);
        let wait = asked.or(preferred).map(|seconds| Duration::from_secs(seconds.into()).min(config.long_poll_max));
        let text = match params.one("format")? {
            None => wants_text(request),
            Some("json") => false,
            Some("text") => true,
            Some(_) => return Err(bad("format", &"json or text")),
        };
        let backfill = params.one("backfill")?.map(parse_backfill).transpose()?;
        Ok(Self { target, cursor, wait, preferred: preferred.is_some(), interval, text, backfill })
    }

    /// Compares the client's cursor with the current `log`. Called for each response: while a poll is held, the data that
    /// it waits for may be lost.
    pub(super) fn since(&self, log: &Log) -> Option<Since> {
        let selectors = self.target.selectors().unwrap_or_default();
        let (verdict, position) = judge(log, self.cursor.as_ref()?, &selectors);
        Some(Since { position, gap: matches!(verdict, Resume::Reset(_)) })
    }
}

impl Target {
    /// Returns the subscriptions of a reader for it.
    ///
    /// # Errors
    /// Never in practice: the names were checked.
    pub(super) fn selectors(&self) -> Result<Vec<Selector>, Problem> {
        Ok(match self {
            Self::Snapshot => channels::parse_list(tricast_core::snapshot::SNAPSHOT)?,
            Self::One(channel) => vec![Selector::Exact(channel.clone())],
            Self::Several(selectors) => selectors.clone(),
        })
    }
}

/// Parses `Prefer: wait=N` (RFC 7240, section 4.3). An unknown preference is ignored.
fn preferred_wait(request: &HttpRequest) -> Option<u32> {
    let fields = request.headers().get_all(header::HeaderName::from_static("prefer"));
    let preferences = fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(','));
    preferences
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| value.trim().trim_matches('"').parse().ok())
}

fn wants_text(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    accept.contains("text/plain") && !accept.contains("json")
}
