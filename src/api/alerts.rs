//! Alerts and their rules (docs/protocol.md, section 9).

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::openapi::{alerts as shapes, params};
use crate::web::{
    authorized::{Authorized, Requirement},
    body::Body,
    caller::Caller,
    precondition,
    problem::Problem,
    query::Params,
    versioned::Versioned,
};
use tricast_auth::Permission;
use tricast_core::{counters::Limit, protocol::error::Code};
use tricast_domain::alerts::{Alert, AlertError, Filter, NewRule, Rule, Severity};

/// Callers that may read alerts and rules.
pub struct ReadAlerts;

impl Requirement for ReadAlerts {
    const PERMISSIONS: &'static [Permission] = &[Permission::ReadAlerts];
}

/// Callers that may change rules: a rule causes mails, and a missing one hides faults.
pub struct WriteRules;

impl Requirement for WriteRules {
    const PERMISSIONS: &'static [Permission] = &[Permission::Admin];
    const CHANGES_STORE: bool = true;
}

/// Callers that may acknowledge alerts: readers who may also change what all users of the tenant see.
pub struct AcknowledgeAlerts;

impl Requirement for AcknowledgeAlerts {
    const PERMISSIONS: &'static [Permission] = &[Permission::ReadAlerts, Permission::WriteDashboards];
    const CHANGES_STORE: bool = true;
}

/// Most alerts on a page.
const MAX_PAGE: usize = 200;

/// Alerts on a page without `limit`.
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
            AlertError::TooMany(_) => Self::at_limit(Limit::Rules, detail),
            AlertError::Store(error) => error.into(),
            AlertError::Service(error) => error.into(),
            AlertError::NotDeciding => Self::unavailable(detail, Duration::from_secs(2)),
        }
    }
}

/// Filter of alerts by state.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Open,
    Resolved,
    All,
}

/// Handles `GET /api/alerts`: returns `{alerts, next}`, the newest first.
#[utoipa::path(
    get,
    path = "/api/alerts",
    tag = "Alerts",
    operation_id = "getAlerts",
    summary = "List alerts",
    params(params::Alerts),
    responses(
        (status = 200, description = "One page", body = shapes::AlertPage),
        (status = 422, description = "`after` is not the ID of an alert"),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn list(request: HttpRequest, access: Authorized<ReadAlerts>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["status", "severity", "rule", "limit", "after"])?;
    let open = match params.word("status")? {
        Some(Status::Open) => Some(true),
        Some(Status::Resolved) => Some(false),
        Some(Status::All) | None => None,
    };
    let limit = params.number("limit")?.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let severity = params.word::<Severity>("severity")?;
    let (rule, after) = (params.one("rule")?.map(str::to_owned), params.one("after")?.map(str::to_owned));
    let page = access.caller.tenant.alerts.list(Filter { open, severity, rule }, limit, after).await?;
    // The filter may shorten the page; `next` follows the unfiltered one.
    let identity = &access.caller.identity;
    let alerts: Vec<_> =
        page.alerts.into_iter().filter(|alert| tricast_auth::may_read_alert(identity, &alert.metric)).collect();
    Ok(no_cache(json!({"alerts": alerts, "next": page.next})))
}

