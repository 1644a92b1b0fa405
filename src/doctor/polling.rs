//! Checks of polling: entity tags in both directions, caches in between, and held polls.

use std::time::Duration;

use reqwest::{Method, header};

use super::{
    report::{Check, Verdict, ms, spoken},
    target::{Answer, PATIENCE, Target},
};
use tricast_core::protocol::remedy::Remedy;

/// Attempts to get the same snapshot twice: it may change between two polls, but rarely that many times in a row.
const ATTEMPTS: usize = 6;

/// Time for which a poll is held, in seconds: in a quick test, and at most.
const WAIT: (u64, u64) = (2, 25);

/// Polls twice, the second time with the tag of the first response, and expects a 304.
pub(super) async fn check(target: &Target) -> Check {
    let check = |verdict, headline: String| Check::new("polling", "Polling", verdict, headline);
    let fail = |headline: &str| check(Verdict::Fail, headline.to_owned());
    let mut first = match poll(target, None).await {
        Ok(answer) => answer,
        Err(error) => return fail("does not work").detail(error),
    };
    if let Some(refused) = refusal("polling", "Polling", target, &first) {
        return refused;
    }
    if let Some(sign) = cache_sign(&first) {
        return fail("responses are cached on the way").detail(sign).remedy(Remedy::Caching);
    }
    for _ in 0..ATTEMPTS {
        let Some(tag) = first.header("etag").map(str::to_owned) else {
            return fail("ETag is removed on the way")
                .detail("Each poll transfers the whole response, and long polls by tag do not work.")
                .remedy(Remedy::Tags);
        };
        let second = match poll(target, Some(&tag)).await {
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

async fn poll(target: &Target, tag: Option<&str>) -> Result<Answer, String> {
    // Sends the header of browsers, which is when proxies compress.
    let mut request = target.request(Method::GET, "api/metrics").header(header::ACCEPT_ENCODING, "gzip");
    if let Some(tag) = tag {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    target.ask(request, PATIENCE).await
}

/// Returns the final check if the poll failed.
fn refusal(id: &'static str, name: &'static str, target: &Target, answer: &Answer) -> Option<Check> {
    let own = answer.problem().is_some();
    Some(match answer.status {
        200 => return None,
        401 | 403 if own && !target.has_token() => {
            Check::new(id, name, Verdict::Skipped, "not tested: a token is needed").detail("Use --token.")
        }
        401 | 403 if own => Check::new(id, name, Verdict::Skipped, "not tested: the token was refused")
            .detail(format!("The server returns {}.", answer.described())),
        404 if !own => Check::new(id, name, Verdict::Fail, "404: the path is not forwarded").remedy(Remedy::Passed),
        _ => Check::new(id, name, Verdict::Fail, format!("returned {}", answer.described())),
    })
}

/// Returns the sign that a cache stored the response, or that a proxy allows that.
fn cache_sign(answer: &Answer) -> Option<String> {
    let cache_control = answer.header("cache-control").unwrap_or_default();
    if answer.header("age").is_some_and(|age| age.trim() != "0") {
        return Some("The response came from a cache (Age).".into());
    }
    for name in ["x-cache", "x-cache-status", "x-proxy-cache", "cf-cache-status"] {
        if answer.header(name).is_some_and(|value| value.to_ascii_uppercase().contains("HIT")) {
            return Some(format!("The response came from a cache ({name})."));
        }
    }
    let revalidates = cache_control.contains("no-cache") || cache_control.contains("no-store");
    (!revalidates || cache_control.contains("max-age=") || cache_control.contains("s-maxage=")).then(|| {
        let cache_control =
            if cache_control.is_empty() { "nothing".to_owned() } else { format!("\"{cache_control}\"") };
        format!("The server sends Cache-Control: no-cache; the received header is {cache_control}.")
    })
}

/// Polls a channel with few changes, from the current cursor on, and waits.
pub(super) async fn hold(target: &Target, idle: Duration) -> Check {
    let check = |verdict, headline: String| Check::new("long_poll", "Long poll", verdict, headline);
    let fail = |headline: String| check(Verdict::Fail, headline);
    let wait = Duration::from_secs(idle.as_secs().clamp(WAIT.0, WAIT.1));
    let first = match target.get("api/metrics?channels=system").await {
        Ok(answer) => answer,
        Err(error) => return fail("does not work".into()).detail(error),
    };
    if let Some(refused) = refusal("long_poll", "Long poll", target, &first) {
        return refused;
    }
    let cursor = first.json().and_then(|body| Some(body.get("cursor")?.as_str()?.to_owned()));
    let Some(cursor) = cursor else {
        return check(Verdict::Skipped, "not tested".into()).detail("The response to a poll had no cursor.");
    };
    let path = format!("api/metrics?channels=system&since={cursor}");
    let start = std::time::Instant::now();
    let request = target.request(Method::GET, &path).header("prefer", format!("wait={}", wait.as_secs()));
    let held = match target.ask(request, wait + PATIENCE).await {
        Ok(answer) => answer,
        Err(error) => {
            let after = spoken(start.elapsed());
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
            let by_parameter = target.ask(target.request(Method::GET, &format!("{path}&wait=1")), PATIENCE).await;
            let by_query = by_parameter.is_ok_and(|answer| answer.took >= Duration::from_millis(900));
            let verdict = if by_query { Verdict::Warn } else { Verdict::Fail };
            check(verdict, "Prefer is removed on the way".into())
                .detail(if by_query { "?wait= does the same, and works." } else { "?wait= does not help." })
                .remedy(Remedy::RequestHeaders)
        }
        _ => fail(format!("returned {}", held.described())),
    }
}
