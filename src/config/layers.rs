//! Merges the layers: defaults, file, environment, flags.

use std::{collections::BTreeMap, fmt, os::unix::fs::PermissionsExt, path::PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{Config, Fault, SETTINGS, Setting, find};
use crate::spelling;
use tricast_core::settings::{PREFIX, without_logins};

/// Name in the environment of an alternative file, like `--config`.
const CONFIG_FILE: &str = "TRICAST_CONFIG";

/// Variables of the commands that speak to a server. They are not settings, and a server started beside them ignores them.
const CLIENT_VARIABLES: [&str; 5] =
    ["TRICAST_URL", "TRICAST_TOKEN", "TRICAST_TOKEN_FILE", "TRICAST_CA", "TRICAST_CONTEXT"];

/// File that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "tricast.toml";

/// Settings of the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// File of settings that `--config` names.
    pub file: Option<PathBuf>,
    /// The other flags: the key of a setting and its value.
    pub settings: Vec<(&'static str, Value)>,
}

/// All faults of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault{}:", self.0.len(), if self.0.len() == 1 { "" } else { "s" })?;
        for Fault { key, source, problem } in &self.0 {
            let place = match (key.is_empty(), source.is_empty()) {
                (true, _) => source.clone(),
                (false, true) => key.clone(),
                (false, false) => format!("{key} ({source})"),
            };
            write!(f, "\n  {place}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Reads the defaults, the file, the `environment` and the `flags`, later ones winning, and checks the result.
///
/// # Errors
/// [`Faults`]: all of them, sorted by key. The configuration beside them holds what could be read, for printing.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, (Faults, Box<Config>)> {
    let mut faults = Vec::new();
    let mut settings: BTreeMap<String, (String, Value)> = BTreeMap::new();
    let environment: BTreeMap<_, _> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();

    let named = flags.file.clone().or_else(|| environment.get(CONFIG_FILE).map(PathBuf::from));
    let mut notices = Vec::new();
    read_file(named, &mut settings, &mut faults, &mut notices);
    let mut links = Vec::new();
    let is_other = |name: &&String| **name == CONFIG_FILE || CLIENT_VARIABLES.contains(&&***name);
    for (name, text) in environment.iter().filter(|(name, _)| !is_other(name)) {
        let key = name[PREFIX.len()..].replace("__", ".").to_lowercase();
        if !is_setting(&key) && is_service_link(&name[PREFIX.len()..], text) {
            links.push(name.as_str());
        } else {
            settings.insert(key.clone(), (name.clone(), from_text(&key, text)));
        }
    }
    if !links.is_empty() {
        notices.push(format!(
            "ignored in the environment, because an orchestrator sets them for a service of this name: {}",
            links.join(", ")
        ));
    }
    for (key, value) in &flags.settings {
        settings.insert((*key).to_owned(), (format!("--{}", key.replace('_', "-")), value.clone()));
    }

    let mut whole = Table::new();
    for (key, (source, value)) in &settings {
        match check(key, value, source) {
            Ok(()) => insert(&mut whole, key, value.clone()),
            Err(problem) => faults.push(Fault { key: key.clone(), source: source.clone(), problem }),
        }
    }
    let mut config = Config::deserialize(whole).unwrap_or_else(|error| {
        // Each key was read by itself before.
        faults.push(Fault { key: String::new(), source: "configuration".into(), problem: error.to_string() });
        Config::default()
    });
    config.notices = notices;
    for mut fault in config.faults() {
        if let Some((source, value)) = settings.get(&fault.key) {
            fault.source.clone_from(source);
            fault.problem.push_str(&unit_hint(&fault.key, value));
        }
        faults.push(fault);
    }
    faults.sort_by(|a, b| a.key.cmp(&b.key));
    // A value that is repeated may be a URL with a password.
    faults.iter_mut().for_each(|fault| fault.problem = without_logins(&fault.problem));
    if faults.is_empty() { Ok(config) } else { Err((Faults(faults), Box::new(config))) }
}

/// Returns whether a variable is one that an orchestrator sets in every container beside a service called `tricast` or
/// `tricast-...` (Kubernetes' service links, Docker's `--link`), not a misspelled setting. `name` is without the prefix.
///
/// `SERVICE_HOST`, `SERVICE_PORT`, `SERVICE_PORT_HTTP`, `PORT` (`tcp://10.96.0.12:8080`), `PORT_8080_TCP`,
/// `PORT_8080_TCP_PROTO`, `_PORT` and `_ADDR`, `NAME` (`/web/tricast`) and `ENV_...` (the environment of the linked
/// container); all of them may come after more of the service's name.
fn is_service_link(name: &str, value: &str) -> bool {
    let ends_in = |part: &str| name == part || name.ends_with(&format!("_{part}"));
    let of_a_port = || {
        let after = name.strip_prefix("PORT_").or_else(|| name.split_once("_PORT_").map(|(_, after)| after));
        let Some((number, protocol)) = after.and_then(|after| after.split_once('_')) else { return false };
        let protocol =
            ["_PROTO", "_PORT", "_ADDR"].iter().find_map(|end| protocol.strip_suffix(end)).unwrap_or(protocol);
        number.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].contains(&protocol)
    };
    ends_in("SERVICE_HOST")
        || ends_in("SERVICE_PORT")
        || name.starts_with("SERVICE_PORT_")
        || name.contains("_SERVICE_PORT_")
        || (ends_in("PORT") && value.contains("://"))
        || (ends_in("NAME") && value.starts_with('/'))
        || name.starts_with("ENV_")
        || name.contains("_ENV_")
        || of_a_port()
}

fn is_setting(key: &str) -> bool {
    find(key).is_some()
}

/// Returns a hint if the value is a bare number where a duration is expected, since `5` means 5 ms.
fn unit_hint(key: &str, value: &Value) -> String {
    let number = match value {
        Value::Integer(number) => number.to_string(),
        Value::String(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => text.clone(),
        _ => return String::new(),
    };
    match find(key) {
        Some(Setting { is_span: true, .. }) => {
            format!("; {number} means {number} ms here: write \"{number}s\" for seconds")
        }
        _ => String::new(),
    }
}

fn read_file(
    named: Option<PathBuf>,
    settings: &mut BTreeMap<String, (String, Value)>,
    faults: &mut Vec<Fault>,
    notices: &mut Vec<String>,
) {
    let path = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let source = path.display().to_string();
    let mut secret = false;
    let mut fault = |problem: String| faults.push(Fault { key: String::new(), source: source.clone(), problem });
    match std::fs::read_to_string(&path) {
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => fault(format!("can't be read: {error}")),
        // Some editors write a byte order mark.
        Ok(text) => match text.trim_start_matches('\u{feff}').parse::<Table>() {
            // Not the error's own text: it repeats the line, and the line can hold a secret.
            Err(error) => {
                let text = text.trim_start_matches('\u{feff}');
                let before = error.span().map_or(0, |span| span.start.min(text.len()));
                let line = text.get(..before).unwrap_or_default().matches('\n').count();
                let hint = text.lines().nth(line).and_then(quote_hint).unwrap_or_default();
                fault(format!("line {}: {}{hint}", line + 1, error.message().trim()));
            }
            Ok(table) => flatten(String::new(), table, &mut |key, value| {
                let value = match (value, default_of(&key)) {
                    // A list of one may be written as one text.
                    (Value::String(text), Some(Value::Array(_))) => from_text(&key, &text),
                    (value, _) => value,
                };
                secret |= find(&key).is_some_and(|setting| setting.is_secret);
                settings.insert(key, (source.clone(), value));
            }),
        },
    }
    let readable = |metadata: std::fs::Metadata| metadata.permissions().mode() & 0o004 != 0;
    if secret && std::fs::metadata(&path).is_ok_and(readable) {
        notices.push(format!("{source} holds a secret, and every user of this machine can read it: chmod o= {source}"));
    }
}

/// Returns a hint for a line of TOML whose value is text without quotes, without repeating the value.
fn quote_hint(line: &str) -> Option<&'static str> {
    let value = line.split_once('=')?.1.trim();
    let bare = value.starts_with(|char: char| !matches!(char, '"' | '\'' | '[' | '{' | '#'));
    bare.then_some("; a text is written in quotes: key = \"value\"")
}

fn flatten(prefix: String, table: Table, take: &mut impl FnMut(String, Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !is_setting(&key) => flatten(key, inner, take),
            value => take(key, value),
        }
    }
}

