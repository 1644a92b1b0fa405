//! Writes of InfluxDB 1 and 2 in line protocol (docs/in/influx.md).
//!
//! ```text
//! POST /write?db=telegraf&precision=s             InfluxDB 1: errors are {"error": "..."}
//! POST /api/v2/write?org=a&bucket=b&precision=s   InfluxDB 2: errors are {"code": "invalid", "message": "..."}
//!
//! cpu,host=a idle=98.5 1700000000                 the field idle{host="a"} of metrics.cpu
//! ```
//!
//! Source: docs.influxdata.com/influxdb/v1/tools/api and /influxdb/v2/api. Database, retention policy, organization and bucket are
//! ignored: the token decides whose data it is.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
    web,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{MAX_VALUES, enter, foreign_problem, mapping};
use crate::{
    api::push::PARSE_ELSEWHERE,
    web::{
        authorized::{Authorized, WriteMetrics},
        body::Body,
        problem::Problem,
        query,
    },
};
use tricast_core::{
    counters::{Door, Limit},
    protocol::{SERVER_VERSION, error::Code},
};
use tricast_doors::{
    Bounds, TooMany,
    influx::{self, Precision},
};

/// Version of InfluxDB whose interface this is. Clients look at its first number.
const VERSION: &str = "1.8.10-tricast";

/// Parameters of a write of InfluxDB 1.
#[derive(Deserialize)]
#[expect(dead_code, reason = "clients send parameters that have no meaning here")]
pub(crate) struct WriteQuery {
    db: Option<String>,
    rp: Option<String>,
    precision: Option<String>,
    consistency: Option<String>,
    u: Option<String>,
    p: Option<String>,
}

/// Parameters of a write of InfluxDB 2.
#[derive(Deserialize)]
#[expect(dead_code, reason = "clients send parameters that have no meaning here")]
pub(crate) struct WriteV2Query {
    org: Option<String>,
    #[serde(rename = "orgID")]
    org_id: Option<String>,
    bucket: Option<String>,
    precision: Option<String>,
}

/// Parameters of a query of InfluxDB 1.
#[derive(Deserialize)]
#[expect(dead_code, reason = "clients send parameters that have no meaning here")]
pub(crate) struct StatementQuery {
    q: Option<String>,
    db: Option<String>,
    rp: Option<String>,
    epoch: Option<String>,
    pretty: Option<String>,
    chunked: Option<String>,
    u: Option<String>,
    p: Option<String>,
}

/// Error as InfluxDB 1 writes it.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"error": "partial write: unable to parse 'cpu': missing fields dropped=1"}))]
pub(crate) struct InfluxError {
    error: String,
}

/// Error as InfluxDB 2 writes it.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"code": "invalid", "message": "partial write: unable to parse 'cpu': missing fields dropped=1"}))]
pub(crate) struct InfluxV2Error {
    code: &'static str,
    message: String,
}

/// Handles `POST /write`.
#[utoipa::path(
    post,
    path = "/write",
    tag = "Doors",
    operation_id = "influxWrite",
    summary = "Write line protocol (InfluxDB 1)",
    description = "A measurement becomes the channel `metrics.MEASUREMENT`, a field with its tags the field `FIELD{tag=\"value\"}`. \
        Valid lines are accepted if others are not. Needs the permission `write:metrics`.",
    params(
        ("db" = Option<String>, Query, description = "Ignored"),
        ("rp" = Option<String>, Query, description = "Ignored"),
        ("precision" = Option<String>, Query, description = "Unit of the timestamps: `ns` (default), `u`, `ms`, `s`, `m`, `h`"),
        ("consistency" = Option<String>, Query, description = "Ignored"),
        ("u" = Option<String>, Query, description = "Ignored"),
        ("p" = Option<String>, Query, description = "Ignored"),
    ),
    request_body(content = String, content_type = "text/plain", example = json!("cpu,host=a idle=98.5")),
    responses(
        (status = 204, description = "All lines are in the log"),
        (status = 400, description = "Some or all lines were refused; the error names the first one", body = InfluxError),
        (status = 401, description = "A token is required, or the given one is not valid", body = InfluxError),
        (status = 413, description = "The body is too large, or has too many lines", body = InfluxError),
        (status = 429, description = "A limit refused all values", body = InfluxError),
        (status = 503, description = "The server can't write at the moment", body = InfluxError),
        (status = 504, description = "It is not known whether the values were accepted", body = InfluxError),
    )
)]
pub(crate) async fn write(
    request: HttpRequest,
    access: Result<Authorized<WriteMetrics, WriteQuery>, Problem>,
    body: Body,
) -> HttpResponse {
    let written = match &access {
        Ok(access) => accept(access, access.query.precision.as_deref(), body).await,
        Err(problem) => Err(problem.clone()),
    };
    respond(&request, written, |problem| json!(InfluxError { error: problem.detail.clone() }))
}

