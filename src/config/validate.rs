//! What types can't say: bounds, and settings that don't go together. Collects every fault.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use actix_web::http::Uri;
use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::{Auth, AuthMode, Config, Fault, Listen, MOST_WORKERS, Smtp, Webhook};
use crate::{
    alerts::{MailTls, check_mailbox, check_webhook},
    auth::{MIN_SECRET, check_url},
    cluster::check_bus_url,
    store::postgres::{MIN_CONNECTIONS, check_database_url},
    web::base_path::BasePath,
};

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
            Ok(places) => {
                let beyond = |place: &&Listen| matches!(place, Listen::Tcp(address) if !address.ip().is_loopback());
                if let Some(address) = places.iter().find(beyond)
                    && config.auth.mode == AuthMode::None
                    && !config.allow_anonymous
                {
                    let problem = format!(
                        "{address} can be reached from other machines, and auth.mode is \"none\": set auth.mode = \"jwt\" \
                         and a key, or say --allow-anonymous if everybody may read and write"
                    );
                    fault("listen", problem);
                }
            }
        }
    }
    auth_faults(&config.auth, &mut fault);
    smtp_faults(&config.smtp, &mut fault);
    webhook_faults(&config.webhook, &mut fault);
    match config.public_url.as_deref().map(origin_of) {
        // Not repeated: it may hold a password.
        Some(None) => fault("public_url", "is no http or https URL".into()),
        Some(Some(origin)) if origin.contains('@') => {
            fault("public_url", "names a user: write it as people type it".into());
        }
        _ => {}
    }
    for origin in &config.allowed_origins {
        if origin != "*" && !is_origin(origin) {
            let problem = format!(
                "{origin:?} is no origin: write \"https://shop.example\" or \"capacitor://localhost\", without a path, \
                 \"null\" for pages of files, or \"*\""
            );
            fault("allowed_origins", problem);
        }
    }
    if config.data_dir.as_ref().is_some_and(|directory| directory.as_os_str().is_empty()) {
        fault("data_dir", "is empty: name a directory, or leave it out to keep nothing".into());
    }
    if let Err(problem) = BasePath::parse(&config.base_path) {
        fault("base_path", problem.into());
    }
    database_faults(config, &mut fault);
    cluster_faults(config, &mut fault);
    for text in config.trusted_proxies.iter().filter(|text| *text != "unix:") {
        if parse_network(text).is_none() {
            fault("trusted_proxies", format!("{text:?} is no network: write 10.0.0.0/8, 192.0.2.1 or unix:"));
        }
    }
    // A page of any site can have a frame whose origin is "null".
    let anybody = |origin: &&String| matches!(origin.as_str(), "*" | "null");
    if let Some(origin) = config.allowed_origins.iter().find(anybody).filter(|_| config.auth.cookie.is_some()) {
        let problem = format!(
            "{origin:?} together with auth.cookie lets any page use the cookie of whoever looks at it: name the origins"
        );
        fault("allowed_origins", problem);
    }
    if let Err(error) = TimeZone::get(&config.time_zone) {
        fault("time_zone", error.to_string());
    }
    if config.currency.len() != 3 || !config.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        fault("currency", format!("{:?} is no code of ISO 4217, such as EUR", config.currency));
    }
    if config.workers > usize::from(MOST_WORKERS) {
        fault("workers", format!("has to be between 0 (one per core) and {MOST_WORKERS}"));
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
    between("database.connect_timeout", config.database.connect_timeout.0, Duration::from_millis(100), s(60));
    between("database.statement_timeout", config.database.statement_timeout.0, Duration::from_millis(100), s(60));
    between("auth.leeway", config.auth.leeway.0, s(0), s(300));
    between("limits.header_timeout", config.limits.header_timeout.0, s(1), s(300));
    between("limits.keep_alive", config.limits.keep_alive.0, s(1), s(3_600));
    between("limits.body_timeout", config.limits.body_timeout.0, s(1), s(300));
    between("limits.auth_timeout", config.limits.auth_timeout.0, s(0), s(600));
    if !config.limits.channel_ttl.0.is_zero() {
        between("limits.channel_ttl", config.limits.channel_ttl.0, s(1), s(366 * 86_400));
    }
    between("limits.slow_after", config.limits.slow_after.0, s(0), s(600));
    between("limits.slow_step", config.limits.slow_step.0, Duration::from_millis(10), s(600));
    between("alerts.retention", config.alerts.retention.0, s(3_600), s(3_660 * 86_400));
    between("alerts.give_up_after", config.alerts.give_up_after.0, s(0), s(30 * 86_400));
    between("smtp.timeout", config.smtp.timeout.0, s(1), s(300));
    between("webhook.timeout", config.webhook.timeout.0, s(1), s(300));
    between("limits.stall_timeout", config.limits.stall_timeout.0, s(1), s(900));
    between("history.resolution", config.history.resolution.0, s(0), s(60));
    for (key, kept) in [
        ("history.raw", config.history.raw.0),
        ("history.minute", config.history.minute.0),
        ("history.hour", config.history.hour.0),
        ("history.day", config.history.day.0),
    ] {
        // Of what is kept shorter nothing could be made.
        if !kept.is_zero() {
            between(key, kept, s(3_600), s(100 * 365 * 86_400));
        }
    }
    if config.history.buffer < 1_000 {
        fault("history.buffer", "has to be at least 1000".into());
    }
    if config.heartbeat.timeout.0 <= config.heartbeat.interval.0 {
        fault("heartbeat.timeout", "has to be longer than heartbeat.interval, or every client is lost".into());
    }
    if !config.max_connection_age.0.is_zero() && config.max_connection_age.0 < s(1) {
        fault("max_connection_age", "has to be at least 1s, or 0 for never".into());
    }
    if config.limits.max_body.0 == 0 || config.limits.max_body.0 > 1 << 30 {
        fault("limits.max_body", "has to be between 1 and 1GiB".into());
    }
    for (key, value, most) in [
        ("alerts.max_rules", config.alerts.max_rules, 10_000),
        ("alerts.max_kept", config.alerts.max_kept, 1_000_000),
        ("alerts.max_outbox", config.alerts.max_outbox, 100_000),
    ] {
        if value == 0 || value > most {
            fault(key, format!("has to be between 1 and {most}"));
        }
    }
    if config.log.ends == 0 || config.log.ends > 1_000_000 {
        fault("log.ends", "has to be between 1 and 1000000".into());
    }
    if config.log.events == 0 || config.log.bytes.0 == 0 {
        fault("log.events", "log.events and log.bytes have to be above 0: without a log no client can resume".into());
    }
    if let Err(error) = config.log_filter.parse::<tracing_subscriber::EnvFilter>() {
        fault("log_filter", error.to_string());
    }
    faults
}

