//! Health of this node: whether it can read the log and write the pushes of its clients.
//!
//! A reply of Redis alone proves little. A full Redis or a replica replies but accepts no writes; a broken link passes
//! short requests but no large writes; a node that knows of new entries may not receive them. Each of these faults is
//! detected by the operation that it blocks.

use std::{fmt, time::Duration};

use parking_lot::Mutex;
use redis::RedisError;
use tokio::{sync::watch, time::Instant};

use tricast_core::position::Epoch;

/// Time for which an operation may fail before the node reports a fault.
pub(super) const FAULT_AFTER: Duration = Duration::from_secs(3);

/// Silence after which Redis counts as unreachable.
pub(super) const SILENT: Duration = Duration::from_secs(2);

/// Fault of the bus or of this node's access to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Redis does not reply.
    Unreachable,
    /// Redis replies, but refuses writes.
    Refused(WriteRefusal),
    /// Redis replies to short requests, but larger writes of this node do not arrive.
    CannotWrite,
    /// There are entries of the log that this node does not receive.
    Behind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "Redis cannot be reached",
            Self::Refused(WriteRefusal::Full) => "Redis is full: used memory is above maxmemory",
            Self::Refused(WriteRefusal::ReadOnly) => "Redis is read-only: it is a replica, or its disk has failed",
            Self::Refused(WriteRefusal::Other) => "Redis refuses writes",
            Self::CannotWrite => "this node's writes do not reach Redis, although short requests do",
            Self::Behind => "this node does not get the newest entries of the log",
        })
    }
}

/// Reason why Redis refuses writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteRefusal {
    /// Its memory is full.
    Full,
    /// It is a replica, or could not save.
    ReadOnly,
    /// Another reason, such as a cluster that is down or too few replicas.
    Other,
}

impl WriteRefusal {
    /// Returns the reason why a command was refused as a whole, before it had an effect. `None` if that is not certain.
    pub(super) fn of(error: &RedisError) -> Option<Self> {
        let code = error.code()?;
        // Redis 6 wraps the error code of a script in another error's text.
        Self::read(code).or_else(|| error.detail().and_then(Self::read))
    }

    /// Parses the error text of Redis.
    pub(super) fn read(text: &str) -> Option<Self> {
        let has = |codes: &[&str]| {
            let mut words = text.split(|c: char| !c.is_ascii_uppercase());
            words.any(|word| codes.contains(&word))
        };
        if has(&["OOM"]) {
            Some(Self::Full)
        } else if has(&["READONLY", "MISCONF"]) {
            Some(Self::ReadOnly)
        } else if has(&["NOREPLICAS", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"]) {
            Some(Self::Other)
        } else {
            None
        }
    }
}

/// Observations about the health of this node.
pub(super) struct Health {
    known: Mutex<Known>,
    fault: watch::Sender<Option<Fault>>,
}

struct Known {
    /// Time of the last reply of Redis, and the time since which it replies without interruption. At first the start of
    /// this node.
    last_reply: (Instant, Instant),
    start: Instant,
    /// Time of the last failure of a heartbeat. At first the start of this node.
    interrupted: Instant,
    /// Refusal of the last test write.
    probe: Option<WriteRefusal>,
    /// Time and reason of the last refusal of a real write.
    refused: Option<(Instant, WriteRefusal)>,
    /// Times since which writes of this node fail, by the task that makes them.
    failing: [Option<Instant>; 2],
    /// Time before which a node that could not lead does not count as healthy.
    unfit_until: Option<Instant>,
    /// Entry that exists and is not read, and the time since which that is known.
    missing: Option<(Epoch, u64, Instant)>,
}

/// Task that writes to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// The leader, which writes the log.
    Leader = 0,
    /// The sender, which writes the inbox.
    Sender = 1,
}

