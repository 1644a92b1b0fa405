//! Polling: one request, one response; a long poll waits first (docs/protocol.md, section 4; RFC 9110, RFC 7240).
//!
//! ```text
//! > GET /api/metrics    If-None-Match: W/"1596-2871..."    Prefer: wait=20
//! < 304                 ETag: W/"1596-2871..."             Preference-Applied: wait=20
//! ```
//!
//! A 304 is decided before a body is built. The server keeps no state between two polls: an absent client costs nothing.

use std::{rc::Rc, sync::Arc};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    dev::RequestHead,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use tokio::{sync::watch, time::Instant};

mod config;
mod representation;
mod request;
mod response;
mod schema;
mod snapshot_schema;

pub use config::PollConfig;

use self::{representation::Representation, request::PollRequest};
use crate::{
    transport::stream::{
        REVOKED,
        cutover::{self, Cutover},
        subscriptions,
        token_expiry::Expiry,
    },
    web::{
        access,
        caller::Caller,
        etag::{self, Verdict},
        machine_keys::MachineKeys,
        middleware::Held,
        parameters,
        problem::Problem,
        route,
        segments::SegmentsBody,
        state::{State, WorkerState},
    },
};
use tricast_core::{
    channel::Selector,
    counters::Transport,
    position::Position,
    publication::Publication,
    reader::{CatchUp, Reader, Sink},
};

/// Value of `Vary`: request headers that change the response.
const VARY: &str = "Accept, Accept-Encoding, Prefer";

/// Value of `Vary` if responses depend on the client.
const VARY_BY_TOKEN: &str = "Accept, Accept-Encoding, Authorization, Cookie, Prefer, X-API-Key";

/// Handles `GET` and `HEAD /api/metrics`.
#[utoipa::path(
    get,
    path = "/api/metrics",
    tag = "Polling",
    operation_id = "getMetrics",
    summary = "Poll the snapshot or several channels",
    description = "Returns the snapshot, or with `channels` or `since` the values and events of channels, with a cursor to continue \
        from.",
    params(
        parameters::Channels, schema::Query, parameters::Interval, parameters::Backfill, parameters::IfNoneMatch,
        parameters::IfModifiedSince, schema::Prefer,
    ),
    responses(
        (status = 200, description = "The current data", content((schema::Metrics = "application/json"), (String = "text/plain")),
            headers(
                ("Last-Modified" = String, description = "Time of the last change, for `If-Modified-Since`"),
                ("Preference-Applied" = String, description = "The preference of `Prefer` that was applied"),
            )),
        (status = 404, description = "The request has `backfill`, and the server keeps no history"),
        (status = 503, description = "This node has not read up to `since` yet, or the request has `backfill` and the store is not available at the moment. `Retry-After` is the time to wait"),
    )
)]
pub async fn poll(
    request: HttpRequest,
    config: web::Data<PollConfig>,
    WorkerState(state): WorkerState,
) -> Result<HttpResponse, Problem> {
    answer_to(&state, &request, **config, None).await
}

/// Handles `GET` and `HEAD /api/metrics/{channel}`.
#[utoipa::path(
    get,
    path = "/api/metrics/{channel}",
    tag = "Polling",
    operation_id = "getChannel",
    summary = "Poll one channel",
    params(
        ("channel" = String, Path, description = "Name of the channel", pattern = r"^[A-Za-z0-9_.:-]{1,128}$", example = "metrics.orders"),
        schema::Query, parameters::Interval, parameters::Backfill, parameters::IfNoneMatch, parameters::IfModifiedSince,
        schema::Prefer,
    ),
    responses(
        (status = 200, description = "The current data", content((schema::OneChannel = "application/json"), (String = "text/plain")),
            headers(
                ("Last-Modified" = String, description = "Time of the last change, for `If-Modified-Since`"),
                ("Preference-Applied" = String, description = "The preference of `Prefer` that was applied"),
            )),
        (status = 410, description = "The channel has ended recently"),
    )
)]
pub async fn poll_channel(
    request: HttpRequest,
    config: web::Data<PollConfig>,
    channel: web::Path<String>,
    WorkerState(state): WorkerState,
) -> Result<HttpResponse, Problem> {
    answer_to(&state, &request, **config, Some(&channel)).await
}

