//! Names of all keys. They share a hash tag, so that a Redis Cluster keeps them on one node and a script may change
//! several of them at once.
//!
//! | key | type | content |
//! |---|---|---|
//! | `{P}:meta` | hash | `epoch` of the log, its `base`, `next` epoch while it is prepared, the one `before`, all `earlier` ones, one that is `suspect`, `term` of the election |
//! | `{P}:leader` | string | ID of the leader; it expires |
//! | `{P}:beat:NODE` | string | test write of each heartbeat of a node, which shows whether Redis accepts writes; it
//! expires |
//! | `{P}:EPOCH:log` | stream | entries of the log, one for each group of decisions; their IDs are numbers that grow by one |
//! | `{P}:EPOCH:state` | hash | `seq` of the newest entry and its ID `word`, the last decided group in `inbox`, `dumped`
//! and `dumped_seq` up to which series are stored |
//! | `{P}:EPOCH:inbox` | stream | groups of batches that wait for the leader |
//! | `{P}:EPOCH:decided` | hash | last decided group of each node |
//! | `{P}:EPOCH:seen:NODE` | string | last group of that node in the inbox |
//! | `{P}:EPOCH:tenants` | hash | newest offset of each tenant |
//! | `{P}:EPOCH:t:TENANT:states`, `:events`, `:series` | hash, stream, hash | newest values, kept events, series of samples |
//! | `{P}:EPOCH:t:TENANT:times` | hash | times of the last writes of the values and their fields |
//! | `{P}:t:TENANT:reports`, `:users`, `:users:NODE` | hash, hash, set | node reports and online users |
//! | `{P}:lent:NAME` | string | values that one node may take once: tickets |
//! | `{P}:session:NAME` | hash | session of a client that any node may continue: its `owner` and `generation`; the newest copy in `content`, with its number in `of` and `change`. It expires; without an owner it has ended |
//! | `{P}:t:TENANT:snapshot`, `:history:HASH` | string | caches that expire |

use tricast_core::position::Epoch;

/// Keys that exist once per log, in the order in which scripts take them.
pub(super) const PARTS: [&str; 5] = ["log", "state", "tenants", "inbox", "decided"];

/// Keys of each tenant's log, in the order in which scripts take them.
pub(super) const TENANT_PARTS: [&str; 4] = ["states", "events", "series", "times"];

/// Names of keys with a prefix.
#[derive(Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{{{prefix}}}") }
    }

    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.prefix)
    }

    pub(super) fn leader(&self) -> String {
        format!("{}:leader", self.prefix)
    }

    pub(super) fn beat(&self, node: &str) -> String {
        format!("{}:beat:{node}", self.prefix)
    }

    /// Returns a key that never exists.
    pub(super) fn none(&self) -> String {
        format!("{}:none", self.prefix)
    }

    /// Returns a key of a log; `part` is one of [`PARTS`].
    pub(super) fn of(&self, epoch: &Epoch, part: &str) -> String {
        format!("{}:{epoch}:{part}", self.prefix)
    }

    pub(super) fn seen(&self, epoch: &Epoch, node: &str) -> String {
        format!("{}:{epoch}:seen:{node}", self.prefix)
    }

    /// Returns a key of a tenant in a log; `part` is one of [`TENANT_PARTS`].
    pub(super) fn of_tenant(&self, epoch: &Epoch, tenant: &str, part: &str) -> String {
        format!("{}:{epoch}:t:{tenant}:{part}", self.prefix)
    }

    pub(super) fn one_time(&self, name: &str) -> String {
        format!("{}:lent:{name}", self.prefix)
    }

    pub(super) fn session(&self, name: &str) -> String {
        format!("{}:session:{name}", self.prefix)
    }

    /// Returns a key of a tenant; `part` is reports, users, users:NODE, snapshot or history:HASH.
    pub(super) fn tenant(&self, tenant: &str, part: &str) -> String {
        format!("{}:t:{tenant}:{part}", self.prefix)
    }
}
