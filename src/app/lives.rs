//! File with the lives of the server in this directory: `lives` in `data_dir`.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use tricast_core::lives::Lives;

const FILE: &str = "lives";

/// Starts a life in `directory`, which is locked by this process. If the file cannot be read or written the server
/// continues: clients of an earlier or later life then get more data than necessary, or miss events and get a gap.
pub(super) fn begin(directory: &Path) -> Lives {
    let path = directory.join(FILE);
    let lives = match fs::read_to_string(&path) {
        Ok(text) => Lives::after(&text),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "cannot read the file of earlier lives: their cursors are unknown");
            }
            Lives::unknown()
        }
    };
    if let Err(error) = write(directory, &lives.to_text()) {
        tracing::warn!(path = %path.display(), %error, "cannot write the file of lives: cursors are unknown after a restart");
    }
    lives
}

/// Replaces the file atomically.
fn write(directory: &Path, text: &str) -> io::Result<()> {
    let path = directory.join(FILE);
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)
}
