//! The file of contexts: servers with their tokens, by name. Only its owner may read it.
//!
//! ```toml
//! current = "live"
//!
//! [contexts.live]
//! url = "https://live.example/tricast/"
//! token = "eyJ..."
//! ```

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// Contents of the file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The context that is used if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    /// The contexts by name.
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Context>,
}

/// One server.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    pub(super) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// File with the token, in place of `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transport: Option<String>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("has_token", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// Returns the path of the file: `tricast/contexts.toml` in `XDG_CONFIG_HOME` or `~/.config`.
pub(super) fn path() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))?;
    Some(config.join("tricast").join("contexts.toml"))
}

impl Contexts {
    /// Reads the file; without one there are no contexts.
    ///
    /// # Errors
    /// The file can't be read, has a fault, or holds a token that other users can read.
    pub(super) fn read() -> Result<Self, Failure> {
        path().map_or_else(|| Ok(Self::default()), |path| Self::read_from(&path))
    }

    fn read_from(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::usage(format!("can't read {name}: {error}"))),
        };
        let contexts: Self = toml::from_str(&text).map_err(|error: toml::de::Error| {
            // Not the error's own text: it repeats the line, and the line can hold a token.
            let before = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.get(..before).unwrap_or_default().matches('\n').count() + 1;
            Failure::usage(format!("{name}, line {line}: {}", error.message().trim()))
        })?;
        let has_token = contexts.contexts.values().any(|context| context.token.is_some());
        let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode()).unwrap_or_default();
        if has_token && mode & 0o077 != 0 {
            return Err(Failure::usage(format!("{name} holds a token, and other users can read it: chmod 600 {name}")));
        }
        Ok(contexts)
    }

    /// Writes the file in place of the old one, with permissions for its owner alone, and returns its path.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write(&self) -> Result<PathBuf, Failure> {
        let Some(path) = path() else {
            return Err(Failure::usage("there is no folder for the file of contexts: set HOME or XDG_CONFIG_HOME"));
        };
        let text = toml::to_string(self).map_err(|error| Failure::usage(error.to_string()))?;
        let written = write_private(&path, &text);
        written.map_err(|error| Failure::usage(format!("can't write {}: {error}", path.display())))?;
        Ok(path)
    }

    /// Returns the context of a name.
    ///
    /// # Errors
    /// There is none; the names that there are.
    pub(super) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let names: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let known =
                if names.is_empty() { "there are none".into() } else { format!("there are {}", names.join(", ")) };
            Failure::usage(format!(
                "there is no context {name:?}: {known}; create it with: tricast context set {name} --url URL"
            ))
        })
    }
}

/// Replaces a file, so that no reader sees half of it.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = path.with_extension(format!("toml.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}
