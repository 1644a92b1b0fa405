//! The path doctor: tries each way out of a server through whatever stands in between, and says in a sentence what is
//! wrong there and what mends it. `tricast doctor URL` on the command line; the page at `/doctor` does the same from a
//! browser.
//!
//! | check | tries |
//! |---|---|
//! | `reach` | name, TLS, status; whether it is a tricast |
//! | `websocket` | the handshake, frames of every kind of length in both directions, the round trip |
//! | `events` | a known rhythm: what is held back, compressed or cut |
//! | `polling` | tags, 304, caches; held polls |
//! | `passage` | what requests look like on arrival: address, version, largest body |
//! | `silence` | how long a connection may be silent before somebody cuts it |

use std::time::Duration;

mod events;
mod passage;
mod patient;
mod polling;
mod reach;
mod report;
mod rhythm;
mod silence;
mod socket;
mod websocket;

use patient::Patient;
pub use patient::{Options, SetupError, parse_url};
pub use report::{Check, Report, Verdict};

/// Longest silence that can be asked for: the bound of the server's own rhythm and heartbeat.
pub const MAX_IDLE: Duration = Duration::from_secs(240);

/// Looks at the path to a server.
///
/// # Errors
/// [`SetupError`] when it can't even begin; whatever goes wrong on the path is in the report.
pub async fn examine(options: &Options) -> Result<Report, SetupError> {
    // Whoever was first has the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let patient = Patient::new(options)?;
    let (reached, server) = reach::check(&patient).await;
    // Without a name and password that stand in it: reports are passed on.
    let mut url = patient.url.clone();
    let _ = (url.set_username(""), url.set_password(None));
    let url = url.to_string();
    let Some(server) = server else { return Ok(Report::new(url, vec![reached])) };
    let mut checks = vec![reached];
    // One after the other, so that they don't disturb each other's times.
    checks.push(websocket::check(&patient).await);
    let polling = polling::check(&patient).await;
    let idle = options.idle.min(MAX_IDLE);
    let ((events, heard), long_poll, (address, version), body, quiet) = tokio::join!(
        events::check(&patient),
        polling::hold(&patient, idle),
        passage::check(&patient, &server),
        passage::body(&patient),
        silence::check(&patient, idle),
    );
    checks.extend([events, polling, long_poll, body, address, version]);
    // What is held back as a whole can't show when it was cut.
    checks.extend(quiet.into_iter().filter(|check| heard || check.id != silence::EVENTS));
    Ok(Report::new(url, checks))
}