fn database_faults(config: &Config, fault: &mut impl FnMut(&str, String)) {
    let database = &config.database;
    if config.database_url.is_empty() {
        if database.ca_file.is_some() {
            fault("database.ca_file", "is set, but there is no database_url: it would never be used".into());
        }
    } else {
        if config.data_dir.is_some() {
            fault("database_url", "is set together with data_dir: the data is in one of the two, say which".into());
        }
        if let Err(problem) = check_database_url(config.database_url.expose()) {
            fault("database_url", problem);
        }
    }
    if !(MIN_CONNECTIONS..=1_000).contains(&database.connections) {
        let problem =
            format!("has to be between {MIN_CONNECTIONS} and 1000: one writes, one keeps watch, the others read");
        fault("database.connections", problem);
    }
}

fn cluster_faults(config: &Config, fault: &mut impl FnMut(&str, String)) {
    let cluster = &config.cluster;
    if config.bus.is_empty() {
        if cluster.ca_file.is_some() {
            fault("cluster.ca_file", "is set, but there is no bus: it would never be used".into());
        }
        if config.node_id.is_some() {
            fault("node_id", "is set, but there is no bus: this server is the only one".into());
        }
    } else if let Err(problem) = check_bus_url(config.bus.expose()) {
        fault("bus", problem);
    }
    let is_word = |text: &str| {
        !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
    };
    for (key, text) in [("node_id", config.node_id.as_deref()), ("cluster.key_prefix", Some(&*cluster.key_prefix))] {
        if text.is_some_and(|text| !is_word(text)) {
            fault(key, "has to be 1 to 64 of A-Z a-z 0-9 _ . : -".into());
        }
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&cluster.lease.0) {
        fault("cluster.lease", "has to be between 1s and 60s".into());
    }
    if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&cluster.push_timeout.0) {
        fault("cluster.push_timeout", "has to be between 100ms and 60s".into());
    }
}

