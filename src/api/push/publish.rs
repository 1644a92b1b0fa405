//! Readings of a request on their way to the log: the one path of pushes and of the doors for other programs.

use std::time::{Duration, Instant};

use super::{batch::Batch, results::Refused};
use crate::web::{caller::Caller, problem::Problem, state::State};
use tricast_core::{
    aggregator::PublishError,
    counters::Limit,
    position::Position,
    reading::{Origin, Refusal},
};

/// Bodies above this size are parsed on another thread, because they would occupy the worker for more than a millisecond.
pub(in crate::api) const PARSE_ELSEWHERE: usize = 64 * 1024;

/// Time after which to retry a push while the log cannot be written.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Result of a batch that is in the log.
pub(in crate::api) struct Published {
    /// Line of each accepted reading, in order.
    pub(in crate::api) accepted: Vec<usize>,
    /// Refused lines, those that could not be parsed included.
    pub(in crate::api) refused: Refused,
    /// Position at or after every change of the batch.
    pub(in crate::api) position: Position,
}

/// Publishes the readings of a body of `weight` bytes that the caller may push, waits until they are in the log, and counts them.
///
/// # Errors
/// 503 if nothing was accepted, 504 if that is not known.
pub(in crate::api) async fn publish(
    state: &State,
    caller: &Caller,
    arrived: Instant,
    batch: Batch,
    weight: usize,
) -> Result<Published, Problem> {
    let Batch { line_numbers, readings, mut refused, .. } = batch.permitted_to(&caller.identity);
    let outcome = caller.tenant.aggregator.publish(Origin::Pushed, readings, weight).await.map_err(not_published)?;
    let mut accepted = Vec::new();
    for (place, verdict) in line_numbers.into_iter().zip(outcome.verdicts) {
        match verdict {
            Ok(()) => accepted.push(place),
            Err(refusal) => {
                count(state, &refusal);
                refused.add(place, || Problem::from(&refusal));
            }
        }
    }
    state.shared.counters.accepted.add(accepted.len() as u64);
    state.shared.counters.refused.add(refused.count as u64);
    state.shared.counters.publish_latency.observe(arrived.elapsed(), 1);
    Ok(Published { accepted, refused, position: outcome.position })
}

pub(super) fn not_published(error: PublishError) -> Problem {
    match error {
        PublishError::Stopped => {
            Problem::unavailable("the server is shutting down", crate::shutdown::reconnect_after())
        }
        PublishError::Unavailable => Problem::unavailable(error.to_string(), RETRY_AFTER),
        PublishError::Unknown => Problem::unknown(error.to_string()),
    }
}

fn count(state: &State, refusal: &Refusal) {
    let limit = match refusal {
        Refusal::TooManyChannels(_) => Limit::Channels,
        Refusal::SnapshotFull(_) => Limit::Snapshot,
        Refusal::TooManySeries(_) => Limit::Series,
        Refusal::StatesFull(_) => Limit::State,
        Refusal::ServerFull(_) => Limit::StateTotal,
        Refusal::BuiltIn(_)
        | Refusal::NoChannel(_)
        | Refusal::OtherKind { .. }
        | Refusal::OtherType { .. }
        | Refusal::TooLarge { .. }
        | Refusal::Unreadable => {
            return;
        }
    };
    state.shared.counters.limit(limit).inc();
}
