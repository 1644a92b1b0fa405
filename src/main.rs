//! Entry point of the program. All of its code is in the library.

use std::process::ExitCode;

/// The allocator of static builds, because that of musl takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tricast::cli::run()
}
