//! Polls: whether a tag comes through in both directions, whether somebody keeps answers, and whether a poll may be held.

use std::time::Duration;

use reqwest::{Method, header};

use super::{
    patient::{Answer, PATIENCE, Patient},
    report::{Check, Verdict, ms, spoken},
};
use tricast_core::protocol::remedy::Remedy;

/// The snapshot may change between two polls; so often in a row it does not.
const ATTEMPTS: usize = 6;

/// How long a poll is held in a quick examination, and at most, in seconds.
const WAIT: (u64, u64) = (2, 25);

/// Asks twice: the second time with the tag of the first, which is to be answered 304.
pub(super) async fn check(patient: &Patient) -> Check {
    let check = |verdict, headline: String| Check::new("polling", "Polling", verdict, headline);
    let fail = |headline: &str| check(Verdict::Fail, headline.to_owned());
    let mut first = match poll(patient, None).await {
        Ok(answer) => answer,
        Err(error) => return fail("does not work").detail(error),
    };
    if let Some(refused) = refusal("polling", "Polling", patient, &first) {
        return refused;
    }
    if let Some(kept) = kept(&first) {
        return fail("responses are cached on the way").detail(kept).remedy(Remedy::Caching);
    }
    for _ in 0..ATTEMPTS {
        let Some(tag) = first.header("etag").map(str::to_owned) else {
            return fail("ETag is removed on the way")
                .detail("Each poll transfers the whole response, and long polls by tag do not work.")
                .remedy(Remedy::Tags);
        };
        let second = match poll(patient, Some(&tag)).await {
            Ok(answer) => answer,
            Err(error) => return fail("does not work").detail(error),
        };
        if second.status == 304 {
            let headline = format!("works, {}", spoken(second.took));
            return check(Verdict::Ok, headline).figure("round_trip_ms", ms(second.took));
        }
        if second.header("etag") == Some(&tag) {
            return fail("If-None-Match is removed on the way")
                .detail("The same response was sent again instead of a 304.")
                .remedy(Remedy::RequestHeaders);
        }
        first = second;
    }
    check(Verdict::Warn, "each response has a different tag".into())
        .detail("Values change faster than the polls, or something changes the bodies on the way.")
        .figure("round_trip_ms", ms(first.took))
}

async fn poll(patient: &Patient, tag: Option<&str>) -> Result<Answer, String> {
    // As browsers ask, for that is when proxies compress.
    let mut request = patient.request(Method::GET, "api/metrics").header(header::ACCEPT_ENCODING, "gzip");
    if let Some(tag) = tag {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    patient.ask(request, PATIENCE).await
}

/// A check that ends here, because the poll was not answered.
fn refusal(id: &'static str, name: &'static str, patient: &Patient, answer: &Answer) -> Option<Check> {
    let own = answer.problem().is_some();
    Some(match answer.status {
        200 => return None,
        401 | 403 if own && !patient.has_token() => {
            Check::new(id, name, Verdict::Skipped, "not tried: a token is needed").detail("Say one with --token.")
        }
        401 | 403 if own => Check::new(id, name, Verdict::Skipped, "not tested: the token was refused")
            .detail(format!("The server returns {}.", answer.described())),
        404 if !own => Check::new(id, name, Verdict::Fail, "404: the path is not forwarded").remedy(Remedy::Passed),
        _ => Check::new(id, name, Verdict::Fail, format!("answered {}", answer.described())),
    })
}

/// What says that somebody keeps answers, or tells others to.
fn kept(answer: &Answer) -> Option<String> {
    let said = answer.header("cache-control").unwrap_or_default();
    if answer.header("age").is_some_and(|age| age.trim() != "0") {
        return Some("The response came from a cache (Age).".into());
    }
    for name in ["x-cache", "x-cache-status", "x-proxy-cache", "cf-cache-status"] {
        if answer.header(name).is_some_and(|value| value.to_ascii_uppercase().contains("HIT")) {
            return Some(format!("The response came from a cache ({name})."));
        }
    }
    let asks_first = said.contains("no-cache") || said.contains("no-store");
    (!asks_first || said.contains("max-age=") || said.contains("s-maxage=")).then(|| {
        let said = if said.is_empty() { "nothing".to_owned() } else { format!("\"{said}\"") };
        format!("The server says Cache-Control: no-cache; what arrives is {said}.")
    })
}

/// Asks for what has changed since now in a channel where little happens, and waits.
pub(super) async fn hold(patient: &Patient, idle: Duration) -> Check {
    let check = |verdict, headline: String| Check::new("long_poll", "Long poll", verdict, headline);
    let fail = |headline: String| check(Verdict::Fail, headline);
    let wait = Duration::from_secs(idle.as_secs().clamp(WAIT.0, WAIT.1));
    let first = match patient.get("api/metrics?channels=system").await {
        Ok(answer) => answer,
        Err(error) => return fail("does not work".into()).detail(error),
    };
    if let Some(refused) = refusal("long_poll", "Long poll", patient, &first) {
        return refused;
    }
    let cursor = first.json().and_then(|body| Some(body.get("cursor")?.as_str()?.to_owned()));
    let Some(cursor) = cursor else {
        return check(Verdict::Skipped, "not tested".into()).detail("The response to a poll had no cursor.");
    };
    let path = format!("api/metrics?channels=system&since={cursor}");
    let began = std::time::Instant::now();
    let request = patient.request(Method::GET, &path).header("prefer", format!("wait={}", wait.as_secs()));
    let held = match patient.ask(request, wait + PATIENCE).await {
        Ok(answer) => answer,
        Err(error) => {
            let after = spoken(began.elapsed());
            return fail(format!("cut after {after}")).detail(error).remedy(Remedy::PollTimeout);
        }
    };
    match (held.status, held.header("preference-applied")) {
        (504 | 502 | 408 | 524, _) => fail(format!("cut after {} ({})", spoken(held.took), held.status))
            .detail(format!("A poll was to be held for {}.", spoken(wait)))
            .figure("cut_after_ms", ms(held.took))
            .remedy(Remedy::PollTimeout),
        (200 | 304, Some(_)) => {
            check(Verdict::Ok, format!("works, held for {}", spoken(held.took))).figure("held_ms", ms(held.took))
        }
        (200 | 304, None) => {
            let again = patient.ask(patient.request(Method::GET, &format!("{path}&wait=1")), PATIENCE).await;
            let by_query = again.is_ok_and(|answer| answer.took >= Duration::from_millis(900));
            let verdict = if by_query { Verdict::Warn } else { Verdict::Fail };
            check(verdict, "Prefer is removed on the way".into())
                .detail(if by_query { "?wait= does the same, and comes through." } else { "?wait= does not help." })
                .remedy(Remedy::RequestHeaders)
        }
        _ => fail(format!("answered {}", held.described())),
    }
}