/// Checks one key by itself: that the setting exists, and that the value has its type. Names are suggested as they are written in
/// `source`.
fn check(key: &str, value: &Value, source: &str) -> Result<(), String> {
    if !is_setting(key) {
        let spelled = |setting: &Setting| match source.starts_with(PREFIX) {
            true => setting.variable(),
            false => setting.key.clone(),
        };
        if source == "TRICAST_PORT" {
            return Err("there is no such setting; did you mean TRICAST_LISTEN, an address with a port?".into());
        }
        let last = key.rsplit('.').next().unwrap_or(key);
        let same_words = |setting: &&Setting| setting.key.replace('.', "_") == key.replace('.', "_");
        let alike = SETTINGS.iter().find(same_words).or_else(|| {
            let near = spelling::nearest(key, SETTINGS.iter().map(|setting| &*setting.key));
            SETTINGS.iter().find(|setting| setting.name() == last || near == Some(&*setting.key))
        });
        return Err(match alike {
            Some(setting) => format!("there is no such setting; did you mean {}?", spelled(setting)),
            None => "there is no such setting".into(),
        });
    }
    let mut table = Table::new();
    insert(&mut table, key, value.clone());
    // Operators do not know the names of Rust's types.
    let plain = |message: &str| {
        let message = message.trim().replace("expected usize", "expected a whole number, 0 or more");
        message.replace("expected a sequence", "expected a text in quotes, or a list of texts")
    };
    Config::deserialize(table).map(drop).map_err(|error| plain(error.message()))
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.into(), value);
        }
        Some((section, rest)) => {
            if let Value::Table(inner) = table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
                insert(inner, rest, value);
            }
        }
    }
}

