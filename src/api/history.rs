//! `GET /api/history`: history of a channel's numbers (docs/history.md).
//!
//! ```text
//! > GET /api/history?channel=metrics.orders&field=ordersToday&from=-1h&interval=minute
//! < 200   ETag: W/"..."   Cache-Control: no-cache
//! < {"channel":"metrics.orders","field":"ordersToday","interval":"minute","from":"...Z","to":"...Z",
//! <  "buckets":[{"period":"2024-07-15T14:00:00.000Z","count":60,"total":3090,"average":51.5,"min":50,"max":53,"last":53}]}
//! ```

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::web::{
    authorized::{Anyone, Authorized},
    caller::Caller,
    channels, encoding, etag,
    parameters::IfNoneMatch,
    problem::Problem,
};
use tricast_cluster::Cluster;
use tricast_domain::{
    history::{Asked, HistoryError, HistorySchema, Interval, QueryResult, Question},
    service::StoreError,
};

/// Most buckets of a response in the cache of the cluster; larger ones are read from the store.
const MOST_CACHED: usize = 5_000;

/// Lifetime in caches of responses that will not change any more, in seconds.
const KEEP: u32 = 3_600;

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        let detail = error.to_string();
        match error {
            HistoryError::Invalid(_) | HistoryError::Store(StoreError::Refused) => Self::bad_request(detail),
            HistoryError::NotFound(_) | HistoryError::Disabled => Self::not_found(detail),
            HistoryError::Store(error) => error.into(),
            HistoryError::Service(error) => error.into(),
        }
    }
}

/// Query of the history of a channel.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// A state channel. The snapshot `metrics` is recorded by its sections.
    #[param(pattern = r"^[A-Za-z0-9_.:-]{1,128}$", example = "metrics.api")]
    channel: String,
    /// Path of a numeric field (`latency.p95`), or several with commas; may be repeated. Default: all fields.
    #[serde(default)]
    #[param(value_type = Option<String>, pattern = "^[^,{}\"]{1,250}$", example = "requests_per_second")]
    field: Vec<String>,
    /// Start: RFC 3339, or relative to now as `-15m`, `-2h`, `-7d`. Default: an hour ago.
    #[param(pattern = "^-[0-9]{1,4}[smhd]$", example = "-1h")]
    from: Option<String>,
    /// End, exclusive: RFC 3339, relative to now, or `now`. Default: now.
    #[param(pattern = "^now$", example = "now")]
    to: Option<String>,
    /// Length of the buckets. Default: `auto`, the finest with at most 600 buckets per field.
    #[param(inline, value_type = Option<Interval>)]
    interval: Option<String>,
}