/// Handles `POST /api/v2/write`.
#[utoipa::path(
    post,
    path = "/api/v2/write",
    tag = "Doors",
    operation_id = "influxWriteV2",
    summary = "Write line protocol (InfluxDB 2)",
    description = "The same as `/write`, with the parameters and errors of InfluxDB 2.",
    params(
        ("org" = Option<String>, Query, description = "Ignored"),
        ("orgID" = Option<String>, Query, description = "Ignored"),
        ("bucket" = Option<String>, Query, description = "Ignored"),
        ("precision" = Option<String>, Query, description = "Unit of the timestamps: `ns` (default), `us`, `ms`, `s`"),
    ),
    request_body(content = String, content_type = "text/plain", example = json!("cpu,host=a idle=98.5")),
    responses(
        (status = 204, description = "All lines are in the log"),
        (status = 400, description = "Some or all lines were refused; the error names the first one", body = InfluxV2Error),
        (status = 401, description = "A token is required, or the given one is not valid", body = InfluxV2Error),
        (status = 413, description = "The body is too large, or has too many lines", body = InfluxV2Error),
        (status = 429, description = "A limit refused all values", body = InfluxV2Error),
        (status = 503, description = "The server can't write at the moment", body = InfluxV2Error),
        (status = 504, description = "It is not known whether the values were accepted", body = InfluxV2Error),
    )
)]
pub(crate) async fn write_v2(
    request: HttpRequest,
    access: Result<Authorized<WriteMetrics, WriteV2Query>, Problem>,
    body: Body,
) -> HttpResponse {
    let written = match &access {
        Ok(access) => accept(access, access.query.precision.as_deref(), body).await,
        Err(problem) => Err(problem.clone()),
    };
    respond(&request, written, |problem| {
        json!(InfluxV2Error { code: code_of(problem.status), message: problem.detail.clone() })
    })
}

/// Handles `GET` and `HEAD /ping`.
#[utoipa::path(
    get,
    path = "/ping",
    tag = "Doors",
    operation_id = "getInfluxPing",
    summary = "Check that line protocol is accepted (InfluxDB)",
    security(()),
    responses((status = 204, description = "`X-Influxdb-Version` has the version of the interface"))
)]
pub(crate) async fn ping() -> HttpResponse {
    with_version(HttpResponse::NoContent().finish())
}

/// Handles `GET` and `HEAD /health`, as InfluxDB 2 does.
#[utoipa::path(
    get,
    path = "/health",
    tag = "Doors",
    operation_id = "getInfluxHealth",
    summary = "Check that line protocol is accepted (InfluxDB 2)",
    description = "Load balancers should read `/readyz`.",
    security(()),
    responses((status = 200, description = "The server runs", content_type = "application/json", body = serde_json::Value))
)]
pub(crate) async fn health() -> HttpResponse {
    let body = json!({"name": "tricast", "message": "ready for writes", "status": "pass", "checks": [],
        "version": VERSION, "commit": SERVER_VERSION});
    with_version(HttpResponse::Ok().json(body))
}

/// Handles `GET` and `POST /query`: clients create their database before they write.
#[utoipa::path(
    get,
    path = "/query",
    tag = "Doors",
    operation_id = "getInfluxQuery",
    summary = "Create a database (InfluxDB 1)",
    description = "`CREATE DATABASE` and `CREATE RETENTION POLICY` have no effect and succeed, because many clients begin with them. \
        All other statements are refused.",
    params(
        ("q" = String, Query, description = "Statement", example = "CREATE DATABASE telegraf"),
        ("db" = Option<String>, Query, description = "Ignored"),
        ("rp" = Option<String>, Query, description = "Ignored"),
        ("epoch" = Option<String>, Query, description = "Ignored"),
        ("pretty" = Option<String>, Query, description = "Ignored"),
        ("chunked" = Option<String>, Query, description = "Ignored"),
        ("u" = Option<String>, Query, description = "Ignored"),
        ("p" = Option<String>, Query, description = "Ignored"),
    ),
    responses(
        (status = 200, description = "The statement has no effect here", content_type = "application/json", body = serde_json::Value),
        (status = 400, description = "The statement is not supported", body = InfluxError),
    )
)]
pub(crate) async fn query(
    request: HttpRequest,
    access: Result<Authorized<WriteMetrics, StatementQuery>, Problem>,
    body: Body,
) -> HttpResponse {
    let result = match access {
        Ok(access) => statement(access.query.q, body).await,
        Err(problem) => Err(problem),
    };
    match result {
        Ok(()) => with_version(HttpResponse::Ok().json(json!({"results": [{"statement_id": 0}]}))),
        Err(problem) => respond(&request, Err(problem), |problem| json!(InfluxError { error: problem.detail.clone() })),
    }
}

