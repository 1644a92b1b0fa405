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
    s("listen", "Where to listen: addresses with port, or `unix:/path`. Flag `--listen`, repeatable."),
    s(
        "public_url",
        "The URL under which people reach the server, if a proxy changes `Host`. Pages of it are not foreign.",
    ),
    s(
        "allowed_origins",
        "Origins of other sites whose pages may use this server, or `*`. WebSockets of any other site are refused.",
    ),
    s(
        "allow_anonymous",
        "Allow listening beyond this machine while `auth.mode` is `none`: everybody may read and write. Flag `--allow-anonymous`.",
    ),
    s(
        "data_dir",
        "Directory of the database of orders and dashboards, made if it is not there. Without one they are in memory and end with the process. Flag `--data-dir`.",
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
    s("auth.mode", "Whether tokens are asked for. `none`: everybody is anonymous."),
    s("auth.secret", "Reserved for the secret of tokens; refused while `auth.mode` is `none`. Never printed."),
    s("heartbeat.interval", "How often a WebSocket is pinged."),
    s("heartbeat.timeout", "A WebSocket without any frame for this long is closed (4408)."),
    s("limits.max_connections", "Streams and held polls at once; 0 means no limit but the descriptors."),
    s("limits.max_subscriptions", "Subscriptions of one connection; 0 means no limit."),
    s("limits.max_message", "Largest WebSocket message of a client; 0 means no limit."),
    s("limits.max_bad_messages", "Bad messages within a minute that close a WebSocket (4500); 0 means no limit."),
    s("limits.max_body", "Largest request body."),
    s("limits.max_channels", "Pushed channels of one tenant; 0 means no limit."),
    s("limits.max_snapshot", "Bytes of pushed metrics in the snapshot, all together; 0 means no limit."),
    s("limits.header_timeout", "Longest time for a request's headers."),
    s("limits.body_timeout", "Longest time for a request's body."),
    s("limits.stall_timeout", "A client that takes nothing from its socket for this long is cut by the kernel."),
    s("log.events", "Events kept for clients that resume."),
    s("log.bytes", "Bytes of events kept for clients that resume."),
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
         Durations are written `\"500ms\"`, `\"25s\"`, `\"1m\"`, `\"2h\"`; sizes `\"64KiB\"`, `\"1MiB\"`; lists in the\n\
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented_and_every_documented_key_is_there() {
        let mut config = Config {
            public_url: Some("https://live.example".into()),
            data_dir: Some("/var/lib/tricast".into()),
            ..Config::default()
        };
        config.auth.secret = serde_json::from_str("\"x\"").unwrap();
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
        config.auth.secret = serde_json::from_str("\"hunter2\"").unwrap();
        let printed = to_toml(&config);
        assert!(!printed.contains("hunter2") && printed.contains("[redacted]"), "{printed}");
        assert_eq!(toml::from_str::<Config>(&to_toml(&Config::default())).unwrap(), Config::default());
    }
}
