//! The path doctor: tests every transport of a server through the proxies in between, and reports faults and their fixes. Run
//! it with `tricast doctor URL`; the page at `/doctor` does the same in a browser.
//!
//! | module | tests |
//! |---|---|
//! | `connectivity` | name, TLS, status; whether the server is a tricast |
//! | `websocket` | the handshake, frames of every kind of length in both directions, the round trip |
//! | `events` | a stream of timed events: delays, compression, cuts |
//! | `polling` | tags, 304, caches; held polls |
//! | `arrival` | the request as it arrives: address, version, largest body |
//! | `idle` | the time after which an idle connection is cut |

use std::time::Duration;

mod arrival;
mod connectivity;
mod events;
mod idle;
mod polling;
mod report;
mod socket;
mod target;
mod timing;
mod websocket;

pub use report::{Check, Report, Verdict};
use target::Target;
pub use target::{Options, SetupError, parse_url};

/// Longest idle time of the test: the limit of the server's timed events and of its heartbeat.
pub const MAX_IDLE: Duration = Duration::from_secs(240);

/// Tests the path to a server.
///
/// # Errors
/// [`SetupError`] if the test cannot start. Faults of the path are in the report.
pub async fn examine(options: &Options) -> Result<Report, SetupError> {
    // An earlier call may have installed the same provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    let target = Target::new(options)?;
    let (reached, server) = connectivity::check(&target).await;
    // Without user name and password of the URL, because reports are passed on.
    let mut url = target.url.clone();
    let _ = (url.set_username(""), url.set_password(None));
    let url = url.to_string();
    let Some(server) = server else { return Ok(Report::new(url, vec![reached])) };
    let mut checks = vec![reached];
    // One after the other, so that they do not influence each other's times.
    checks.push(websocket::check(&target).await);
    let polling = polling::check(&target).await;
    let idle = options.idle.min(MAX_IDLE);
    let ((events, streams), long_poll, (address, version), body, quiet) = tokio::join!(
        events::check(&target),
        polling::hold(&target, idle),
        arrival::check(&target, &server),
        arrival::body(&target),
        idle::check(&target, idle),
    );
    checks.extend([events, polling, long_poll, body, address, version]);
    // If the stream is buffered as a whole, the time of a cut cannot be measured.
    checks.extend(quiet.into_iter().filter(|check| streams || check.id != idle::EVENTS));
    Ok(Report::new(url, checks))
}
