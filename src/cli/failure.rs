//! Failures of the commands that speak to a server: what is wrong, what to do about it, and the exit code.

use std::{io, process::ExitCode};

use tricast_client::{Error, Problem};

use super::{USAGE, complain, output::printable};

/// Exit code if there is no such thing, a condition was not met in time, or some of the pushed lines were refused.
pub(super) const NEGATIVE: u8 = 1;

/// Exit code if there is no tricast server at the URL.
pub(super) const UNREACHABLE: u8 = 3;

/// Exit code if the token is missing, not valid, or does not permit it.
pub(super) const NOT_PERMITTED: u8 = 4;

/// Exit code if the server refused the request for another reason.
pub(super) const REFUSED: u8 = 5;

/// Exit codes, for the help of each command.
pub(super) const EXIT_CODES: &str = "Exit codes: 0 success; 1 no such channel, condition not met in time, or lines refused; 2 wrong usage; \
    3 the server can't be reached; 4 token missing, not valid or without the permission; 5 refused by the server.";

/// Reason why a command ends.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is printed, and the program ends with the code.
    Code(u8, String),
    /// The reader of the output is gone, as `head` after its last line: nothing to report.
    Closed,
}

impl Failure {
    /// Creates a failure because of wrong usage.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::Code(USAGE, text.into())
    }

    /// Prints it and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Closed => ExitCode::SUCCESS,
            Self::Code(code, text) => {
                if !text.is_empty() {
                    complain(&text);
                }
                ExitCode::from(code)
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Code(NEGATIVE, format!("can't write to the output: {error}")),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Code(code(&error), explain(&error))
    }
}

/// Returns an error as a sentence, and below it what to do.
pub(super) fn explain(error: &Error) -> String {
    // The text of a server, or of a proxy, may hold control sequences of terminals.
    let text = printable(&error.to_string());
    match hint(error) {
        Some(hint) => format!("{text}\n  {}", printable(&hint)),
        None => text,
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Setup(_) => USAGE,
        Error::Problem(problem) if matches!(problem.status, 401 | 403) => NOT_PERMITTED,
        Error::Problem(problem) if matches!(&*problem.code, "UNAUTHORIZED" | "FORBIDDEN") => NOT_PERMITTED,
        Error::Problem(_) | Error::Ended(_) => REFUSED,
        _ => UNREACHABLE,
    }
}

/// Returns what to do about an error.
fn hint(error: &Error) -> Option<String> {
    let text = match error {
        Error::ConnectionRefused(_) => {
            "Is the server running there? Start one with: tricast. Name another with --url, TRICAST_URL or a context (tricast context)."
        }
        Error::UnknownHost(_) => {
            "Check the spelling of the URL (--url, TRICAST_URL or tricast context), and the network."
        }
        Error::TimedOut { .. } => {
            "Check host and port; a firewall may drop the connection. tricast doctor URL tests the path."
        }
        Error::Unreachable { .. } => "Check host and port, and the proxy in HTTP_PROXY or HTTPS_PROXY if there is one.",
        Error::NoTls(_) => "Write http:// in the URL, or use the port on which the server has TLS.",
        Error::TlsExpected(_) => "Write https:// in the URL.",
        Error::Certificate { cause, .. } => return Some(certificate_hint(cause).into()),
        Error::Redirected { from, to } => return Some(redirect_hint(from, to)),
        Error::ProxyLogin => {
            "Write them into the URL of the proxy, HTTPS_PROXY=http://user:password@proxy:3128 (HTTP_PROXY for an http:// URL). \
             If the server needs no proxy, list its name in NO_PROXY."
        }
        Error::ProxyTunnel { .. } => {
            "Check the proxy in HTTPS_PROXY or ALL_PROXY. If the server needs no proxy, list its name in NO_PROXY."
        }
        Error::WrongPath { to, .. } => return Some(format!("Use that URL: --url {to}")),
        Error::Gateway { .. } => "Is the server running, and does the proxy connect to its address?",
        Error::NotTricast { status: 401 | 403, .. } => {
            "A proxy in front of the server has its own login: write https://user:password@host/ as the URL."
        }
        Error::NotTricast { .. } => {
            "Use the URL of the dashboard, sub-path included, such as https://live.example/tricast/. tricast doctor URL tests it."
        }
        Error::Lost { .. } => "tricast doctor URL tests what cuts connections.",
        Error::Problem(problem) => return problem_hint(problem),
        Error::Unreadable(_) => "The server may be of another version: compare tricast --version on both sides.",
        Error::Setup(_) | Error::Closed(_) | Error::Ended(_) => return None,
    };
    Some(text.into())
}

