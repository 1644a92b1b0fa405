//! Server-Sent Events: named events over plain HTTP, for EventSource behind restrictive proxies (docs/protocol.md, section 3;
//! WHATWG HTML, section 9.2).
//!
//! ```text
//! > GET /events?channels=metrics,orders    Last-Event-ID: k3f9x2ab:10
//! < retry: 2000
//! <
//! < id: k3f9x2ab:10
//! < event: connected
//! < data: {"session":"...","cursor":"k3f9x2ab:10","resume":"replayed","heartbeatInterval":25000}
//! <
//! < id: k3f9x2ab:11
//! < event: order_created
//! < data: {"channel":"orders",...}
//! ```
//!
//! A stream is never compressed. A client that does not read gets the newest values when it reads again. A native
//! EventSource does not reconnect after any status but 200, so temporary refusals are a stream with status 200, the event
//! `error` and a reconnection time; see `refuse`.

use std::{borrow::Cow, fmt::Display, rc::Rc, sync::Arc};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use serde_json::json;

mod chunk;
mod config;
pub(crate) mod control;
mod event;
mod probe;
mod schema;
mod session;

pub use config::SseConfig;
use control::Registration;
pub use control::SessionRegistry;

use crate::{
    shutdown::{reconnect_after, reconnect_soon},
    transport::stream::{
        Stream,
        cutover::{Backfill, Cutover},
        resume::Verdict,
    },
    web::{
        access,
        caller::Caller,
        channels, parameters,
        problem::Problem,
        query::Params,
        request_id::RequestId,
        route,
        state::{State, WorkerState},
        upgrade,
    },
};
use tricast_core::{
    channel::Selector, counters::Transport, interval::parse_interval, log::Log, position::Position,
    protocol::error::Code, resume::ResetReason, settings::Limits,
};
use tricast_domain::history::parse_backfill;

/// Paths of the endpoint and its alias.
pub const PATHS: [&str; 2] = ["/events", "/api/events"];

/// Parameters of the endpoint.
const PARAMETERS: [&str; 8] = ["channels", "interval", "since", "backfill", "strict", "probe", "every", "bytes"];

/// Names of the parameter that replaces the header `Last-Event-ID`: libraries that cannot set headers write it into the
/// URL when they reconnect (event-source-polyfill, reconnecting-eventsource, eventsource of Node.js).
const LAST_EVENT_ID: [&str; 5] = ["lastEventId", "lastEventID", "last-event-id", "Last-Event-ID", "last_event_id"];

/// Query of the endpoint.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// Names, separated by commas.
    channels: Option<String>,
    /// Shortest time between two updates of a channel.
    interval: Option<String>,
    /// Cursor to resume from; the last received event takes precedence.
    since: Option<String>,
    /// Cursor of the last received event, for clients that cannot send the header, which takes precedence.
    last_event_id: Option<String>,
    /// Time span of the history to send first.
    backfill: Option<String>,
    /// `1`: refusals have their real status.
    strict: bool,
    /// Number of timed events for the path doctor; they replace the events of the channels.
    probe: Option<u32>,
    /// Milliseconds between two of them.
    every: Option<u64>,
    /// Padding of each, in bytes.
    bytes: Option<usize>,
}

impl Query {
    /// Reads the query of `request`.
    ///
    /// # Errors
    /// 400 that names the parameter.
    fn read(request: &HttpRequest) -> Result<Self, Problem> {
        let params = Params::read(request, &[&PARAMETERS[..], &LAST_EVENT_ID].concat())?;
        let text = |name| params.one(name).map(|value| value.map(str::to_owned));
        // A library that appends it to a URL that already has it means the last one.
        let last_event_id = LAST_EVENT_ID.into_iter().flat_map(|name| params.all(name)).last().map(str::to_owned);
        Ok(Self {
            channels: params.list("channels"),
            interval: text("interval")?,
            since: text("since")?,
            last_event_id: last_event_id.filter(|id| !id.is_empty()),
            backfill: text("backfill")?,
            strict: params.one("strict")? == Some("1"),
            probe: params.number("probe")?,
            every: params.number("every")?,
            bytes: params.number("bytes")?,
        })
    }
}

/// Adds the routes of event streams, and of the commands for them.
pub fn configure(services: &mut web::ServiceConfig, config: SseConfig, registry: &web::Data<SessionRegistry>) {
    for path in PATHS {
        route::add(services, path, "GET, HEAD", |resource| {
            resource
                .app_data(web::Data::new(config))
                .app_data(registry.clone())
                .route(web::get().to(open))
                .route(web::head().to(peek))
        });
    }
    route::add(services, "/api/sessions/{id}", "POST", |resource| {
        resource.app_data(registry.clone()).route(web::post().to(control::post))
    });
}

