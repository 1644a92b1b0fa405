//! Alerts and their rules (docs/protocol.md, section 9).

use std::time::Duration;

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::web::{
    authorized::{Authorized, Requirement},
    body::Body,
    caller::Caller,
    json_response::JsonResponse,
    parameters::{IfMatch, IfNoneMatch},
    problem::Problem,
    typed_query::PageSize,
    versioned::Versioned,
};
use tricast_auth::Permission;
use tricast_core::{counters::Limit, protocol::error::Code};
use tricast_domain::alerts::{Alert, AlertError, Filter, NewRule, Page, Rule, Severity};

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

/// Query of the list of alerts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AlertQuery {
    /// Only alerts in this state. Default: all.
    #[param(inline)]
    status: Option<Status>,
    /// Only alerts of this severity.
    severity: Option<Severity>,
    /// Only alerts of the rule with this ID.
    #[param(example = "slow")]
    rule: Option<String>,
    /// Alerts on a page, 1 to 200. Default 50; values out of range are clamped.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// Start after this alert: `next` of the previous page.
    #[param(pattern = "^alt-[0-9a-f]{20}$", example = "alt-0190b6a1f0c85d1e9a3f")]
    after: Option<String>,
}

/// Filter of alerts by state.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
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
    description = "The newest first. Needs the permission `read:alerts`; alerts on figures of orders also need `read:orders`, \
        and are left out without it.",
    params(AlertQuery),
    responses(
        (status = 200, description = "A page of alerts", body = Page),
        (status = 422, description = "`after` is not the ID of an alert"),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn list(access: Authorized<ReadAlerts, AlertQuery>) -> Result<JsonResponse<Page>, Problem> {
    let Authorized { caller, query, .. } = access;
    let AlertQuery { status, severity, rule, limit, after } = query;
    let open = match status {
        Some(Status::Open) => Some(true),
        Some(Status::Resolved) => Some(false),
        Some(Status::All) | None => None,
    };
    let mut page = caller.tenant.alerts.list(Filter { open, severity, rule }, limit.0, after).await?;
    // The filter may shorten the page; `next` follows the unfiltered one.
    page.alerts.retain(|alert| tricast_auth::may_read_alert(&caller.identity, &alert.metric));
    Ok(JsonResponse::no_cache(page))
}

/// Handles `GET /api/alerts/{id}`: returns one alert.
#[utoipa::path(
    get,
    path = "/api/alerts/{id}",
    tag = "Alerts",
    operation_id = "getAlert",
    summary = "Get an alert",
    params(("id" = String, Path, description = "ID of the alert", example = "alt-0190b6a1f0c85d1e9a3f")),
    responses(
        (status = 200, description = "The alert", body = Alert),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn get(id: web::Path<String>, access: Authorized<ReadAlerts>) -> Result<JsonResponse<Alert>, Problem> {
    Ok(JsonResponse::no_cache(find(&access, &id).await?))
}

/// Handles `POST /api/alerts/{id}/acknowledge`: returns the alert. The first acknowledgement stays.
#[utoipa::path(
    post,
    path = "/api/alerts/{id}/acknowledge",
    tag = "Alerts",
    operation_id = "acknowledgeAlert",
    summary = "Acknowledge an alert",
    description = "Needs the permissions `read:alerts` and `write:dashboards`. The first user stays in `acknowledgedBy`; a \
        repetition changes nothing. A body is ignored.",
    params(("id" = String, Path, description = "ID of the alert", example = "alt-0190b6a1f0c85d1e9a3f")),
    responses(
        (status = 200, description = "The alert with the acknowledgement", body = Alert),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn acknowledge(
    id: web::Path<String>,
    access: Authorized<AcknowledgeAlerts>,
) -> Result<JsonResponse<Alert>, Problem> {
    find(&access, &id).await?;
    let Caller { identity, tenant, .. } = &access.caller;
    Ok(JsonResponse::no_cache(tenant.alerts.acknowledge(&id, &identity.user).await?))
}

/// All rules, ordered by ID.
#[derive(Serialize, ToSchema)]
pub struct RuleList {
    rules: Vec<Rule>,
}

/// Handles `GET /api/alerts/rules`: returns `{rules}`, ordered by ID.
#[utoipa::path(
    get,
    path = "/api/alerts/rules",
    tag = "Alerts",
    operation_id = "getAlertRules",
    summary = "List rules",
    responses(
        (status = 200, description = "All rules, ordered by ID", body = RuleList),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn rules(access: Authorized<ReadAlerts>) -> Result<JsonResponse<RuleList>, Problem> {
    let rules = access.caller.tenant.alerts.rules().await?;
    Ok(JsonResponse::no_cache(RuleList { rules }))
}

/// Handles `POST /api/alerts/rules`: creates a rule; 201 with the rule.
#[utoipa::path(
    post,
    path = "/api/alerts/rules",
    tag = "Alerts",
    operation_id = "createAlertRule",
    summary = "Create a rule",
    description = "Needs the permission `admin`.",
    request_body = NewRule,
    responses(
        (status = 201, description = "The rule", body = Rule, headers(
            ("Location" = String, description = "Path of the rule"),
            ("ETag" = String, description = "Tag of this version, for `If-Match`"),
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
    params(("id" = String, Path, description = "ID of the rule", example = "slow"), IfNoneMatch),
    responses(
        (status = 200, description = "The rule", body = Rule),
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
    description = "Needs the permission `admin`. An open alert stays if the rule watches the same field for the same condition as before, \
        and is resolved otherwise.",
    params(("id" = String, Path, description = "ID of the rule", example = "slow"), IfMatch),
    request_body = NewRule,
    responses(
        (status = 200, description = "The rule after the change", body = Rule,
            headers(("ETag" = String, description = "Tag of this version, for `If-Match`"))),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn replace_rule(
    id: web::Path<String>,
    access: Authorized<WriteRules>,
    body: Body,
) -> Result<Versioned<Rule>, Problem> {
    let if_match = access.if_match()?;
    let rule = access.caller.tenant.alerts.replace(&id, body.json::<NewRule>().await?, if_match).await?;
    Ok(Versioned::ok(rule.version(), rule))
}

/// Handles `DELETE /api/alerts/rules/{id}`: deletes the rule and resolves its open alert; 204.
#[utoipa::path(
    delete,
    path = "/api/alerts/rules/{id}",
    tag = "Alerts",
    operation_id = "deleteAlertRule",
    summary = "Delete a rule",
    description = "Needs the permission `admin`. The rule's open alert is resolved.",
    params(("id" = String, Path, description = "ID of the rule", example = "slow"), IfMatch),
    responses((status = 204, description = "Deleted"))
)]
pub async fn delete_rule(id: web::Path<String>, access: Authorized<WriteRules>) -> Result<HttpResponse, Problem> {
    let if_match = access.if_match()?;
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
