//! Machine keys (docs/protocol.md, section 10.1).

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::{
    authorized::{Authorized, Requirement},
    body::Body,
    caller::Caller,
    json_response::JsonResponse,
    machine_keys::MachineKeys,
    problem::Problem,
};
use tricast_auth::{NewMachineKey, Permission};
use tricast_core::{counters::Limit, protocol::error::Code};
use tricast_domain::keys::{Key, KeyError, KeyService, NewKey};

/// Administrators, who see the keys of their tenant.
pub struct ReadKeys;

/// Administrators, who create and revoke keys of their tenant.
pub struct ManageKeys;

impl Requirement for ReadKeys {
    const PERMISSIONS: &'static [Permission] = &[Permission::Admin];
}

impl Requirement for ManageKeys {
    const PERMISSIONS: &'static [Permission] = &[Permission::Admin];
    const CHANGES_STORE: bool = true;
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let detail = error.to_string();
        match error {
            KeyError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidMessage, detail),
            KeyError::NotFound => Self::not_found(detail),
            KeyError::Taken(_) => Self::new(StatusCode::CONFLICT, Code::InvalidMessage, detail),
            KeyError::TooMany(_) => Self::at_limit(Limit::Keys, detail),
            KeyError::Store(error) => error.into(),
            KeyError::Service(error) => error.into(),
        }
    }
}

/// All keys of the tenant, ordered by name.
#[derive(Serialize, ToSchema)]
pub struct KeyList {
    keys: Vec<Key>,
}

/// A new key, with the text that its holder sends. The text is not stored.
#[derive(Serialize, ToSchema)]
pub struct CreatedKey {
    /// Text of the key, which is not shown again.
    #[schema(pattern = "^tck_[0-9a-f]{16}_[0-9a-f]{64}$")]
    key: String,
    #[serde(flatten)]
    created: Key,
}

/// Returns the keys of the caller's tenant.
///
/// # Errors
/// 404 on a server that has no tokens, where keys have no meaning.
fn keys_of<R>(access: &Authorized<R>) -> Result<(&MachineKeys, KeyService), Problem> {
    let keys = access.state.shared.access.keys.as_ref();
    let keys = keys.ok_or_else(|| Problem::not_found("this server has no keys: auth.mode is \"none\""))?;
    Ok((keys, keys.service(access.caller.tenant.name.as_str())))
}

/// Handles `GET /api/keys`: returns `{keys}`, ordered by name.
#[utoipa::path(
    get,
    path = "/api/keys",
    tag = "Callers",
    operation_id = "getKeys",
    summary = "List machine keys",
    description = "Needs the permission `admin`. The texts of the keys are not stored.",
    responses(
        (status = 200, description = "All keys, ordered by name", body = KeyList),
        (status = 404, description = "The server requires no tokens"),
        (status = 503, description = "The store is not available at the moment"),
    )
)]
pub async fn list(access: Authorized<ReadKeys>) -> Result<JsonResponse<KeyList>, Problem> {
    let (_, service) = keys_of(&access)?;
    Ok(JsonResponse::no_store(KeyList { keys: service.list().await? }))
}

/// Handles `POST /api/keys`: creates a key; 201 with its text.
#[utoipa::path(
    post,
    path = "/api/keys",
    tag = "Callers",
    operation_id = "createKey",
    summary = "Create a machine key",
    description = "The response contains the text of the key, which is not shown again: only its hash is stored. A key is bound to \
        channels (`read`, `push`), or has `permissions`. Needs the permission `admin`.",
    request_body = NewKey,
    responses(
        (status = 201, description = "The key with its text", body = CreatedKey),
        (status = 404, description = "The server requires no tokens"),
        (status = 409, description = "The name is taken"),
        (status = 422, description = "A value is not valid"),
    )
)]
pub async fn create(access: Authorized<ManageKeys>, body: Body) -> Result<JsonResponse<CreatedKey>, Problem> {
    let (_, service) = keys_of(&access)?;
    let new = body.json::<NewKey>().await?;
    if let Some(unknown) = new.permissions.iter().find(|name| Permission::parse(name).is_none()) {
        let shown: String = unknown.chars().take(60).collect();
        return Err(KeyError::Invalid(format!("permissions: there is no permission {shown:?}")).into());
    }
    let secret = NewMachineKey::generate().ok_or_else(|| Problem::internal("the system has no random bytes"))?;
    let created = service.create(new, secret.id, secret.hash).await?;
    let Key { id, name, read, push, permissions, expires, .. } = &created;
    let Caller { identity, tenant, .. } = &access.caller;
    let (tenant, by) = (tenant.name.as_str(), &*identity.user);
    tracing::info!(tenant, by, id, name, ?read, ?push, ?permissions, ?expires, "a key was created");
    Ok(JsonResponse::no_store(CreatedKey { key: secret.text, created }).with_status(StatusCode::CREATED))
}

/// Handles `DELETE /api/keys/{id}`: revokes a key; 204.
#[utoipa::path(
    delete,
    path = "/api/keys/{id}",
    tag = "Callers",
    operation_id = "deleteKey",
    summary = "Revoke a machine key",
    description = "The key is refused from now on, and its streams end within a second, on every node. Needs the permission `admin`.",
    params(("id" = String, Path, description = "ID or name of the key", example = "1f0c9a5be2d87643")),
    responses(
        (status = 204, description = "The key was revoked"),
        (status = 404, description = "There is no such key, or the server requires no tokens"),
    )
)]
pub async fn revoke(id: web::Path<String>, access: Authorized<ManageKeys>) -> Result<HttpResponse, Problem> {
    let (keys, service) = keys_of(&access)?;
    let id = service.revoke(&id).await?;
    let Caller { identity, tenant, .. } = &access.caller;
    tracing::info!(tenant = tenant.name.as_str(), by = &*identity.user, id, "a key was revoked");
    keys.revoke(&id);
    Ok(HttpResponse::NoContent().finish())
}
