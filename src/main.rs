//! Entry point of the program. All of its code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tricast::cli::run()
}
