//! Check of the connection: whether there is a server, and whether it is a tricast.

use super::{
    report::{Check, Verdict, ms, spoken},
    target::Target,
};
use tricast_core::protocol::remedy::Remedy;

/// Properties of the server, and of a proxy in front of it.
pub(super) struct Server {
    /// `Server` or `Via` header: the server itself sends neither.
    pub(super) proxy: Option<String>,
}

/// Requests `/healthz`. Without a server, other tests are pointless.
pub(super) async fn check(target: &Target) -> (Check, Option<Server>) {
    let fail = |headline: String| Check::new("reach", "Server", Verdict::Fail, headline);
    let answer = match target.get("healthz").await {
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
            .detail("The server at this address is not a tricast. Is a part of the path missing?"),
        (status @ 300..=399, _) => {
            let location = answer.header("location").unwrap_or("another address");
            fail(format!("{status}: redirected")).detail(format!("It redirects to {location}: use that address."))
        }
        (404, _) => fail(format!("404{by}: not found"))
            .detail("The path is not forwarded to the server, or the server is below another path.")
            .remedy(Remedy::Passed),
        (status @ (502..=504), _) => fail(format!("{status}{by}: the proxy does not reach the server"))
            .detail("Is the server running, and does the proxy connect to the address on which it listens?"),
        (status @ (401 | 403), _) => fail(format!("{status}{by}: access is denied"))
            .detail("A proxy in front of the server asks for its own login, or does not serve this host name."),
        (_, _) => fail(format!("returns {}{by}", answer.described())),
    };
    (check, None)
}
