//! Identity of the client behind a request.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    binding::{Binding, BindingLists},
    machine_key::KeyInUse,
    permission::{Permission, Permissions},
    tenant::TenantName,
};

/// Identity of a client. The tenant is part of it, so that no code can request data without naming its owner. Clones share the texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Owner of the data that the client sees. `default` with authentication off.
    pub tenant: TenantName,
    /// The user, as others may see it: the token's `sub`, 1 to 128 bytes.
    pub user: Arc<str>,
    /// Permissions of the token; none of a token that is bound to channels.
    pub permissions: Permissions,
    /// Channels that the token is bound to.
    binding: Option<Binding>,
    /// End of its validity: the token's `exp` plus the leeway. From then on the token is refused, so streams end. `None` with
    /// authentication off: never.
    pub expires_at: Option<Timestamp>,
    /// Machine key that the client showed in place of a token.
    key: Option<KeyInUse>,
    /// Address of the client.
    address: Option<IpAddr>,
    /// Set for clients without a token.
    anonymous: bool,
}

/// Rights of a machine key.
#[derive(Clone, Debug)]
pub enum Grant {
    /// The permissions of a token.
    Permissions(Permissions),
    /// Channels in place of permissions.
    Channels(Binding),
}

/// Identity as it is sent to another node.
#[derive(Deserialize, Serialize)]
struct WireIdentity {
    tenant: String,
    user: Arc<str>,
    permissions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<BindingLists>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    expires_at: Option<Timestamp>,
    anonymous: bool,
}

impl Identity {
    /// Creates the identity of a client without a token, on a server that requires none.
    pub fn anonymous(address: Option<IpAddr>) -> Self {
        static USER: OnceLock<Arc<str>> = OnceLock::new();
        Self {
            tenant: TenantName::default_name(),
            user: Arc::clone(USER.get_or_init(|| "anonymous".into())),
            permissions: Permissions::ALL,
            binding: None,
            expires_at: None,
            key: None,
            address,
            anonymous: true,
        }
    }

    /// Creates the identity of a client with a verified token. With a binding it has no permission: an identity that loses the
    /// binding, on a node that does not know it, may do nothing.
    pub(super) fn of_token(
        tenant: TenantName,
        user: Arc<str>,
        permissions: Permissions,
        binding: Option<Binding>,
        expires_at: Timestamp,
    ) -> Self {
        let permissions = if binding.is_some() { Permissions::NONE } else { permissions };
        let expires_at = Some(expires_at);
        Self { tenant, user, permissions, binding, expires_at, key: None, address: None, anonymous: false }
    }

    /// Creates the identity of a client that showed a machine key.
    pub fn of_key(tenant: TenantName, name: &str, key: KeyInUse, grant: Grant, expires_at: Option<Timestamp>) -> Self {
        let (permissions, binding) = match grant {
            Grant::Permissions(permissions) => (permissions, None),
            Grant::Channels(binding) => (Permissions::NONE, Some(binding)),
        };
        let user = format!("key:{name}").into();
        Self { tenant, user, permissions, binding, expires_at, key: Some(key), address: None, anonymous: false }
    }

    /// Returns the same identity with another address.
    #[must_use]
    pub fn with_address(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// Returns the identity as JSON for another node, without the address, which may differ there.
    pub fn to_json(&self) -> String {
        let (tenant, user) = (self.tenant.as_str().to_owned(), Arc::clone(&self.user));
        let permissions = self.permissions.names().map(str::to_owned).collect();
        let channels = self.binding.as_ref().map(BindingLists::from);
        let key = self.key.as_ref().map(|key| key.id().to_owned());
        let (expires_at, anonymous) = (self.expires_at, self.anonymous);
        let wire = WireIdentity { tenant, user, permissions, channels, key, expires_at, anonymous };
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Parses the JSON of [`Identity::to_json`]. A machine key has to be looked up again: it may have been revoked.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let WireIdentity { tenant, user, permissions, channels, key, expires_at, anonymous } =
            serde_json::from_slice(text).ok()?;
        let binding = channels.map(|lists| lists.parse()).transpose().ok()?;
        let tenant = TenantName::parse(&tenant).ok()?;
        let permissions = Permissions::parse(permissions.iter().map(String::as_str));
        let key = key.map(|id| KeyInUse::new(&id));
        Some(Self { tenant, user, permissions, binding, expires_at, key, address: None, anonymous })
    }

    /// Returns the address of the client, if known.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns the channels that the token is bound to; `None` for a token with permissions.
    pub fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// Returns the machine key that the client showed; `None` for a token.
    pub fn key(&self) -> Option<&KeyInUse> {
        self.key.as_ref()
    }

    /// Returns whether the client's key was revoked.
    pub fn is_revoked(&self) -> bool {
        self.key.as_ref().is_some_and(KeyInUse::is_revoked)
    }

    /// Returns whether the client has no token.
    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// Returns the key by which limits and presence count the user within the tenant; for anonymous clients their address.
    pub fn counted_as(&self) -> String {
        match self.address {
            _ if !self.anonymous => self.user.as_ref().into(),
            Some(address) => address.to_string(),
            None => "local".into(),
        }
    }

    /// Returns whether the identity has a permission. `admin` includes all.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(permission) || self.permissions.contains(Permission::Admin)
    }

