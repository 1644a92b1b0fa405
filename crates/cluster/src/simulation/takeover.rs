//! A takeover while a push waits in the inbox.

use std::{rc::Rc, time::Duration};

use futures_util::future::select_all;
use jiff::SignedDuration;
use tokio::{
    task::{LocalSet, spawn_local},
    time::timeout,
};

use super::{client, network::World, node::SimulatedNode, outbox::Outbox, rules::Verdict, run::events};

/// Longest time until a node leads.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the first of `nodes` that leads.
async fn first_leader(nodes: &[Rc<SimulatedNode>]) -> Rc<SimulatedNode> {
    let leading = nodes.iter().map(|node| {
        let (node, mut leads) = (Rc::clone(node), node.cluster.leads());
        Box::pin(async move {
            leads.wait_for(|leads| *leads).await.unwrap();
            node
        })
    });
    timeout(PATIENCE, select_all(leading)).await.unwrap().0
}

/// Alerts are decided by the leader. It must not miss a value that was pushed before its term, as by a node that is gone.
#[test]
fn a_new_leader_has_decided_what_waited_when_it_begins_to_lead() {
    const PUSH: u64 = 1_000_001;
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let world = World::new(1, 3);
        let outbox = Outbox::new(&world);
        let start = |index| Rc::new(SimulatedNode::start(&world, &outbox, index, SignedDuration::ZERO));
        let nodes: Vec<_> = (0..3).map(start).collect();
        let former = first_leader(&nodes).await;
        let others: Vec<_> = nodes.iter().filter(|node| !Rc::ptr_eq(node, &former)).cloned().collect();
        former.kill();
        let node = Rc::clone(&others[0]);
        let push = spawn_local(async move { client::push(&node, PUSH).await });
        let leader = first_leader(&others).await;
        assert_eq!(events(&leader), [PUSH]);
        assert_eq!(timeout(PATIENCE, push).await.unwrap().unwrap(), Verdict::Accepted);
        others.iter().for_each(|node| node.kill());
    });
}
