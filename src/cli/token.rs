//! `tricast token`: prints a token, for development.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use jiff::Timestamp;

use super::{USAGE, complain, load, print, refuse};
use crate::config::{Config, Flags, Span};
use tricast_auth::{
    Binding, BindingLists, Permission, Permissions, TenantName,
    mint::{Claims, SigningKey, mint},
};

/// Claims and key of the token.
#[derive(Args, Clone, Debug)]
pub(super) struct TokenFlags {
    /// User of the token (claim `sub`)
    #[arg(long)]
    user: String,
    /// Tenant of the token (claim `tenantId`)
    #[arg(long, default_value = "default", value_parser = TenantName::parse)]
    tenant: TenantName,
    /// Permissions, separated by commas: read:metrics, read:orders, read:alerts, write:metrics, write:orders,
    /// write:dashboards, admin
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = permission, default_value = "read:metrics")]
    permissions: Vec<Permission>,
    /// Grant all permissions, for administrators of the tenant
    #[arg(long, conflicts_with = "permissions")]
    admin: bool,
    /// Bind the token to these channels in place of permissions: they may be read. Repeatable: orders, metrics.ci.*
    #[arg(long, value_name = "SELECTOR", conflicts_with_all = ["permissions", "admin"])]
    read: Vec<String>,
    /// Bind the token to these channels in place of permissions: they may be pushed and deleted. Repeatable
    #[arg(long, value_name = "SELECTOR", conflicts_with_all = ["permissions", "admin"])]
    push: Vec<String>,
    /// Time for which it is valid: 30s, 15m, 1h
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span)]
    expires: Duration,
    /// Time until it becomes valid
    #[arg(long, value_name = "SPAN", value_parser = span)]
    not_before: Option<Duration>,
    /// Sign with this private key (PEM, PKCS#8; RS256, ES256, ES384 or EdDSA) instead of auth.secret
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name of the key (header `kid`), for keys of a JWK Set
    #[arg(long)]
    kid: Option<String>,
    /// File with settings [default: tricast.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn permission(name: &str) -> Result<Permission, String> {
    Permission::parse(name.trim()).ok_or_else(|| {
        let names: Vec<_> = Permission::ALL.into_iter().map(Permission::name).collect();
        format!("there are {}", names.join(", "))
    })
}

pub(super) fn span(text: &str) -> Result<Duration, String> {
    let text = serde_json::Value::from(text);
    serde_json::from_value::<Span>(text).map(|span| span.0).map_err(|error| error.to_string())
}

/// Prints one token and nothing else.
pub(super) fn run(flags: &TokenFlags) -> ExitCode {
    let config = match load(&Flags { file: flags.config.clone(), settings: Vec::new() }) {
        Ok(config) => config,
        Err((faults, _)) => return refuse(&faults),
    };
    match token(flags, &config, Timestamp::now()) {
        Ok(token) => print(&format!("{token}\n")),
        Err(problem) => {
            complain(&problem);
            ExitCode::from(USAGE)
        }
    }
}

/// Returns the channels that the token is bound to; `None` for a token with permissions.
fn binding(flags: &TokenFlags) -> Result<Option<Binding>, String> {
    let TokenFlags { read, push, .. } = flags;
    if read.is_empty() && push.is_empty() {
        return Ok(None);
    }
    let lists = BindingLists { read: read.clone(), push: push.clone() };
    lists.parse().map(Some).map_err(|error| error.to_string())
}

fn token(flags: &TokenFlags, config: &Config, now: Timestamp) -> Result<String, String> {
    let binding = binding(flags)?;
    let key = match &flags.key {
        Some(file) => SigningKey::of_file("--key", file),
        None if config.auth.secret.is_empty() => {
            return Err("there is no key to sign with: set auth.mode = \"jwt\" and auth.secret in tricast.toml \
                (TRICAST_AUTH__MODE, TRICAST_AUTH__SECRET), or name a private key with --key"
                .into());
        }
        None => SigningKey::of_secret(config.auth.secret.expose().as_bytes()),
    };
    let key = key.map_err(|error| error.to_string())?.named(flags.kid.clone());
    let claims = Claims {
        user: flags.user.clone(),
        tenant: flags.tenant.clone(),
        permissions: if flags.admin {
            Permissions::from_iter([Permission::Admin])
        } else {
            flags.permissions.iter().copied().collect()
        },
        binding,
        now,
        expires: flags.expires,
        not_before: flags.not_before,
        issuer: config.auth.issuer.clone(),
        audience: config.auth.audience.clone(),
    };
    mint(&claims, &key).map_err(|error| error.to_string())
}