impl Health {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let known = Known {
            last_reply: (now, now),
            start: now,
            interrupted: now,
            probe: None,
            refused: None,
            failing: [None; 2],
            unfit_until: None,
            missing: None,
        };
        Self { known: Mutex::new(known), fault: watch::Sender::new(None) }
    }

    /// Returns a watch of the current fault.
    pub(super) fn fault(&self) -> watch::Receiver<Option<Fault>> {
        self.fault.subscribe()
    }

    /// Records the reply to a heartbeat that was sent at `asked`, with the refusal of its test write.
    pub(super) fn record_reply(&self, asked: Instant, probe: Option<WriteRefusal>) {
        let known = &mut *self.known.lock();
        let (last, since) = known.last_reply;
        let without_pause = if asked.saturating_duration_since(last) < SILENT { since } else { asked };
        known.last_reply = (Instant::now(), without_pause);
        known.probe = probe;
    }

    /// Records that a heartbeat failed.
    pub(super) fn interrupted(&self) {
        self.known.lock().interrupted = Instant::now();
    }

    /// Returns whether a heartbeat failed, or this node started, less than `moment` ago. Redis may then have lost entries that
    /// only other nodes know.
    pub(super) fn was_interrupted(&self, moment: Duration) -> bool {
        self.known.lock().interrupted.elapsed() < moment
    }

    /// Records the newest entry of the log, and the newest one that this node has read of the same epoch.
    pub(super) fn newest(&self, epoch: &Epoch, newest: u64, read: Option<u64>) {
        let read = read.unwrap_or(0);
        let missing = &mut self.known.lock().missing;
        if let Some((of, seq, _)) = missing
            && of == epoch
            && *seq > read
        {
            return;
        }
        *missing = (newest > read).then(|| (epoch.clone(), newest, Instant::now()));
    }

    /// Records a successful write of `writer`.
    pub(super) fn wrote(&self, writer: Writer) {
        let known = &mut *self.known.lock();
        known.failing[writer as usize] = None;
        known.refused = None;
    }

    /// Records that `writer` has nothing to write at the moment.
    pub(super) fn idle(&self, writer: Writer) {
        self.known.lock().failing[writer as usize] = None;
    }

    /// Records that a write of `writer`, started at `start`, failed or has an unknown outcome. Returns whether it was
    /// refused as a whole.
    pub(super) fn failed(&self, writer: Writer, start: Instant, error: Option<&RedisError>) -> Option<WriteRefusal> {
        let refusal = error.and_then(WriteRefusal::of);
        {
            let known = &mut *self.known.lock();
            match refusal {
                Some(refusal) => known.refused = Some((Instant::now(), refusal)),
                None => _ = known.failing[writer as usize].get_or_insert(start),
            }
        }
        if refusal.is_some() {
            self.judge();
        }
        refusal
    }

    /// Returns how long writes of `writer` have failed although Redis replied all the time.
    pub(super) fn failing_for(&self, writer: Writer) -> Duration {
        self.known.lock().failing_for(writer).unwrap_or_default()
    }

    /// Records that this node does not stand for election until then.
    pub(super) fn unfit(&self, until: Instant) {
        let known = &mut *self.known.lock();
        known.failing[Writer::Leader as usize] = None;
        known.unfit_until = Some(until);
    }

    /// Returns whether Redis was unreachable a moment ago, so that other nodes may not have reported yet.
    pub(super) fn has_just_recovered(&self, moment: Duration) -> bool {
        let known = self.known.lock();
        known.last_reply.1 != known.start && known.last_reply.1.elapsed() < moment
    }

    /// Evaluates the observations. Returns the fault, and notifies if it changed.
    pub(super) fn judge(&self) -> Option<Fault> {
        let fault = self.known.lock().fault();
        let changed = self.fault.send_if_modified(|before| std::mem::replace(before, fault) != fault);
        match fault {
            Some(fault) if changed => {
                tracing::error!("{fault}: clients keep their current values, pushes may be delayed")
            }
            None if changed => tracing::info!("the bus can be read and written again"),
            _ => {}
        }
        fault
    }

    /// Waits until Redis is believed to reply and accept writes.
    pub(super) async fn writable(&self) {
        let mut fault = self.fault.subscribe();
        // The sender lives as long as this.
        drop(fault.wait_for(|fault| !matches!(fault, Some(Fault::Unreachable | Fault::Refused(_)))).await);
    }
}

impl Known {
    fn failing_for(&self, writer: Writer) -> Option<Duration> {
        // While Redis is silent no node can write, which is no fault of this one.
        self.failing[writer as usize].map(|failing| failing.max(self.last_reply.1).elapsed())
    }

