//! Keys in files, which are read again at intervals.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    error::KeyError,
    jwks::{self, Secrets},
    key::{Key, of_pem, read_file},
    key_set::{Keyring, Source},
};

/// File that contains keys, read again when it changes.
#[derive(Clone, Debug)]
pub(super) struct KeyFile {
    pub(super) source: Source,
    pub(super) path: PathBuf,
}

impl KeyFile {
    /// Reads the keys of the file. Blocks.
    pub(super) fn read(&self) -> Result<Vec<Key>, KeyError> {
        let jwks = self.source == Source::File;
        let setting = if jwks { "auth.jwks_file" } else { "auth.public_key_file" };
        let text = read_file(setting, &self.path)?;
        let keys = if jwks { jwks::parse(text.as_bytes(), Secrets::Accepted) } else { of_pem(&text) };
        keys.map_err(|problem| KeyError::Unusable { setting, file: self.path.clone(), problem })
    }
}

/// Keeps `keyring` in line with the files until it is cancelled. The last keys of a file that is missing or broken stay in
/// force, so that a file may be rewritten in place.
///
/// Files are read completely each time: they are small, and modification times are unreliable on mounted volumes that swap
/// symbolic links.
pub(super) async fn watch(files: &[KeyFile], every: Duration, keyring: &Arc<Keyring>) {
    if files.is_empty() {
        return std::future::pending().await;
    }
    let mut broken = vec![false; files.len()];
    loop {
        tokio::time::sleep(every).await;
        for (file, broken) in files.iter().zip(&mut broken) {
            let (read, ring) = (file.clone(), Arc::clone(keyring));
            let changed = tokio::task::spawn_blocking(move || Ok(ring.replace(read.source, read.read()?))).await;
            match changed {
                Ok(Ok(changed)) => {
                    *broken = false;
                    if let Some(generation) = changed {
                        tracing::info!(generation, file = %file.path.display(), "keys changed");
                    }
                }
                Ok(Err(error)) => warn_once(broken, &error),
                // The task was cancelled, which happens at the end of the runtime only.
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

fn warn_once(broken: &mut bool, error: &KeyError) {
    if !std::mem::replace(broken, true) {
        tracing::warn!(%error, "cannot read a key file; its last keys stay in force");
    }
}
