//! Says that this node lives, hears who leads, and notices when the log is lost.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    node::{Confirmed, Node, Seen},
    scripts,
};
use crate::core::position::Epoch;

/// After a failure.
const RETRY: Duration = Duration::from_millis(250);

/// A Redis that was silent for this long can't be reached.
const SILENT: Duration = Duration::from_secs(2);

/// By so much a node that has no log waits longer than one that has, before it begins one.
const HESITATION: Duration = Duration::from_millis(250);

/// What Redis answers to a beat.
struct Answer {
    leader: String,
    epoch: Option<Epoch>,
    suspect: Option<Epoch>,
    seq: u64,
    word: String,
    /// The last group of this node in the inbox.
    last_group: u64,
}

/// Beats until the task is ended.
pub(super) async fn run(node: Arc<Node>) {
    let lease = node.config.lease;
    let begun = Instant::now();
    // From when an answer was asked for, not from when it came: that is where Redis counts from.
    let mut heard = begun;
    // Since when there is no log.
    let mut without = None::<Instant>;
    loop {
        let asked = Instant::now();
        // Who has the newest values begins a log first, or they would be lost: the one that led, then those that have some.
        let patience = match (node.series.lock().is_empty(), node.followed.borrow().is_some()) {
            (false, _) => Duration::ZERO,
            (true, true) => lease / 8,
            (true, false) => lease / 4 + HESITATION,
        };
        let may_found = without.is_some_and(|since| since.elapsed() >= patience);
        let answer = tokio::select! {
            answer = timeout(SILENT, beat(&node, may_found)) => answer,
            // Somebody else may lead by now.
            () = sleep_until(heard + lease), if node.seen.borrow().elected => {
                node.leads.send_replace(false);
                node.seen.send_modify(|seen| seen.elected = false);
                continue;
            }
        };
        let pause = match answer {
            Ok(Ok(has_log)) => {
                heard = asked;
                without = if has_log { None } else { without.or(Some(asked)) };
                if has_log { lease / 4 } else { lease / 16 }
            }
            Ok(Err(error)) => {
                node.figures.failures.inc();
                tracing::debug!(%error, "Redis can't be reached; trying again");
                RETRY
            }
            Err(_) => {
                node.figures.failures.inc();
                node.link.give_up();
                RETRY
            }
        };
        if heard.elapsed() >= SILENT && node.available.send_if_modified(|available| std::mem::replace(available, false))
        {
            tracing::error!("Redis can't be reached: clients keep what they have, pushes wait");
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = node.hurry.notified() => {}
        }
    }
}

/// Answers whether there is a log.
async fn beat(node: &Node, may_found: bool) -> redis::RedisResult<bool> {
    // As it was before the question, so that an answer that is late says nothing wrong.
    let (before, asked_at) = (node.followed.borrow().clone(), node.seen.borrow().epoch.clone());
    let handed_in = node.handed_in.load(Ordering::Acquire);
    let asked = Instant::now();
    let answer = ask(node, asked_at.as_ref(), may_found).await?;
    if let Some(epoch) = answer.epoch.as_ref().filter(|epoch| node.is_earlier(epoch)) {
        // Redis was restored from before the log that this node reads.
        node.suspect(epoch).await?;
        node.heard(Seen { epoch: asked_at, elected: answer.leader == node.id, suspect: true });
        return Ok(true);
    }
    let followed = before.filter(|followed| Some(&followed.epoch) == answer.epoch.as_ref());
    let mut rolled_back = false;
    if let Some(followed) = followed {
        node.figures.behind.store(answer.seq.saturating_sub(followed.seq) as i64, Ordering::Relaxed);
        // What comes after it, the follower compares entry by entry.
        rolled_back = followed.seq > answer.seq || (followed.seq == answer.seq && followed.word != answer.word);
        if rolled_back {
            node.suspect(&followed.epoch).await?;
        }
    }
    if answer.epoch.is_some() && answer.epoch == asked_at && answer.last_group < handed_in {
        node.hand_in_again.notify_one();
    }
    let suspect = rolled_back || (answer.suspect.is_some() && answer.suspect == answer.epoch);
    match &answer.epoch {
        Some(epoch) if !suspect && answer.epoch == asked_at => {
            let confirmed = Confirmed { asked: asked.into_std(), epoch: epoch.clone(), seq: answer.seq };
            node.confirmed.send_replace(Some(confirmed));
        }
        // How far the new log reaches is asked at once.
        Some(_) if !suspect => node.hurry.notify_one(),
        _ => {}
    }
    let elected = answer.leader == node.id;
    if !elected && !answer.leader.is_empty() {
        // What this node knew of series when it led is not the newest any more.
        node.series.lock().clear();
    }
    let has_log = answer.epoch.is_some();
    // A log that was begun meanwhile is the one that counts, whatever this answer says.
    let now = node.seen.borrow().epoch.clone();
    let epoch = if now == asked_at { answer.epoch } else { now };
    node.heard(Seen { epoch, elected, suspect });
    Ok(has_log)
}

async fn ask(node: &Node, epoch: Option<&Epoch>, may_found: bool) -> redis::RedisResult<Answer> {
    let keys = &node.keys;
    let (state, seen) = match epoch {
        Some(epoch) => (keys.of(epoch, "state"), keys.seen(epoch, &node.id)),
        // There is nothing in it that has these fields.
        None => (keys.meta(), keys.none()),
    };
    let answer: [String; 6] = node
        .link
        .ask(async |connection| {
            let mut beat = scripts::BEAT.prepare_invoke();
            beat.key(keys.meta()).key(keys.leader()).key(state).key(seen);
            beat.arg(&node.id).arg(node.config.lease.as_millis() as u64);
            beat.arg(i32::from(*node.stands.borrow())).arg(i32::from(may_found));
            beat.invoke_async(connection).await
        })
        .await?;
    let [leader, epoch, suspect, seq, word, last_group] = answer;
    let (epoch, suspect) = (Epoch::parse(&epoch).ok(), Epoch::parse(&suspect).ok());
    let number = |text: &str| text.parse().unwrap_or(0);
    Ok(Answer { leader, epoch, suspect, seq: number(&seq), word, last_group: number(&last_group) })
}
