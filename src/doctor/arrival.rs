//! Checks of requests on arrival: the client's address, the version of HTTP, the largest body.

use reqwest::Method;
use serde_json::Value;

use super::{
    connectivity::Server,
    report::{Check, Verdict, ms, spoken},
    target::{PATIENCE, Target},
};
use tricast_core::protocol::remedy::Remedy;

/// Largest tested body, in bytes: larger ones are not limited by the defaults of proxies.
const MAX_BODY: u64 = 8 << 20;

/// Sizes tested after the largest was refused, in bytes. The smallest shows whether bodies arrive at all.
const SMALLER: [u64; 4] = [1 << 19, 1 << 16, 1 << 13, 1 << 9];

/// Tests which address the server counts the client by, and the version of HTTP of its requests.
pub(super) async fn check(target: &Target, server: &Server) -> (Check, Check) {
    let fail = |id, name, headline: &str| Check::new(id, name, Verdict::Fail, headline);
    let seen = match target.get("api/doctor").await {
        Ok(answer) if answer.status == 200 => answer.json().filter(Value::is_object),
        Ok(answer) => {
            let detail = format!("api/doctor returns {}.", answer.described());
            let remedy = if answer.problem().is_none() { Some(Remedy::Passed) } else { None };
            let mut address = fail("address", "Address", "can't be asked for").detail(detail);
            address.remedies.extend(remedy);
            return (address, Check::new("proxy", "Proxy", Verdict::Skipped, "not known"));
        }
        Err(error) => {
            let address = fail("address", "Address", "can't be asked for").detail(error);
            return (address, Check::new("proxy", "Proxy", Verdict::Skipped, "not known"));
        }
    };
    let seen = seen.unwrap_or_default();
    (address(target, server, &seen), proxy(target, server, &seen))
}

fn address(target: &Target, server: &Server, seen: &Value) -> Check {
    let check = |verdict, headline: &str| Check::new("address", "Address", verdict, headline);
    let address = seen["address"].as_str();
    match seen["forwarded"].as_str() {
        Some("believed") => {
            let headline = address.map_or("sent by the proxy".into(), |address| format!("seen as {address}"));
            check(Verdict::Ok, &headline).detail("The server trusts the addresses that the proxy sends.")
        }
        Some("ignored") => check(Verdict::Warn, "sent by a proxy that the server does not trust")
            .detail("All clients behind it count as one, and share one address's limits.")
            .remedy(Remedy::Trusted),
        _ => {
            let local = target.url.host_str().is_some_and(|host| host == "localhost" || host.contains("127.0.0."));
            let inside = seen["range"] == "loopback" && !local && target.url.host_str() != Some("[::1]");
            if server.proxy.is_some() || inside {
                return check(Verdict::Warn, "not forwarded by the proxy")
                    .detail("All clients behind it count as one, and share one address's limits.")
                    .remedy(Remedy::Forwarded);
            }
            check(
                Verdict::Ok,
                &address.map_or("taken from the connection; no trusted proxy".into(), |address| {
                    format!("seen as {address}")
                }),
            )
        }
    }
}

fn proxy(target: &Target, server: &Server, seen: &Value) -> Check {
    let http = seen["http"].as_str().unwrap_or("1.1");
    let host = seen["host"].as_str().unwrap_or_default();
    let by = server.proxy.as_deref().unwrap_or("none detected");
    let headline = format!("{by}; HTTP/{http} to the server");
    let check = match http {
        "1.0" => Check::new("proxy", "Proxy", Verdict::Warn, headline)
            .detail("HTTP/1.0 has no upgrade, and a new connection for each poll.")
            .remedy(Remedy::Version),
        _ => Check::new("proxy", "Proxy", Verdict::Ok, headline),
    };
    if host.eq_ignore_ascii_case(&target.host()) {
        return check;
    }
    // A WebSocket of a page fails, unless public_url is set: the check of WebSockets reports it.
    let detail = format!("{} Host arrives as \"{host}\".", check.detail).trim_start().to_owned();
    check.detail(detail)
}

/// Sends a body as large as the server accepts and compares the number of bytes that arrived.
pub(super) async fn body(target: &Target) -> Check {
    let check = |verdict, headline: String| Check::new("push", "Push", verdict, headline);
    let most = match target.get("api/doctor").await {
        Ok(answer) => answer.json().and_then(|answer| answer["maxBody"].as_u64()),
        Err(_) => None,
    };
    let Some(most) = most.map(|most| if most == 0 { MAX_BODY } else { most.min(MAX_BODY) }) else {
        return check(Verdict::Skipped, "not tested".into()).detail("The server did not return its limit.");
    };
    match send(target, most).await {
        Sent::Whole(took) => check(Verdict::Ok, format!("{} pass, in {}", size(most), spoken(took)))
            .figure("largest_bytes", most)
            .figure("took_ms", ms(took)),
        Sent::Refused(status) => {
            let mut passes = 0;
            for bytes in SMALLER.into_iter().filter(|bytes| *bytes < most) {
                if matches!(send(target, bytes).await, Sent::Whole(_)) {
                    passes = bytes;
                    break;
                }
            }
            let detail = format!("The server takes {}; {} still pass.", size(most), size(passes));
            let headline = format!("bodies of {} are refused by a proxy ({status})", size(most));
            let check = check(Verdict::Fail, headline).detail(detail).figure("largest_bytes", passes);
            if status == 413 { check.remedy(Remedy::Body) } else { check }
        }
        Sent::OwnRefusal(why) => {
            check(Verdict::Skipped, "not tested".into()).detail(format!("The server returns {why}."))
        }
        Sent::Lost(error) => check(Verdict::Fail, "bodies do not arrive".into()).detail(error),
    }
}

enum Sent {
    Whole(std::time::Duration),
    Refused(u16),
    OwnRefusal(String),
    Lost(String),
}

async fn send(target: &Target, bytes: u64) -> Sent {
    let body = vec![b'-'; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let request = target.request(Method::POST, "api/doctor/echo").header("content-type", "application/octet-stream");
    // A large body takes its time on a slow line.
    match target.ask(request.body(body), PATIENCE * 3).await {
        Ok(answer) if answer.status == 200 => match answer.json().and_then(|answer| answer["bytes"].as_u64()) {
            Some(counted) if counted == bytes => Sent::Whole(answer.took),
            counted => Sent::Lost(format!("Of {bytes} bytes the server counted {}.", counted.unwrap_or_default())),
        },
        Ok(answer) if answer.problem().is_some() => Sent::OwnRefusal(answer.described()),
        Ok(answer) => Sent::Refused(answer.status),
        Err(error) => Sent::Lost(error),
    }
}

/// Formats a size: `1 MiB`, `512 B`.
fn size(bytes: u64) -> String {
    match bytes {
        0 => "not even the smallest".into(),
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}
