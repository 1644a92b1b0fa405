//! The census of a cluster, as the sources of one tenant see it.

use std::collections::HashSet;

use futures_util::future::BoxFuture;

use tricast_cluster::Census;
use tricast_domain::sources::{Gathered, Peers};

/// The other nodes.
pub(super) struct Others(pub(super) Census);

impl Peers for Others {
    fn exchange(&mut self, report: String, online: HashSet<String>, gather: bool) -> BoxFuture<'_, Option<Gathered>> {
        Box::pin(async move {
            self.0.report(&report, online).await?;
            let gathered = if gather { self.0.gather().await? } else { return None };
            Some(Gathered { users: gathered.users, reports: gathered.reports })
        })
    }
}