    fn fault(&self) -> Option<Fault> {
        let too_long = |writer| self.failing_for(writer).is_some_and(|failing| failing >= FAULT_AFTER);
        // Longer than the interval between two attempts.
        let refused = self.refused.filter(|(at, _)| at.elapsed() < SILENT).map(|(_, refusal)| refusal);
        if self.last_reply.0.elapsed() >= SILENT {
            Some(Fault::Unreachable)
        } else if let Some(refusal) = self.probe.or(refused) {
            Some(Fault::Refused(refusal))
        } else if too_long(Writer::Leader)
            || too_long(Writer::Sender)
            || self.unfit_until.is_some_and(|until| until > Instant::now())
        {
            Some(Fault::CannotWrite)
        } else if self.missing.as_ref().is_some_and(|(_, _, since)| since.elapsed() >= FAULT_AFTER) {
            Some(Fault::Behind)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the observations of a healthy node that started some time ago.
    fn known(ago: Duration) -> Known {
        let start = Instant::now().checked_sub(ago).unwrap();
        let last_reply = (Instant::now(), start);
        let failing = [None; 2];
        let (interrupted, unfit_until, missing) = (start, None, None);
        Known { last_reply, start, interrupted, probe: None, refused: None, failing, unfit_until, missing }
    }

    fn ago(span: Duration) -> Instant {
        Instant::now().checked_sub(span).unwrap()
    }

    #[test]
    fn each_fault_is_detected_by_the_operation_that_it_blocks() {
        let minute = Duration::from_secs(60);
        assert_eq!(known(minute).fault(), None);
        assert_eq!(Known { last_reply: (ago(SILENT), ago(minute)), ..known(minute) }.fault(), Some(Fault::Unreachable));
        let full = Some(WriteRefusal::Full);
        assert_eq!(Known { probe: full, ..known(minute) }.fault(), Some(Fault::Refused(WriteRefusal::Full)));
        let refused = |span| Known { refused: Some((ago(span), WriteRefusal::ReadOnly)), ..known(minute) }.fault();
        assert_eq!(refused(Duration::ZERO), Some(Fault::Refused(WriteRefusal::ReadOnly)));
        assert_eq!(refused(SILENT), None, "the write is retried");
        let missing = |span| Known { missing: Some((Epoch::random(), 7, ago(span))), ..known(minute) }.fault();
        assert_eq!([missing(Duration::ZERO), missing(FAULT_AFTER)], [None, Some(Fault::Behind)]);
    }

    #[test]
    fn failing_writes_are_this_nodes_fault_only_while_redis_replies() {
        let minute = Duration::from_secs(60);
        for writer in [Writer::Leader, Writer::Sender] {
            let mut failing = known(minute);
            failing.failing[writer as usize] = Some(ago(FAULT_AFTER));
            assert_eq!(failing.fault(), Some(Fault::CannotWrite));
            // Redis was silent until a moment ago.
            failing.last_reply.1 = ago(Duration::from_secs(1));
            assert_eq!(failing.fault(), None);
        }
    }

    #[test]
    fn a_new_entry_does_not_reset_the_time_of_a_missing_one() {
        let (health, epoch) = (Health::new(), Epoch::random());
        let missing = || health.known.lock().missing.as_ref().map(|(_, seq, since)| (*seq, *since));
        health.newest(&epoch, 5, Some(5));
        assert_eq!(missing(), None);
        health.newest(&epoch, 6, Some(5));
        let first = missing();
        assert_eq!(first.unwrap().0, 6);
        health.newest(&epoch, 9, Some(5));
        assert_eq!(missing(), first);
        health.newest(&epoch, 9, Some(6));
        assert_eq!(missing().unwrap().0, 9, "the missing entry was read, and a newer one is missing");
        health.newest(&Epoch::random(), 1, None);
        assert_eq!(missing().unwrap().0, 1, "a log of which nothing was read");
    }

    #[test]
    fn refusals_are_parsed_from_the_errors_of_redis() {
        for (text, refusal) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", WriteRefusal::Full),
            ("ERR Error running script: @user_script: 1: -OOM command not allowed", WriteRefusal::Full),
            ("READONLY You can't write against a read only replica.", WriteRefusal::ReadOnly),
            ("MISCONF Redis is configured to save RDB snapshots", WriteRefusal::ReadOnly),
            ("NOREPLICAS Not enough good replicas to write.", WriteRefusal::Other),
        ] {
            assert_eq!(WriteRefusal::read(text), Some(refusal), "{text}");
        }
        assert_eq!(WriteRefusal::read("ERR wrong number of arguments"), None);
        assert_eq!(WriteRefusal::read("a ROOM"), None);
    }
}
