//! All nodes restart while Redis comes back without the newest entries of the log.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::{
    task::LocalSet,
    time::{sleep, timeout},
};
use tricast_core::{
    channel::Selector,
    log::Log,
    position::Position,
    resume::{ResetReason, Resume, judge},
};

use super::{client, network::World, node::SimulatedNode, outbox::Outbox, rules::Verdict, run::events};

/// Longest time that anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pushes the event `id` to `node` until it is accepted.
async fn push(node: &SimulatedNode, id: u64) {
    let accepted = async { while client::push(node, id).await != Verdict::Accepted {} };
    timeout(PATIENCE, accepted).await.unwrap();
}

fn verdict(log: &Log, cursor: &Position) -> (Resume, Position) {
    judge(log, cursor, &[Selector::parse("deploys").unwrap(), Selector::parse("metrics.load").unwrap()])
}

/// No node knows that entries are lost: the log goes on, but the offsets of these entries are not used again, so that the
/// holder of their cursor gets a gap and all later events. Nothing is lost for other clients, and they get no gap.
#[test]
fn only_the_cursor_of_a_lost_entry_leads_to_a_gap() {
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let world = World::new(1, 3);
        let outbox = Outbox::new(&world);
        let start = |index| SimulatedNode::start(&world, &outbox, index, SignedDuration::ZERO);
        let before = [start(0), start(1)];
        push(&before[0], 1).await;
        let kept = before[0].log.position();
        sleep(Duration::from_secs(2)).await;
        push(&before[0], 2).await;
        push(&before[0], 3).await;
        let lost = before[0].log.position();

        before.iter().for_each(SimulatedNode::kill);
        world.lose_since(Duration::from_secs(1));
        let after = [start(0), start(1)];
        for node in &after {
            assert!(node.cluster.is_loaded(PATIENCE).await);
            assert_eq!(node.log.position(), kept);
        }
        for id in 4..9 {
            push(&after[0], id).await;
        }
        let newest = after[0].log.position();
        assert!(newest.epoch == kept.epoch && newest.offset > lost.offset);
        // It reads the holes from Redis, the others from the entries.
        let later = start(2);
        assert!(later.cluster.is_loaded(PATIENCE).await);
        for node in after.iter().chain([&later]) {
            assert_eq!(node.cluster.catch_up(&node.log, &newest).await, Ok(()));
            assert_eq!(events(node), [1, 4, 5, 6, 7, 8]);
            let (resume, from) = verdict(&node.log, &lost);
            assert_eq!(resume, Resume::Reset(ResetReason::UnknownCursor));
            let follow = node.log.events_after(from.offset, newest.offset, usize::MAX, |_, _| true).events.len();
            assert_eq!(follow, 5, "all events after the loss");
            for cursor in [&kept, &from, &newest] {
                assert_eq!(verdict(&node.log, cursor), (Resume::Replay(cursor.clone()), cursor.clone()));
            }
        }
        after.iter().chain([&later]).for_each(SimulatedNode::kill);
    });
}
