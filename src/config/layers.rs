//! Putting the layers together: defaults, file, environment, flags.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{Config, SETTINGS};

/// What all environment names begin with.
const PREFIX: &str = "TRICAST_";

/// Names an alternative file, like `--config`; the one name in the environment that is no setting.
const CONFIG_FILE: &str = "TRICAST_CONFIG";

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "tricast.toml";

/// What was said on the command line, by key.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The others: the key of a setting and its value.
    pub settings: Vec<(&'static str, Value)>,
}

/// One thing that is wrong, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `limits.max_body`; empty for the file as a whole.
    pub key: String,
    /// Where it was said: `tricast.toml`, an environment name, a flag. Empty for a combination.
    pub source: String,
    /// What is wrong.
    pub problem: String,
}

/// Everything that is wrong.
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

/// Reads the file, the `environment` and the `flags` over the defaults, and checks the whole.
///
/// # Errors
/// [`Faults`]: all of them, sorted by key. The configuration beside them holds what could be read, for printing.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, (Faults, Box<Config>)> {
    let mut faults = Vec::new();
    let mut said: BTreeMap<String, (String, Value)> = BTreeMap::new();
    let environment: BTreeMap<_, _> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();

    let named = flags.file.clone().or_else(|| environment.get(CONFIG_FILE).map(PathBuf::from));
    read_file(named, &mut said, &mut faults);
    for (name, text) in environment.iter().filter(|(name, _)| *name != CONFIG_FILE) {
        let key = name[PREFIX.len()..].replace("__", ".").to_lowercase();
        said.insert(key.clone(), (name.clone(), from_text(&key, text)));
    }
    for (key, value) in &flags.settings {
        said.insert((*key).to_owned(), (format!("--{}", key.replace('_', "-")), value.clone()));
    }

    let mut whole = Table::new();
    for (key, (source, value)) in said {
        match check(&key, &value) {
            Ok(()) => insert(&mut whole, &key, value),
            Err(problem) => faults.push(Fault { key, source, problem }),
        }
    }
    let config = Config::deserialize(whole).unwrap_or_else(|error| {
        // Each key was read by itself before.
        faults.push(Fault { key: String::new(), source: "configuration".into(), problem: error.to_string() });
        Config::default()
    });
    faults.extend(super::validate::faults(&config));
    faults.sort_by(|a, b| a.key.cmp(&b.key));
    if faults.is_empty() { Ok(config) } else { Err((Faults(faults), Box::new(config))) }
}

fn read_file(named: Option<PathBuf>, said: &mut BTreeMap<String, (String, Value)>, faults: &mut Vec<Fault>) {
    let path = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let source = path.display().to_string();
    let mut fault = |problem: String| faults.push(Fault { key: String::new(), source: source.clone(), problem });
    match std::fs::read_to_string(&path) {
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => fault(format!("can't be read: {error}")),
        Ok(text) => match text.parse::<Table>() {
            // Not the error's own text: it repeats the line, and the line can hold a secret.
            Err(error) => {
                let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
                fault(format!("line {line}: {}", error.message()));
            }
            Ok(table) => flatten(String::new(), table, &mut |key, value| {
                said.insert(key, (source.clone(), value));
            }),
        },
    }
}

fn flatten(prefix: String, table: Table, take: &mut impl FnMut(String, Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !SETTINGS.iter().any(|setting| setting.key == key) => flatten(key, inner, take),
            value => take(key, value),
        }
    }
}

/// Checks one key by itself: that there is such a setting, and that the value is of its type.
fn check(key: &str, value: &Value) -> Result<(), String> {
    if !SETTINGS.iter().any(|setting| setting.key == key) {
        let last = key.rsplit('.').next().unwrap_or(key);
        let alike = SETTINGS
            .iter()
            .find(|setting| setting.key.rsplit('.').next() == Some(last) || distance(setting.key, key) <= 2);
        return Err(match alike {
            Some(setting) => format!("there is no such setting; did you mean {}?", setting.key),
            None => "there is no such setting".into(),
        });
    }
    let mut table = Table::new();
    insert(&mut table, key, value.clone());
    // The names of Rust's types mean nothing to an operator.
    let plain = |message: &str| message.trim().replace("expected usize", "expected a whole number, 0 or more");
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

/// A text of the environment as the type that the setting's default has.
fn from_text(key: &str, text: &str) -> Value {
    let default = Table::try_from(Config::default())
        .ok()
        .and_then(|table| key.split('.').try_fold(Value::Table(table), |value, part| value.get(part).cloned()));
    match default {
        Some(Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.into())).collect())
        }
        Some(Value::Integer(_)) => text.trim().parse().map_or_else(|_| Value::String(text.into()), Value::Integer),
        Some(Value::Boolean(_)) => text.trim().parse().map_or_else(|_| Value::String(text.into()), Value::Boolean),
        _ => Value::String(text.into()),
    }
}

/// Edit distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
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
            ("logg.events", "did you mean log.events?"),
            ("time_zone", "Mars/Olympus"),
            ("workers", "whole number"),
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, (key, part)) in faults.iter().zip(expected) {
            assert!(fault.starts_with(&format!("{key}: ")) && fault.contains(part), "{fault}");
        }
    }

    #[test]
    fn a_broken_file_is_told_by_line_and_without_its_text() {
        let faults = with("workers = 1\n[auth]\nsecret = \"hunter2\n", &[], Vec::new()).unwrap_err();
        assert!(faults[0].contains("line 3") && !faults[0].contains("hunter2"), "{faults:?}");
        let flags = Flags { file: Some("/nonexistent/tricast.toml".into()), ..Flags::default() };
        assert!(load(&flags, []).is_err());
    }
}
