//! Whether this node can do its part: read the log, and write what its clients push.
//!
//! That Redis answers says little. A Redis that is full, or a replica, answers and takes nothing; a broken link passes a
//! short question and no large write; a node that hears of new entries may not get them. Each of these is judged by what
//! it stops.

use std::{fmt, time::Duration};

use parking_lot::Mutex;
use redis::RedisError;
use tokio::{sync::watch, time::Instant};

use tricast_core::position::Epoch;

/// How long something may fail before the node says so.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// A Redis that was silent for this long can't be reached.
pub(super) const SILENT: Duration = Duration::from_secs(2);

/// Why a node can't do its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Redis does not answer.
    Unreachable,
    /// Redis answers, and refuses to write.
    Refused(WriteRefusal),
    /// Redis answers short questions, but what this node has to write does not reach it.
    CannotWrite,
    /// There are entries of the log that this node does not get.
    Behind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "Redis can't be reached",
            Self::Refused(WriteRefusal::Full) => "Redis is full: used memory is above maxmemory",
            Self::Refused(WriteRefusal::ReadOnly) => "Redis is read-only: it is a replica, or its disk has failed",
            Self::Refused(WriteRefusal::Other) => "Redis refuses to write",
            Self::CannotWrite => "this node's writes do not reach Redis, though its short questions do",
            Self::Behind => "this node does not get the newest entries of the log",
        })
    }
}

/// Why Redis refuses to write.
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
    /// Why a command was refused as a whole, before it changed anything. `None` where that is not sure.
    pub(super) fn of(error: &RedisError) -> Option<Self> {
        let code = error.code()?;
        // Redis 6 puts the code of an error in a script into the text of another one.
        Self::read(code).or_else(|| error.detail().and_then(Self::read))
    }

    /// The refusal in the words of Redis.
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

/// What is known of this node's part.
pub(super) struct Health {
    known: Mutex<Known>,
    fault: watch::Sender<Option<Fault>>,
}

struct Known {
    /// When Redis answered last, and since when it does without a pause. At first when this node began.
    heard: (Instant, Instant),
    begun: Instant,
    /// What the last trial write was answered.
    probe: Option<WriteRefusal>,
    /// When a real write was refused, and why.
    refused: Option<(Instant, WriteRefusal)>,
    /// Since when writes of this node fail, by the task that makes them.
    failing: [Option<Instant>; 2],
    /// A node that could not lead is not well before that.
    unfit_until: Option<Instant>,
    /// An entry that is there and was not read, and since when that is known.
    owed: Option<(Epoch, u64, Instant)>,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// The leader, the log.
    Leader = 0,
    /// The sender, the inbox.
    Sender = 1,
}

impl Health {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let known = Known {
            heard: (now, now),
            begun: now,
            probe: None,
            refused: None,
            failing: [None; 2],
            unfit_until: None,
            owed: None,
        };
        Self { known: Mutex::new(known), fault: watch::Sender::new(None) }
    }

    /// What is wrong, and when that changes.
    pub(super) fn fault(&self) -> watch::Receiver<Option<Fault>> {
        self.fault.subscribe()
    }

    /// Redis answered a beat that was asked at `asked`, and the trial write in it was refused or not.
    pub(super) fn heard(&self, asked: Instant, probe: Option<WriteRefusal>) {
        let known = &mut *self.known.lock();
        let (last, since) = known.heard;
        let without_pause = if asked.saturating_duration_since(last) < SILENT { since } else { asked };
        known.heard = (Instant::now(), without_pause);
        known.probe = probe;
    }

    /// The newest entry of the log, as Redis says, and the newest one that this node has read of the same epoch.
    pub(super) fn newest(&self, epoch: &Epoch, newest: u64, read: Option<u64>) {
        let read = read.unwrap_or(0);
        let owed = &mut self.known.lock().owed;
        if let Some((of, seq, _)) = owed
            && of == epoch
            && *seq > read
        {
            return;
        }
        *owed = (newest > read).then(|| (epoch.clone(), newest, Instant::now()));
    }

    /// A write of `writer` was carried out.
    pub(super) fn wrote(&self, writer: Writer) {
        let known = &mut *self.known.lock();
        known.failing[writer as usize] = None;
        known.refused = None;
    }

    /// `writer` has nothing to write at the moment.
    pub(super) fn idle(&self, writer: Writer) {
        self.known.lock().failing[writer as usize] = None;
    }

    /// A write that `writer` began at `begun` was not carried out, or that is not known. Answers whether it was refused as a
    /// whole.
    pub(super) fn failed(&self, writer: Writer, begun: Instant, error: Option<&RedisError>) -> Option<WriteRefusal> {
        let refusal = error.and_then(WriteRefusal::of);
        {
            let known = &mut *self.known.lock();
            match refusal {
                Some(refusal) => known.refused = Some((Instant::now(), refusal)),
                None => _ = known.failing[writer as usize].get_or_insert(begun),
            }
        }
        if refusal.is_some() {
            self.judge();
        }
        refusal
    }

    /// How long writes of `writer` have failed though Redis has answered all the while.
    pub(super) fn failing_for(&self, writer: Writer) -> Duration {
        self.known.lock().failing_for(writer).unwrap_or_default()
    }

    /// This node gives way to others until then.
    pub(super) fn unfit(&self, until: Instant) {
        let known = &mut *self.known.lock();
        known.failing[Writer::Leader as usize] = None;
        known.unfit_until = Some(until);
    }

    /// Whether Redis was silent a moment ago, so that others may not have been able to say that they live.
    pub(super) fn has_just_recovered(&self, moment: Duration) -> bool {
        let known = self.known.lock();
        known.heard.1 != known.begun && known.heard.1.elapsed() < moment
    }

    /// Looks at what is known. Answers the fault, and tells of it where it changed.
    pub(super) fn judge(&self) -> Option<Fault> {
        let fault = self.known.lock().fault();
        let changed = self.fault.send_if_modified(|before| std::mem::replace(before, fault) != fault);
        match fault {
            Some(fault) if changed => tracing::error!("{fault}: clients keep what they have, pushes may wait"),
            None if changed => tracing::info!("the bus can be read and written again"),
            _ => {}
        }
        fault
    }

    /// Waits until Redis answers and takes writes, as far as is known.
    pub(super) async fn writable(&self) {
        let mut fault = self.fault.subscribe();
        // The sender lives as long as this.
        drop(fault.wait_for(|fault| !matches!(fault, Some(Fault::Unreachable | Fault::Refused(_)))).await);
    }
}

