//! Heartbeats of this node: they take part in the election, detect a lost log, and compare the clocks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    health::{SILENT, WriteRefusal},
    node::{Confirmed, Followed, Node, Seen},
    scripts,
};
use tricast_core::position::Epoch;

/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(250);

/// Additional time that a node with fewer of the newest values waits before it bootstraps a log: the time that other
/// nodes may need to notice that Redis is back.
const HESITATION: Duration = Duration::from_millis(500);

/// Reply of Redis to a heartbeat.
struct HeartbeatReply {
    leader: String,
    epoch: Option<Epoch>,
    suspect: Option<Epoch>,
    seq: u64,
    /// Last group of this node in the inbox.
    last_group: u64,
    /// Time of the clock of Redis; `None` if it could not be parsed.
    time: Option<Timestamp>,
    /// Reason for the refusal of a write; empty if it succeeded.
    refused: String,
}

/// Role of a node in an election.
#[derive(Clone, Copy)]
struct Candidacy {
    /// Whether it may be elected.
    is_candidate: bool,
    /// Whether it may bootstrap a log if there is no valid one.
    may_bootstrap: bool,
}

/// Sends heartbeats until the task is cancelled.
pub(super) async fn run(node: Arc<Node>) {
    let lease = node.config.cluster.lease.0;
    // Time at which the last request with a reply was sent: the lease starts at the earliest then.
    let mut last_reply = Instant::now();
    // Times since which there is no valid log, and no leader.
    let (mut without_log, mut without_leader) = (None::<Instant>, None::<Instant>);
    // Whether the log already reports that Redis does not respond.
    let mut silent = false;
    // Whether the last heartbeat had no reply in time.
    let mut late = false;
    loop {
        let asked = Instant::now();
        // The node with the newest values should bootstrap first, or they would be lost: the last leader, then nodes with
        // some values.
        let delay = match (node.series.lock().is_empty(), node.followed.borrow().is_some()) {
            (false, _) => Duration::ZERO,
            (true, true) => lease / 8 + HESITATION,
            (true, false) => lease / 4 + 2 * HESITATION,
        };
        let candidacy = Candidacy {
            // Heartbeats whose replies are late would keep the lease of a node that cannot lead.
            is_candidate: !late
                && node
                    .eligibility
                    .lock()
                    .is_eligible(without_leader.map_or(Duration::ZERO, |since| since.elapsed()), lease),
            may_bootstrap: without_log.is_some_and(|since| since.elapsed() >= delay),
        };
        let reply = tokio::select! {
            biased;
            reply = timeout(SILENT, beat(&node, candidacy)) => reply,
            // Another node may lead by now.
            () = sleep_until(last_reply + lease), if node.seen.borrow().elected => {
                node.leads.send_replace(false);
                node.seen.send_modify(|seen| seen.elected = false);
                continue;
            }
        };
        let pause = match reply {
            Ok(Ok((has_log, has_leader))) => {
                last_reply = asked;
                silent = false;
                late = false;
                without_log = if has_log { None } else { without_log.or(Some(asked)) };
                without_leader = if has_leader { None } else { without_leader.or(Some(asked)) };
                if has_log { lease / 4 } else { lease / 16 }
            }
            Ok(Err(error)) => {
                node.metrics.failures.inc();
                node.health.interrupted();
                if std::mem::replace(&mut silent, true) {
                    tracing::debug!(%error, "no reply to a heartbeat; retrying");
                } else {
                    tracing::warn!(bus = node.config.url_without_login(), %error, "no reply from Redis; retrying");
                }
                RETRY
            }
            Err(_) => {
                node.metrics.failures.inc();
                node.health.interrupted();
                if !std::mem::replace(&mut silent, true) {
                    let bus = node.config.url_without_login();
                    tracing::warn!(bus, "no reply from Redis in time; retrying");
                }
                node.link.give_up();
                late = true;
                RETRY
            }
        };
        node.health.judge();
        tokio::select! {
            biased;
            () = sleep(pause) => {}
            () = node.heartbeat_now.notified() => {}
        }
    }
}

