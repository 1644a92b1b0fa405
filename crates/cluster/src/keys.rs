//! The names of all keys. They share a hash tag, so that a Redis Cluster keeps them on one node and a script may change
//! several of them at once.
//!
//! | key | type | what it is |
//! |---|---|---|
//! | `{P}:meta` | hash | `epoch` of the log, its `base`, `next` epoch while it is prepared, the one `before`, all `earlier` ones, one that is `suspect`, `term` of the election |
//! | `{P}:leader` | string | who leads; it expires |
//! | `{P}:beat:NODE` | string | what each beat of a node writes first, to see whether Redis takes it; it expires |
//! | `{P}:EPOCH:log` | stream | what was decided, an entry for each group; its id is a number that grows by one |
//! | `{P}:EPOCH:state` | hash | `seq` of the log and its `word`, `inbox` as far as it is decided, `dumped` as far as series are kept, and `dumped_seq` |
//! | `{P}:EPOCH:inbox` | stream | what was pushed and is to be decided |
//! | `{P}:EPOCH:decided` | hash | of each node the last of its groups that was decided |
//! | `{P}:EPOCH:seen:NODE` | string | the last group of that node in the inbox |
//! | `{P}:EPOCH:tenants` | hash | each tenant's newest offset |
//! | `{P}:EPOCH:t:TENANT:states`, `:events`, `:series` | hash, stream, hash | newest values, kept events, series of samples |
//! | `{P}:t:TENANT:reports`, `:users`, `:users:NODE` | hash, hash, set | what nodes measured; who is online |
//! | `{P}:lent:NAME` | string | what one node may take, once: tickets |
//! | `{P}:t:TENANT:snapshot`, `:history:HASH` | string | caches that expire |

use tricast_core::position::Epoch;

/// What there is once of each log, in the order in which scripts take it.
pub(super) const PARTS: [&str; 5] = ["log", "state", "tenants", "inbox", "decided"];

/// Names keys.
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

    /// A key that is never there.
    pub(super) fn none(&self) -> String {
        format!("{}:none", self.prefix)
    }

    /// `what`: one of [`PARTS`].
    pub(super) fn of(&self, epoch: &Epoch, what: &str) -> String {
        format!("{}:{epoch}:{what}", self.prefix)
    }

    pub(super) fn seen(&self, epoch: &Epoch, node: &str) -> String {
        format!("{}:{epoch}:seen:{node}", self.prefix)
    }

    /// `what`: states, events, series.
    pub(super) fn kept(&self, epoch: &Epoch, tenant: &str, what: &str) -> String {
        format!("{}:{epoch}:t:{tenant}:{what}", self.prefix)
    }

    pub(super) fn lent(&self, name: &str) -> String {
        format!("{}:lent:{name}", self.prefix)
    }

    /// `what`: reports, users, users:NODE, snapshot, history:HASH.
    pub(super) fn tenant(&self, tenant: &str, what: &str) -> String {
        format!("{}:t:{tenant}:{what}", self.prefix)
    }
}
