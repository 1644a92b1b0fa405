//! Node reports: the measurements of all nodes at one moment.
//!
//! In a cluster each node sends its report once a second, and the leader reads those of all nodes. A report is a JSON object with a
//! member per source.

use std::collections::HashSet;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Recent reports of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Users online on any node, each once.
    pub users: u64,
    /// Name and report of each node.
    pub reports: Vec<(String, String)>,
}

/// The other nodes, as the sources of one tenant see them.
pub trait Peers: Send + Sync {
    /// Sends the report and the online users of this node; with `gather` returns the recent reports of all nodes. `None` while the other
    /// nodes can't be reached.
    fn exchange(&mut self, report: String, online: HashSet<String>, gather: bool) -> BoxFuture<'_, Option<Gathered>>;
}

/// Measurements of all nodes.
pub(super) struct Nodes {
    /// Users online on any node, each once.
    pub(super) users: u64,
    /// Whether there is a cluster.
    pub(super) in_cluster: bool,
    reports: Vec<(String, Map<String, Value>)>,
}

impl Nodes {
    /// Creates the measurements of a node without a cluster.
    pub(super) fn one(report: Map<String, Value>, users: u64) -> Self {
        Self { users, in_cluster: false, reports: vec![(String::new(), report)] }
    }

    /// Parses the reports of a cluster. Those that can't be parsed are left out: a node of another version may use another format.
    pub(super) fn many(gathered: Gathered) -> Self {
        let parsed =
            gathered.reports.into_iter().filter_map(|(node, text)| Some((node, serde_json::from_str(&text).ok()?)));
        Self { users: gathered.users, in_cluster: true, reports: parsed.collect() }
    }

    /// Returns the measurement of a source on each node, with the node's name; without nodes that have none.
    pub(super) fn of<T: DeserializeOwned>(&self, source: &str) -> Vec<(&str, T)> {
        let measured = self
            .reports
            .iter()
            .filter_map(|(node, report)| Some((node.as_str(), T::deserialize(report.get(source)?).ok()?)));
        measured.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_cannot_be_parsed_are_left_out() {
        let reports =
            [("a", r#"{"load": 1, "new": {}}"#), ("b", "another format"), ("c", r#"{"load": "high"}"#), ("d", "{}")];
        let reports = reports.map(|(node, report)| (node.to_owned(), report.to_owned())).to_vec();
        let nodes = Nodes::many(Gathered { users: 1, reports });
        assert_eq!(nodes.of::<u64>("load"), [("a", 1)]);
    }
}
