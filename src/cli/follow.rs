//! Follows channels for a command: reports the connection on standard error, and ends with the reader of the output.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use tokio::pin;
use tricast_client::{Choice, Follow, Status, Transport, Update};

use super::{
    failure::{Failure, NOT_PERMITTED, explain},
    output::{self, printable},
};

/// Runs a command on a runtime of its own.
pub(super) fn run(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::Code(1, error.to_string()).report(),
    };
    let ended = runtime.block_on(command);
    // Not waiting for a thread that reads standard input.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Whether a command has enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Enough,
}

/// Notes about the connection, for people.
pub(super) struct Notes {
    is_quiet: bool,
    choice: Choice,
    /// A transport failed before anything worked.
    fallback: Option<(Transport, String)>,
    is_lost: bool,
}

impl Notes {
    pub(super) fn new(choice: Choice, is_quiet: bool) -> Self {
        Self { is_quiet, choice, fallback: None, is_lost: false }
    }

    /// Prints a note.
    pub(super) fn note(&self, text: &str) {
        if !self.is_quiet {
            drop(writeln!(io::stderr(), "tricast: {text}"));
        }
    }

    /// Prints what a person should know of an update.
    pub(super) fn hear(&mut self, update: &Update) {
        match update {
            Update::Gap { reason, channels } => {
                let of = if channels.is_empty() {
                    String::new()
                } else {
                    format!(" of {}", printable(&channels.join(", ")))
                };
                self.note(&format!("gap: events{of} may be lost ({}); current values follow", gap_reason(reason)));
            }
            Update::Denied { channel, code, detail } => {
                let detail = if detail.is_empty() { code } else { detail };
                self.note(&format!("{} is left out: {}", printable(channel), printable(detail)));
            }
            Update::Status(status) => self.status(status),
            _ => {}
        }
    }

    fn status(&mut self, status: &Status) {
        match status {
            Status::Live(transport) => {
                if let Some((from, reason)) = self.fallback.take().filter(|_| self.choice == Choice::Auto) {
                    let name = transport.name();
                    self.note(&format!(
                        "{from} does not get through ({reason}); receiving by {transport}\n  --transport {name} skips the attempt; \
                         tricast doctor URL finds the cause"
                    ));
                }
                if std::mem::take(&mut self.is_lost) {
                    self.note(&format!("connected again by {transport}"));
                }
            }
            Status::Fallback { from, reason, .. } => {
                if !self.is_lost {
                    let reason = printable(&reason.to_string());
                    self.fallback.get_or_insert((*from, reason));
                }
            }
            Status::Lost { reason, .. } => {
                if !std::mem::replace(&mut self.is_lost, true) {
                    self.note(&format!("{}; reconnecting", explain(reason).split('\n').next().unwrap_or_default()));
                }
            }
        }
    }
}

/// Explains the reason of a gap.
fn gap_reason(reason: &str) -> &str {
    match reason {
        "too_old" => "the server's log no longer reaches back to the cursor",
        "epoch_changed" => "the server has a new log since its start",
        "unknown_cursor" => "the server does not know the cursor",
        other => other,
    }
}

/// Hands each update to `take` until it has enough, or the reader of standard output is gone.
///
/// # Errors
/// The reason why there is no connection and will be none, or the failure of `take`.
pub(super) async fn follow(
    follow: &mut Follow,
    notes: &mut Notes,
    mut take: impl FnMut(&Update) -> Result<Flow, Failure>,
) -> Result<(), Failure> {
    let closed = output::closed();
    pin!(closed);
    loop {
        let update = tokio::select! {
            biased;
            () = &mut closed => return Err(Failure::Closed),
            update = follow.next() => update?,
        };
        notes.hear(&update);
        check(follow)?;
        if take(&update)? == Flow::Enough {
            return Ok(());
        }
    }
}

/// Ends a command whose channels are all denied.
///
/// # Errors
/// [`NOT_PERMITTED`].
pub(super) fn check(follow: &Follow) -> Result<(), Failure> {
    if !follow.is_denied() {
        return Ok(());
    }
    let text = "the token permits none of these channels\n  Use a token that has the permission, or other channels.";
    Err(Failure::Code(NOT_PERMITTED, text.into()))
}