/// Returns whether a request is a poll whose path ends with the name of a channel as it is: one segment, without
/// percent-encoding. All others are for [`poll_channel`] and its pattern.
pub fn is_plain(head: &RequestHead) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
        && memchr::memchr(b'%', head.uri.path().as_bytes()).is_none()
        && route::channel_in(head.uri.path()).is_some()
}

/// Handles the requests that [`is_plain`] selects, like [`poll_channel`].
pub async fn poll_plain(
    request: HttpRequest,
    config: web::Data<PollConfig>,
    WorkerState(state): WorkerState,
) -> Result<HttpResponse, Problem> {
    let channel = route::channel_in(request.path()).unwrap_or_default();
    answer_to(&state, &request, **config, Some(channel)).await
}

/// Value of `Warning` while the log cannot be read: other nodes may have newer values (RFC 7234, section 5.5.1, which its
/// successor does not define any more; clients that know it show it, others ignore it).
const STALE: &str = "110 tricast \"Response is Stale\"";

async fn answer_to(
    state: &Rc<State>,
    request: &HttpRequest,
    config: PollConfig,
    one: Option<&str>,
) -> Result<HttpResponse, Problem> {
    let caller = access::identify(state, request).await?;
    let poll = PollRequest::read(request, one, &caller, config, &state.shared.limits)?;
    access::check_reading(&caller.identity, &poll.target.selectors()?)?;
    caller.local.note_poll(&caller.identity);
    let log = &caller.tenant.log;
    if let Some(cursor) = &poll.cursor {
        state.shared.tenants.catch_up(log, cursor).await?;
    }
    // A client that continues from a cursor has had it.
    let is_new = || poll.since(log).is_none_or(|since| since.gap);
    if let Some(span) = poll.backfill.filter(|_| is_new()) {
        return with_history(state, &caller, request, &poll, span).await;
    }
    let mut representation = response::to(&poll, &caller)?;
    let mut verdict = etag::judge(request.headers(), &representation.tag, representation.modified);
    if let Some(wait) = poll.wait
        && is_current(&poll, verdict, &representation)
        && !wait.is_zero()
    {
        let deadline = Instant::now() + wait;
        let (first, start) = (representation.tag.clone(), Instant::now());
        representation = hold(state, &caller, request, &poll, representation, deadline).await?;
        verdict = match etag::judge(request.headers(), &representation.tag, representation.modified) {
            // `*` matches any tag, and a date any change in its second: the client waits for a change.
            Verdict::NotModified if representation.tag != first => Verdict::Modified,
            verdict => verdict,
        };
        request.extensions_mut().insert(Held(start.elapsed()));
    }
    let counters = state.shared.counters.of(Transport::Poll);
    if verdict == Verdict::NotModified {
        state.shared.counters.not_modified.inc();
    } else {
        counters.deliveries.inc();
    }
    let personal = state.shared.access.requires_tokens();
    let mut response = respond(state.shared.clock.now(), personal, request, &poll, &representation, verdict).await?;
    if state.shared.tenants.is_stale() {
        response.headers_mut().insert(header::WARNING, HeaderValue::from_static(STALE));
    }
    Ok(response)
}

/// Returns the current response with the history before it. It is never held: the client continues from its cursor.
async fn with_history(
    state: &Rc<State>,
    caller: &Caller,
    request: &HttpRequest,
    poll: &PollRequest,
    span: std::time::Duration,
) -> Result<HttpResponse, Problem> {
    let wanted: Vec<_> = poll.target.selectors()?.into_iter().map(|selector| (selector, span)).collect();
    let log = &caller.tenant.log;
    let mut attempts = 8;
    let (now, cutover) = loop {
        let head = log.head();
        let pair = (response::to(poll, caller)?, Cutover::set(caller, &wanted, state.shared.clock.now()));
        attempts -= 1;
        // Both are of one moment; or nearly, if there are continuous publications.
        if log.head() == head || attempts == 0 {
            break pair;
        }
    };
    let chapters = cutover.query(caller).await.chapters?;
    let representation = Arc::new(now.with("history", &cutover::by_channel(&chapters)));
    let verdict = etag::judge(request.headers(), &representation.tag, None);
    state.shared.counters.of(Transport::Poll).deliveries.inc();
    let personal = state.shared.access.requires_tokens();
    respond(state.shared.clock.now(), personal, request, poll, &representation, verdict).await
}

