//! Hands in what this node's clients and sources push: in order, and once, however often Redis has to be asked.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    node::{Group, Node},
    scripts,
    wire::{Pushed, json},
};
use crate::core::{
    aggregator::{Batch, Batches},
    position::Epoch,
};

/// Batches that are taken together.
const BATCHES: usize = 64;

/// A group is handed in when it is this large, in bytes of JSON.
const GROUP: usize = 1 << 20;

/// Groups that wait in the inbox while nobody is elected; more wait with their node.
const INBOX: usize = 10_000;

/// After a failure.
const RETRY: Duration = Duration::from_millis(200);

/// How long until it is looked again whether there is room in the inbox, or another log.
const LOOK: Duration = Duration::from_millis(50);

/// Hands in what comes out of `batches` until nobody can push any more.
pub(super) async fn run(node: Arc<Node>, mut batches: Batches) {
    let mut seen = node.seen.subscribe();
    let mut taken = Vec::with_capacity(BATCHES);
    'log: loop {
        let Ok(epoch) = seen.wait_for(|seen| seen.epoch.is_some()).await.map(|seen| seen.epoch.clone()) else { return };
        let Some(epoch) = epoch else { continue };
        // Redis has taken nothing yet of what belongs to this log, as far as is known here.
        node.handed_in.store(0, Ordering::Release);
        // What the log before this one did not answer went with it.
        for (number, payload) in node.unanswered() {
            if !hand_in(&node, &epoch, number, &payload).await {
                continue 'log;
            }
        }
        loop {
            tokio::select! {
                _ = seen.wait_for(|seen| seen.epoch.as_ref().is_some_and(|now| *now != epoch)) => continue 'log,
                // A replica that took over did not have them. Those that it has are not taken twice.
                () = node.hand_in_again.notified() => continue 'log,
                count = async {
                    node.has_room().await;
                    batches.recv_many(&mut taken, BATCHES).await
                } => if count == 0 {
                    return;
                }
            }
            // What is taken is carried out, sooner or later: nothing is, while Redis is known to be away.
            node.link.ready().await;
            // All are noted before the first is handed in, so that none is forgotten when the log is another one.
            let groups = grouped(taken.drain(..).filter(Batch::take)).into_iter();
            let noted: Vec<_> = groups.map(|group| (Arc::clone(&group.payload), node.expect(group))).collect();
            for (payload, number) in noted {
                if !hand_in(&node, &epoch, number, &payload).await {
                    // All that is not answered is handed in to the new one, in order.
                    continue 'log;
                }
            }
        }
    }
}

/// Makes groups of batches, none of which is much larger than it has to be.
fn grouped(batches: impl Iterator<Item = Batch>) -> Vec<Group> {
    let mut groups = Vec::new();
    let (mut text, mut waiting) = (String::new(), Vec::new());
    let mut close = |text: &mut String, waiting: &mut Vec<_>| {
        if !waiting.is_empty() {
            text.push(']');
            groups.push(Group { payload: std::mem::take(text).into(), batches: std::mem::take(waiting) });
        }
    };
    for batch in batches {
        text.push(if waiting.is_empty() { '[' } else { ',' });
        let readings = Cow::from(&*batch.readings);
        text.push_str(&json(&Pushed { tenant: Cow::from(&*batch.tenant), origin: batch.origin, readings }));
        let tenant = Arc::clone(&batch.tenant);
        let (readings, reply) = batch.into_parts();
        waiting.push((tenant, readings.len(), reply));
        if text.len() >= GROUP {
            close(&mut text, &mut waiting);
        }
    }
    close(&mut text, &mut waiting);
    groups
}

/// Puts a group into the inbox, however long that takes; false when the log is another one now.
async fn hand_in(node: &Node, epoch: &Epoch, number: u64, payload: &str) -> bool {
    loop {
        let answer: Result<String, _> = node
            .link
            .ask(async |connection| {
                let mut enqueue = scripts::ENQUEUE.prepare_invoke();
                enqueue.key(node.keys.meta()).key(node.keys.of(epoch, "inbox")).key(node.keys.seen(epoch, &node.id));
                enqueue.arg(epoch.to_string()).arg(number).arg(&node.id).arg(payload).arg(INBOX);
                enqueue.invoke_async(connection).await
            })
            .await;
        match answer.as_deref() {
            Ok("done") => {
                node.figures.enqueued.inc();
                node.handed_in.fetch_max(number, Ordering::AcqRel);
                return true;
            }
            Ok("epoch") => {
                if node.seen.borrow().epoch.as_ref().is_some_and(|now| now != epoch) {
                    return false;
                }
                // It is known in a moment.
                node.hurry.notify_one();
                sleep(LOOK).await;
            }
            // Full: whoever is elected makes room.
            Ok(_) => sleep(LOOK).await,
            Err(error) => {
                node.figures.failures.inc();
                tracing::debug!(%error, "what was pushed can't be handed in; trying again");
                sleep(RETRY).await;
            }
        }
    }
}