impl Known {
    fn failing_for(&self, writer: Writer) -> Option<Duration> {
        // While Redis is silent for all nobody can write, which says nothing of this node.
        self.failing[writer as usize].map(|failing| failing.max(self.heard.1).elapsed())
    }

    fn fault(&self) -> Option<Fault> {
        let too_long = |writer| self.failing_for(writer).is_some_and(|failing| failing >= PATIENCE);
        // Longer than it takes to try once more.
        let refused = self.refused.filter(|(at, _)| at.elapsed() < SILENT).map(|(_, refusal)| refusal);
        if self.heard.0.elapsed() >= SILENT {
            Some(Fault::Unreachable)
        } else if let Some(refusal) = self.probe.or(refused) {
            Some(Fault::Refused(refusal))
        } else if too_long(Writer::Leader)
            || too_long(Writer::Sender)
            || self.unfit_until.is_some_and(|until| until > Instant::now())
        {
            Some(Fault::CannotWrite)
        } else if self.owed.as_ref().is_some_and(|(_, _, since)| since.elapsed() >= PATIENCE) {
            Some(Fault::Behind)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known of a node that began and is well, some time ago.
    fn known(ago: Duration) -> Known {
        let begun = Instant::now().checked_sub(ago).unwrap();
        let heard = (Instant::now(), begun);
        Known { heard, begun, probe: None, refused: None, failing: [None; 2], unfit_until: None, owed: None }
    }

    fn ago(span: Duration) -> Instant {
        Instant::now().checked_sub(span).unwrap()
    }

    #[test]
    fn each_fault_is_known_by_what_it_stops() {
        let minute = Duration::from_secs(60);
        assert_eq!(known(minute).fault(), None);
        assert_eq!(Known { heard: (ago(SILENT), ago(minute)), ..known(minute) }.fault(), Some(Fault::Unreachable));
        let full = Some(WriteRefusal::Full);
        assert_eq!(Known { probe: full, ..known(minute) }.fault(), Some(Fault::Refused(WriteRefusal::Full)));
        let refused = |span| Known { refused: Some((ago(span), WriteRefusal::ReadOnly)), ..known(minute) }.fault();
        assert_eq!(refused(Duration::ZERO), Some(Fault::Refused(WriteRefusal::ReadOnly)));
        assert_eq!(refused(SILENT), None, "it is tried again");
        let owed = |span| Known { owed: Some((Epoch::random(), 7, ago(span))), ..known(minute) }.fault();
        assert_eq!([owed(Duration::ZERO), owed(PATIENCE)], [None, Some(Fault::Behind)]);
    }

    #[test]
    fn writes_that_fail_are_this_nodes_fault_only_while_redis_answers_all_the_while() {
        let minute = Duration::from_secs(60);
        for writer in [Writer::Leader, Writer::Sender] {
            let mut failing = known(minute);
            failing.failing[writer as usize] = Some(ago(PATIENCE));
            assert_eq!(failing.fault(), Some(Fault::CannotWrite));
            // Redis was silent for all until a moment ago.
            failing.heard.1 = ago(Duration::from_secs(1));
            assert_eq!(failing.fault(), None);
        }
    }

    #[test]
    fn a_new_entry_does_not_excuse_one_that_is_owed() {
        let (health, epoch) = (Health::new(), Epoch::random());
        let owed = || health.known.lock().owed.as_ref().map(|(_, seq, since)| (*seq, *since));
        health.newest(&epoch, 5, Some(5));
        assert_eq!(owed(), None);
        health.newest(&epoch, 6, Some(5));
        let first = owed();
        assert_eq!(first.unwrap().0, 6);
        health.newest(&epoch, 9, Some(5));
        assert_eq!(owed(), first);
        health.newest(&epoch, 9, Some(6));
        assert_eq!(owed().unwrap().0, 9, "what was owed is there, and more is");
        health.newest(&Epoch::random(), 1, None);
        assert_eq!(owed().unwrap().0, 1, "a log that was not read at all");
    }

    #[test]
    fn refusals_are_read_in_the_words_of_redis() {
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