/// Handles `GET /api/alerts/{id}`: returns one alert.
#[utoipa::path(
    get,
    path = "/api/alerts/{id}",
    tag = "Alerts",
    operation_id = "getAlert",
    summary = "Get an alert",
    params(("id" = String, Path, description = "Its id", example = "alt-0190b6a1f0c85d1e9a3f")),
    responses(
        (status = 200, description = "The alert", body = shapes::Alert),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(id: web::Path<String>, access: Authorized<ReadAlerts>) -> Result<HttpResponse, Problem> {
    Ok(no_cache(find(&access, &id).await?))
}

/// Handles `POST /api/alerts/{id}/acknowledge`: returns the alert. The first acknowledgement stays.
#[utoipa::path(
    post,
    path = "/api/alerts/{id}/acknowledge",
    tag = "Alerts",
    operation_id = "acknowledgeAlert",
    summary = "Acknowledge an alert",
    description = "Needs `read:alerts` and `write:dashboards`. The first user stays in `acknowledgedBy`; a repetition \
        changes nothing. A body is ignored.",
    params(("id" = String, Path, description = "Its id", example = "alt-0190b6a1f0c85d1e9a3f")),
    responses(
        (status = 200, description = "The alert as it is now", body = shapes::Alert),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn acknowledge(
    id: web::Path<String>,
    access: Authorized<AcknowledgeAlerts>,
) -> Result<HttpResponse, Problem> {
    find(&access, &id).await?;
    let Caller { identity, tenant, .. } = &access.caller;
    Ok(no_cache(tenant.alerts.acknowledge(&id, &identity.user).await?))
}

/// Handles `GET /api/alerts/rules`: returns `{rules}`, ordered by ID.
#[utoipa::path(
    get,
    path = "/api/alerts/rules",
    tag = "Alerts",
    operation_id = "getAlertRules",
    summary = "List rules",
    responses(
        (status = 200, description = "All rules, by id", body = shapes::RuleList),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn rules(access: Authorized<ReadAlerts>) -> Result<HttpResponse, Problem> {
    let rules = access.caller.tenant.alerts.rules().await?;
    Ok(no_cache(json!({"rules": rules})))
}

/// Handles `POST /api/alerts/rules`: 201 with the rule.
#[utoipa::path(
    post,
    path = "/api/alerts/rules",
    tag = "Alerts",
    operation_id = "createAlertRule",
    summary = "Create a rule",
    description = "Needs `admin`.",
    request_body = shapes::NewRule,
    responses(
        (status = 201, description = "The rule", body = shapes::Rule, headers(
            ("Location" = String, description = "Its path"),
            ("ETag" = String, description = "For `If-Match`"),
        )),
        (status = 409, description = "The ID is taken"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn create_rule(access: Authorized<WriteRules>, body: Body) -> Result<Versioned<Rule>, Problem> {
    let rule = access.caller.tenant.alerts.create(body.json::<NewRule>().await?).await?;
    let location = format!("/api/alerts/rules/{}", rule.id);
    Ok(Versioned::created(rule.version(), location, rule))
}

/// Handles `GET /api/alerts/rules/{id}`: returns the rule, or 304.
#[utoipa::path(
    get,
    path = "/api/alerts/rules/{id}",
    tag = "Alerts",
    operation_id = "getAlertRule",
    summary = "Get a rule",
    params(("id" = String, Path, description = "Its id", example = "slow"), params::Conditional),
    responses(
        (status = 200, description = "The rule", body = shapes::Rule),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn rule(id: web::Path<String>, access: Authorized<ReadAlerts>) -> Result<Versioned<Rule>, Problem> {
    let rule = access.caller.tenant.alerts.rule(&id).await?;
    Ok(Versioned::ok(rule.version(), rule))
}

/// Handles `PUT /api/alerts/rules/{id}`: replaces the rule and returns it.
#[utoipa::path(
    put,
    path = "/api/alerts/rules/{id}",
    tag = "Alerts",
    operation_id = "replaceAlertRule",
    summary = "Replace a rule",
    description = "Needs `admin`. An open alert stays if the rule watches the same field for the same condition as before, \
        and is resolved otherwise.",
    params(("id" = String, Path, description = "Its id", example = "slow"), params::Guarded),
    request_body = shapes::NewRule,
    responses(
        (status = 200, description = "The rule as it is now", body = shapes::Rule, headers(("ETag" = String, description = "For `If-Match`"))),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn replace_rule(
    request: HttpRequest,
    id: web::Path<String>,
    access: Authorized<WriteRules>,
    body: Body,
) -> Result<Versioned<Rule>, Problem> {
    let if_match = precondition::if_match(request.headers())?;
    let rule = access.caller.tenant.alerts.replace(&id, body.json::<NewRule>().await?, if_match).await?;
    Ok(Versioned::ok(rule.version(), rule))
}

/// Handles `DELETE /api/alerts/rules/{id}`: 204. Resolves the rule's open alert.
#[utoipa::path(
    delete,
    path = "/api/alerts/rules/{id}",
    tag = "Alerts",
    operation_id = "deleteAlertRule",
    summary = "Delete a rule",
    description = "Needs `admin`. The rule's open alert is resolved.",
    params(("id" = String, Path, description = "Its id", example = "slow"), params::Guarded),
    responses((status = 204, description = "Deleted"))
)]
pub async fn delete_rule(
    request: HttpRequest,
    id: web::Path<String>,
    access: Authorized<WriteRules>,
) -> Result<HttpResponse, Problem> {
    let if_match = precondition::if_match(request.headers())?;
    access.caller.tenant.alerts.delete(&id, if_match).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Returns an alert that the caller may read: alerts on order figures need the permission to read orders.
async fn find<R>(access: &Authorized<R>, id: &str) -> Result<Alert, Problem> {
    let alert = access.caller.tenant.alerts.get(id).await?;
    if !tricast_auth::may_read_alert(&access.caller.identity, &alert.metric) {
        return Err(AlertError::NotFound.into());
    }
    Ok(alert)
}

fn no_cache(body: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(body)
}
