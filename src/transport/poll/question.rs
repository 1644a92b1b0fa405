//! What a poll asks for: the query and the headers, checked.

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
};
use tricast_domain::history::parse_backfill;

/// Parameters of a poll of several channels; one that is named in the path has all but the first.
const PARAMETERS: [&str; 6] = ["channels", "since", "wait", "interval", "format", "backfill"];

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The snapshot by itself.
    Snapshot,
    /// One channel.
    One(Channel),
    /// Several, states and events.
    Several(Vec<Selector>),
}

/// What an asker's cursor means at the moment of the answer.
#[derive(Clone, Debug)]
pub(super) struct Since {
    /// Where events are read from.
    pub position: Position,
    /// Something before it is lost: everything there is, is answered.
    pub gap: bool,
}

/// A poll, checked.
#[derive(Debug)]
pub(super) struct Question {
    /// What is asked for.
    pub target: Target,
    /// The cursor that the asker holds.
    pub cursor: Option<Position>,
    /// How long the asker is willing to wait for a change.
    pub wait: Option<Duration>,
    /// The wait was asked for by `Prefer`, and the answer says what came of it.
    pub preferred: bool,
    /// Not before this long after the request is a change answered.
    pub interval: Duration,
    /// Lines for a person.
    pub text: bool,
    /// How much of the past comes with it.
    pub backfill: Option<Duration>,
}

impl Question {
    /// Reads the request; `one` is the channel in the path, if there is one.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub(super) fn read(
        request: &HttpRequest,
        one: Option<&str>,
        caller: &Caller,
        config: PollConfig,
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
        if config.max_subscriptions > 0 && selectors.len() > config.max_subscriptions {
            return Err(bad("channels", &format_args!("at most {} at once", config.max_subscriptions)));
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

    /// How the asker's cursor fits `log` as it is now. Judged anew for each answer: while a poll is held, what it waits for may
    /// be lost.
    pub(super) fn since(&self, log: &Log) -> Option<Since> {
        let selectors = self.target.selectors().unwrap_or_default();
        let (verdict, position) = judge(log, self.cursor.as_ref()?, &selectors);
        Some(Since { position, gap: matches!(verdict, Resume::Reset(_)) })
    }
}

impl Target {
    /// What a reader of it subscribes to.
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

/// `Prefer: wait=N` (RFC 7240, section 4.3). A preference that is not understood is ignored.
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
