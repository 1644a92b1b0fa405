//! `tricast openapi`: prints the document that a server with these settings has at `/api/openapi.json`.

use std::process::ExitCode;

use super::{ServeFlags, print, refuse};
use crate::{api::openapi::Document, app};

/// Prints the document and nothing else.
pub(super) fn run(flags: &ServeFlags) -> ExitCode {
    match flags.load() {
        Ok(config) => print(&format!("{}\n", Document::new(&app::openapi::document(&config)))),
        Err((faults, _)) => refuse(&faults),
    }
}
