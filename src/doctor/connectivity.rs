//! Is it there, and is it a tricast?

use super::{
    patient::Patient,
    report::{Check, Verdict, ms, spoken},
};
use tricast_core::protocol::remedy::Remedy;

/// What the answer says of whoever stands in between.
pub(super) struct Server {
    /// `Server` or `Via`: the server itself says neither.
    pub(super) proxy: Option<String>,
}

/// Asks for `/healthz`. Without a server nothing else is worth a try.
pub(super) async fn check(patient: &Patient) -> (Check, Option<Server>) {
    let fail = |headline: String| Check::new("reach", "Server", Verdict::Fail, headline);
    let answer = match patient.get("healthz").await {
        Ok(answer) => answer,
        Err(error) => return (fail("can't be reached".into()).detail(error), None),
    };
    let proxy = answer.header("via").or(answer.header("server")).map(str::to_owned);
    let version = answer.json().and_then(|body| Some(body.get("version")?.as_str()?.to_owned()));
    let by = proxy.as_ref().map_or(String::new(), |proxy| format!(", by {proxy}"));
    let check = match (answer.status, version) {
        (200, Some(version)) => {
            let headline = format!("tricast {version}, responds in {}", spoken(answer.took));
            let check = Check::new("reach", "Server", Verdict::Ok, headline).figure("answer_ms", ms(answer.took));
            return (check, Some(Server { proxy }));
        }
        (200, None) => fail(format!("another server responds{by}"))
            .detail("There is something at this address, and it is no tricast. Is a part of the path missing?"),
        (status @ 300..=399, _) => {
            let location = answer.header("location").unwrap_or("another address");
            fail(format!("{status}: it is elsewhere")).detail(format!("It points to {location}: try that address."))
        }
        (404, _) => fail(format!("404{by}: nothing is there"))
            .detail("The path is not forwarded to the server, or the server is below another path.")
            .remedy(Remedy::Passed),
        (status @ (502..=504), _) => fail(format!("{status}{by}: it does not reach the server"))
            .detail("Is the server running, and does the proxy ask at the address where it listens?"),
        (status @ (401 | 403), _) => fail(format!("{status}{by}: access is denied")).detail(
            "Something in front of the server asks for a login of its own, or knows this name not as one of its own.",
        ),
        (_, _) => fail(format!("returns {}{by}", answer.described())),
    };
    (check, None)
}
