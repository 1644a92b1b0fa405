//! The file that says which lives a server in this directory had: `lives` in `data_dir`.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use tricast_core::lives::Lives;

const FILE: &str = "lives";

/// Begins a life in `directory`, which is locked by this process. Where the file can't be read or written the server goes on:
/// clients of an earlier or later life are told more than they need to be, or miss events and are told so.
pub(super) fn begin(directory: &Path) -> Lives {
    let path = directory.join(FILE);
    let lives = match fs::read_to_string(&path) {
        Ok(text) => Lives::after(&text),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "can't read which logs were here before");
            }
            Lives::unknown()
        }
    };
    if let Err(error) = write(directory, &lives.to_text()) {
        tracing::warn!(path = %path.display(), %error, "can't write which log is here: its cursors are unknown after a restart");
    }
    lives
}

/// Replaces the file as a whole.
fn write(directory: &Path, text: &str) -> io::Result<()> {
    let path = directory.join(FILE);
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)
}
