//! Tests of the ranges of settings, and of their combinations.

use std::time::Duration;

use super::*;
use tricast_domain::alerts::MailTls;

fn keys(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let mut config = Config::default();
    change(&mut config);
    config.faults().into_iter().map(|fault| fault.key).collect()
}

#[test]
fn the_defaults_have_no_faults() {
    assert!(keys(|_| {}).is_empty());
}

#[test]
fn without_tokens_only_loopback_addresses_are_allowed() {
    assert_eq!(keys(|c| c.listen = vec!["0.0.0.0:8080".into()]), ["listen"]);
    assert!(keys(|c| (c.listen, c.allow_anonymous) = (vec!["0.0.0.0:8080".into()], true)).is_empty());
    assert!(keys(|c| c.listen = vec!["[::1]:1".into(), "unix:/run/t.sock".into()]).is_empty());
    for bad in ["localhost", "8080", ":8080", "127.0.0.1", "127.0.0:8080", "unix:t.sock", "no such host:80"] {
        assert_eq!(keys(|c| c.listen = vec![bad.into()]), ["listen"], "{bad}");
    }
    let local = Listen::Tcp("127.0.0.1:8081".parse().unwrap());
    assert_eq!(listen::parse_listen("localhost:8081"), Ok(vec![local]));
}

#[test]
fn allowed_origins_have_the_forms_that_browsers_and_apps_send() {
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
fn keys_without_token_mode_are_refused() {
    assert_eq!(keys(|c| c.auth.secret = "x".into()), ["auth.secret"]);
    assert_eq!(keys(|c| c.auth.jwks_url = Some("https://id.example/keys".into())), ["auth.jwks_url"]);
    assert!(keys(|c| c.auth.audience = Some("tricast".into())).is_empty());
}

#[test]
fn machine_keys_need_a_store_and_no_other_key() {
    assert_eq!(keys(|c| c.auth.mode = AuthMode::Keys), ["auth.mode"]);
    let stored = |change: fn(&mut Config)| {
        keys(|c| {
            (c.auth.mode, c.data_dir) = (AuthMode::Keys, Some("data".into()));
            change(c);
        })
    };
    assert!(stored(|_| {}).is_empty());
    assert!(stored(|c| c.listen = vec!["0.0.0.0:8080".into()]).is_empty(), "every client needs a key");
    assert_eq!(stored(|c| c.auth.secret = "x".repeat(32).as_str().into()), ["auth.secret"]);
    assert!(stored(|c| (c.data_dir, c.database_url) = (None, "postgres://shop@127.0.0.1/shop".into())).is_empty());
}

#[test]
fn token_mode_needs_a_trustworthy_key() {
    let jwt = |change: fn(&mut AuthConfig)| {
        keys(|c| {
            c.auth.mode = AuthMode::Jwt;
            change(&mut c.auth);
        })
    };
    assert_eq!(jwt(|_| {}), ["auth.mode"]);
    assert_eq!(jwt(|auth| auth.secret = "x".repeat(31).as_str().into()), ["auth.secret"]);
    assert!(jwt(|auth| auth.secret = "x".repeat(32).as_str().into()).is_empty());
    assert!(jwt(|auth| auth.public_key_file = Some("key.pem".into())).is_empty());
    for good in ["https://id.example/keys", "http://127.0.0.1:8081/keys", "http://[::1]/keys", "http://localhost/k"] {
        assert!(keys(|c| (c.auth.mode, c.auth.jwks_url) = (AuthMode::Jwt, Some(good.into()))).is_empty(), "{good}");
    }
    for bad in
        ["http://id.example/keys", "file:///etc/passwd", "/keys", "https://a:b@id.example/", "http://127.0.0.1.evil/"]
    {
        let faults = keys(|c| (c.auth.mode, c.auth.jwks_url) = (AuthMode::Jwt, Some(bad.into())));
        assert_eq!(faults, ["auth.jwks_url"], "{bad}");
    }
    assert_eq!(
        keys(|c| {
            (c.auth.cookie, c.auth.issuer) = (Some("a b".into()), Some(String::new()));
            c.auth.leeway = Span::from_secs(301);
        }),
        ["auth.issuer", "auth.cookie", "auth.leeway"]
    );
}

#[test]
fn incomplete_alert_targets_are_reported() {
    let smtp = |change: fn(&mut SmtpConfig)| {
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
    assert_eq!(smtp(|smtp| smtp.username = "u".into()), ["smtp.username"]);
    let with_password = |smtp: &mut SmtpConfig| {
        (smtp.username, smtp.password, smtp.tls) = ("u".into(), "p".into(), MailTls::None);
    };
    assert_eq!(smtp(with_password), ["smtp.tls"]);
    assert!(keys(|c| (c.webhook.url, c.webhook.secret) = ("http://hooks.local/x".into(), "s".into())).is_empty());
    assert_eq!(keys(|c| c.webhook.url = "https://a:b@hooks.local/".into()), ["webhook.url", "webhook.secret"]);
    assert_eq!(keys(|c| c.webhook.secret = "s".into()), ["webhook.secret"]);
    assert_eq!(keys(|c| (c.alerts.max_rules, c.alerts.max_outbox) = (0, 0)), ["alerts.max_rules", "alerts.max_outbox"]);
}

#[test]
fn data_dir_and_database_url_exclude_each_other() {
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
fn a_base_path_begins_with_a_slash() {
    assert!(keys(|c| c.base_path = "/live/".into()).is_empty());
    assert_eq!(keys(|c| c.base_path = "live".into()), ["base_path"]);
}

#[test]
fn bus_settings_are_checked() {
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
fn a_cookie_excludes_wildcard_origins() {
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
