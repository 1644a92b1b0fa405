//! Alerts and their rules (docs/protocol.md, section 9).

use std::{rc::Rc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{Method, StatusCode, header},
    web,
};
use serde::Deserialize;
use serde_json::json;

use super::openapi::{alerts as shapes, params};
use crate::{
    alerts::{Alert, AlertError, Filter, NewRule, Rule, Severity},
    auth::{self, Permission},
    protocol::error::Code,
    web::{
        access::{self, Caller},
        body, precondition,
        problem::Problem,
        query::Params,
        state::State,
    },
};

/// What reading takes.
const READ: Permission = Permission::ReadAlerts;

/// What changing rules takes: they cause mails, and silence hides what is wrong.
const RULE: Permission = Permission::Admin;

/// What acknowledging takes, besides reading: to be one of those who look after what everybody sees.
const ACKNOWLEDGE: Permission = Permission::WriteDashboards;

/// Most alerts on a page.
const MAX_PAGE: usize = 200;

/// Alerts on a page that was asked for without `limit`.
const PAGE: usize = 50;

impl From<AlertError> for Problem {
    fn from(error: AlertError) -> Self {
        let detail = error.to_string();
        let invalid = |status| Self::new(status, Code::InvalidMessage, detail.clone());
        match error {
            AlertError::Invalid(_) => invalid(StatusCode::UNPROCESSABLE_ENTITY),
            AlertError::NotFound | AlertError::NoRule => Self::not_found(detail),
            AlertError::Taken(_) => invalid(StatusCode::CONFLICT),
            AlertError::Moved => invalid(StatusCode::PRECONDITION_FAILED),
            AlertError::TooMany(_) => Self::too_many(detail, Duration::from_secs(60)),
            AlertError::Store(error) => error.into(),
            AlertError::Service(error) => error.into(),
            AlertError::NotDeciding => Self::unavailable(detail, Duration::from_secs(2)),
        }
    }
}

/// Which alerts.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Open,
    Resolved,
    All,
}

