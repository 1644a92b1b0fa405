//! What types can't say: bounds, and settings that don't go together. Collects every fault.

use std::{net::SocketAddr, time::Duration};

use actix_web::http::Uri;
use jiff::tz::TimeZone;

use super::{AuthMode, Config, Fault, Listen};

/// Everything that is wrong with `config` as a whole.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |key: &str, problem: String| faults.push(Fault { key: key.into(), source: String::new(), problem });
    if config.listen.is_empty() {
        fault("listen", "is empty: name at least one address".into());
    }
    for text in &config.listen {
        match parse_listen(text) {
            Err(problem) => fault("listen", problem),
            Ok(Listen::Tcp(address))
                if !address.ip().is_loopback() && config.auth.mode == AuthMode::None && !config.allow_anonymous =>
            {
                let problem = format!(
                    "{address} can be reached from other machines, and auth.mode is \"none\": \
                     say --allow-anonymous if everybody may read and write"
                );
                fault("listen", problem);
            }
            Ok(_) => {}
        }
    }
    if config.auth.mode == AuthMode::Jwt {
        fault("auth.mode", "this version knows no tokens yet: only \"none\" works".into());
    }
    if config.auth.mode == AuthMode::None && !config.auth.secret.is_empty() {
        fault("auth.secret", "is set, but auth.mode is \"none\": no token would ever be checked".into());
    }
    if let Some(url) = &config.public_url
        && origin_of(url).is_none()
    {
        fault("public_url", format!("{url:?} is no http or https URL"));
    }
    for origin in &config.allowed_origins {
        if origin != "*" && origin_of(origin).as_deref() != Some(origin) {
            fault(
                "allowed_origins",
                format!("{origin:?} is no origin: write \"https://shop.example\", without a path, or \"*\""),
            );
        }
    }
    if config.data_dir.as_ref().is_some_and(|directory| directory.as_os_str().is_empty()) {
        fault("data_dir", "is empty: name a directory, or leave it out to keep nothing".into());
    }
    if let Err(error) = TimeZone::get(&config.time_zone) {
        fault("time_zone", error.to_string());
    }
    if config.currency.len() != 3 || !config.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        fault("currency", format!("{:?} is no code of ISO 4217, such as EUR", config.currency));
    }
    if config.workers > 1_024 {
        fault("workers", "more than 1024".into());
    }
    let mut between = |key: &str, value: Duration, low: Duration, high: Duration| {
        if value < low || value > high {
            fault(key, format!("has to be between {low:?} and {high:?}"));
        }
    };
    let s = Duration::from_secs;
    between("heartbeat.interval", config.heartbeat.interval.0, s(1), s(300));
    between("heartbeat.timeout", config.heartbeat.timeout.0, s(2), s(900));
    between("long_poll_max", config.long_poll_max.0, s(1), s(300));
    between("drain_timeout", config.drain_timeout.0, s(0), s(600));
    between("limits.header_timeout", config.limits.header_timeout.0, s(1), s(300));
    between("limits.body_timeout", config.limits.body_timeout.0, s(1), s(300));
    between("limits.stall_timeout", config.limits.stall_timeout.0, s(1), s(900));
    if config.heartbeat.timeout.0 <= config.heartbeat.interval.0 {
        fault("heartbeat.timeout", "has to be longer than heartbeat.interval, or every client is lost".into());
    }
    if !config.max_connection_age.0.is_zero() && config.max_connection_age.0 < s(1) {
        fault("max_connection_age", "has to be at least 1s, or 0 for never".into());
    }
    if config.limits.max_body.0 == 0 || config.limits.max_body.0 > 1 << 30 {
        fault("limits.max_body", "has to be between 1 and 1GiB".into());
    }
    if config.log.events == 0 || config.log.bytes.0 == 0 {
        fault("log.events", "log.events and log.bytes have to be above 0: without a log no client can resume".into());
    }
    if let Err(error) = config.log_filter.parse::<tracing_subscriber::EnvFilter>() {
        fault("log_filter", error.to_string());
    }
    faults
}

/// Reads one place of `listen`.
pub(super) fn parse_listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(Listen::Unix(path.into()))
        } else {
            Err(format!("{text:?}: write the whole path, unix:/run/tricast.sock"))
        };
    }
    text.parse::<SocketAddr>()
        .map(Listen::Tcp)
        .map_err(|_| format!("{text:?} is no address: write 127.0.0.1:8080, [::1]:8080 or unix:/run/tricast.sock"))
}

/// The origin of an http or https URL: scheme and authority.
pub fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    Some(format!("{scheme}://{}", uri.authority()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        faults(&config).into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn the_defaults_are_fine() {
        assert!(keys(|_| {}).is_empty());
    }

    #[test]
    fn without_tokens_only_loopback_is_open() {
        assert_eq!(keys(|c| c.listen = vec!["0.0.0.0:8080".into()]), ["listen"]);
        assert!(keys(|c| (c.listen, c.allow_anonymous) = (vec!["0.0.0.0:8080".into()], true)).is_empty());
        assert!(keys(|c| c.listen = vec!["[::1]:1".into(), "unix:/run/t.sock".into()]).is_empty());
        assert_eq!(keys(|c| c.listen = vec!["localhost".into(), "unix:t.sock".into()]), ["listen", "listen"]);
    }

    #[test]
    fn origins_are_origins() {
        for bad in ["shop.example", "https://shop.example/", "ftp://shop.example", "https://"] {
            assert_eq!(keys(|c| c.allowed_origins = vec![bad.into()]), ["allowed_origins"], "{bad}");
        }
        assert!(keys(|c| c.allowed_origins = vec!["https://shop.example:8443".into(), "*".into()]).is_empty());
    }

    #[test]
    fn a_secret_without_tokens_makes_no_sense() {
        let secret = serde_json::from_str("\"x\"").unwrap();
        assert_eq!(keys(|c| c.auth.secret = secret), ["auth.secret"]);
    }
}
