//! Resume verdict: the comparison of a client's cursor with a log.

use super::{
    channel::{Channel, Selector},
    log::Log,
    position::Position,
};

/// Result of comparing the cursor of a client with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Nothing is missing: continue from here.
    Replay(Position),
    /// Data are lost, or that is unknown: start from the current state.
    Reset(ResetReason),
}

/// Reason why a resume is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// The cursor belongs to an earlier log, which was lost. All events of this log are new to its holder.
    EpochChanged,
    /// Some of the events since are no longer kept, or it is not known any more which channels have ended. Those that are
    /// will follow.
    TooOld,
    /// Not a cursor of this log or of an earlier one, beyond the end of this log, or of a publication that this log lost.
    UnknownCursor,
}

impl ResetReason {
    /// Returns the reason as clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::TooOld => "too_old",
            Self::UnknownCursor => "unknown_cursor",
        }
    }
}

/// Compares a cursor with `log` for a reader of `selectors`. Returns the verdict, and the position from which events are
/// read.
///
/// After an earlier epoch that is the start of the log (its holder has none of its events), for a cursor that is too old
/// it is the cursor itself (the rest of the ring is sent after the gap), for that of a lost publication it is the place of
/// the loss, for an unknown one it is now. If several processes read one log, check [`Log::covers`] first: a cursor of a
/// later log or offset looks unknown here.
pub fn resume(log: &Log, cursor: &str, selectors: &[Selector]) -> (Resume, Position) {
    match cursor.parse::<Position>() {
        Ok(position) => judge(log, &position, selectors),
        Err(_) => (Resume::Reset(ResetReason::UnknownCursor), log.position()),
    }
}

/// Does the same for a parsed cursor.
pub fn judge(log: &Log, position: &Position, selectors: &[Selector]) -> (Resume, Position) {
    if log.follows(&position.epoch) {
        return (Resume::Reset(ResetReason::EpochChanged), log.beginning());
    }
    let now = log.position();
    if position.epoch != now.epoch || position.offset > now.offset {
        return (Resume::Reset(ResetReason::UnknownCursor), now);
    }
    if let Some(end) = log.hole_at(position.offset) {
        return (Resume::Reset(ResetReason::UnknownCursor), Position::new(now.epoch, end));
    }
    let position = position.clone();
    let wanted =
        |channel: &Channel, offset: u64| offset > position.offset && selectors.iter().any(|s| s.matches(channel));
    let has_all_ends = || !selectors.iter().any(|selector| log.may_have_discarded_end(selector, position.state));
    if log.events_after(position.offset, position.offset, 0, wanted).lost.is_empty() && has_all_ends() {
        (Resume::Replay(position.clone()), position)
    } else {
        (Resume::Reset(ResetReason::TooOld), position)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::{
        channel::EventName,
        log::{Change, LogConfig, assign_offsets},
        position::Epoch,
        settings::Size,
    };

    #[test]
    fn the_verdict_depends_on_the_events_that_the_log_still_has_for_these_channels() {
        let epoch = Epoch::random();
        let config = LogConfig { events: 2, bytes: Size(usize::MAX), ends: 10, ..LogConfig::default() };
        let (mut writer, log) = Log::create_as(config, epoch.clone(), Some(vec![Epoch::parse("before").unwrap()]));
        for name in ["orders", "orders", "deploys", "deploys"] {
            let event = EventName::parse("x").ok();
            let change =
                Change { channel: Channel::parse(name).unwrap(), event, gone: None, data: Bytes::from_static(b"{}") };
            writer.append(vec![change], Timestamp::UNIX_EPOCH);
        }
        let judged = |epoch: &str, offset: u64, names: &[&str]| {
            let selectors: Vec<_> = names.iter().map(|name| Selector::parse(name).unwrap()).collect();
            let (verdict, from) = resume(&log, &format!("{epoch}:{offset}"), &selectors);
            let reason = match verdict {
                Resume::Replay(position) => {
                    assert_eq!(position, from);
                    None
                }
                Resume::Reset(reason) => Some(reason),
            };
            (reason, from.offset)
        };
        let own = epoch.to_string();
        for (offset, names, expected) in [
            (4, &["orders", "deploys"][..], (None, 4)),
            (5, &["deploys"], (Some(ResetReason::UnknownCursor), 4)),
            (2, &["orders", "deploys"], (None, 2)),
            (1, &["orders", "deploys"], (Some(ResetReason::TooOld), 1)),
            (1, &["deploys", "orders"], (Some(ResetReason::TooOld), 1)),
            (1, &["deploys"], (None, 1)),
            (0, &["*.x"][..0], (None, 0)),
        ] {
            assert_eq!(judged(&own, offset, names), expected, "{offset} {names:?}");
        }
        assert_eq!(judged("before", 9, &["deploys"]), (Some(ResetReason::EpochChanged), 2), "all events of the log");
        assert_eq!(judged("other", 3, &["deploys"]), (Some(ResetReason::UnknownCursor), 4));
        let change = Change::event(Channel::parse("deploys").unwrap(), EventName::parse("x").unwrap(), "{}".into());
        writer.apply(assign_offsets(1_000, vec![change]), Timestamp::UNIX_EPOCH);
        for (offset, expected) in [
            (4, (None, 4)),
            (5, (Some(ResetReason::UnknownCursor), 1_000)),
            (999, (Some(ResetReason::UnknownCursor), 1_000)),
            (1_000, (None, 1_000)),
        ] {
            assert_eq!(judged(&own, offset, &["deploys"]), expected, "the offsets after 4 were lost: {offset}");
        }
    }
}
