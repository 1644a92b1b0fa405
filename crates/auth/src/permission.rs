//! Permissions that a token can grant.

use std::fmt;

/// Right that a token can grant (docs/protocol.md, section 10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Metrics, dashboards, entities and pushed channels.
    ReadMetrics,
    /// Read orders, customers and revenue.
    ReadOrders,
    /// Read alerts and their rules.
    ReadAlerts,
    /// Push values and events.
    WriteMetrics,
    /// Create and change orders.
    WriteOrders,
    /// Create and change dashboards.
    WriteDashboards,
    /// All permissions, for administrators of a tenant.
    Admin,
}

impl Permission {
    /// All permissions, in the order of docs/protocol.md, section 10.2.
    pub const ALL: [Self; 7] = [
        Self::ReadMetrics,
        Self::ReadOrders,
        Self::ReadAlerts,
        Self::WriteMetrics,
        Self::WriteOrders,
        Self::WriteDashboards,
        Self::Admin,
    ];

    /// Returns the name of the permission in tokens: `read:metrics`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadMetrics => "read:metrics",
            Self::ReadOrders => "read:orders",
            Self::ReadAlerts => "read:alerts",
            Self::WriteMetrics => "write:metrics",
            Self::WriteOrders => "write:orders",
            Self::WriteDashboards => "write:dashboards",
            Self::Admin => "admin",
        }
    }

    /// Returns the permission of this name; `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name() == name)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of permissions, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Permissions(u8);

impl Permissions {
    /// Set without any permission.
    pub const NONE: Self = Self(0);

    /// The set of all permissions.
    pub const ALL: Self = Self((1 << Permission::ALL.len()) - 1);

    /// Returns the set of the named permissions. Names of other programs' permissions are ignored.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(Permission::parse).collect()
    }

    /// Returns whether this very permission is in the set; [`Permission::Admin`] implies no other.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// Returns the permissions of the set, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }

    /// Returns the names of the permissions of the set, in the order of [`Permission::ALL`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.iter().map(Permission::name)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | 1 << permission as u8))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_in_any_order_and_listed_in_a_fixed_one() {
        let set = Permissions::parse(["admin", "write:orders", "openid", "read:metrics", "READ:ORDERS", "admin"]);
        assert_eq!(set.names().collect::<Vec<_>>(), ["read:metrics", "write:orders", "admin"]);
        assert_eq!(Permissions::ALL.iter().collect::<Vec<_>>(), Permission::ALL);
        assert_eq!(Permissions::parse([]), Permissions::NONE);
        assert!(Permission::ALL.iter().all(|permission| Permission::parse(permission.name()) == Some(*permission)));
    }
}
