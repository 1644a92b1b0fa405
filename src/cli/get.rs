//! `tricast get`: prints the current value of a channel, or the events that the server keeps.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use tricast_client::{Error, Server};

use super::{
    changes::{Format, Printer, aligned},
    failure::{EXIT_CODES, Failure, NEGATIVE},
    fields, follow, output, polled,
    server::{self, ServerFlags},
};
use crate::spelling;

/// Flags of `tricast get`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct GetFlags {
    /// Channel, such as metrics.checkout; metrics is the snapshot of all of them
    #[arg(value_name = "CHANNEL", default_value = "metrics", value_parser = server::channel)]
    channel: String,
    /// Print the values of these fields alone, one per line; nested ones as paths (latency.p95)
    #[arg(short, long = "field", value_name = "FIELDS", value_delimiter = ',')]
    fields: Vec<String>,
    /// Print JSON: the response of the server, or an object of the fields
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// Prints the value once.
pub(super) fn run(flags: &GetFlags) -> ExitCode {
    follow::run(get(flags))
}

async fn get(flags: &GetFlags) -> Result<(), Failure> {
    let server = flags.server.server()?;
    let channel = &flags.channel;
    if channel.ends_with('*') {
        return Err(Failure::usage(format!(
            "get takes one channel; use tricast watch '{channel}', or tricast ls '{channel}'"
        )));
    }
    let body = match server.get(&format!("api/metrics/{channel}"), &[]).await {
        Ok(body) => body,
        Err(error) if error.problem().is_some_and(|problem| matches!(problem.status, 404 | 410)) => {
            return Err(missing(&server, channel, &error).await);
        }
        Err(error) => return Err(error.into()),
    };
    let text = match body["events"].as_array() {
        Some(events) if !flags.json => {
            let mut printer = Printer::new(Format::Lines, flags.fields.clone());
            let named = events.iter().cloned().map(|mut line| {
                line["channel"] = channel.as_str().into();
                polled::event(line)
            });
            named.filter_map(|update| printer.text(&update)).collect()
        }
        _ => value(flags, &body)?,
    };
    output::write(&text)?;
    Ok(())
}

/// Returns the value as text.
fn value(flags: &GetFlags, body: &Value) -> Result<String, Failure> {
    let data = &body["data"];
    if flags.fields.is_empty() {
        return Ok(if flags.json { output::json(body) + "\n" } else { aligned(data) });
    }
    let mut found = serde_json::Map::new();
    let mut text = String::new();
    for field in &flags.fields {
        let Some(value) = fields::find(data, field) else {
            let known: Vec<_> = fields::flatten(data).into_iter().map(|(name, _)| output::printable(&name)).collect();
            let known = if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) };
            return Err(Failure::Code(NEGATIVE, format!("{} has no field {field}: {known}", flags.channel)));
        };
        text.push_str(&(fields::bare(value) + "\n"));
        found.insert(field.clone(), value.clone());
    }
    Ok(if flags.json { output::json(&found) + "\n" } else { text })
}

/// Returns the failure for a channel without a value: one that does not exist, with a similar name that does, or a new one.
async fn missing(server: &Server, channel: &str, error: &Error) -> Failure {
    let text = output::printable(&error.to_string());
    let list = server.get("api/channels", &[]).await.unwrap_or_default();
    let names: Vec<&str> =
        list["channels"].as_array().into_iter().flatten().filter_map(|line| line["channel"].as_str()).collect();
    if names.contains(&channel) {
        let text = format!("{channel} has no value yet\n  Wait for the first one: tricast wait {channel}");
        return Failure::Code(NEGATIVE, text);
    }
    let in_metrics = format!("metrics.{channel}");
    let near = names.iter().find(|name| **name == in_metrics).copied();
    let hint = match near.or_else(|| spelling::nearest(channel, names.iter().copied())) {
        Some(name) => format!("Did you mean {}?", output::printable(name)),
        None => "tricast ls shows the channels that there are.".into(),
    };
    Failure::Code(NEGATIVE, format!("{text}\n  {hint}"))
}
