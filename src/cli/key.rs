//! `tricast key`: creates, lists and revokes machine keys in the configured store, while a server runs or not.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use toml::Value;

use super::{USAGE, complain, help_of, load, print, refuse, token};
use crate::config::{Config, Flags};
use tricast_auth::{NewMachineKey, Permission, TenantName};
use tricast_core::{clock::Clock, clock::rfc3339};
use tricast_domain::keys::{Key, KeyService, NewKey};
use tricast_store::Store;

/// Longest time that the database may take to become reachable.
const PATIENCE: Duration = Duration::from_secs(10);

/// Machine keys, in the store that the configuration names.
#[derive(Args, Clone, Debug)]
pub(super) struct KeyFlags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Create a key and print it, once: only its hash is stored
    Create {
        /// Name of the key
        name: String,
        /// Channels that it may push to and delete: metrics.ci.*; repeatable
        #[arg(long, value_name = "SELECTOR")]
        push: Vec<String>,
        /// Channels that it may read: orders; repeatable
        #[arg(long, value_name = "SELECTOR")]
        read: Vec<String>,
        /// Permissions in place of channels, separated by commas
        #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = token::permission,
            conflicts_with_all = ["push", "read"])]
        permissions: Vec<Permission>,
        /// Grant all permissions, for administrators of the tenant
        #[arg(long, conflicts_with_all = ["push", "read", "permissions"])]
        admin: bool,
        /// Time for which it is valid: 90d [default: for ever]
        #[arg(long, value_name = "SPAN", value_parser = token::span)]
        expires: Option<Duration>,
        #[command(flatten)]
        place: Place,
    },
    /// List the keys
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a key: its streams end within a second
    Revoke {
        /// Name or ID of the key
        key: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Store and tenant.
#[derive(Args, Clone, Debug)]
struct Place {
    /// Tenant of the key
    #[arg(long, default_value = "default", value_parser = TenantName::parse)]
    tenant: TenantName,
    #[arg(long, value_name = "DIR", help = help_of("data_dir"))]
    data_dir: Option<String>,
    /// File with settings [default: tricast.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Carries out the command.
pub(super) fn run(flags: &KeyFlags) -> ExitCode {
    let (Action::Create { place, .. } | Action::Ls { place, .. } | Action::Revoke { place, .. }) = &flags.action;
    let settings = place.data_dir.iter().map(|directory| ("data_dir", Value::String(directory.clone()))).collect();
    let config = match load(&Flags { file: place.config.clone(), settings }) {
        Ok(config) => config,
        Err((faults, _)) => return refuse(&faults),
    };
    if config.database().is_none() && config.data_dir.is_none() {
        complain("there is no store: set data_dir or database_url, as for the server");
        return ExitCode::from(USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(carry_out(&flags.action, &place.tenant, &config)) {
        Ok(text) => print(&text),
        Err(problem) => {
            complain(&problem);
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(action: &Action, tenant: &TenantName, config: &Config) -> Result<String, String> {
    let store = open(config).await?;
    let keys = KeyService::new(tenant.as_str(), store.keys(), Clock::system(), config.limits.max_keys);
    let done = act(action, &keys, Timestamp::now()).await;
    store.close().await;
    done
}

/// Opens the store, beside a server that uses it.
async fn open(config: &Config) -> Result<Store, String> {
    if let Some(database) = config.database() {
        let store = Store::in_database(database, tokio::runtime::Handle::current()).await;
        let store = store.map_err(|error| error.to_string())?;
        let mut available = store.available();
        let ready = tokio::time::timeout(PATIENCE, available.wait_for(|available| *available)).await;
        return match ready {
            Ok(Ok(_)) => Ok(store),
            _ => Err("database_url: the database can't be reached".into()),
        };
    }
    let directory = config.data_dir.as_deref().ok_or("there is no data_dir")?;
    Store::beside_a_server(directory, config.limits.max_store.0).map_err(|error| error.to_string())
}

async fn act(action: &Action, keys: &KeyService, now: Timestamp) -> Result<String, String> {
    match action {
        Action::Create { name, push, read, permissions, admin, expires, .. } => {
            let permissions = if *admin { vec![Permission::Admin] } else { permissions.clone() };
            let expires_at = expires.map(|expires| now.checked_add(expires)).transpose();
            let new = NewKey {
                name: name.clone(),
                read: read.clone(),
                push: push.clone(),
                permissions: permissions.into_iter().map(|permission| permission.name().to_owned()).collect(),
                expires_at: expires_at.map_err(|_| "--expires: is too far in the future")?,
            };
            let secret = NewMachineKey::generate().ok_or("the system has no random bytes")?;
            keys.create(new, secret.id, secret.hash).await.map_err(|error| error.to_string())?;
            Ok(format!("{}\n", secret.text))
        }
        Action::Ls { json, .. } => {
            let list = keys.list().await.map_err(|error| error.to_string())?;
            if *json {
                return serde_json::to_string(&list).map(|text| text + "\n").map_err(|error| error.to_string());
            }
            Ok(list.iter().map(|key| line(key, now)).collect())
        }
        Action::Revoke { key, .. } => {
            keys.revoke(key).await.map_err(|error| error.to_string())?;
            Ok(String::new())
        }
    }
}

/// Returns one line about a key: name, ID, rights and times, separated by tabs.
fn line(key: &Key, now: Timestamp) -> String {
    let rights = [("read", texts(&key.read)), ("push", texts(&key.push)), ("permissions", key.permissions.clone())];
    let rights: Vec<_> = rights
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(right, names)| format!("{right} {}", names.join(",")))
        .collect();
    let expires = match key.expires {
        None => "no expiry".to_owned(),
        Some(at) if key.is_expired(now) => format!("expired {}", rfc3339(at)),
        Some(at) => format!("expires {}", rfc3339(at)),
    };
    let used = key.used.map_or_else(|| "never used".to_owned(), |at| format!("used {}", rfc3339(at)));
    format!("{}\t{}\t{}\t{expires}\t{used}\n", key.name, key.id, rights.join("; "))
}

fn texts(list: &[tricast_core::channel::Selector]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