fn certificate_hint(cause: &str) -> &'static str {
    if cause.contains("xpired") || cause.contains("NotValidYet") || cause.contains("not valid yet") {
        "Is this computer's clock right? If it is, the server needs a new certificate."
    } else if cause.contains("NotValidForName") || cause.contains("not valid for name") {
        "The certificate is for another name: use that name in the URL."
    } else {
        "If the certificate is one of your own, name the certificate of its issuer with --ca FILE."
    }
}

/// Returns the hint for a redirect: the URL without the path of the request, if it leads to the same path.
fn redirect_hint(from: &str, to: &str) -> String {
    let path = ["api/metrics", "api/channels", "events", "ws"].iter().find(|path| from.ends_with(**path));
    let target = to.split(['?', '#']).next().unwrap_or(to);
    match path.and_then(|path| target.strip_suffix(path)) {
        Some(base) if base.contains("://") => format!("Use that URL: --url {base}"),
        _ => "Use the URL to which it leads, or sign in where it leads if that is the page of a login.".into(),
    }
}

fn problem_hint(problem: &Problem) -> Option<String> {
    if problem.status == 401 || problem.code == "UNAUTHORIZED" {
        let token =
            "Set the token with TRICAST_TOKEN, --token-file or a context; one for tests: tricast token --user NAME.";
        return Some(match problem.clock_ahead {
            Some(ahead) => format!("This computer's clock is {}. {token}", clock(ahead)),
            None => token.into(),
        });
    }
    match (&*problem.code, problem.status) {
        ("FORBIDDEN", _) => Some("Use a token that has the permission, or another channel.".into()),
        ("RESOURCE_NOT_FOUND", _) if problem.detail.contains("nothing at this path") => {
            Some("Is the URL complete, sub-path included (https://live.example/tricast/)? Or the server is older than this program.".into())
        }
        (_, 429 | 503) => problem.retry_after.map(|after| format!("Try again in {} s.", after.as_secs().max(1))),
        _ => None,
    }
}

/// Writes a difference of clocks: `10 min ahead of the server's`.
fn clock(ahead: i64) -> String {
    let seconds = ahead.unsigned_abs();
    let amount = match seconds {
        0..120 => format!("{seconds} s"),
        120..172_800 => format!("{} min", seconds / 60),
        _ => format!("{} days", seconds / 86_400),
    };
    format!("{amount} {} the server's", if ahead > 0 { "ahead of" } else { "behind" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_the_url_to_use() {
        let hint = redirect_hint("http://a/x/api/metrics", "https://a/x/api/metrics?channels=y");
        assert_eq!(hint, "Use that URL: --url https://a/x/");
        assert!(redirect_hint("http://a/api/metrics", "https://login.example/?back=1").contains("login"));
    }

    #[test]
    fn the_text_of_a_server_does_not_reach_the_terminal_as_it_is() {
        let problem = Problem {
            status: 401,
            code: "UNAUTHORIZED".into(),
            detail: "no\u{1b}[2J".into(),
            retry_after: None,
            clock_ahead: Some(-600),
        };
        let text = explain(&Error::Problem(Box::new(problem)));
        assert!(!text.contains('\u{1b}') && text.contains("10 min behind the server's"), "{text}");
    }
}
