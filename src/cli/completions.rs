//! `tricast completions` and `tricast man`: made from the definition of the command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, failure::Failure, output};

/// Flags of `tricast completions`.
#[derive(Args, Clone, Debug)]
pub(super) struct CompletionFlags {
    /// Shell for which the script is
    shell: Shell,
}

/// Flags of `tricast man`.
#[derive(Args, Clone, Debug)]
pub(super) struct ManFlags {
    /// Write the pages of all commands into this folder, instead of printing that of tricast
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the script.
pub(super) fn completions(flags: &CompletionFlags) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Cli::command(), "tricast", &mut script);
    finish(output::write(&String::from_utf8_lossy(&script)).map_err(Failure::from))
}

/// Prints or writes the pages.
pub(super) fn man(flags: &ManFlags) -> ExitCode {
    finish(match &flags.dir {
        Some(dir) => clap_mangen::generate_to(Cli::command(), dir)
            .map_err(|error| Failure::usage(format!("can't write to {}: {error}", dir.display()))),
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.and_then(|()| output::write(&String::from_utf8_lossy(&page))).map_err(Failure::from)
        }
    })
}

fn finish(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
