//! Hands in what this node's clients and sources push: in order, and once, however often Redis has to be asked.
//!
//! Groups are numbered. Redis knows the last one of each node that it took, and takes none twice and none out of order.
//! What Redis refuses as a whole, because it is full or read-only, waits with this node and is not carried out meanwhile,
//! so a client that has waited long enough can be told that nothing of it was accepted.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    health::{WriteRefusal, Writer},
    node::{Group, Node},
    scripts,
    wire::{Pushed, json},
};
use tricast_core::{
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

/// What came of handing in a group.
enum HandedIn {
    /// Redis has it.
    Done,
    /// Redis lost groups that it had, or the log is another one now: all that is not answered has to be handed in again.
    Again,
    /// Redis surely does not have it.
    Refused(WriteRefusal),
}

/// Hands in what comes out of `batches` until nobody can push any more.
pub(super) async fn run(node: Arc<Node>, mut batches: Batches) {
    let mut seen = node.seen.subscribe();
    let mut taken = Vec::with_capacity(BATCHES);
    // Groups that were not handed in yet, in order.
    let mut waiting = VecDeque::<Group>::new();
    'log: loop {
        let Ok(epoch) = seen.wait_for(|seen| seen.epoch.is_some()).await.map(|seen| seen.epoch.clone()) else { return };
        let Some(epoch) = epoch else { continue };
        // The reply to a group is an entry of the log. A node that has not loaded the log yet could pass over it.
        let mut followed = node.followed.subscribe();
        tokio::select! {
            biased;
            _ = seen.wait_for(|seen| seen.epoch.as_ref().is_some_and(|now| *now != epoch)) => continue,
            _ = followed.wait_for(|followed| followed.as_ref().is_some_and(|followed| followed.epoch == epoch)) => {}
        }
        // Redis has taken nothing yet of what belongs to this log, as far as is known here.
        node.handed_in.store(0, Ordering::Release);
        // What the log before this one did not answer went with it.
        for (number, payload) in node.unanswered() {
            loop {
                match hand_in(&node, &epoch, number, &payload).await {
                    HandedIn::Done => break,
                    HandedIn::Again => continue 'log,
                    // It may be in the inbox already, so it can't be taken back.
                    HandedIn::Refused(_) => sleep(RETRY).await,
                }
            }
        }
        loop {
            // What is taken is carried out, sooner or later: nothing is taken while Redis is known to be away or to refuse.
            node.link.ready().await;
            node.health.writable().await;
            while let Some(group) = waiting.pop_front() {
                let Some(group) = retake(group) else { continue };
                let payload = Arc::clone(&group.payload);
                let number = node.expect(group);
                match hand_in(&node, &epoch, number, &payload).await {
                    HandedIn::Done => {}
                    // All that is not answered is handed in to the new one, in order.
                    HandedIn::Again => continue 'log,
                    HandedIn::Refused(refusal) => {
                        tracing::debug!(?refusal, "a group waits until Redis takes it");
                        if let Some(group) = node.withdraw(number) {
                            group.batches.iter().for_each(|(_, _, reply)| reply.release());
                            waiting.push_front(group);
                        }
                        sleep(LOOK).await;
                        node.health.writable().await;
                    }
                }
            }
            tokio::select! {
                biased;
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
            node.link.ready().await;
            node.health.writable().await;
            waiting.extend(grouped(taken.drain(..).filter(Batch::take)));
            // So that those which have to wait can be given up.
            waiting.iter().flat_map(|group| &group.batches).for_each(|(_, _, reply)| reply.release());
        }
    }
}

/// Takes the batches of a group again, but for those whose senders gave up. `None` when none is left.
fn retake(mut group: Group) -> Option<Group> {
    let kept: Vec<bool> = group.batches.iter().map(|(_, _, reply)| reply.retake()).collect();
    if kept.iter().all(|kept| *kept) {
        return Some(group);
    }
    let mut kept_batches = kept.iter();
    group.batches.retain(|_| kept_batches.next().is_some_and(|kept| *kept));
    let texts: Vec<&serde_json::value::RawValue> = serde_json::from_str(&group.payload).ok()?;
    let texts: Vec<_> = texts.into_iter().zip(&kept).filter_map(|(text, kept)| kept.then_some(text.get())).collect();
    let payload = format!("[{}]", texts.join(",")).into();
    (!group.batches.is_empty()).then_some(Group { payload, batches: group.batches })
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

/// Puts a group into the inbox, however long that takes, unless Redis surely did not take it.
async fn hand_in(node: &Node, epoch: &Epoch, number: u64, payload: &str) -> HandedIn {
    // Redis may have taken it, though it did not say so.
    let mut is_unsure = false;
    loop {
        let begun = Instant::now();
        let before = node.handed_in.load(Ordering::Acquire);
        let answer: Result<String, _> = node
            .link
            .ask(async |connection| {
                let mut enqueue = scripts::ENQUEUE.prepare_invoke();
                enqueue.key(node.keys.meta()).key(node.keys.of(epoch, "inbox")).key(node.keys.seen(epoch, &node.id));
                enqueue.arg(epoch.to_string()).arg(number).arg(&node.id).arg(payload).arg(INBOX).arg(before);
                enqueue.invoke_async(connection).await
            })
            .await;
        if answer.is_ok() {
            node.health.wrote(Writer::Sender);
        }
        match answer.as_deref() {
            Ok("done") => {
                node.figures.enqueued.inc();
                node.handed_in.fetch_max(number, Ordering::AcqRel);
                return HandedIn::Done;
            }
            Ok("lost") => return HandedIn::Again,
            Ok("epoch") => {
                if node.seen.borrow().epoch.as_ref().is_some_and(|now| now != epoch) {
                    return HandedIn::Again;
                }
                // It is known in a moment.
                node.hurry.notify_one();
                sleep(LOOK).await;
            }
            // Full: the leader makes room.
            Ok(_) => sleep(LOOK).await,
            Err(error) => {
                node.figures.failures.inc();
                tracing::debug!(%error, "what was pushed can't be handed in; trying again");
                match node.health.failed(Writer::Sender, begun, Some(error)) {
                    Some(refusal) if !is_unsure => return HandedIn::Refused(refusal),
                    Some(_) => {}
                    None => is_unsure = true,
                }
                sleep(RETRY).await;
            }
        }
    }
}
