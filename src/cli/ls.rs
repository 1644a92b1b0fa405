//! `tricast ls`: lists channels.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::{
    failure::{EXIT_CODES, Failure},
    follow,
    output::{self, Paint, Style, printable},
    server::{self, ServerFlags},
};
use crate::config::Span;

/// Flags of `tricast ls`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct LsFlags {
    /// Channels and patterns, such as 'metrics.*'; all channels by default
    #[arg(value_name = "CHANNEL", value_parser = server::channel)]
    channels: Vec<String>,
    /// Print the response of the server as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// Prints the list once.
pub(super) fn run(flags: &LsFlags) -> ExitCode {
    follow::run(ls(flags))
}

async fn ls(flags: &LsFlags) -> Result<(), Failure> {
    let server = flags.server.server()?;
    let channels = flags.channels.join(",");
    let query = [("channels", &*channels)];
    let list = server.get("api/channels", if channels.is_empty() { &[] } else { &query }).await?;
    let text = if flags.json { output::json(&list) + "\n" } else { table(&list, Paint::of_stdout()) };
    output::write(&text)?;
    Ok(())
}

/// Returns the list as aligned columns under their names.
fn table(list: &Value, paint: Paint) -> String {
    let row = |line: &Value| {
        let text = |name: &str| printable(line[name].as_str().unwrap_or("-"));
        [text("channel"), text("kind"), time(&line["age"]), time(&line["idle"]), time(&line["pace"])]
    };
    let header = ["CHANNEL", "KIND", "AGE", "IDLE", "PACE"].map(str::to_owned);
    let rows: Vec<_> =
        std::iter::once(header).chain(list["channels"].as_array().into_iter().flatten().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let line = cells.join("  ");
        let line = line.trim_end();
        text.push_str(&if index == 0 { paint.paint(Style::Dim, line) } else { line.to_owned() });
        text.push('\n');
    }
    text
}

/// Writes an ISO 8601 duration as `5m 3s`; `-` without one.
fn time(value: &Value) -> String {
    let seconds = value.as_str().and_then(|text| Span::parse(text).ok()).map(|span| span.0.as_secs());
    match seconds {
        None => "-".into(),
        Some(seconds @ 0..60) => format!("{seconds}s"),
        Some(seconds @ 60..3_600) => format!("{}m {}s", seconds / 60, seconds % 60),
        Some(seconds @ 3_600..86_400) => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        Some(seconds) => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_has_aligned_columns() {
        let list = json!({"channels": [
            {"channel": "metrics.api", "kind": "state", "age": "PT3S", "idle": null, "pace": null},
            {"channel": "deploys", "kind": "event", "age": "PT2H5M", "idle": null, "pace": null},
        ]});
        assert_eq!(
            table(&list, Paint::OFF),
            "CHANNEL      KIND   AGE    IDLE  PACE\nmetrics.api  state  3s     -     -\ndeploys      event  2h 5m  -     -\n"
        );
    }
}
