//! Standard output of the commands that speak to a server: lines, colours, and the end of a reader.

use std::{
    env,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
};

use tokio::{io::Interest, net::unix::pipe};

/// Escape sequences of the colours (ECMA-48, section 8.3.117).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Bold,
    Dim,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "\u{1b}[1m",
            Self::Dim => "\u{1b}[2m",
            Self::Green => "\u{1b}[32m",
            Self::Yellow => "\u{1b}[33m",
            Self::Cyan => "\u{1b}[36m",
        }
    }
}

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint(bool);

impl Paint {
    /// Paints nothing.
    pub(super) const OFF: Self = Self(false);

    /// Paints if standard output is a terminal with colours and `NO_COLOR` (no-color.org) is not set.
    pub(super) fn of_stdout() -> Self {
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self(is_terminal() && !no_colour && !dumb)
    }

    /// Returns the text in a colour.
    pub(super) fn paint(self, style: Style, text: &str) -> String {
        if self.0 { format!("{}{text}\u{1b}[0m", style.code()) } else { text.to_owned() }
    }
}

/// Returns whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes a whole text at once.
///
/// # Errors
/// Those of standard output; `BrokenPipe` if its reader is gone.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Completes when the reader of standard output is gone, so that a command that waits for the next value ends with its reader.
pub(super) async fn closed() {
    // A file can't be watched, and always accepts what is written. The copy of the descriptor is watched only, not written to, so
    // that it stays a blocking one.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    match watched {
        Ok(out) => drop(out.ready(Interest::ERROR).await),
        Err(_) => std::future::pending().await,
    }
}

/// Replaces control characters, which could be commands to a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => printed.push_str("\\n"),
            '\t' => printed.push_str("\\t"),
            char if char.is_control() => printed.extend(char.escape_unicode()),
            char => printed.push(char),
        }
    }
    printed
}

/// Writes JSON without characters that could be commands to a terminal: JSON leaves U+007F to U+009F as they are.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    if !text.chars().any(char::is_control) {
        return text;
    }
    text.chars().fold(String::new(), |mut json, char| {
        match char.is_control() {
            true => json.push_str(&format!("\\u{:04x}", u32::from(char))),
            false => json.push(char),
        }
        json
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        let text = json(&serde_json::json!({"a": "\u{9b}2J\u{7f}\u{1b}"}));
        assert_eq!(text, r#"{"a":"\u009b2J\u007f\u001b"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["a"], "\u{9b}2J\u{7f}\u{1b}");
    }
}