/// Opens an event stream: `GET /events`.
#[utoipa::path(
    get,
    path = "/events",
    tag = "Streams",
    operation_id = "openEventStream",
    summary = "Server-Sent Events",
    description = "The `id` of each event is its cursor. Without `channels` the stream has `metrics` and `alerts`, as far as the \
        caller may read them. Events: `connected` first, `metrics`, `metric`, `alert`, `system`, `gap`, `ping`, `auth_expiring`, \
        `bye`, `error`, and on other event channels the event's own name.",
    params(
        parameters::Channels, parameters::Interval, schema::Stream, parameters::Backfill, schema::Probe, schema::LastEventId,
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream",
            example = json!("retry: 2000\n\nid: k3f9x2ab:11\nevent: order_created\ndata: {\"channel\":\"orders\"}\n\n")),
        (status = 503, description = "The server has reached its limit of streams, is shutting down, or has not read up to the cursor yet. `Retry-After` is the time to wait"),
    )
)]
pub(crate) async fn open(
    request: HttpRequest,
    config: web::Data<SseConfig>,
    registry: web::Data<SessionRegistry>,
    WorkerState(state): WorkerState,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request)?;
    if let Some(count) = query.probe {
        let answer = probe::open(&state, &request, **config, probe::ProbeSettings::read(count, &query)?);
        return answer.or_else(|problem| refuse(&state, &request, &query, problem));
    }
    match stream(&state, **config, registry.into_inner(), &request, &query).await {
        Err(problem) => refuse(&state, &request, &query, problem),
        Ok(Opened { stream, greeting, registration }) => {
            upgrade::stream(&request, head(StatusCode::OK).finish(), move |wire, framing| {
                session::open(stream, &config, &greeting, registration, wire, framing)
            })
        }
    }
}

/// Handles `HEAD /events`: the headers of the response to a GET, without the stream. Monitors use it.
async fn peek(request: HttpRequest, WorkerState(state): WorkerState) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request)?;
    // The permit of the stream is released at the end of this function.
    let _slot = state.open_stream(Transport::Sse, state.address(&request))?;
    if query.probe.is_none() {
        let caller = access::identify(&state, &request).await?;
        wanted(&query, &caller, &state.shared.limits)?;
    }
    // Of unknown length, like the stream.
    Ok(head(StatusCode::OK).streaming(futures_util::stream::empty::<Result<web::Bytes, std::convert::Infallible>>()))
}

/// Returns the requested channels, checked.
fn wanted(query: &Query, caller: &Caller, limits: &Limits) -> Result<Vec<Selector>, Problem> {
    let selectors = match &query.channels {
        Some(list) => channels::parse_list(list)?,
        None => channels::default_for(&caller.identity)?,
    };
    let most = limits.max_subscriptions;
    if most > 0 && selectors.len() > most {
        let detail = format!("a stream has at most {most} channels");
        return Err(Problem::bad_request(detail));
    }
    access::check_reading(&caller.identity, &selectors)?;
    Ok(selectors)
}

fn head(status: StatusCode) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

/// Stream whose response is still to be sent.
struct Opened {
    stream: Stream,
    /// First blocks of the stream.
    greeting: String,
    registration: Registration,
}

async fn stream(
    state: &Rc<State>,
    config: SseConfig,
    registry: Arc<SessionRegistry>,
    request: &HttpRequest,
    query: &Query,
) -> Result<Opened, Problem> {
    let mut slot = state.open_stream(Transport::Sse, state.address(request))?;
    let caller = access::identify_stream(state, request).await?;
    let log = &caller.tenant.log;
    let selectors = wanted(query, &caller, &state.shared.limits)?;
    let interval = match &query.interval {
        None => std::time::Duration::ZERO,
        Some(text) => parse_interval(text).map_err(|error| Problem::bad_request(format!("interval: {error}")))?,
    };
    let last_event_id = request.headers().get("Last-Event-ID").map(|id| String::from_utf8_lossy(id.as_bytes()));
    let last_event_id = last_event_id.filter(|id| !id.is_empty()).or(query.last_event_id.as_deref().map(Cow::Borrowed));
    let backfill = query.backfill.as_deref().map(parse_backfill).transpose()?;
    state.attribute_stream(&mut slot, &caller)?;
    let cursor = last_event_id.as_deref().or(query.since.as_deref());
    if let Some(ahead) = cursor.and_then(|cursor| state.shared.tenants.ahead(log, cursor)) {
        state.shared.tenants.catch_up(log, &ahead).await?;
    }
    let judge = || cursor.map(|cursor| Verdict::of(log, cursor, &selectors));
    // A client that resumes its stream has the history.
    let continues = last_event_id.is_some() && judge().is_some_and(|verdict| verdict.is_whole());
    let mut backfill = match backfill.filter(|_| !continues) {
        None => None,
        Some(span) => {
            let wanted: Vec<_> = selectors.iter().map(|selector| (selector.clone(), span)).collect();
            Some(Cutover::set(&caller, &wanted, state.shared.clock.now()).query(&caller).await)
        }
    };

    let timeout = std::time::Duration::ZERO;
    let mut stream = Stream::open(Rc::clone(state), session::STREAM, Some(caller.clone()), timeout, Some(slot));
    let verdict = judge();
    let registration = registry.register(&caller.identity)?;
    let is_stale = state.shared.tenants.is_stale();
    let resumed = verdict.as_ref();
    let greeting = greet(&registration.id, log, config, &selectors, resumed, backfill.as_ref(), is_stale);
    for selector in selectors {
        let first = backfill.as_mut().and_then(|backfill| backfill.states.remove(&selector)).unwrap_or_default();
        match &verdict {
            // The client of a resumed stream has the states up to the cursor.
            Some(verdict) if verdict.is_whole() && last_event_id.is_some() => {
                stream.reader.resume_from(selector, interval, &verdict.position);
            }
            Some(verdict) => stream.reader.subscribe_with(selector, interval, Some(&verdict.position), first),
            None => stream.reader.subscribe_with(selector, interval, None, first),
        }
    }
    Ok(Opened { stream, greeting, registration })
}

