//! A leader whose path to Redis becomes slow, while those of the other nodes are good.

use std::{cell::RefCell, rc::Rc, time::Duration};

use jiff::SignedDuration;
use tokio::{
    task::{LocalSet, spawn_local},
    time::{Instant, sleep, timeout},
};

use super::{
    client,
    network::{Path, World},
    node::SimulatedNode,
    outbox::Outbox,
    rules::Verdict,
};

/// Longest time that a client waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time for which the path is slow.
const SLOW_FOR: Duration = Duration::from_secs(60);

/// Longest time of a request, and of a reply, on it: most replies to heartbeats are late, and some are not.
const SLOWEST: Duration = Duration::from_secs(2);

/// Longest time for which the other nodes accept no push.
const LONGEST_OUTAGE: Duration = Duration::from_secs(20);

fn leader(nodes: &[SimulatedNode]) -> Option<usize> {
    nodes.iter().position(|node| *node.cluster.leads().borrow())
}

/// Returns the longest time between two accepted pushes to the nodes with good paths.
async fn outage(seed: u64) -> Duration {
    let world = World::new(seed, 3);
    let outbox = Outbox::new(&world);
    let nodes: Vec<_> =
        (0..3).map(|index| SimulatedNode::start(&world, &outbox, index, SignedDuration::ZERO)).collect();
    while leader(&nodes).is_none() {
        sleep(Duration::from_millis(100)).await;
    }
    let slow = leader(&nodes).unwrap();
    assert_eq!(client::push(&nodes[slow], 1).await, Verdict::Accepted);
    world.set_path(slow, Path::Slow(SLOWEST));
    let start = Instant::now();
    let accepted = Rc::new(RefCell::new(vec![start]));
    let pushes: Vec<_> = (2..)
        .map_while(|id| {
            let at = Duration::from_millis(500) * (id as u32 - 2);
            (at < SLOW_FOR).then_some((id, at))
        })
        .map(|(id, at)| {
            let (node, accepted) = (nodes[(slow + 1 + id as usize % 2) % 3].clone(), Rc::clone(&accepted));
            spawn_local(async move {
                sleep(at).await;
                if timeout(PATIENCE, client::push(&node, id)).await == Ok(Verdict::Accepted) {
                    accepted.borrow_mut().push(Instant::now());
                }
            })
        })
        .collect();
    for push in pushes {
        push.await.unwrap();
    }
    nodes.iter().for_each(SimulatedNode::kill);
    let mut accepted = accepted.take();
    accepted.push(start + SLOW_FOR);
    accepted.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap()
}

/// Its heartbeats reach Redis although the replies come too late for it to lead: it has to leave the lead to another node.
#[test]
fn a_leader_with_late_replies_leaves_the_lead_to_another_node() {
    for seed in 0..20 {
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let outage = LocalSet::new().block_on(&runtime, outage(seed));
        assert!(outage < LONGEST_OUTAGE, "seed {seed}: no push was accepted for {outage:?}");
    }
}