/// `GET /api/alerts`: `{alerts, next}`, the newest first.
#[utoipa::path(
    get,
    path = "/api/alerts",
    tag = "Alerts",
    operation_id = "getAlerts",
    summary = "Alerts, the newest first",
    params(params::Alerts),
    responses(
        (status = 200, description = "A page of them", body = shapes::AlertPage),
        (status = 422, description = "`after` is no alert's id"),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn list(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let door = enter(&request, &[READ]).await?;
    let params = Params::read(&request, &["status", "severity", "rule", "limit", "after"])?;
    let open = match params.word("status")? {
        Some(Status::Open) => Some(true),
        Some(Status::Resolved) => Some(false),
        Some(Status::All) | None => None,
    };
    let limit = params.number("limit")?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let severity = params.word::<Severity>("severity")?;
    let (rule, after) = (params.one("rule")?.map(str::to_owned), params.one("after")?.map(str::to_owned));
    let page = door.caller.tenant.alerts.list(Filter { open, severity, rule }, limit, after).await?;
    // The page may be shorter for it; `next` is that of the whole.
    let identity = &door.caller.identity;
    let alerts: Vec<_> =
        page.alerts.into_iter().filter(|alert| auth::may_read_alert(identity, &alert.metric)).collect();
    Ok(no_cache(StatusCode::OK).json(json!({"alerts": alerts, "next": page.next})))
}

/// `GET /api/alerts/{id}`: one alert.
#[utoipa::path(
    get,
    path = "/api/alerts/{id}",
    tag = "Alerts",
    operation_id = "getAlert",
    summary = "One alert",
    params(("id" = String, Path, description = "Its id", example = "alt-0190b6a1f0c85d1e9a3f")),
    responses(
        (status = 200, description = "The alert", body = shapes::Alert),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let door = enter(&request, &[READ]).await?;
    Ok(no_cache(StatusCode::OK).json(door.alert(&id).await?))
}

/// `POST /api/alerts/{id}/acknowledge`: the alert. The first who says so stays.
#[utoipa::path(
    post,
    path = "/api/alerts/{id}/acknowledge",
    tag = "Alerts",
    operation_id = "acknowledgeAlert",
    summary = "Say that somebody looks after an alert",
    description = "Needs `read:alerts` and `write:dashboards`. The first who says so stays in `acknowledgedBy`; a repetition \
        changes nothing. A body is not looked at.",
    params(("id" = String, Path, description = "Its id", example = "alt-0190b6a1f0c85d1e9a3f")),
    responses(
        (status = 200, description = "The alert as it is now", body = shapes::Alert),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn acknowledge(request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let door = enter(&request, &[READ, ACKNOWLEDGE]).await?;
    door.alert(&id).await?;
    let Caller { identity, tenant } = &door.caller;
    Ok(no_cache(StatusCode::OK).json(tenant.alerts.acknowledge(&id, &identity.user).await?))
}

/// `GET /api/alerts/rules`: `{rules}`, by id.
#[utoipa::path(
    get,
    path = "/api/alerts/rules",
    tag = "Alerts",
    operation_id = "getAlertRules",
    summary = "All rules",
    responses(
        (status = 200, description = "All rules, by id", body = shapes::RuleList),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn rules(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let door = enter(&request, &[READ]).await?;
    let rules = door.caller.tenant.alerts.rules().await?;
    Ok(no_cache(StatusCode::OK).json(json!({"rules": rules})))
}

/// `POST /api/alerts/rules`: 201 with the rule.
#[utoipa::path(
    post,
    path = "/api/alerts/rules",
    tag = "Alerts",
    operation_id = "createAlertRule",
    summary = "A new rule",
    description = "Needs `admin`.",
    request_body = shapes::NewRule,
    responses(
        (status = 201, description = "The rule", body = shapes::Rule, headers(
            ("Location" = String, description = "Where it is"),
            ("ETag" = String, description = "For `If-Match`"),
        )),
        (status = 409, description = "There is one of that id"),
        (status = 422, description = "A value is not possible"),
    )
)]
pub async fn create_rule(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let door = enter(&request, &[RULE]).await?;
    let new = body::json::<NewRule>(&door.state, &request, payload).await?;
    let rule = door.caller.tenant.alerts.create(new).await?;
    let location = format!("/api/alerts/rules/{}", rule.id);
    Ok(tagged(StatusCode::CREATED, &rule).insert_header((header::LOCATION, location)).json(rule))
}

/// `GET /api/alerts/rules/{id}`: the rule, or 304.
#[utoipa::path(
    get,
    path = "/api/alerts/rules/{id}",
    tag = "Alerts",
    operation_id = "getAlertRule",
    summary = "One rule",
    params(("id" = String, Path, description = "Its id", example = "slow"), params::Conditional),
    responses(
        (status = 200, description = "The rule", body = shapes::Rule),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn rule(request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let door = enter(&request, &[READ]).await?;
    let rule = door.caller.tenant.alerts.rule(&id).await?;
    if precondition::is_fresh(request.headers(), rule.version()) {
        return Ok(tagged(StatusCode::NOT_MODIFIED, &rule).finish());
    }
    Ok(tagged(StatusCode::OK, &rule).json(rule))
}

/// `PUT /api/alerts/rules/{id}`: another rule in its place; answers it.
#[utoipa::path(
    put,
    path = "/api/alerts/rules/{id}",
    tag = "Alerts",
    operation_id = "replaceAlertRule",
    summary = "Another rule in its place",
    description = "Needs `admin`. An open alert stays if the rule watches the same field for the same condition as before, \
        and is resolved otherwise.",
    params(("id" = String, Path, description = "Its id", example = "slow"), params::Guarded),
    request_body = shapes::NewRule,
    responses(
        (status = 200, description = "The rule as it is now", body = shapes::Rule, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 422, description = "A value is not possible"),
    )
)]
pub async fn replace_rule(
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let door = enter(&request, &[RULE]).await?;
    let if_match = precondition::if_match(request.headers())?;
    let new = body::json::<NewRule>(&door.state, &request, payload).await?;
    let rule = door.caller.tenant.alerts.replace(&id, new, if_match).await?;
    Ok(tagged(StatusCode::OK, &rule).json(rule))
}

/// `DELETE /api/alerts/rules/{id}`: 204. Its open alert is resolved.
#[utoipa::path(
    delete,
    path = "/api/alerts/rules/{id}",
    tag = "Alerts",
    operation_id = "deleteAlertRule",
    summary = "Delete a rule",
    description = "Needs `admin`. Its open alert is resolved.",
    params(("id" = String, Path, description = "Its id", example = "slow"), params::Guarded),
    responses((status = 204, description = "It is gone"))
)]
pub async fn delete_rule(request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let door = enter(&request, &[RULE]).await?;
    let if_match = precondition::if_match(request.headers())?;
    door.caller.tenant.alerts.delete(&id, if_match).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn tagged(status: StatusCode, rule: &Rule) -> HttpResponseBuilder {
    let mut response = no_cache(status);
    response.insert_header((header::ETAG, precondition::tag(rule.version())));
    response
}

fn no_cache(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response
}

/// Somebody who was let in.
struct Door {
    state: Rc<State>,
    caller: Caller,
}

impl Door {
    /// An alert that the caller may read: not one about numbers of orders without the permission to read them.
    async fn alert(&self, id: &str) -> Result<Alert, Problem> {
        let alert = self.caller.tenant.alerts.get(id).await?;
        if !auth::may_read_alert(&self.caller.identity, &alert.metric) {
            return Err(AlertError::NotFound.into());
        }
        Ok(alert)
    }
}

/// Lets a request in that may do all of this.
async fn enter(request: &HttpRequest, permissions: &[Permission]) -> Result<Door, Problem> {
    let state = State::of(request)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        access::check_origin(&state, request)?;
    }
    let caller = access::identify(&state, request).await?;
    permissions.iter().try_for_each(|permission| caller.needs(*permission))?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        state.change(&caller)?;
    }
    Ok(Door { state, caller })
}
