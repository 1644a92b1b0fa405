//! Report of the doctor: checks with their verdicts, and a summary.
//!
//! ```json
//! {"url": "https://live.example/", "verdict": "fail", "summary": "WebSocket: works, 12 ms. Events: held back ...",
//!  "checks": [{"id": "events", "name": "Events", "verdict": "fail", "headline": "held back by a proxy for 2.8 s",
//!    "detail": "12 events were sent within 2.8 s; ...", "figures": {"held_ms": 2750},
//!    "remedies": [{"id": "buffering", "nginx": "proxy_buffering off;", ...}]}]}
//! ```

use std::{fmt::Write, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};

use tricast_core::protocol::remedy::Remedy;

/// Result of a check, in ascending order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Not tested; the detail gives the reason.
    Skipped,
    /// Works as it should.
    Ok,
    /// Works, with a shortcoming.
    Warn,
    /// Does not work through this path.
    Fail,
}

/// Result of one test.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Stable name, as in JSON: `websocket`.
    pub id: &'static str,
    /// Name for people: `WebSocket`.
    pub name: &'static str,
    /// Result of the test.
    pub verdict: Verdict,
    /// Short result: `works, 12 ms`.
    pub headline: String,
    /// Explanation of one or two sentences; may be empty.
    pub detail: String,
    /// Measured values; each name ends in its unit.
    pub figures: Map<String, Value>,
    /// Fixes of the fault.
    pub remedies: Vec<Remedy>,
}

/// Results of all tests of one path.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// URL of the server.
    pub url: String,
    /// The worst verdict of the checks.
    pub verdict: Verdict,
    /// Summary of one or a few sentences.
    pub summary: String,
    /// Checks, in the order in which they are read best.
    pub checks: Vec<Check>,
}

impl Check {
    /// Creates a check without details.
    pub(super) fn new(id: &'static str, name: &'static str, verdict: Verdict, headline: impl Into<String>) -> Self {
        let (detail, figures, remedies) = (String::new(), Map::new(), Vec::new());
        Self { id, name, verdict, headline: printable(&headline.into()), detail, figures, remedies }
    }

    /// Sets the explanation; control characters are removed.
    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = printable(&detail.into());
        self
    }

    /// Adds a measured value.
    pub(super) fn figure(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::String(text) => Value::String(printable(&text)),
            value => value,
        };
        self.figures.insert(name.to_owned(), value);
        self
    }

    /// Adds a fix to those that the report recommends.
    pub(super) fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }

    /// Returns the check as a sentence: `Events: held back by a proxy for 5.2 s: `proxy_buffering off;` is missing.`
    fn sentence(&self) -> String {
        let mut out = format!("{}: {}", self.name, self.headline);
        let lines = self.remedies.iter().map(|remedy| remedy.entry());
        let mut missing = lines.map(|line| if line.nginx.is_empty() { line.setting } else { line.nginx });
        if let Some(missing) = missing.find(|missing| !missing.is_empty()) {
            let _ = write!(out, ": `{missing}` is missing");
        }
        out.push('.');
        out
    }
}

/// Longest text of a check, in characters: parts of it come from the server.
const MAX_TEXT: usize = 400;