/// Handles `GET` and `HEAD /api/history`.
#[utoipa::path(
    get,
    path = "/api/history",
    tag = "Polling",
    operation_id = "getHistory",
    summary = "Query history",
    description = "Points, or buckets by minute, hour or day of the server's time zone. A time span in which nothing was \
        recorded has no bucket: missing is not zero. A response has at most 300 fields and 300,000 buckets.",
    params(HistoryQuery, IfNoneMatch),
    responses(
        (status = 200, description = "With one `field` its `buckets`, otherwise all `fields` by name", body = HistorySchema,
            headers(("Cache-Control" = String, description = "With `max-age` if no bucket will change any more"))),
        (status = 404, description = "There is no such channel and no history of it, or the server keeps no history"),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(request: HttpRequest, access: Authorized<Anyone, HistoryQuery>) -> Result<HttpResponse, Problem> {
    let Authorized { state, caller, query, .. } = access;
    let channel = channels::parse_readable(&query.channel, &caller.identity)?;
    let asked = Asked {
        fields: query.field.iter().map(String::as_str).collect(),
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        interval: query.interval.as_deref(),
    };
    let question = Question::read(channel, &asked, state.shared.clock.now())?;
    let field = match question.fields.as_deref() {
        Some([field]) => Some(field.clone()),
        _ => None,
    };
    let personal = state.shared.access.requires_tokens();
    let accept_encoding = request.headers().get(header::ACCEPT_ENCODING).cloned();
    // A node's own history differs from that of other nodes.
    let cluster = state.shared.tenants.cluster().filter(|_| state.shared.store.is_shared());
    let (outcome, closed) = query_cached(&caller, question, field.as_deref(), cluster).await?;
    let cache = match (closed, personal) {
        (true, true) => format!("private, max-age={KEEP}"),
        (true, false) => format!("max-age={KEEP}"),
        (false, true) => "private, no-cache".into(),
        (false, false) => "no-cache".into(),
    };
    let made = write(outcome, field, accept_encoding).await?;
    let fresh = etag::is_fresh(request.headers(), &made.tag);
    let mut response = HttpResponse::build(if fresh { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    response.insert_header((header::ETAG, made.tag)).insert_header((header::CACHE_CONTROL, cache)).insert_header((
        header::VARY,
        if personal { "Accept-Encoding, Authorization, Cookie, X-API-Key" } else { "Accept-Encoding" },
    ));
    if fresh {
        state.shared.counters.not_modified.inc();
        return Ok(response.finish());
    }
    if let Some(coding) = made.coding {
        response.insert_header((header::CONTENT_ENCODING, coding));
    }
    Ok(response.insert_header((header::CONTENT_TYPE, "application/json")).body(made.body))
}

/// Result of a query: from the store, or as another node of the cluster cached it.
enum Outcome {
    Computed(Box<QueryResult>),
    Cached(Vec<u8>),
}

/// Queries the history. Also returns whether the result will not change any more.
async fn query_cached(
    caller: &Caller,
    question: Question,
    field: Option<&str>,
    cluster: Option<&Cluster>,
) -> Result<(Outcome, bool), Problem> {
    // Results that may still change are not cached.
    let Some(cluster) = cluster.filter(|_| question.fixed) else {
        let result = caller.tenant.history.ask(question).await?;
        let closed = result.closed;
        return Ok((Outcome::Computed(Box::new(result)), closed));
    };
    let (tenant, key) = (caller.tenant.name.as_str(), cache_key(&question));
    if let Some(json) = cluster.cached(tenant, &key).await {
        return Ok((Outcome::Cached(json), true));
    }
    let result = caller.tenant.history.ask(question).await?;
    if result.closed && result.buckets() <= MOST_CACHED {
        let json = result.to_json(field);
        cluster.cache(tenant, &key, json.as_bytes(), Duration::from_secs(KEEP.into())).await;
    }
    let closed = result.closed;
    Ok((Outcome::Computed(Box::new(result)), closed))
}

/// Returns the key of a response in the cache that nodes share: a hash of bounded length, because fields are texts of
/// clients.
fn cache_key(question: &Question) -> String {
    let digest = digest(&SHA256, question.canonical().as_bytes());
    format!("history:{}", HEXLOWER.encode(&digest.as_ref()[..16]))
}

/// Response body that is ready to be sent.
struct Made {
    body: bytes::Bytes,
    tag: header::HeaderValue,
    coding: Option<&'static str>,
}

/// Encodes, tags and compresses a result, on a thread of its own if it is large.
async fn write(
    outcome: Outcome,
    field: Option<Box<str>>,
    accept: Option<header::HeaderValue>,
) -> Result<Made, Problem> {
    let is_large = match &outcome {
        Outcome::Computed(result) => result.buckets() > 500,
        Outcome::Cached(json) => json.len() > 64 * 1024,
    };
    let make = move || {
        let plain = match outcome {
            Outcome::Computed(result) => result.to_json(field.as_deref()),
            Outcome::Cached(json) => String::from_utf8_lossy(&json).into_owned(),
        };
        let tag = etag::tag(plain.as_bytes());
        let coding = encoding::choose(accept.as_ref(), plain.len());
        match coding.and_then(|coding| encoding::compress(coding, plain.as_bytes())) {
            Some(body) => Made { body, tag, coding },
            None => Made { body: plain.into(), tag, coding: None },
        }
    };
    if is_large {
        return web::block(make).await.map_err(|_| Problem::internal("history could not be written"));
    }
    Ok(make())
}
