//! Resume verdict: the comparison of a client's cursor with the log, with the terms of all transports.

use tricast_core::{
    channel::{ChannelKind, Selector},
    log::Log,
    position::Position,
    resume::{self, ResetReason, Resume},
};

/// Comparison of a cursor with the log.
pub(in crate::transport) struct Verdict {
    resume: Resume,
    /// Position from which events are read.
    pub(in crate::transport) position: Position,
}

impl Verdict {
    /// Compares `cursor` with `log` for a reader of `selectors`.
    pub(in crate::transport) fn of(log: &Log, cursor: &str, selectors: &[Selector]) -> Self {
        let (resume, position) = resume::resume(log, cursor, selectors);
        Self { resume, position }
    }

    /// Returns whether nothing is missing.
    pub(in crate::transport) fn is_whole(&self) -> bool {
        matches!(self.resume, Resume::Replay(_))
    }

    /// Returns the reason why data are missing, or may be.
    pub(in crate::transport) fn reason(&self) -> Option<ResetReason> {
        match &self.resume {
            Resume::Replay(_) => None,
            Resume::Reset(reason) => Some(*reason),
        }
    }

    /// Returns `replayed`, `snapshot` (only states were asked for) or `reset`.
    pub(in crate::transport) fn outcome(&self, log: &Log, selectors: &[Selector]) -> &'static str {
        let is_state = |selector: &Selector| match selector {
            Selector::Exact(channel) => log.kind(channel) == Some(ChannelKind::State),
            Selector::Below(_) => false,
        };
        match self.resume {
            Resume::Reset(_) => "reset",
            Resume::Replay(_) if selectors.iter().all(is_state) => "snapshot",
            Resume::Replay(_) => "replayed",
        }
    }
}