/// Returns `text`, parts of which come from the server, as one line of limited length, without control characters and without
/// marks that change the direction of writing.
fn printable(text: &str) -> String {
    let harmless = |char: char| {
        let format = matches!(char, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
        if char.is_control() || format { '\u{fffd}' } else { char }
    };
    let mut shown: String = text.chars().take(MAX_TEXT).map(harmless).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// Checks that the summary always contains.
const ALWAYS: [&str; 3] = ["websocket", "events", "polling"];

impl Report {
    /// Creates the report of the checks.
    pub(super) fn new(url: String, checks: Vec<Check>) -> Self {
        let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Fail);
        let mentioned = |check: &&Check| check.verdict >= Verdict::Warn || ALWAYS.contains(&check.id);
        let summary: Vec<_> = checks.iter().filter(mentioned).map(Check::sentence).collect();
        Self { url, verdict, summary: summary.join(" "), checks }
    }

    /// Returns whether there is a fault to fix.
    pub fn has_findings(&self) -> bool {
        self.verdict >= Verdict::Warn
    }

    /// Formats the report for people: a line per check, its fixes below, and the summary at the end.
    pub fn to_text(&self) -> String {
        let mut out = format!("tricast doctor {}\n\n", self.url);
        // Writing to a String cannot fail.
        for check in &self.checks {
            let word = match check.verdict {
                Verdict::Skipped => "skipped",
                Verdict::Ok => "ok",
                Verdict::Warn => "warning",
                Verdict::Fail => "FAILED",
            };
            let _ = writeln!(out, "{word:<8} {:<12} {}", check.name, check.headline);
            let mut below = |text: &str| {
                let _ = writeln!(out, "{:22}{text}", "");
            };
            if !check.detail.is_empty() {
                below(&check.detail);
            }
            for line in check.remedies.iter().map(|remedy| remedy.entry()) {
                below(line.advice);
                match (line.nginx, line.setting) {
                    ("", "") => {}
                    ("", setting) => below(&format!("tricast.toml: {setting}")),
                    (nginx, _) => below(&format!("nginx: {nginx}")),
                }
            }
        }
        let _ = writeln!(out, "\n{}", self.summary);
        out
    }
}

/// Formats a duration: `12 ms`, `2.8 s`, `65 s`.
pub(super) fn spoken(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.000_95 => "under 1 ms".into(),
        seconds if seconds < 0.9995 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds => format!("{seconds:.0} s"),
    }
}

/// Returns `time` in whole milliseconds, rounded down.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_the_transports_and_what_is_missing() {
        let report = Report::new(
            "http://a/".into(),
            vec![
                Check::new("reach", "Server", Verdict::Ok, "there"),
                Check::new("websocket", "WebSocket", Verdict::Ok, "works, 12 ms"),
                Check::new("events", "Events", Verdict::Fail, "held back by a proxy for 5.2 s")
                    .remedy(Remedy::Buffering),
                Check::new("polling", "Polling", Verdict::Skipped, "not tested"),
                Check::new("address", "Address", Verdict::Warn, "not believed").remedy(Remedy::Trusted),
            ],
        );
        assert_eq!(
            report.summary,
            "WebSocket: works, 12 ms. Events: held back by a proxy for 5.2 s: `proxy_buffering off;` is missing. \
             Polling: not tested. Address: not believed: `trusted_proxies = [\"127.0.0.1\"]` is missing."
        );
        assert!(report.verdict == Verdict::Fail && report.has_findings());
        let text = report.to_text();
        for part in ["FAILED   Events ", "nginx: proxy_buffering off;", "tricast.toml: trusted_proxies", "skipped "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn texts_of_a_server_cannot_control_the_terminal() {
        let evil = format!("\u{1b}[2J\u{9b}31m\r\nok \u{202e}{}", "x".repeat(1_000));
        let check = Check::new("reach", "Server", Verdict::Fail, evil.clone()).detail(evil.clone()).figure("by", evil);
        let report = Report::new("http://a/".into(), vec![check]);
        let text = report.to_text() + &serde_json::to_string(&report).unwrap();
        assert!(!text.contains(|char: char| char.is_control() && char != '\n') && !text.contains('\u{202e}'), "{text}");
        assert!(text.lines().count() < 8 && text.len() < 4_000, "{text}");
    }

    #[test]
    fn durations_are_formatted_with_a_fitting_unit() {
        for (ms, expected) in
            [(0, "under 1 ms"), (1, "1 ms"), (999, "999 ms"), (1_000, "1.0 s"), (5_200, "5.2 s"), (65_400, "65 s")]
        {
            assert_eq!(spoken(Duration::from_millis(ms)), expected);
        }
    }
}
