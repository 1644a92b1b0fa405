//! Every setting once, with its meaning: the reference page is made from this, and unknown keys are found by it.

use std::fmt::Write;

use toml::{Table, Value};

use super::Config;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its key, with dots between levels.
    pub key: &'static str,
    /// What it does.
    pub doc: &'static str,
}

const fn s(key: &'static str, doc: &'static str) -> Setting {
    Setting { key, doc }
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    s(
        "listen",
        "Where to listen: addresses or names with port, or `unix:/path`; a list, or one text. Flag `--listen`, repeatable; `--port 9000` is `127.0.0.1:9000`.",
    ),
    s(
        "public_url",
        "The URL under which people reach the server, if a proxy ends TLS or changes `Host`. Pages of it are not foreign.",
    ),
    s(
        "base_path",
        "The path below which the server is, such as `/live`, where a proxy passes paths on as they are. `/healthz`, `/readyz` and `/metrics` are at the root, too.",
    ),
    s(
        "allowed_origins",
        "Origins of other sites, apps and extensions that may use this server (`https://shop.example`, `capacitor://localhost`, `chrome-extension://ID`, `null` for pages of files), or `*`. WebSockets of any other are refused.",
    ),
    s(
        "trusted_proxies",
        "Networks of proxies in front, such as `127.0.0.1/32` or `10.0.0.0/8`; `unix:` for those that come by a Unix socket. \
         Only they are believed about a client's address, and about whether it came by https.",
    ),
    s(
        "forwarded_header",
        "Which header those proxies write: `x-forwarded-for`, `forwarded` (RFC 7239), or `auto`: the first, and the second \
         where the first is missing. A proxy that writes only `Forwarded` should be named, for clients can send both.",
    ),
    s(
        "allow_anonymous",
        "Allow listening beyond this machine while `auth.mode` is `none`: everybody may read and write. Flag `--allow-anonymous`.",
    ),
    s(
        "data_dir",
        "Directory of the database of orders, dashboards, history and alerts, made if it is not there. Without one they are in memory and end with the process. Flag `--data-dir`.",
    ),
    s(
        "database_url",
        "A PostgreSQL in place of `data_dir`, which several servers may share: `postgres://user:password@host:5432/database?sslmode=verify-full`. Holds a password, and is never printed: keep it in the environment.",
    ),
    s(
        "bus",
        "A Redis that several servers share, which are one then: `redis://user:password@host:6379/0`, `rediss://` with TLS, `redis+sentinel://a:26379,b:26379/MASTER`, `redis+cluster://a:7000,b:7001`. Holds a password, and is never printed: keep it in the environment.",
    ),
    s(
        "node_id",
        "The name of this node among those of `bus`, for people; without one the host's name and some letters.",
    ),
    s("time_zone", "The zone whose midnight begins \"today\": a name of the IANA database."),
    s("currency", "The currency of revenue, ISO 4217."),
    s("workers", "Threads that serve connections; 0 means one per core. Flag `--workers`."),
    s("log_format", "How log lines look: `text` or `json`. Flag `--log-format`."),
    s("log_filter", "Which log lines are written: a level, or `target=level` pairs separated by commas."),
    s("long_poll_max", "Longest time a poll is held. Common proxies cut at 60 s."),
    s("drain_timeout", "How long a stopping server waits for its clients to leave."),
    s(
        "max_connection_age",
        "Streams are ended after about this time, so that clients spread over nodes; 0 means never.",
    ),
    s("compression", "Accept permessage-deflate (RFC 7692) on WebSockets when a client offers it."),
    s(
        "auth.mode",
        "Whether tokens are asked for. `none`: everybody is anonymous. `jwt`: JSON Web Tokens; at least one of the next four says with which keys.",
    ),
    s("auth.secret", "Secret of tokens signed with HS256, at least 32 bytes. Never printed."),
    s(
        "auth.public_key_file",
        "File with public keys in PEM: RSA, EC (P-256, P-384) or Ed25519. Read again when it changes.",
    ),
    s("auth.jwks_file", "File with a JWK Set. Read again when it changes."),
    s(
        "auth.jwks_url",
        "URL of a JWK Set: https, or http on this machine. Asked every 5 minutes, and when a token names a key that is not known.",
    ),
    s("auth.issuer", "What a token's `iss` has to be; without it any is accepted."),
    s(
        "auth.audience",
        "What a token's `aud` has to name; without it any is accepted, also tokens made for other programs.",
    ),
    s(
        "auth.cookie",
        "Name of a cookie that may hold the token, besides header and address. Default: `tricast_session`, which the dashboard sets, and which is accepted from the server's own pages only.",
    ),
    s("auth.leeway", "Allowed clock difference to the token issuer: widens the validity by this much at both ends."),
    s(
        "database.ca_file",
        "File with the certificates, in PEM, that may vouch for PostgreSQL; without it those of the system. With it `sslmode=require` means `verify-ca`, as for libpq.",
    ),
    s(
        "database.connections",
        "Connections to PostgreSQL at once, 3 at least: one writes, one keeps watch, the others read.",
    ),
    s("database.connect_timeout", "Longest time to get a connection, a new one or one that is free."),
    s(
        "database.statement_timeout",
        "Longest time of a statement: PostgreSQL ends it, and a second later its connection is given up.",
    ),
    s("cluster.key_prefix", "What all keys on `bus` begin with, so that several clusters may share one Redis."),
    s(
        "cluster.ca_file",
        "Certificates of the authorities that may vouch for Redis, in PEM; without it those of the system.",
    ),
    s("cluster.lease", "How long the elected node may be silent before another one takes its place."),
    s("cluster.push_timeout", "How long a push waits for Redis before it is refused."),
    s("heartbeat.interval", "How often a WebSocket is pinged."),
    s("heartbeat.timeout", "A WebSocket without any frame for this long is closed (4408)."),
    s("limits.max_connections", "Streams and held polls at once; 0 means as many as the descriptor limit allows."),
    s(
        "limits.max_connections_per_address",
        "The same from one address (an IPv6 network of 64 bits), and as many other connections; trusted proxies are not counted. 0 means no limit.",
    ),
    s("limits.max_connections_per_user", "The same of one user with a token; 0 means no limit."),
    s(
        "limits.handshakes_per_second_per_address",
        "New streams from one address; as many may come at once; 0 means no limit.",
    ),
    s(
        "limits.changes_per_second_per_user",
        "Changes of orders, customers, visits, dashboards and alert rules that one user makes (without tokens: one address); ten times as many may come at once. More are refused with 429. 0 means no limit.",
    ),
    s("limits.auth_timeout", "A WebSocket that shows no token within this is closed (4401); 0 means never."),
    s("limits.max_subscriptions", "Subscriptions of one connection; 0 means no limit."),
    s("limits.max_message", "Largest WebSocket message of a client; 0 means no limit."),
    s("limits.max_bad_messages", "Bad messages within a minute that close a WebSocket (4500); 0 means no limit."),
    s("limits.messages_per_second", "Messages of one WebSocket, on average; 0 means no limit."),
    s(
        "limits.message_burst",
        "Messages of one WebSocket at once. Whoever goes on after five bursts were refused within a minute is closed (4429).",
    ),
    s("limits.max_requests", "Requests of one WebSocket that may wait for their answers; 0 means no limit."),
    s("limits.max_body", "Largest request body."),
    s("limits.max_lines", "Lines of one push, or members of its array; 0 means no limit."),
    s("limits.max_channels", "Pushed channels of one tenant; 0 means no limit."),
    s(
        "limits.max_state",
        "Bytes of pushed values of one tenant, all channels together, and of what its series of samples keep; 0 means no limit.",
    ),
    s("limits.max_state_total", "The same of all tenants together; 0 means no limit."),
    s("limits.max_snapshot", "Bytes of pushed metrics in the snapshot, all together; 0 means no limit."),
    s("limits.max_tenants", "Tenants of one server; 0 means no limit."),
    s(
        "limits.tenant_idle",
        "A tenant without pushed data, alert rules, users today and connections is released after this time, and at the limit before \
         another tenant is refused; 0 means only at the limit.",
    ),
    s("limits.max_series", "Series of samples of one tenant, one per field and set of labels; 0 means no limit."),
    s(
        "limits.channel_ttl",
        "A pushed channel, or a series of samples, that nobody writes for this time ends; a push may say another time for its \
         channel (`ttl`). 0 means that they stay.",
    ),
    s(
        "limits.max_store",
        "Largest file of the database in `data_dir`; beyond it changes are answered 503. 0 means no limit.",
    ),
    s(
        "limits.header_timeout",
        "Longest time for a request's headers, also of a connection's first one that never comes.",
    ),
    s(
        "limits.keep_alive",
        "Longest time that an idle connection is kept for the next request. Longer than a proxy in front keeps it, so that \
         the proxy never sends a request into a connection that is being closed.",
    ),
    s("limits.body_timeout", "Longest time for a request's body."),
    s("limits.stall_timeout", "A client that takes nothing from its socket for this long is cut by the kernel."),
    s(
        "limits.slow_after",
        "A client that takes due data later than this is slow. Its backpressure level rises: notified; values at most this \
         often; values at most every five times this, and events wait; closed (4413). 0 means that no client is slow.",
    ),
    s("limits.slow_step", "Shortest time between two rises of a slow client's backpressure level."),
    s("log.events", "Events kept for clients that resume."),
    s("log.bytes", "Bytes of events kept for clients that resume."),
    s("log.ends", "Ends of channels of one tenant that are kept for clients that resume, each for a day at most."),
    s("alerts.max_rules", "Alert rules of one tenant."),
    s("alerts.retention", "How long a resolved alert is kept."),
    s("alerts.max_kept", "Resolved alerts of one tenant that are kept."),
    s("alerts.max_outbox", "Mails and webhooks of one tenant that may wait; an alert beyond is raised, but not sent."),
    s("alerts.give_up_after", "How long it is tried to send a mail or webhook."),
    s("smtp.host", "Mail server for alerts, by name: its certificate has to have it. Without one no mail is sent."),
    s("smtp.port", "Its port; 0 means 25, 587 or 465, as `smtp.tls` says."),
    s(
        "smtp.tls",
        "How the way to it is protected: `starttls` (which it has to offer), `tls` from the first byte, or `none`, for a \
         server on this machine.",
    ),
    s("smtp.username", "User, if the server wants one. Needs `smtp.tls` or a server on this machine."),
    s("smtp.password", "The user's password. Never printed."),
    s("smtp.from", "Sender of alert mails: `tricast@shop.example` or `Tricast <tricast@shop.example>`."),
    s("smtp.to", "Recipients of alert mails."),
    s("smtp.timeout", "Longest time of one attempt to send a mail."),
    s(
        "webhook.url",
        "Where alerts are posted to. Without one nothing is. May be a secret in itself, and is never printed.",
    ),
    s("webhook.secret", "What these requests are signed with. Never printed."),
    s("webhook.timeout", "Longest time of one attempt to post."),
    s("history.enabled", "Record the numbers of state channels, for `/api/history` and `backfill`."),
    s(
        "history.resolution",
        "A channel makes at most one point of each field in a span of this length, the last; 0 means every version that is seen.",
    ),
    s(
        "history.buffer",
        "Points of one tenant that wait in memory while the store stands still; beyond it the oldest are dropped.",
    ),
    s("history.max_series", "Recorded series of one tenant, one per numeric field; 0 means no limit."),
    s(
        "history.max_points_per_second",
        "Points of one tenant that are recorded per second, on average over ten seconds; those beyond it are dropped, counted and reported on `system` (`history_limit`). A point takes about 20 bytes in SQLite. 0 means no limit.",
    ),
    s(
        "history.max_bytes",
        "Size of the SQLite file, or of the history tables in PostgreSQL, beyond which history is kept for less time: points go first, then roll-ups by minute, by hour and by day, the oldest first. Checked every ten minutes, and every minute while it is exceeded. 0 means no limit.",
    ),
    s(
        "history.raw",
        "How long points are kept; 0 means for ever. Without `data_dir` at most 1 h, minutes 1 d, hours 31 d, days 366 d.",
    ),
    s("history.minute", "How long roll-ups by minute are kept; 0 means for ever."),
    s("history.hour", "How long roll-ups by hour are kept; 0 means for ever."),
    s("history.day", "How long roll-ups by day are kept; 0 means for ever."),
];

