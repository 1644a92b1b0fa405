//! How a cursor that a client brings fits a log.

use super::{
    channel::{Channel, Selector},
    log::Log,
    position::Position,
};

/// How a cursor that a client brought fits this log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Nothing is missing: go on from here.
    Replay(Position),
    /// Something is lost, or can't be known; start from what there is.
    Reset(ResetReason),
}

/// Why a resume is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// The cursor belongs to a log that was lost. All events of this log are new to its holder.
    EpochChanged,
    /// Some of the events since are no longer kept. Those that are will follow.
    TooOld,
    /// Not a cursor of this server, or one that it never gave.
    UnknownCursor,
}

impl ResetReason {
    /// As clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::TooOld => "too_old",
            Self::UnknownCursor => "unknown_cursor",
        }
    }
}

/// Judges a cursor for a reader of `selectors`: the verdict, and the position from which events are read.
///
/// After a lost epoch that is the log's beginning (its holder saw none of the new log's events), for one that is too
/// old it is the cursor itself (what is left of the ring is given after the gap), for an unknown one it is now.
pub fn resume(log: &Log, cursor: &str, selectors: &[Selector]) -> (Resume, Position) {
    let head = log.head();
    let epoch = log.epoch();
    let now = Position::new(epoch.clone(), head);
    let Ok(position) = cursor.parse::<Position>() else {
        return (Resume::Reset(ResetReason::UnknownCursor), now);
    };
    if position.epoch != epoch {
        return (Resume::Reset(ResetReason::EpochChanged), Position::new(epoch, 0));
    }
    if position.offset > log.horizon() {
        return (Resume::Reset(ResetReason::UnknownCursor), now);
    }
    let wanted =
        |channel: &Channel, offset: u64| offset > position.offset && selectors.iter().any(|s| s.matches(channel));
    if log.events_after(position.offset, position.offset, 0, wanted).lost.is_empty() {
        (Resume::Replay(position.clone()), position)
    } else {
        (Resume::Reset(ResetReason::TooOld), position)
    }
}