fn auth_faults(auth: &Auth, fault: &mut impl FnMut(&str, String)) {
    let sources = [
        ("auth.secret", !auth.secret.is_empty()),
        ("auth.public_key_file", auth.public_key_file.is_some()),
        ("auth.jwks_file", auth.jwks_file.is_some()),
        ("auth.jwks_url", auth.jwks_url.is_some()),
    ];
    if auth.mode == AuthMode::None {
        for (key, _) in sources.iter().filter(|(_, said)| *said) {
            fault(key, "is set, but auth.mode is \"none\": no token would ever be checked".into());
        }
    } else if !sources.iter().any(|(_, said)| *said) {
        let [secret, pem, file, url] = sources.map(|(key, _)| key);
        fault("auth.mode", format!("is \"jwt\", and there is no key: set {secret}, {pem}, {file} or {url}"));
    }
    if auth.mode == AuthMode::Jwt && !auth.secret.is_empty() && auth.secret.expose().len() < MIN_SECRET {
        fault(
            "auth.secret",
            format!("has to be at least {MIN_SECRET} bytes long, or it can be guessed: openssl rand -hex 32"),
        );
    }
    if let Some(Err(problem)) = auth.jwks_url.as_deref().map(check_url) {
        fault("auth.jwks_url", problem);
    }
    for (key, value) in [("auth.issuer", &auth.issuer), ("auth.audience", &auth.audience)] {
        if value.as_ref().is_some_and(String::is_empty) {
            fault(key, "is empty: leave it out if any is accepted".into());
        }
    }
    // A token of RFC 9110, section 5.6.2.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if auth.cookie.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(plain)) {
        fault("auth.cookie", "is no name of a cookie".into());
    }
}

fn smtp_faults(smtp: &Smtp, fault: &mut impl FnMut(&str, String)) {
    let Some(host) = &smtp.host else {
        let said = [
            ("smtp.username", smtp.username.is_some()),
            ("smtp.password", !smtp.password.is_empty()),
            ("smtp.from", smtp.from.is_some()),
            ("smtp.to", !smtp.to.is_empty()),
        ];
        for (key, _) in said.iter().filter(|(_, said)| *said) {
            fault(key, "is set, but smtp.host is not: no mail would ever be sent".into());
        }
        return;
    };
    if host.is_empty() || host.chars().any(|char| char.is_control() || char.is_whitespace() || char == '/') {
        fault("smtp.host", format!("{host:?} is no name of a host"));
    }
    match &smtp.from {
        None => fault("smtp.from", "is not set: mails have to be from somebody".into()),
        Some(from) => check_mailbox(from).err().into_iter().for_each(|problem| fault("smtp.from", problem)),
    }
    if smtp.to.is_empty() {
        fault("smtp.to", "is empty: mails have to go to somebody".into());
    }
    for problem in smtp.to.iter().filter_map(|to| check_mailbox(to).err()) {
        fault("smtp.to", problem);
    }
    if smtp.username.is_some() == smtp.password.is_empty() {
        fault("smtp.username", "and smtp.password go together".into());
    }
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if smtp.username.is_some() && smtp.tls == MailTls::None && !here {
        fault("smtp.tls", "is \"none\": the password would go over the network for everybody to read".into());
    }
}

fn webhook_faults(webhook: &Webhook, fault: &mut impl FnMut(&str, String)) {
    match webhook.url.expose() {
        "" if !webhook.secret.is_empty() => {
            fault("webhook.secret", "is set, but webhook.url is not: nothing would ever be posted".into());
        }
        "" => {}
        url => {
            check_webhook(url).err().into_iter().for_each(|problem| fault("webhook.url", problem));
            if webhook.secret.is_empty() {
                fault(
                    "webhook.secret",
                    "is not set: the receiver could not know who posts. openssl rand -hex 32".into(),
                );
            }
        }
    }
}

/// Reads one place of `listen`. A name (`localhost:8080`) is looked up now: its IPv4 addresses, or where it has none its
/// IPv6 addresses.
pub(super) fn parse_listen(text: &str) -> Result<Vec<Listen>, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(vec![Listen::Unix(path.into())])
        } else {
            Err(format!("{text:?}: write the whole path, unix:/run/tricast.sock"))
        };
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![Listen::Tcp(address)]);
    }
    let is_name = |host: &str| {
        host.starts_with(|char: char| char.is_ascii_alphanumeric())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            // Or an IPv4 address with a slip in it would be looked up.
            && host.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    match text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) {
        Some((host, port)) if is_name(host) => {
            let found =
                (host, port).to_socket_addrs().map_err(|error| format!("{text:?}: {host} is not known: {error}"));
            let (v4, v6): (BTreeSet<_>, BTreeSet<_>) = found?.partition(SocketAddr::is_ipv4);
            let addresses = if v4.is_empty() { v6 } else { v4 };
            Ok(addresses.into_iter().map(Listen::Tcp).collect())
        }
        _ => Err(format!(
            "{text:?} is no address: write 127.0.0.1:8080, [::1]:8080, localhost:8080 or unix:/run/tricast.sock"
        )),
    }
}

