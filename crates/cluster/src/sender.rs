//! Task that sends the pushes of this node's clients and sources to the inbox: in order and once, even if requests are
//! repeated.
//!
//! Groups are numbered. Redis knows the last accepted group of each node, and accepts none twice and none out of order.
//! Groups that Redis refuses as a whole, because it is full or read-only, stay with this node and have no effect
//! meanwhile. So a client that has waited long enough can be sure that nothing was accepted.

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

/// Most batches that are received together.
const BATCHES: usize = 64;

/// Size from which on a group is sent, in bytes of JSON.
const GROUP: usize = 1 << 20;

/// Most groups in the inbox while there is no leader; further ones wait on their node.
const INBOX: usize = 10_000;

/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(200);

/// Interval of checks whether there is room in the inbox, or another log.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Result of sending a group.
enum SendResult {
    /// The group is in the inbox.
    Done,
    /// Redis lost groups, or there is another log: all groups without a reply have to be sent again.
    Resend,
    /// Redis certainly does not have it.
    Refused(WriteRefusal),
}

/// Sends the batches until the queue is closed.
pub(super) async fn run(node: Arc<Node>, mut batches: Batches) {
    let mut seen = node.seen.subscribe();
    let mut taken = Vec::with_capacity(BATCHES);
    // Groups that were not sent yet, in order.
    let mut waiting = VecDeque::<Group>::new();
    'log: loop {
        let Ok(epoch) = seen.wait_for(|seen| seen.epoch.is_some()).await.map(|seen| seen.epoch.clone()) else { return };
        let Some(epoch) = epoch else { continue };
        // The reply to a group is part of an entry. A node that has not loaded the log yet could miss it.
        let mut followed = node.followed.subscribe();
        tokio::select! {
            biased;
            _ = seen.wait_for(|seen| seen.epoch.as_ref().is_some_and(|now| *now != epoch)) => continue,
            _ = followed.wait_for(|followed| followed.as_ref().is_some_and(|followed| followed.epoch == epoch)) => {}
        }
        // As far as this node knows, Redis has no group of this log.
        node.last_sent.store(0, Ordering::Release);
        // Groups that the previous log did not decide were lost with it.
        for (number, payload) in node.unreplied() {
            loop {
                match send(&node, &epoch, number, &payload).await {
                    SendResult::Done => break,
                    SendResult::Resend => continue 'log,
                    // It may already be in the inbox, so it cannot be withdrawn.
                    SendResult::Refused(_) => sleep(RETRY).await,
                }
            }
        }
        loop {
            // A received batch will be sent sooner or later, so none is received while Redis is known to be unreachable
            // or to refuse writes.
            node.link.ready().await;
            node.health.writable().await;
            while let Some(group) = waiting.pop_front() {
                let Some(group) = retake(group) else { continue };
                let payload = Arc::clone(&group.payload);
                let number = node.expect(group);
                match send(&node, &epoch, number, &payload).await {
                    SendResult::Done => {}
                    // All groups without a reply are sent to the new log, in order.
                    SendResult::Resend => continue 'log,
                    SendResult::Refused(refusal) => {
                        tracing::debug!(?refusal, "a group waits until Redis accepts it");
                        if let Some(group) = node.withdraw(number) {
                            group.batches.iter().for_each(|(_, _, reply)| reply.release());
                            waiting.push_front(group);
                        }
                        sleep(CHECK_INTERVAL).await;
                        node.health.writable().await;
                    }
                }
            }
            tokio::select! {
                biased;
                _ = seen.wait_for(|seen| seen.epoch.as_ref().is_some_and(|now| *now != epoch)) => continue 'log,
                // A replica that took over did not have them. Those that it has are not accepted twice.
                () = node.resend.notified() => continue 'log,
                count = async {
                    node.wait_for_room().await;
                    batches.recv_many(&mut taken, BATCHES).await
                } => if count == 0 {
                    return;
                }
            }
            node.link.ready().await;
            node.health.writable().await;
            waiting.extend(grouped(taken.drain(..).filter(Batch::take)));
            // Callers may withdraw batches that wait.
            waiting.iter().flat_map(|group| &group.batches).for_each(|(_, _, reply)| reply.release());
        }
    }
}

/// Returns a group without the batches that their callers have withdrawn. `None` if none is left.
fn retake(mut group: Group) -> Option<Group> {
    let retaken: Vec<bool> = group.batches.iter().map(|(_, _, reply)| reply.retake()).collect();
    if retaken.iter().all(|retaken| *retaken) {
        return Some(group);
    }
    let mut is_retaken = retaken.iter();
    group.batches.retain(|_| is_retaken.next().is_some_and(|retaken| *retaken));
    let texts: Vec<&serde_json::value::RawValue> = serde_json::from_str(&group.payload).ok()?;
    let texts: Vec<_> =
        texts.into_iter().zip(&retaken).filter_map(|(text, retaken)| retaken.then_some(text.get())).collect();
    let payload = format!("[{}]", texts.join(",")).into();
    (!group.batches.is_empty()).then_some(Group { payload, batches: group.batches })
}

/// Groups batches, in groups that are hardly larger than necessary.
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

/// Sends a group to the inbox, however long that takes, unless Redis certainly did not accept it.
async fn send(node: &Node, epoch: &Epoch, number: u64, payload: &str) -> SendResult {
    // Redis may have accepted it without a reply.
    let mut is_unsure = false;
    loop {
        let start = Instant::now();
        let before = node.last_sent.load(Ordering::Acquire);
        let reply: Result<String, _> = node
            .link
            .request(async |connection| {
                let mut enqueue = scripts::ENQUEUE.prepare_invoke();
                enqueue.key(node.keys.meta()).key(node.keys.of(epoch, "inbox")).key(node.keys.seen(epoch, &node.id));
                enqueue.arg(epoch.to_string()).arg(number).arg(&node.id).arg(payload).arg(INBOX).arg(before);
                enqueue.invoke_async(connection).await
            })
            .await;
        if reply.is_ok() {
            node.health.wrote(Writer::Sender);
        }
        match reply.as_deref() {
            Ok("done") => {
                node.metrics.enqueued.inc();
                node.last_sent.fetch_max(number, Ordering::AcqRel);
                return SendResult::Done;
            }
            Ok("lost") => return SendResult::Resend,
            Ok("epoch") => {
                if node.seen.borrow().epoch.as_ref().is_some_and(|now| now != epoch) {
                    return SendResult::Resend;
                }
                // The next heartbeat will show it.
                node.heartbeat_now.notify_one();
                sleep(CHECK_INTERVAL).await;
            }
            // The inbox is full; the leader makes room.
            Ok(_) => sleep(CHECK_INTERVAL).await,
            Err(error) => {
                node.metrics.failures.inc();
                tracing::debug!(%error, "cannot send pushes to the inbox; retrying");
                match node.health.failed(Writer::Sender, start, Some(error)) {
                    Some(refusal) if !is_unsure => return SendResult::Refused(refusal),
                    Some(_) => {}
                    None => is_unsure = true,
                }
                sleep(RETRY).await;
            }
        }
    }
}
