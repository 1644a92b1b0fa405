//! Sessions of clients under delays, crashes and claims at the same time.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::{
    task::{LocalSet, spawn_local},
    time::{advance, sleep},
};

use super::{
    network::{Path, World},
    node::SimulatedNode,
    outbox::Outbox,
};
use crate::{Claimed, Cluster, Edition, SessionCopy};

const NAME: &str = "socketio:a";
const OWNER: &str = "ada";
const LIFETIME: Duration = Duration::from_secs(600);

/// Runs `test` with a simulated network and three nodes on it.
fn with_nodes<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(Arc<World>, Vec<Cluster>) -> F) {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let world = World::new(seed, 3);
        let outbox = Outbox::new(&world);
        let nodes: Vec<_> =
            (0..3).map(|index| SimulatedNode::start(&world, &outbox, index, SignedDuration::ZERO)).collect();
        test(world, nodes.iter().map(|node| node.cluster.clone()).collect()).await;
        nodes.iter().for_each(SimulatedNode::kill);
    });
}

const fn edition(generation: u64, change: u64) -> Edition {
    Edition { generation, change }
}

/// Stores a copy whose content is its number.
async fn store(node: &Cluster, edition: Edition) -> bool {
    let content = content(edition);
    let copy = SessionCopy { name: NAME, owner: OWNER, edition, content: &content };
    node.store_session(&copy, LIFETIME).await.unwrap()
}

fn content(edition: Edition) -> Vec<u8> {
    format!("{edition:?}").into_bytes()
}

async fn claim(node: &Cluster, known: u64) -> Option<Claimed> {
    node.claim_session(NAME, OWNER, known, LIFETIME).await.unwrap()
}

fn claimed(generation: u64, copy: Option<Edition>) -> Option<Claimed> {
    Some(Claimed { generation, copy: copy.map(|edition| (edition, content(edition))) })
}

#[test]
fn copies_of_a_former_holder_are_refused_however_late_they_arrive() {
    with_nodes(1, |_, nodes| async move {
        assert!(store(&nodes[0], edition(1, 1)).await);
        assert!(store(&nodes[0], edition(1, 3)).await);
        assert!(store(&nodes[0], edition(1, 2)).await, "an older change of the same holder changes nothing");
        assert_eq!(claim(&nodes[1], 0).await, claimed(2, Some(edition(1, 3))));
        assert!(!store(&nodes[0], edition(1, 4)).await);
        assert!(store(&nodes[1], edition(2, 1)).await);
        assert!(!store(&nodes[0], edition(1, 5)).await);
        assert_eq!(claim(&nodes[2], 0).await, claimed(3, Some(edition(2, 1))));
        // A former holder that ends it does not end it for the present one.
        nodes[0].end_session(NAME, 1).await.unwrap();
        assert_eq!(claim(&nodes[0], 1).await, claimed(4, Some(edition(2, 1))));
    });
}

#[test]
fn a_holder_that_crashes_before_its_first_copy_leaves_the_former_one() {
    with_nodes(2, |_, nodes| async move {
        assert!(store(&nodes[0], edition(1, 1)).await);
        assert!(claim(&nodes[1], 0).await.is_some());
        assert_eq!(claim(&nodes[2], 0).await, claimed(3, Some(edition(1, 1))));
        assert!(!store(&nodes[1], edition(2, 1)).await, "the node was only slow");
        assert!(store(&nodes[2], edition(3, 1)).await);
    });
}

#[test]
fn a_session_that_has_ended_stays_ended() {
    with_nodes(3, |_, nodes| async move {
        assert!(store(&nodes[0], edition(1, 1)).await);
        nodes[0].end_session(NAME, 1).await.unwrap();
        assert!(!store(&nodes[0], edition(1, 2)).await);
        assert_eq!(claim(&nodes[1], 0).await, None);
        assert_eq!(claim(&nodes[0], 1).await, None);
    });
}

#[test]
fn a_session_that_has_not_reached_redis_is_claimed_by_a_node_that_has_it() {
    with_nodes(4, |_, nodes| async move {
        assert_eq!(claim(&nodes[0], 0).await, None, "no node has it");
        assert_eq!(claim(&nodes[0], 1).await, claimed(2, None));
        assert!(!store(&nodes[0], edition(1, 1)).await, "the copy of the former generation is late");
        assert_eq!(claim(&nodes[1], 0).await, claimed(3, None));
    });
}

#[test]
fn the_claim_of_another_owner_changes_nothing() {
    with_nodes(5, |_, nodes| async move {
        assert!(store(&nodes[0], edition(1, 1)).await);
        for known in [0, 1] {
            assert_eq!(nodes[1].claim_session(NAME, "bob", known, LIFETIME).await, Ok(None));
        }
        assert!(store(&nodes[0], edition(1, 2)).await);
    });
}

#[test]
fn a_session_expires_after_its_last_copy_or_claim() {
    with_nodes(6, |_, nodes| async move {
        let most = LIFETIME - Duration::from_secs(1);
        assert!(store(&nodes[0], edition(1, 1)).await);
        advance(most).await;
        assert!(claim(&nodes[1], 0).await.is_some());
        advance(most).await;
        assert!(claim(&nodes[1], 0).await.is_some());
        advance(LIFETIME).await;
        assert_eq!(claim(&nodes[1], 0).await, None);
    });
}

#[test]
fn of_claims_at_the_same_time_one_succeeds() {
    for seed in 0..100 {
        with_nodes(seed, |world, nodes| async move {
            assert!(store(&nodes[0], edition(1, 1)).await);
            (0..nodes.len()).for_each(|node| world.set_path(node, Path::Slow(Duration::from_secs(1))));
            let claims = nodes.into_iter().map(|node| {
                spawn_local(async move {
                    let claimed = claim(&node, 0).await?;
                    // The client waits until its node has read up to its cursor. Longer than any claim takes.
                    sleep(Duration::from_secs(3)).await;
                    store(&node, edition(claimed.generation, 1)).await.then_some(claimed.generation)
                })
            });
            let holders: Vec<u64> = join_all(claims).await.into_iter().filter_map(Result::unwrap).collect();
            assert_eq!(holders, [4], "seed {seed}");
        });
    }
}
