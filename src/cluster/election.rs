//! Says that this node lives, hears who leads, and notices when the log is lost.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{
    node::{Node, Seen},
    scripts,
};
use crate::core::position::Epoch;

/// After a failure.
const RETRY: Duration = Duration::from_millis(250);

/// A Redis that was silent for this long can't be reached.
const SILENT: Duration = Duration::from_secs(2);

/// Beats until the task is ended.
pub(super) async fn run(node: Arc<Node>) {
    let every = node.config.lease / 4;
    let mut heard = Instant::now();
    loop {
        let pause = match timeout(SILENT, beat(&node)).await {
            Ok(Ok(())) => {
                heard = Instant::now();
                every
            }
            Ok(Err(error)) => {
                node.figures.failures.inc();
                tracing::debug!(%error, "Redis can't be reached; trying again");
                RETRY
            }
            Err(_) => {
                node.figures.failures.inc();
                RETRY
            }
        };
        let silent = heard.elapsed();
        if silent >= SILENT && node.available.send_if_modified(|available| std::mem::replace(available, false)) {
            tracing::error!("Redis can't be reached: clients keep what they have, pushes wait");
        }
        if silent >= node.config.lease {
            // Somebody else may lead by now.
            node.seen.send_if_modified(|seen| std::mem::replace(&mut seen.elected, false));
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = node.hurry.notified() => {}
        }
    }
}

async fn beat(node: &Node) -> redis::RedisResult<()> {
    let before = node.followed.borrow().clone();
    let epoch = before.as_ref().map(|(epoch, _)| epoch.clone());
    let state = epoch.as_ref().map_or_else(|| node.keys.meta(), |epoch| node.keys.of(epoch, "state"));
    let stands = i32::from(*node.stands.borrow());
    let (leader, now, seq, suspect): (String, String, String, String) = node
        .link
        .ask(async |connection| {
            let mut beat = scripts::BEAT.prepare_invoke();
            beat.key(node.keys.meta()).key(node.keys.leader()).key(node.keys.nodes()).key(state);
            beat.arg(&node.id).arg(node.config.lease.as_millis() as u64).arg(stands);
            beat.invoke_async(connection).await
        })
        .await?;
    let seq = seq.parse::<u64>().ok();
    let now = Epoch::parse(&now).ok();
    // As it was before the question, so that an answer that is late says nothing wrong.
    let followed = before.filter(|(epoch, _)| Some(epoch) == now.as_ref()).map(|(_, seq)| seq);
    if let (Some(followed), Some(seq)) = (followed, seq) {
        node.figures.behind.store(seq.saturating_sub(followed) as i64, Ordering::Relaxed);
    }
    let rolled_back = followed.is_some_and(|followed| followed > seq.unwrap_or(0));
    if rolled_back && let Some(epoch) = &now {
        // Whoever leads has to begin another log, or offsets would be given twice.
        let mark = redis::cmd("HSET").arg(node.keys.meta()).arg("suspect").arg(epoch.to_string()).clone();
        let marked: redis::RedisResult<()> = node.link.ask(async |connection| mark.query_async(connection).await).await;
        marked?;
    }
    let suspect = rolled_back || now.as_ref().is_some_and(|now| now.to_string() == suspect);
    node.heard(Seen { epoch: now, elected: leader == node.id, suspect });
    Ok(())
}