fn lookup(config: &Config, key: &str) -> Option<Value> {
    let table = Table::try_from(config).ok()?;
    key.split('.').try_fold(Value::Table(table), |value, part| value.get(part).cloned())
}

/// The reference page.
pub fn markdown() -> String {
    let defaults = Config::default();
    let mut page = String::from(
        "# Configuration\n\n\
         Made from the code by `tricast print-config --reference`.\n\n\
         Settings come from, later ones winning: defaults, `tricast.toml` in the working directory (or `--config FILE`, or\n\
         `TRICAST_CONFIG`), the environment, flags. `tricast check-config` names every fault at once; `tricast print-config`\n\
         shows what is in force, secrets left out.\n\n\
         Durations are written `\"500ms\"`, `\"25s\"`, `\"1m\"`, `\"2h\"`, `\"7d\"`; sizes `\"64KiB\"`, `\"1MiB\"`; lists in the\n\
         environment with commas.\n\n\
         | key | environment | default | meaning |\n|---|---|---|---|\n",
    );
    for Setting { key, doc } in SETTINGS {
        let default = lookup(&defaults, key).map_or_else(|| "none".into(), |value| format!("`{value}`"));
        let name = key.to_uppercase().replace('.', "__");
        // Writing to a String can't fail.
        let _ = writeln!(page, "| `{key}` | `TRICAST_{name}` | {default} | {doc} |");
    }
    page
}