    /// Returns whether both are the same user of the same tenant; permissions, expiry and address may differ. A token whose
    /// `sub` is `anonymous` is not the same as no token, and a key is the same as itself only.
    pub fn is_same_user(&self, other: &Self) -> bool {
        let same_key = self.key == other.key;
        same_key && self.anonymous == other.anonymous && self.tenant == other.tenant && self.user == other.user
    }
}

#[cfg(test)]
mod tests {
    use super::{super::capabilities, *};

    fn ada(tenant: &str, permissions: &[&str]) -> Identity {
        let tenant = TenantName::parse(tenant).unwrap();
        Identity::of_token(tenant, "ada".into(), Permissions::parse(permissions.iter().copied()), None, Timestamp::MAX)
    }

    fn bound() -> Identity {
        let lists = BindingLists { read: vec!["orders".into(), "metrics.a.*".into()], push: vec!["deploys".into()] };
        let binding = Some(lists.parse().unwrap());
        let tenant = TenantName::parse("acme").unwrap();
        Identity::of_token(tenant, "ci".into(), Permissions::ALL, binding, Timestamp::MAX)
    }

    #[test]
    fn a_bound_identity_has_its_channels_and_nothing_else() {
        let bound = bound();
        assert!(Permission::ALL.iter().all(|permission| !bound.may(*permission)));
        let channel = |name| tricast_core::channel::Channel::parse(name).unwrap();
        let reads = |name| crate::may_read_channel(&bound, &channel(name));
        assert!(reads("orders") && reads("metrics.a.b") && !reads("metrics.api") && !reads("system"));
        assert!(crate::may_push(&bound, &channel("deploys")) && !crate::may_push(&bound, &channel("orders")));
        assert!(!crate::sees_all(&bound));
        assert!(!crate::may_read_alert(&bound, "metrics.api.error_rate"));
        assert_eq!(capabilities(&bound), ["metrics", "orders"]);
        let pushes = |permission| crate::may_push(&ada("acme", &[permission]), &channel("a"));
        assert!(pushes("write:metrics") && !pushes("read:metrics"));
    }

    #[test]
    fn admin_has_every_permission_and_others_have_the_granted_ones() {
        let reader = ada("acme", &["read:metrics"]);
        assert!(reader.may(Permission::ReadMetrics) && !reader.may(Permission::ReadOrders));
        assert!(!reader.may(Permission::Admin) && !ada("acme", &[]).may(Permission::ReadMetrics));
        assert!(Permission::ALL.iter().all(|permission| ada("acme", &["admin"]).may(*permission)));
        assert_eq!(capabilities(&reader), ["metrics", "system"]);
        assert_eq!(capabilities(&Identity::anonymous(None)), ["metrics", "alerts", "orders", "system"]);
    }

    #[test]
    fn an_identity_sent_to_another_node_stays_the_same() {
        for identity in [ada("acme", &["read:metrics", "admin"]), bound(), Identity::anonymous(None)] {
            assert_eq!(Identity::from_json(identity.to_json().as_bytes()), Some(identity));
        }
        assert_eq!(Identity::from_json(b"{}"), None);
    }

    #[test]
    fn users_differ_by_tenant_and_by_having_a_token() {
        let address = Some("192.0.2.7".parse().unwrap());
        let acme = ada("acme", &[]);
        assert!(acme.is_same_user(&ada("acme", &["admin"]).with_address(address)));
        assert!(!acme.is_same_user(&ada("globex", &[])));
        let named =
            Identity::of_token(TenantName::default_name(), "anonymous".into(), Permissions::NONE, None, Timestamp::MAX);
        assert!(!named.is_same_user(&Identity::anonymous(None)));
        assert_eq!(acme.with_address(address).counted_as(), "ada");
        assert_eq!(Identity::anonymous(address).counted_as(), "192.0.2.7");
        assert_eq!(Identity::anonymous(None).counted_as(), "local");
    }
}
