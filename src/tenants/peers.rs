//! Connection of a tenant's sources to the node reports of a cluster.

use std::collections::HashSet;

use futures_util::future::BoxFuture;

use tricast_cluster::NodeReports;
use tricast_domain::sources::{Gathered, Peers};

/// Node reports of the other nodes.
pub(super) struct OtherNodes(pub(super) NodeReports);

impl Peers for OtherNodes {
    fn exchange(&mut self, report: String, online: HashSet<String>, gather: bool) -> BoxFuture<'_, Option<Gathered>> {
        Box::pin(async move {
            self.0.report(&report, online).await?;
            let gathered = if gather { self.0.gather().await? } else { return None };
            Some(Gathered { users: gathered.users, reports: gathered.reports })
        })
    }
}
