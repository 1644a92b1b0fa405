//! `POST /api/metrics`: values, events, samples and ends of channels from clients (docs/protocol.md, section 7).

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};

mod batch;
mod line;
mod publish;
mod results;
mod schema;

pub(super) use batch::Batch;
pub(super) use publish::{PARSE_ELSEWHERE, Published, publish};
use results::{Accepted, NotStored, PartlyAccepted, PushResponse};

use crate::web::{
    access,
    authorized::{Authorized, WriteMetrics},
    body::Body,
    channels,
    json_response::JsonResponse,
    problem::Problem,
};
use tricast_core::reading::{Origin, Reading, Refusal};

/// Handles `POST /api/metrics` and its alias: one object, an array, or NDJSON.
///
/// 202 if all lines are in the log, 207 with a result for each line if some were refused. A single refused object gets
/// its problem as the response.
#[utoipa::path(
    post,
    path = "/api/metrics",
    tag = "Push",
    operation_id = "push",
    summary = "Push values, events, samples and ends of channels",
    description = "One object, an array, or one object per line (NDJSON), at most `limits.max_lines` of them. If some lines \
        are refused, the response is 207 with a result for each line; if the only object is refused, it is that problem. \
        The body may be compressed (`Content-Encoding: gzip`, `deflate` or `br`); `limits.max_body` applies before and \
        after decompression. Needs the permission `write:metrics`, or a token that is bound to the channels (`push`): lines for \
        other channels are refused one by one.",
    request_body(
        description = "Values, events, samples or ends of channels",
        content(
            (schema::Push = "application/json", examples(
                ("value" = (summary = "A value", value = json!({"channel": "metrics.checkout", "data": {"latency": 12.5}}))),
                ("event" = (summary = "An event", value = json!({"channel": "deploys", "event": "released", "data": {"version": "1.2.3"}}))),
                ("sample" = (summary = "A sample", value = json!({"metric": "checkout.duration", "type": "timing", "value": 12.5, "labels": {"region": "eu"}}))),
                ("end" = (summary = "The end of a channel", value = json!({"channel": "metrics.checkout", "delete": true}))),
                ("several" = (summary = "Several lines", value = json!([{"channel": "metrics.checkout", "data": {"carts": 3}, "merge": true}, {"metric": "shop.visitors", "type": "set", "value": "ada"}]))),
            )),
            ("application/x-ndjson", example = json!("{\"channel\":\"metrics.checkout\",\"data\":{\"carts\":3}}\n{\"metric\":\"shop.visitors\",\"type\":\"set\",\"value\":\"ada\"}\n")),
        )
    ),
    responses(
        (status = 202, description = "All lines are in the log", body = Accepted),
        (status = 207, description = "Some lines were refused", body = PartlyAccepted),
        (status = 404, description = "The only line ends a channel that does not exist"),
        (status = 409, description = "The channel has another kind, or the series another type"),
        (status = 413, description = "The body is too large, or has too many lines"),
        (status = 504, description = "Timed out waiting for the cluster leader; the push may still be accepted"),
    )
)]
pub(crate) async fn post(
    request: HttpRequest,
    access: Authorized<WriteMetrics>,
    body: Body,
) -> Result<JsonResponse<PushResponse>, Problem> {
    let Authorized { state, caller, arrived, .. } = access;
    let body = body.bytes().await?;
    let (ndjson, weight, most) = (is_ndjson(&request), body.len(), state.shared.limits.max_lines);
    let parsed = if weight > PARSE_ELSEWHERE {
        let parsed = web::block(move || batch::parse(&body, ndjson, most)).await;
        parsed.map_err(|_| Problem::internal("the parsing thread is gone"))?
    } else {
        batch::parse(&body, ndjson, most)
    };
    let batch = parsed.map_err(|fault| fault.into_problem(&state, most))?;
    let (lines, single) = (batch.lines, batch.single);
    let has_ends = batch.readings.iter().any(|reading| matches!(reading, Reading::End { .. }));
    let Published { accepted, mut refused, position } = publish(&state, &caller, arrived, batch, weight).await?;

    if single && let Some((_, problem)) = refused.listed.pop() {
        return Err(problem);
    }
    let stored = (has_ends && !caller.tenant.has_stored_ends(&position).await).then_some(false);
    let (count, cursor) = (accepted.len(), position.to_string());
    if refused.count == 0 {
        let response = PushResponse::Accepted(Accepted { accepted: count, cursor, stored });
        return Ok(JsonResponse::no_store(response).with_status(StatusCode::ACCEPTED));
    }
    debug_assert_eq!(count + refused.count, lines);
    let (refused, results) = (refused.count, refused.results(accepted));
    let response = PushResponse::PartlyAccepted(PartlyAccepted { accepted: count, refused, cursor, stored, results });
    Ok(JsonResponse::no_store(response).with_status(StatusCode::MULTI_STATUS))
}

/// Handles `DELETE /api/metrics/{channel}`: ends a channel.
#[utoipa::path(
    delete,
    path = "/api/metrics/{channel}",
    tag = "Push",
    operation_id = "deleteChannel",
    summary = "End a pushed channel",
    description = "Readers of the channel receive its end once. It is removed from the snapshot and the list of channels and no \
        longer counts for the limits. Its history stays. A later push creates the channel again. Needs the permission \
        `write:metrics`, or a token that is bound to the channel (`push`).",
    params(("channel" = String, Path, description = "Name of the channel", pattern = r"^[A-Za-z0-9_.:-]{1,128}$", example = "metrics.checkout")),
    responses(
        (status = 202, description = "The channel has ended, but its end is not stored yet: until then a crash may restore it",
            body = NotStored),
        (status = 204, description = "The channel has ended"),
        (status = 404, description = "There is no such channel"),
        (status = 410, description = "The channel had already ended"),
        (status = 504, description = "Timed out waiting for the cluster leader; the channel may still end"),
    )
)]
pub async fn delete(channel: web::Path<String>, access: Authorized<WriteMetrics>) -> Result<HttpResponse, Problem> {
    let Authorized { state, caller, .. } = access;
    let channel = channels::parse_one(&channel)?;
    access::check_push(&caller.identity, &channel)?;
    let end = Reading::End { channel: channel.clone() };
    let outcome =
        caller.tenant.aggregator.publish(Origin::Pushed, vec![end], 0).await.map_err(publish::not_published)?;
    match outcome.verdicts.into_iter().next() {
        Some(Err(refusal)) => {
            state.shared.counters.refused.inc();
            let ended = caller.tenant.log.end_of(&channel).filter(|_| matches!(refusal, Refusal::NoChannel(_)));
            Err(ended.map_or_else(|| Problem::from(&refusal), |end| Problem::gone(&end)))
        }
        _ => {
            state.shared.counters.accepted.inc();
            if caller.tenant.has_stored_ends(&outcome.position).await {
                Ok(HttpResponse::NoContent().finish())
            } else {
                Ok(HttpResponse::Accepted().json(NotStored { stored: false }))
            }
        }
    }
}

fn is_ndjson(request: &HttpRequest) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    kind.contains("ndjson") || kind.contains("jsonl") || kind.contains("json-seq") || kind.contains("jsonlines")
}
