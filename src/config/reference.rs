//! The reference page of all settings, and the printed configuration.

use std::fmt::Write;

use toml::{Table, Value};

use super::{Config, SETTINGS};
use tricast_core::settings::without_logins;

fn lookup(config: &Config, key: &str) -> Option<Value> {
    let table = Table::try_from(config).ok()?;
    key.split('.').try_fold(Value::Table(table), |value, part| value.get(part).cloned())
}

/// Returns the reference page of all settings as Markdown.
pub fn markdown() -> String {
    let defaults = Config::default();
    let mut page = String::from(
        "# Configuration\n\n\
         Generated from the code by `tricast print-config --reference`.\n\n\
         Settings are read from the defaults, `tricast.toml` in the working directory (or `--config FILE`, or `TRICAST_CONFIG`),\n\
         the environment and flags; later ones win. `tricast check-config` reports every fault at once; `tricast print-config`\n\
         prints the settings in force, without secrets.\n\n\
         Durations are written `\"500ms\"`, `\"25s\"`, `\"1m\"`, `\"2h\"`, `\"7d\"`, `\"1h 30m\"`, or as a number of milliseconds;\n\
         sizes `\"64KiB\"`, `\"1MiB\"`; lists in the environment with commas.\n\n\
         | key | environment | default | meaning |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS.iter() {
        let default = lookup(&defaults, &setting.key).map_or_else(|| "none".into(), |value| format!("`{value}`"));
        // Writing to a String can't fail.
        let _ = writeln!(page, "| `{}` | `{}` | {default} | {} |", setting.key, setting.variable(), setting.doc);
    }
    page
}

/// Returns the configuration as a TOML file that can be read again, except for secrets.
pub fn to_toml(config: &Config) -> String {
    // Also of settings that are no URLs or hold no login, if they are valid.
    without_logins(&toml::to_string(config).unwrap_or_else(|error| format!("# {error}\n")))
}

/// Returns the keys whose values differ. Of secrets only their presence is compared by key.
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
    use crate::config::{Setting, find};

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
    fn every_setting_has_a_sentence_and_a_name_of_its_own_in_the_environment() {
        let names: std::collections::BTreeSet<_> = SETTINGS.iter().map(Setting::variable).collect();
        assert_eq!(names.len(), SETTINGS.len());
        for Setting { key, doc, .. } in SETTINGS.iter() {
            assert!(doc.ends_with('.') && !doc.contains("  ") && !doc.contains('|'), "{key}: {doc}");
        }
    }

    #[test]
    fn every_listed_key_is_a_field_and_every_default_is_listed() {
        for Setting { key, .. } in SETTINGS.iter() {
            let nested = key
                .rsplit('.')
                .fold(Value::Integer(-1), |value, part| Table::from_iter([(part.to_owned(), value)]).into());
            if let Err(error) = nested.try_into::<Config>() {
                assert!(!error.message().contains("unknown field"), "{key}: {error}");
            }
        }
        fn walk(prefix: &str, table: Table) {
            for (name, value) in table {
                let key = format!("{prefix}{name}");
                match value {
                    Value::Table(inner) => walk(&format!("{key}."), inner),
                    _ => assert!(find(&key).is_some(), "{key}"),
                }
            }
        }
        walk("", Table::try_from(Config::default()).unwrap());
    }

    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap_or_default();
        assert!(page == markdown(), "run: cargo run -- print-config --reference > docs/configuration.md");
    }

    #[test]
    fn the_printed_configuration_can_be_read_and_hides_secrets() {
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
