//! Doors: paths for programs that send metrics in a protocol of their own, one file per protocol (docs/in/README.md).
//!
//! A door reads a request, lets `tricast_doors` parse it and `mapping` turn the points into readings, and publishes these as a push
//! does. It keeps nothing: no buffer, no state of a series.

use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde::Serialize;

use super::push::{Published, publish};
use crate::web::{caller::Caller, middleware::Reason, problem::Problem, state::State};
use tricast_core::counters::{Door, Passage};

pub(crate) mod influx;
mod mapping;

use mapping::Mapped;

/// Most values of one request.
const MAX_VALUES: usize = 100_000;

/// Publishes the readings of a body of `weight` bytes that arrived through `door`, and counts them.
///
/// # Errors
/// Those of [`publish`].
async fn enter(
    door: Door,
    state: &State,
    caller: &Caller,
    arrived: Instant,
    mapped: Mapped,
    weight: usize,
) -> Result<Published, Problem> {
    let count = |passage, values: usize| state.shared.counters.door(door, passage).add(values as u64);
    count(Passage::Late, mapped.late);
    let published = publish(state, caller, arrived, mapped.batch, weight).await?;
    count(Passage::Accepted, published.accepted.len());
    count(Passage::Refused, published.refused.count);
    Ok(published)
}

/// Returns the response for a problem in the form of another protocol: status and headers of the problem, with `body` as JSON.
fn foreign_problem(problem: Problem, request: &HttpRequest, body: impl Serialize) -> HttpResponse {
    if let (Some(limit), Ok(state)) = (problem.limit, State::of(request)) {
        state.shared.counters.limit(limit).inc();
    }
    let body = serde_json::to_string(&body).unwrap_or_default();
    let mut response = problem.to_response(None).set_body(body).map_into_boxed_body();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(Reason(problem.detail.into()));
    response
}