/// Reads one network of `trusted_proxies`; an address alone is a network of one.
pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Whether `text` is what a browser or an app writes as `Origin`: an http or https origin, one of an app or extension
/// (`capacitor://localhost`, `chrome-extension://ID`), or that of pages of files (`null`, some apps write `file://`).
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return text == "null" };
    if matches!(scheme, "http" | "https") {
        return origin_of(text).as_deref() == Some(text) && !host.contains('@');
    }
    // RFC 3986, section 3.1.
    let is_scheme = scheme.starts_with(|char: char| char.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    let is_host = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    is_scheme && ((is_host && port.parse::<u16>().is_ok()) || text == "file://")
}

/// The origin of an http or https URL: scheme and authority.
pub fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    Some(format!("{scheme}://{}", uri.authority()?))
}

/// The path of an http or https URL, with a slash at its end; `None` where a cookie can't name it.
pub fn path_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let path = uri.path().trim_end_matches('/');
    (!path.contains([';', ','])).then(|| format!("{path}/"))
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
        for bad in ["localhost", "8080", ":8080", "127.0.0.1", "127.0.0:8080", "unix:t.sock", "no such host:80"] {
            assert_eq!(keys(|c| c.listen = vec![bad.into()]), ["listen"], "{bad}");
        }
        let local = Listen::Tcp("127.0.0.1:8081".parse().unwrap());
        assert_eq!(parse_listen("localhost:8081"), Ok(vec![local]));
    }

    #[test]
    fn origins_are_origins() {
        for good in [
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "http://tauri.localhost",
            "app://obsidian.md",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
            "http://[::1]:8080",
            "null",
            "file://",
        ] {
            assert!(keys(|c| c.allowed_origins = vec![good.into()]).is_empty(), "{good}");
        }
        for bad in [
            "shop.example",
            "https://shop.example/",
            "https://",
            "https://a@shop.example",
            "capacitor://",
            "capacitor://localhost/",
            "tauri://localhost:x",
            "NULL",
            "mailto:a",
            "",
        ] {
            assert_eq!(keys(|c| c.allowed_origins = vec![bad.into()]), ["allowed_origins"], "{bad}");
        }
        assert!(keys(|c| c.allowed_origins = vec!["https://shop.example:8443".into(), "*".into()]).is_empty());
    }

    #[test]
    fn keys_without_tokens_make_no_sense() {
        assert_eq!(keys(|c| c.auth.secret = "x".into()), ["auth.secret"]);
        assert_eq!(keys(|c| c.auth.jwks_url = Some("https://id.example/keys".into())), ["auth.jwks_url"]);
        assert!(keys(|c| c.auth.audience = Some("tricast".into())).is_empty());
    }

    #[test]
    fn tokens_need_a_key_that_can_be_trusted() {
        let jwt = |change: fn(&mut Auth)| {
            keys(|c| {
                c.auth.mode = AuthMode::Jwt;
                change(&mut c.auth);
            })
        };
        assert_eq!(jwt(|_| {}), ["auth.mode"]);
        assert_eq!(jwt(|auth| auth.secret = "x".repeat(31).as_str().into()), ["auth.secret"]);
        assert!(jwt(|auth| auth.secret = "x".repeat(32).as_str().into()).is_empty());
        assert!(jwt(|auth| auth.public_key_file = Some("key.pem".into())).is_empty());
        for good in ["https://id.example/keys", "http://127.0.0.1:8081/keys", "http://[::1]/keys", "http://localhost/k"]
        {
            assert!(keys(|c| (c.auth.mode, c.auth.jwks_url) = (AuthMode::Jwt, Some(good.into()))).is_empty(), "{good}");
        }
        for bad in [
            "http://id.example/keys",
            "file:///etc/passwd",
            "/keys",
            "https://a:b@id.example/",
            "http://127.0.0.1.evil/",
        ] {
            let faults = keys(|c| (c.auth.mode, c.auth.jwks_url) = (AuthMode::Jwt, Some(bad.into())));
            assert_eq!(faults, ["auth.jwks_url"], "{bad}");
        }
        assert_eq!(
            keys(|c| {
                (c.auth.cookie, c.auth.issuer) = (Some("a b".into()), Some(String::new()));
                c.auth.leeway = crate::config::Span(Duration::from_secs(301));
            }),
            ["auth.issuer", "auth.cookie", "auth.leeway"]
        );
    }

    #[test]
    fn alerts_that_could_not_be_sent_are_said_at_once() {
        let smtp = |change: fn(&mut Smtp)| {
            keys(|c| {
                c.smtp.host = Some("mail.shop.example".into());
                c.smtp.from = Some("Tricast <tricast@shop.example>".into());
                c.smtp.to = vec!["ops@shop.example".into()];
                change(&mut c.smtp);
            })
        };
        assert!(smtp(|_| {}).is_empty());
        assert_eq!(smtp(|smtp| smtp.host = None), ["smtp.from", "smtp.to"]);
        assert_eq!(smtp(|smtp| (smtp.from, smtp.to) = (None, vec![])), ["smtp.from", "smtp.to"]);
        assert_eq!(smtp(|smtp| smtp.to.push("ops@shop.example\r\nBcc: x@y.z".into())), ["smtp.to"]);
        assert_eq!(smtp(|smtp| smtp.host = Some("mail.shop.example/x".into())), ["smtp.host"]);
        assert_eq!(smtp(|smtp| smtp.username = Some("u".into())), ["smtp.username"]);
        let with_password = |smtp: &mut Smtp| {
            (smtp.username, smtp.password, smtp.tls) = (Some("u".into()), "p".into(), MailTls::None);
        };
        assert_eq!(smtp(with_password), ["smtp.tls"]);
        assert!(keys(|c| (c.webhook.url, c.webhook.secret) = ("http://hooks.local/x".into(), "s".into())).is_empty());
        assert_eq!(keys(|c| c.webhook.url = "https://a:b@hooks.local/".into()), ["webhook.url", "webhook.secret"]);
        assert_eq!(keys(|c| c.webhook.secret = "s".into()), ["webhook.secret"]);
        assert_eq!(
            keys(|c| (c.alerts.max_rules, c.alerts.max_outbox) = (0, 0)),
            ["alerts.max_rules", "alerts.max_outbox"]
        );
    }

    #[test]
    fn the_data_is_in_one_place() {
        let url = |url: &str| {
            let url = url.to_owned();
            keys(|c| c.database_url = url.as_str().into())
        };
        assert!(url("postgres://ada:secret@db.example/shop?sslmode=verify-full").is_empty());
        assert_eq!(url("mysql://ada@db.example/shop"), ["database_url"]);
        let both = keys(|c| {
            c.database_url = "postgres://ada@db.example/shop".into();
            c.data_dir = Some("/var/lib/tricast".into());
        });
        assert_eq!(both, ["database_url"]);
        assert_eq!(keys(|c| c.database.ca_file = Some("/ca.pem".into())), ["database.ca_file"]);
        assert_eq!(keys(|c| c.database.connections = 2), ["database.connections"]);
    }

    #[test]
    fn a_base_path_is_a_path() {
        assert!(keys(|c| c.base_path = "/live/".into()).is_empty());
        assert_eq!(keys(|c| c.base_path = "live".into()), ["base_path"]);
    }

    #[test]
    fn a_bus_is_one_that_can_be_used() {
        let bus = |url: &str| {
            let url = url.to_owned();
            keys(|c| c.bus = url.as_str().into())
        };
        assert!(bus("redis://:secret@redis.example:6379/1").is_empty());
        assert!(bus("redis+sentinel://a,b/mymaster").is_empty());
        assert_eq!(bus("kafka://a"), ["bus"]);
        assert_eq!(keys(|c| c.cluster.ca_file = Some("/ca.pem".into())), ["cluster.ca_file"]);
        assert_eq!(keys(|c| c.node_id = Some("a".into())), ["node_id"]);
        let named = |name: &str| {
            let name = name.to_owned();
            keys(|c| (c.bus, c.node_id) = ("redis://a".into(), Some(name)))
        };
        assert!(named("shop-1.example:8080").is_empty());
        assert_eq!(named("a/b"), ["node_id"]);
        assert_eq!(keys(|c| c.cluster.key_prefix = "{a}".into()), ["cluster.key_prefix"]);
        assert_eq!(keys(|c| c.cluster.lease.0 = Duration::ZERO), ["cluster.lease"]);
        assert_eq!(keys(|c| c.cluster.push_timeout.0 = Duration::ZERO), ["cluster.push_timeout"]);
    }

    #[test]
    fn a_cookie_is_not_for_every_page() {
        let both = |c: &mut Config| {
            c.auth.mode = AuthMode::Jwt;
            c.auth.secret = "a secret of at least thirty-two bytes".into();
            c.auth.cookie = Some("session".into());
            c.allowed_origins = vec!["*".into()];
        };
        assert_eq!(keys(both), ["allowed_origins"]);
        let frames = |c: &mut Config| {
            both(c);
            c.allowed_origins = vec!["null".into()];
        };
        assert_eq!(keys(frames), ["allowed_origins"]);
    }
}