/// Returns the default of a setting, if it has one.
fn default_of(key: &str) -> Option<Value> {
    let table = Table::try_from(Config::default()).ok()?;
    key.split('.').try_fold(Value::Table(table), |value, part| value.get(part).cloned())
}

/// Converts text of the environment to the type of the setting's default.
fn from_text(key: &str, text: &str) -> Value {
    match default_of(key) {
        Some(Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.into())).collect())
        }
        Some(Value::Integer(_)) => text.trim().parse().map_or_else(|_| Value::String(text.into()), Value::Integer),
        Some(Value::Boolean(_)) => text.trim().parse().map_or_else(|_| Value::String(text.into()), Value::Boolean),
        _ => Value::String(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use super::*;

    fn with(
        file: &str,
        environment: &[(&str, &str)],
        settings: Vec<(&'static str, Value)>,
    ) -> Result<Config, Vec<String>> {
        let mut temporary = tempfile::NamedTempFile::new().unwrap();
        temporary.write_all(file.as_bytes()).unwrap();
        let flags = Flags { file: Some(temporary.path().into()), settings };
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let faults = |(faults, _): (Faults, _)| {
            faults.0.into_iter().map(|f: Fault| format!("{}: {}", f.key, f.problem)).collect()
        };
        load(&flags, environment).map_err(faults)
    }

    #[test]
    fn later_layers_win() {
        let file = "currency = \"CHF\"\nworkers = 3\n[heartbeat]\ninterval = \"10s\"\n";
        let environment = [("TRICAST_WORKERS", "4"), ("TRICAST_HEARTBEAT__TIMEOUT", "30s"), ("OTHER", "x")];
        let config = with(file, &environment, vec![("workers", Value::Integer(5))]).unwrap();
        assert_eq!((config.currency.as_str(), config.workers), ("CHF", 5));
        assert_eq!(config.heartbeat.interval.0, Duration::from_secs(10));
        assert_eq!(config.heartbeat.timeout.0, Duration::from_secs(30));
        let lists =
            with("", &[("TRICAST_ALLOWED_ORIGINS", "https://a.example, https://b.example")], Vec::new()).unwrap();
        assert_eq!(lists.allowed_origins, ["https://a.example", "https://b.example"]);
    }

    #[test]
    fn every_fault_is_named_at_once_by_its_key() {
        let file = "colour = 1\nworkers = \"many\"\n[limits]\nmax_bodi = 5\nmax_message = \"big\"\n[heartbeat]\ninterval = \"70s\"\n";
        let environment =
            [("TRICAST_TIME_ZONE", "Mars/Olympus"), ("TRICAST_LOGG__EVENTS", "1"), ("TRICAST_COMPRESSION", "maybe")];
        let faults = with(file, &environment, Vec::new()).unwrap_err();
        let expected = [
            ("colour", "no such setting"),
            ("compression", "boolean"),
            ("heartbeat.timeout", "heartbeat.interval"),
            ("limits.max_bodi", "did you mean limits.max_body?"),
            ("limits.max_message", "64KiB"),
            ("logg.events", "did you mean TRICAST_LOG__EVENTS?"),
            ("time_zone", "Mars/Olympus"),
            ("workers", "whole number"),
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, (key, part)) in faults.iter().zip(expected) {
            assert!(fault.starts_with(&format!("{key}: ")) && fault.contains(part), "{fault}");
        }
    }

    #[test]
    fn service_links_of_an_orchestrator_are_no_settings() {
        let links = [
            ("TRICAST_SERVICE_HOST", "10.96.0.12"),
            ("TRICAST_SERVICE_PORT", "8080"),
            ("TRICAST_SERVICE_PORT_HTTP", "8080"),
            ("TRICAST_PORT", "tcp://10.96.0.12:8080"),
            ("TRICAST_PORT_8080_TCP", "tcp://10.96.0.12:8080"),
            ("TRICAST_PORT_8080_TCP_PROTO", "tcp"),
            ("TRICAST_PORT_8080_TCP_PORT", "8080"),
            ("TRICAST_PORT_8080_TCP_ADDR", "10.96.0.12"),
            ("TRICAST_DB_SERVICE_HOST", "10.96.0.13"),
            ("TRICAST_DB_PORT_5432_TCP_ADDR", "10.96.0.13"),
            ("TRICAST_DATABASE_URL_PORT", "tcp://10.96.0.13:5432"),
            ("TRICAST_NAME", "/web/tricast"),
            ("TRICAST_ENV_FOO", "1"),
            ("TRICAST_DB_ENV_POSTGRES_PASSWORD", "x"),
        ];
        let config = with("", &links, Vec::new()).unwrap();
        assert_eq!(config.notices.len(), 1);
        links.iter().for_each(|(name, _)| assert!(config.notices[0].contains(name), "{name}"));
        for (name, value, hint) in [
            ("TRICAST_PORT", "9000", "TRICAST_LISTEN"),
            ("TRICAST_NAME", "shop", "no such setting"),
            ("TRICAST_SMTP_PORT", "25", "TRICAST_SMTP__PORT"),
            ("TRICAST_AUTH_MODE", "jwt", "TRICAST_AUTH__MODE"),
            ("TRICAST_LIMTS__MAX_BODY", "1MiB", "TRICAST_LIMITS__MAX_BODY"),
        ] {
            let faults = with("", &[(name, value)], Vec::new()).unwrap_err();
            assert!(faults.len() == 1 && faults[0].contains(hint), "{faults:?}");
        }
    }

    #[test]
    fn mistakes_in_a_file_are_reported_with_a_correction() {
        assert_eq!(with("listen = \"127.0.0.1:8081\"", &[], Vec::new()).unwrap().listen, ["127.0.0.1:8081"]);
        assert_eq!(with("\u{feff}workers = 3", &[], Vec::new()).unwrap().workers, 3);
        let faults = with("# x\nlisten = 127.0.0.1", &[], Vec::new()).unwrap_err();
        assert!(faults[0].contains("line 2") && faults[0].contains("in quotes"), "{faults:?}");
        let faults = with("listen = 27201", &[], Vec::new()).unwrap_err();
        assert!(faults[0].contains("a text in quotes, or a list of texts"), "{faults:?}");
        let faults = with("[auth]\nsecret = hunter2hunter2", &[], Vec::new()).unwrap_err();
        assert!(faults[0].contains("in quotes") && !faults[0].contains("hunter2"), "{faults:?}");
        for (file, environment) in
            [("[limits]\nheader_timeout = 5", vec![]), ("", vec![("TRICAST_LIMITS__HEADER_TIMEOUT", "5")])]
        {
            let faults = with(file, &environment, Vec::new()).unwrap_err();
            assert!(faults[0].contains("5 means 5 ms") && faults[0].contains("\"5s\""), "{faults:?}");
        }
    }

    #[test]
    fn a_world_readable_file_with_a_secret_causes_a_notice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tricast.toml");
        std::fs::write(&path, "[webhook]\nurl = \"https://hooks.example/x\"\nsecret = \"s\"\n").unwrap();
        for (mode, notices) in [(0o644, 1), (0o640, 0)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let flags = Flags { file: Some(path.clone()), ..Flags::default() };
            assert_eq!(load(&flags, []).unwrap().notices.len(), notices, "{mode:o}");
        }
    }

    #[test]
    fn a_broken_file_is_reported_by_line_without_its_text() {
        let faults = with("workers = 1\n[auth]\nsecret = \"hunter2\n", &[], Vec::new()).unwrap_err();
        assert!(faults[0].contains("line 3") && !faults[0].contains("hunter2"), "{faults:?}");
        let flags = Flags { file: Some("/nonexistent/tricast.toml".into()), ..Flags::default() };
        assert!(load(&flags, []).is_err());
    }
}
