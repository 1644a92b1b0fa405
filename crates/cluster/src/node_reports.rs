//! Node reports: measurements and online users of each node, for the leader, which merges them.

use std::{collections::HashSet, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

use super::{node::Node, scripts};

/// Time without a report after which a node is dropped, with its users.
const SILENT: Duration = Duration::from_secs(5);

/// Most users in one command.
const USERS: usize = 1_000;

/// Reports of all nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// Users online on any node, each counted once.
    pub users: u64,
    /// Name and report of each node.
    pub reports: Vec<(String, String)>,
}

/// Node reports of one tenant, as sent by this node.
pub struct NodeReports {
    node: Arc<Node>,
    tenant: Arc<str>,
    /// Users that Redis has.
    sent_users: HashSet<String>,
}

impl NodeReports {
    pub(super) fn new(node: Arc<Node>, tenant: &str) -> Self {
        Self { node, tenant: tenant.into(), sent_users: HashSet::new() }
    }

    /// Sends the report and the online users of this node. `None` while Redis cannot be reached.
    pub async fn report(&mut self, report: &str, online: HashSet<String>) -> Option<()> {
        let online: HashSet<String> = online.iter().map(|user| name(user)).collect();
        let joined: Vec<_> = online.difference(&self.sent_users).cloned().collect();
        let left: Vec<_> = self.sent_users.difference(&online).cloned().collect();
        // They may be stored even if the reply is lost.
        self.sent_users.extend(joined.iter().cloned());
        if self.send(report, false, &joined, &left).await? != online.len() {
            // Redis lost some users, or has some that left: all are sent again.
            let all: Vec<_> = online.iter().cloned().collect();
            self.send(report, true, &all, &[]).await?;
        }
        self.sent_users = online;
        Some(())
    }

    /// Sends a report; with `all`, `joined` replaces the stored users.
    async fn send(&self, report: &str, all: bool, joined: &[String], left: &[String]) -> Option<usize> {
        let Node { keys, id, link, .. } = &*self.node;
        let mut known = 0;
        let mut parts: Vec<(&[String], &[String])> = joined.chunks(USERS).map(|joined| (joined, &[][..])).collect();
        parts.extend(left.chunks(USERS).map(|left| (&[][..], left)));
        if parts.is_empty() {
            parts.push((&[], &[]));
        }
        for (number, (joined, left)) in parts.into_iter().enumerate() {
            let all = i32::from(all && number == 0);
            let reply = link.request(async |connection| {
                let mut script = scripts::REPORT.prepare_invoke();
                script.key(keys.tenant(&self.tenant, "reports")).key(keys.tenant(&self.tenant, "users"));
                script.key(keys.tenant(&self.tenant, &format!("users:{id}")));
                script.arg(id).arg(report).arg(all).arg(joined.len()).arg(joined).arg(left);
                script.invoke_async(connection).await
            });
            known = reply.await.ok()?;
        }
        Some(known)
    }

    /// Returns the recent reports of all nodes. `None` while Redis cannot be reached.
    pub async fn gather(&self) -> Option<Gathered> {
        let Node { keys, link, .. } = &*self.node;
        let reply = link.request(async |connection| {
            let mut gather = scripts::GATHER.prepare_invoke();
            gather.key(keys.tenant(&self.tenant, "reports")).key(keys.tenant(&self.tenant, "users"));
            // After an outage other nodes may not have reported again yet.
            let silent = if self.node.health.has_just_recovered(SILENT * 2) { SILENT * 100 } else { SILENT };
            gather.arg(silent.as_millis() as u64).arg(keys.tenant(&self.tenant, "users:"));
            gather.invoke_async::<Vec<redis::Value>>(connection).await
        });
        let mut reply = reply.await.ok()?.into_iter();
        let users = redis::from_redis_value(reply.next()?).ok()?;
        let rest: Vec<String> = reply.map(redis::from_redis_value).collect::<Result<_, _>>().ok()?;
        let mut reports: Vec<_> = rest.chunks_exact(2).map(|pair| (short(&pair[0]), pair[1].clone())).collect();
        reports.sort();
        Some(Gathered { users, reports })
    }
}

/// Returns the hash that stands for a user, so that Redis contains no names and addresses.
fn name(user: &str) -> String {
    HEXLOWER.encode(&digest(&SHA256, user.as_bytes()).as_ref()[..12])
}

/// Returns the name of a node without its unique suffix.
fn short(id: &str) -> String {
    id.rsplit_once('/').map_or(id, |(name, _)| name).to_owned()
}