/// Returns whether the client is up to date, so that it has to wait.
fn is_current(poll: &PollRequest, verdict: Verdict, representation: &Representation) -> bool {
    verdict == Verdict::NotModified
        || (verdict == Verdict::Unconditional && poll.cursor.is_some() && representation.empty)
}

/// Waits until the representation changes, or `deadline`, or the server drains.
async fn hold(
    state: &Rc<State>,
    caller: &Caller,
    request: &HttpRequest,
    poll: &PollRequest,
    first: Arc<Representation>,
    deadline: Instant,
) -> Result<Arc<Representation>, Problem> {
    let slot = state.open_stream(Transport::LongPoll, caller.identity.address());
    let Ok(_slot) = slot.and_then(|mut slot| state.attribute_stream(&mut slot, caller).map(|()| slot)) else {
        // There is no permit for a wait: the current response is sent at once.
        return Ok(first);
    };
    let expiry = Expiry::of(&caller.identity, state.shared.clock.now()).at();
    let keys = caller.identity.key().and(state.shared.access.keys.as_ref());
    let mut revocations = keys.map(MachineKeys::revocations);
    let not_before = (Instant::now() + poll.interval).min(deadline);
    let mut reader = Reader::open(&caller.local.hub, CatchUp::EventsFirst);
    reader.set_filter(subscriptions::filter(&caller.identity));
    let since = poll.since(&caller.tenant.log);
    for selector in poll.target.selectors()? {
        reader.subscribe(selector, std::time::Duration::ZERO, since.as_ref().map(|since| &since.position));
    }
    loop {
        reader.collect(usize::MAX, &mut Nothing);
        let representation = response::to(poll, caller)?;
        let verdict = etag::judge(request.headers(), &representation.tag, representation.modified);
        let changed = representation.tag != first.tag || !is_current(poll, verdict, &representation);
        let now = Instant::now();
        if expiry.is_some_and(|at| now >= at) {
            return Err(Problem::unauthorized(Some("invalid_token"), "the token has expired"));
        }
        if caller.identity.is_revoked() {
            return Err(Problem::unauthorized(Some("invalid_token"), REVOKED));
        }
        if now >= deadline || reader.hub().is_draining() || (changed && now >= not_before) {
            return Ok(representation);
        }
        let wake = if changed { not_before } else { deadline };
        tokio::select! {
            () = reader.changed(expiry.map_or(wake, |at| at.min(wake))) => {}
            () = changed_in(revocations.as_mut()) => {}
        }
    }
}

/// Waits until keys are revoked; never returns without keys.
async fn changed_in(revocations: Option<&mut watch::Receiver<u64>>) {
    if let Some(revocations) = revocations
        && revocations.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn respond(
    now: jiff::Timestamp,
    personal: bool,
    request: &HttpRequest,
    poll: &PollRequest,
    representation: &Arc<Representation>,
    verdict: Verdict,
) -> Result<HttpResponse, Problem> {
    let status = if verdict == Verdict::NotModified { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::ETAG, representation.tag.clone()))
        .insert_header((header::CACHE_CONTROL, if personal { "private, no-cache" } else { "no-cache" }))
        .insert_header((header::VARY, if personal { VARY_BY_TOKEN } else { VARY }));
    // Within its second the value may change once more and have the same date (RFC 9110, section 8.8.2.1).
    let settled = representation.modified.is_some_and(|modified| now.as_second() > modified.as_second());
    if let (Some(date), true) = (&representation.last_modified, settled) {
        response.insert_header((header::LAST_MODIFIED, date.clone()));
    }
    if let (Some(wait), true) = (poll.wait, poll.preferred) {
        response.insert_header(("Preference-Applied", format!("wait={}", wait.as_secs())));
    }
    if verdict == Verdict::NotModified {
        return Ok(response.finish());
    }
    if poll.text {
        response.insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"));
        return Ok(response.body(representation.to_text()?));
    }
    response.insert_header((header::CONTENT_TYPE, "application/json"));
    let (body, coding) = representation.coded_for(request.headers().get(header::ACCEPT_ENCODING)).await;
    if let Some(coding) = coding {
        response.insert_header((header::CONTENT_ENCODING, coding));
    }
    Ok(response.body(SegmentsBody::from(body)))
}

/// Sink of a held poll, which only needs the wake-up.
struct Nothing;

impl Sink for Nothing {
    fn publication(&mut self, _: &Arc<Publication>, _: Option<Position>) {}
    fn gap(&mut self, _: &[Selector], _: Position) {}
}
