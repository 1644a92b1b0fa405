//! A node that starts after Redis has lost the newest entries of the log.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::{
    task::LocalSet,
    time::{sleep, timeout},
};

use super::{
    client,
    network::{Path, World},
    node::SimulatedNode,
    outbox::Outbox,
    rules::Verdict,
};
use crate::Behind;

/// Longest time that anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node does not know the lost entries, and the other one cannot report the loss yet: the holder of their cursor would be
/// sent an older state. Without a report of a loss the cursor is one that no node issued.
#[test]
fn a_node_that_has_just_started_does_not_judge_a_cursor_beyond_the_log() {
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let world = World::new(1, 2);
        let outbox = Outbox::new(&world);
        let start = |index| SimulatedNode::start(&world, &outbox, index, SignedDuration::ZERO);
        let (killed, other) = (start(0), start(1));
        let push = async |id| timeout(PATIENCE, client::push(&other, id)).await.unwrap();
        assert_eq!(push(1).await, Verdict::Accepted);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(push(2).await, Verdict::Accepted);
        let cursor = other.log.position();

        killed.kill();
        world.set_path(1, Path::Dead);
        world.lose_since(Duration::from_secs(1));
        let started = start(0);
        assert!(started.cluster.is_loaded(PATIENCE).await);
        assert!(started.log.epoch() == cursor.epoch && started.log.head() < cursor.offset, "the second push is lost");
        assert_eq!(started.cluster.catch_up(&started.log, &cursor).await, Err(Behind));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(started.cluster.catch_up(&started.log, &cursor).await, Ok(()));
        [started, other].iter().for_each(SimulatedNode::kill);
    });
}
