//! The identity behind a request.

use std::{borrow::Cow, net::IpAddr};

use crate::core::channel::Selector;

/// What a token can allow (contract, section 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Metrics, dashboards, entities and pushed channels.
    ReadMetrics,
    /// Orders and revenue.
    ReadOrders,
    /// Alerts.
    ReadAlerts,
    /// Push values and events.
    WriteMetrics,
    /// Create and change orders.
    WriteOrders,
}

/// Who asks. The tenant is part of it, so that no code can ask for data without saying whose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Owner of the data that is seen. `default` with authentication off.
    pub tenant: &'static str,
    /// The user, as others may see it.
    pub user: Cow<'static, str>,
    /// Where an anonymous reader comes from.
    address: Option<IpAddr>,
}

impl Identity {
    /// Somebody without a token, on a server that asks for none.
    pub fn anonymous(address: Option<IpAddr>) -> Self {
        Self { tenant: "default", user: Cow::Borrowed("anonymous"), address }
    }

    /// What the user is counted by; for anonymous readers their address.
    pub fn counted_as(&self) -> String {
        self.address.map_or_else(|| "local".into(), |address| address.to_string())
    }

    /// Whether this is allowed.
    pub fn may(&self, _permission: Permission) -> bool {
        // Anonymous readers exist only where authentication is off, and there everything is allowed.
        true
    }
}

/// What reading a channel, or everything below a prefix, takes; `None` if anybody may.
pub fn reading(selector: &Selector) -> Option<Permission> {
    let Selector::Exact(channel) = selector else { return Some(Permission::ReadMetrics) };
    match channel.as_str() {
        "system" => None,
        "orders" | "metrics.orders" | "metrics.revenue" => Some(Permission::ReadOrders),
        "alerts" => Some(Permission::ReadAlerts),
        _ => Some(Permission::ReadMetrics),
    }
}

/// The channel families that `identity` may read, for `connected`.
pub fn capabilities(identity: &Identity) -> Vec<&'static str> {
    let families = [
        ("metrics", Some(Permission::ReadMetrics)),
        ("alerts", Some(Permission::ReadAlerts)),
        ("orders", Some(Permission::ReadOrders)),
        ("system", None),
    ];
    families
        .into_iter()
        .filter(|(_, permission)| permission.is_none_or(|permission| identity.may(permission)))
        .map(|(family, _)| family)
        .collect()
}