/// Returns `retry:`, `connected`, and before it `gap` if the cursor does not fit: scripts cannot see headers, so the
/// stream itself reports whether the resume was complete.
fn greet(
    session: &str,
    log: &Log,
    config: SseConfig,
    selectors: &[Selector],
    verdict: Option<&Verdict>,
    backfill: Option<&Backfill>,
    is_stale: bool,
) -> String {
    let mut out = String::new();
    event::write_retry(&mut out, config.retry);
    // A misspelt name would never deliver anything. Names have no line ends.
    for selector in selectors.iter().filter(|selector| !log.has_channel(selector)) {
        out.push_str(&format!(": there is no channel {selector} yet\n"));
    }
    let cursor = match verdict {
        Some(verdict) if verdict.is_whole() && backfill.is_none() => verdict.position.clone(),
        // No state was sent yet: a client that is cut right after this has to receive them.
        Some(verdict) => Position { state: 0, ..verdict.position.clone() },
        None => Position { state: 0, ..log.position() },
    };
    let id: Option<&dyn Display> = Some(&cursor);
    let reason = verdict.and_then(Verdict::reason);
    // For a cursor that is too old the reader itself sends the gap, with the channels that lost events.
    if let Some(reason) = reason.filter(|reason| *reason != ResetReason::TooOld) {
        let channels: Vec<String> = selectors.iter().map(Selector::to_string).collect();
        let gap = json!({"channels": channels, "cursor": cursor.to_string(), "reason": reason.as_str()});
        event::write_json(&mut out, id, "gap", &gap);
    }
    let mut connected = json!({
        "session": session,
        "cursor": cursor.to_string(),
        "resume": verdict.map(|verdict| verdict.outcome(log, selectors)),
        "heartbeatInterval": config.ping_interval.as_millis() as u64,
    });
    if let Some(reason) = reason {
        connected["reason"] = reason.as_str().into();
    }
    if is_stale {
        connected["stale"] = true.into();
    }
    event::write_json(&mut out, id, "connected", &connected);
    match backfill.map(|backfill| &backfill.chapters) {
        None => {}
        Some(Ok(chapters)) => {
            for chapter in chapters {
                let data = format!(r#"{{"channel":"{}","data":{}}}"#, chapter.channel, chapter.data());
                event::write_block(&mut out, id, "history", &data);
            }
        }
        Some(Err(error)) => {
            // Not `error`, which announces the end of the stream.
            let Problem { code, detail, .. } = error.clone().into();
            event::write_json(&mut out, id, "history", &json!({"error": {"code": code, "detail": detail}}));
        }
    }
    out
}

/// Refuses a stream in a way that a native EventSource handles: a temporary refusal is a stream with status 200, the
/// event `error` and a reconnection time (short, if only this node is behind). Permanent refusals, strict clients, and
/// clients that requested another format get the real status.
fn refuse(state: &State, request: &HttpRequest, query: &Query, problem: Problem) -> Result<HttpResponse, Problem> {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    if !problem.may_pass || query.strict || !accept.contains("text/event-stream") {
        return Err(problem);
    }
    let mut out = String::new();
    event::write_retry(&mut out, if problem.code == Code::Behind { reconnect_soon() } else { reconnect_after() });
    let id = request.extensions().get::<RequestId>().map_or_else(|| state.new_id(), |id| id.0.clone());
    event::write_block(&mut out, None, "error", &problem.to_json(Some(&id)));
    let (code, detail) = (problem.code.as_str(), problem.detail.as_str());
    tracing::info!(id, method = %request.method(), path = request.path(), status = 200, code, detail, "refused");
    let mut response = head(StatusCode::OK);
    if let Some(after) = problem.retry_after {
        response.insert_header((header::RETRY_AFTER, after.as_secs().max(1)));
    }
    Ok(response.force_close().body(out))
}