/// Describes `POST /query`, which [`query`] handles.
#[utoipa::path(
    post,
    path = "/query",
    tag = "Doors",
    operation_id = "influxQuery",
    summary = "Create a database (InfluxDB 1)",
    description = "The same as `GET`; the statement may also be in the body.",
    params(("q" = Option<String>, Query, description = "Statement")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", example = json!("q=CREATE DATABASE telegraf")),
    responses(
        (status = 200, description = "The statement has no effect here", content_type = "application/json", body = serde_json::Value),
        (status = 400, description = "The statement is not supported", body = InfluxError),
    )
)]
#[expect(dead_code, reason = "read by the derive macro alone")]
pub(crate) async fn query_by_post() {}

async fn statement(parameter: Option<String>, body: Body) -> Result<(), Problem> {
    let statement = match parameter {
        Some(statement) => statement,
        None => {
            let body = body.bytes().await?;
            let form = web::Query::<Vec<(String, String)>>::from_query(&String::from_utf8_lossy(&body));
            let form = form.map(web::Query::into_inner).unwrap_or_default();
            form.into_iter().find(|(name, _)| name == "q").map(|(_, value)| value).unwrap_or_default()
        }
    };
    let mut words = statement.split_whitespace().map(str::to_ascii_uppercase);
    match (words.next().as_deref(), words.next().as_deref()) {
        (Some("CREATE"), Some("DATABASE" | "RETENTION")) => Ok(()),
        (None, _) => Err(Problem::bad_request("missing required parameter \"q\"")),
        _ => Err(Problem::bad_request("only CREATE DATABASE is accepted here: read the values with GET /api/metrics")),
    }
}

/// Accepts the lines of a body.
///
/// # Errors
/// 400 if some were refused, with the first fault and the number of lines that were dropped; 429 if a limit refused all of them.
async fn accept<Q>(access: &Authorized<WriteMetrics, Q>, precision: Option<&str>, body: Body) -> Result<(), Problem> {
    let Authorized { state, caller, arrived, .. } = access;
    let unit = Precision::parse(precision.unwrap_or_default());
    let unit = unit.ok_or_else(|| query::bad("precision", &"invalid precision: use ns, us, ms or s"))?;
    let body = body.bytes().await?;
    let (weight, now) = (body.len(), state.shared.clock.now());
    let bounds = Bounds { lines: state.shared.limits.max_lines, fields: MAX_VALUES };
    let read = move || influx::parse(&body, unit, bounds).map(|message| mapping::readings(message, now));
    let mapped = if weight > PARSE_ELSEWHERE {
        web::block(read).await.map_err(|_| Problem::internal("the parsing thread is gone"))?
    } else {
        read()
    };
    let mapped = mapped.map_err(|error| too_many(&error))?;
    let late = mapped.late;
    let published = enter(Door::Influx, state, caller, *arrived, mapped, weight).await?;
    let (refused, first) = (published.refused.count, published.refused.listed.into_iter().next());
    match first {
        Some((_, problem)) if published.accepted.is_empty() && problem.may_pass => Err(problem),
        Some((_, problem)) => {
            let detail = format!("partial write: {} dropped={}", problem.detail, refused + late);
            Err(Problem::bad_request(detail))
        }
        // Telegraf knows these words and does not repeat the points.
        None if late > 0 => {
            Err(Problem::bad_request(format!("partial write: points beyond retention policy dropped={late}")))
        }
        None => Ok(()),
    }
}

fn too_many(error: &TooMany) -> Problem {
    let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidMessage, error.to_string());
    Problem { limit: Some(Limit::Lines), ..problem }
}

/// Returns 204, or an error of the form that `body` writes.
fn respond(
    request: &HttpRequest,
    written: Result<(), Problem>,
    body: impl FnOnce(&Problem) -> serde_json::Value,
) -> HttpResponse {
    with_version(match written {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(problem) => {
            let json = body(&problem);
            // The Go client of InfluxDB 1 reads the error from this header.
            let header = HeaderValue::from_str(&problem.detail);
            let mut response = foreign_problem(problem, request, json);
            if let Ok(header) = header {
                response.headers_mut().insert(HeaderName::from_static("x-influxdb-error"), header);
            }
            response
        }
    })
}

fn with_version(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-influxdb-version"), HeaderValue::from_static(VERSION));
    headers.insert(HeaderName::from_static("x-influxdb-build"), HeaderValue::from_static("OSS"));
    response
}

/// Returns the code by which InfluxDB 2 names a status.
fn code_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        408 | 504 => "timeout",
        413 => "request too large",
        415 => "unsupported media type",
        429 => "too many requests",
        503 => "unavailable",
        500.. => "internal error",
        _ => "invalid",
    }
}