/// Sends a heartbeat. Returns whether there is a valid log, and whether some node leads.
async fn beat(node: &Node, candidacy: Candidacy) -> redis::RedisResult<(bool, bool)> {
    // Read before the request, so that a late reply is compared with the state at its time.
    let (followed, asked_at) = (node.followed.borrow().clone(), node.seen.borrow().epoch.clone());
    let of = asked_at.clone().or_else(|| followed.as_ref().map(|followed| followed.epoch.clone()));
    let last_sent = node.last_sent.load(Ordering::Acquire);
    let asked = Instant::now();
    let shown = node.own_clock.now();
    let read = followed.as_ref().filter(|followed| of.as_ref() == Some(&followed.epoch));
    let reply = send(node, of.as_ref(), candidacy, read).await?;
    if let Some(time) = reply.time {
        node.time.compare(asked, shown, time);
    }
    let probe = (!reply.refused.is_empty()).then(|| {
        tracing::debug!(refused = reply.refused, "Redis refuses to write");
        WriteRefusal::read(&reply.refused).unwrap_or(WriteRefusal::Other)
    });
    node.health.record_reply(asked, probe);
    if let Some(epoch) = reply.epoch.as_ref().filter(|epoch| node.is_earlier(epoch)) {
        // Redis was restored from a state before the log that this node reads. The script has marked it.
        tracing::debug!(%epoch, "Redis has an earlier log");
        node.record_reply(Seen { epoch: asked_at, elected: reply.leader == node.id, suspect: true });
        return Ok((false, !reply.leader.is_empty()));
    }
    if let Some(epoch) = reply.epoch.as_ref().filter(|epoch| Some(*epoch) == of.as_ref()) {
        let read = node.followed.borrow().as_ref().filter(|followed| followed.epoch == *epoch).map(|now| now.seq);
        node.metrics.behind.store(reply.seq.saturating_sub(read.unwrap_or(0)) as i64, Ordering::Relaxed);
        node.health.newest(epoch, reply.seq, read);
    }
    if reply.epoch.is_some() && reply.epoch == asked_at && reply.last_group < last_sent {
        node.resend.notify_one();
    }
    let suspect = reply.suspect.is_some() && reply.suspect == reply.epoch;
    match &reply.epoch {
        Some(epoch) if !suspect && reply.epoch == asked_at => {
            node.confirmed.send_replace(Some(Confirmed { asked, epoch: epoch.clone(), seq: reply.seq }));
        }
        // The end of the new log is queried at once.
        Some(_) if !suspect => node.heartbeat_now.notify_one(),
        _ => {}
    }
    let elected = reply.leader == node.id;
    if !elected && !reply.leader.is_empty() {
        // The series of this node's last term are outdated.
        node.series.lock().clear();
    }
    let has_log = reply.epoch.is_some() && !suspect;
    // A log that was bootstrapped meanwhile takes precedence over this reply.
    let now = node.seen.borrow().epoch.clone();
    let epoch = if now == asked_at { reply.epoch } else { now };
    node.record_reply(Seen { epoch, elected, suspect });
    Ok((has_log, !reply.leader.is_empty()))
}

async fn send(
    node: &Node,
    epoch: Option<&Epoch>,
    candidacy: Candidacy,
    read: Option<&Followed>,
) -> redis::RedisResult<HeartbeatReply> {
    let keys = &node.keys;
    let (state, seen) = match epoch {
        Some(epoch) => (keys.of(epoch, "state"), keys.seen(epoch, &node.id)),
        // A key that does not exist has none of these fields.
        None => (keys.meta(), keys.none()),
    };
    let reply: [String; 7] = node
        .link
        .request(async |connection| {
            let mut beat = scripts::BEAT.prepare_invoke();
            beat.key(keys.meta()).key(keys.leader()).key(state).key(seen).key(keys.beat(&node.id));
            beat.arg(&node.id).arg(node.config.cluster.lease.0.as_millis() as u64);
            beat.arg(i32::from(candidacy.is_candidate)).arg(i32::from(candidacy.may_bootstrap));
            match read {
                Some(Followed { epoch, seq, entry_id }) => beat.arg(epoch.to_string()).arg(*seq).arg(entry_id),
                None => beat.arg("").arg(0).arg(""),
            };
            beat.arg(node.earlier().iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            beat.invoke_async(connection).await
        })
        .await?;
    let [leader, epoch, suspect, seq, last_group, time, refused] = reply;
    let (epoch, suspect) = (Epoch::parse(&epoch).ok(), Epoch::parse(&suspect).ok());
    let number = |text: &str| text.parse().unwrap_or(0);
    let time = time.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    Ok(HeartbeatReply { leader, epoch, suspect, seq: number(&seq), last_group: number(&last_group), time, refused })
}
