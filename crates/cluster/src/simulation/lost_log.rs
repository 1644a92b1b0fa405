//! A load of a log that Redis has just lost.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::{task::LocalSet, time::timeout};

use super::{client, network::World, node::SimulatedNode, outbox::Outbox, rules::Verdict, run::events};
use crate::follower;

/// Longest time that anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The values would be gone from the memory of the node that bootstraps the next log.
#[test]
fn a_log_that_redis_has_lost_is_not_loaded_as_an_empty_one() {
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let world = World::new(1, 1);
        let outbox = Outbox::new(&world);
        let process = SimulatedNode::start(&world, &outbox, 0, SignedDuration::ZERO);
        assert_eq!(timeout(PATIENCE, client::push(&process, 1)).await.unwrap(), Verdict::Accepted);
        let (node, epoch) = (&process.cluster.node, process.log.epoch());
        let mut connection = node.link.connect(Duration::ZERO).await.unwrap();
        world.flush();
        let loaded = follower::load(node, &mut connection, &epoch).await;
        assert!(matches!(loaded, Err(follower::Failure::Gone)), "{loaded:?}");
        assert_eq!((process.log.epoch(), events(&process)), (epoch, vec![1]));
        process.kill();
    });
}