/// A configuration as a file that can be read again, but for secrets.
pub fn to_toml(config: &Config) -> String {
    toml::to_string(config).unwrap_or_else(|error| format!("# {error}\n"))
}

/// The keys whose values differ. A secret shows as itself only in whether it is there.
pub(super) fn differences(before: &Config, after: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let (left, right) = (toml::Table::try_from(before), toml::Table::try_from(after));
    if let (Ok(left), Ok(right)) = (left, right) {
        compare("", &left, &right, &mut found);
    }
    if found.is_empty() && before != after {
        found.push("a secret".into());
    }
    found
}

fn compare(prefix: &str, left: &toml::Table, right: &toml::Table, found: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    for key in keys {
        match (left.get(key), right.get(key)) {
            (Some(toml::Value::Table(left)), Some(toml::Value::Table(right))) => {
                compare(&format!("{prefix}{key}."), left, right, found);
            }
            (left, right) if left != right => found.push(format!("{prefix}{key}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_their_keys() {
        let before = Config::default();
        assert_eq!(differences(&before, &before), [""; 0]);
        let mut after = Config { data_dir: Some("/data".into()), ..before.clone() };
        after.limits.max_subscriptions = 1;
        assert_eq!(differences(&before, &after), ["data_dir", "limits.max_subscriptions"]);
        let with = |secret: &str| {
            let mut config = Config::default();
            config.auth.secret = secret.into();
            config
        };
        assert_eq!(differences(&with("one"), &with("two")), ["a secret"]);
    }

    #[test]
    fn every_key_is_documented_and_every_documented_key_is_there() {
        let mut config = Config {
            public_url: Some("https://live.example".into()),
            data_dir: Some("/var/lib/tricast".into()),
            ..Config::default()
        };
        config.auth.secret = "x".into();
        (config.smtp.password, config.webhook.secret, config.webhook.url) = ("x".into(), "x".into(), "x".into());
        for text in [&mut config.smtp.host, &mut config.smtp.username, &mut config.smtp.from] {
            *text = Some("x".into());
        }
        (config.database_url, config.database.ca_file) = ("x".into(), Some("x".into()));
        (config.bus, config.cluster.ca_file, config.node_id) = ("x".into(), Some("x".into()), Some("x".into()));
        for text in
            [&mut config.auth.jwks_url, &mut config.auth.issuer, &mut config.auth.audience, &mut config.auth.cookie]
        {
            *text = Some("x".into());
        }
        (config.auth.public_key_file, config.auth.jwks_file) = (Some("x".into()), Some("x".into()));
        let mut keys = Vec::new();
        fn walk(prefix: &str, table: Table, keys: &mut Vec<String>) {
            for (name, value) in table {
                match value {
                    Value::Table(inner) => walk(&format!("{prefix}{name}."), inner, keys),
                    _ => keys.push(format!("{prefix}{name}")),
                }
            }
        }
        walk("", Table::try_from(&config).unwrap(), &mut keys);
        let mut documented: Vec<_> = SETTINGS.iter().map(|setting| setting.key.to_owned()).collect();
        keys.sort();
        documented.sort();
        assert_eq!(keys, documented);
    }

    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap_or_default();
        assert!(page == markdown(), "run: cargo run -- print-config --reference > docs/configuration.md");
    }

    #[test]
    fn what_is_printed_reads_back_and_hides_secrets() {
        let mut config = Config::default();
        config.auth.secret = "hunter2".into();
        (config.smtp.password, config.webhook.secret) = ("hunter2".into(), "hunter2".into());
        config.webhook.url = "https://hooks.example/services/hunter2?key=hunter2".into();
        (config.public_url, config.auth.jwks_url) =
            (Some("https://a:hunter2@a.example".into()), Some("https://a.example/?key=hunter2".into()));
        config.database_url = "postgres://ada:hunter2@db.example/shop".into();
        let printed = to_toml(&config);
        assert!(!printed.contains("hunter2") && printed.contains("[redacted]"), "{printed}");
        assert_eq!(toml::from_str::<Config>(&to_toml(&Config::default())).unwrap(), Config::default());
    }
}
