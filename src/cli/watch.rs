//! `tricast watch` and `tricast tail`: print the updates of channels.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use tricast_client::{Choice, Error, Follow, Patience, Request, Server, Update};

use super::{
    board::View,
    changes::{Format, Printer},
    failure::{EXIT_CODES, Failure},
    follow::{self, Flow, Notes},
    output, polled,
    server::{self, ConnectionFlags},
    top::{self, Plan},
};
use crate::config::Span;

/// Time that a table or a chart covers.
const BOARD_SPAN: Span = Span::from_secs(300);

/// Flags of the commands that print updates.
#[derive(Args, Clone, Debug)]
struct PrintFlags {
    /// Print only these fields, and only when one of them changes; nested ones as paths (latency.p95)
    #[arg(short, long = "field", value_name = "FIELDS", value_delimiter = ',')]
    fields: Vec<String>,
    /// Print one JSON object per line, with cursors
    #[arg(long, group = "format")]
    json: bool,
    /// Print comma-separated values with a header
    #[arg(long, group = "format")]
    csv: bool,
    /// End after this many updates
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Continue from this cursor: print the events since, and the current values
    #[arg(long, value_name = "CURSOR", value_parser = server::cursor)]
    since: Option<String>,
    /// Print no notes about the connection on standard error
    #[arg(short, long)]
    quiet: bool,
}

/// Flags of `tricast watch`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct WatchFlags {
    /// Channels and patterns, such as metrics.checkout or 'metrics.*'
    #[arg(value_name = "CHANNEL", default_value = "metrics.*", value_parser = server::channel)]
    channels: Vec<String>,
    #[command(flatten)]
    print: PrintFlags,
    /// Show a table of the newest values; without a terminal one after each change
    #[arg(long, group = "format", conflicts_with_all = ["count", "interval"])]
    table: bool,
    /// Show charts of the numbers; without a terminal one after each change
    #[arg(long, group = "format", conflicts_with_all = ["count", "interval"])]
    chart: bool,
    /// Print the values of the fields alone, for programs that draw numbers
    #[arg(long, group = "format", requires = "fields")]
    values: bool,
    /// Print the history of this time first, such as 15m or 2h
    #[arg(long, value_name = "SPAN", value_parser = Span::parse)]
    backfill: Option<Span>,
    /// Print a channel at most once in this time, such as 500ms or 5s
    #[arg(long, value_name = "SPAN", value_parser = Span::parse)]
    interval: Option<Span>,
    #[command(flatten)]
    connection: ConnectionFlags,
}

/// Flags of `tricast tail`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct TailFlags {
    /// Event channels, such as orders
    #[arg(value_name = "CHANNEL", required = true, value_parser = server::channel)]
    channels: Vec<String>,
    /// Number of earlier events to print first, of those that the server keeps
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, conflicts_with = "since")]
    lines: usize,
    #[command(flatten)]
    print: PrintFlags,
    #[command(flatten)]
    connection: ConnectionFlags,
}

impl PrintFlags {
    fn printer(&self, values: bool) -> Printer {
        let format = match (self.json, self.csv, values) {
            (true, ..) => Format::Json,
            (_, true, _) => Format::Csv,
            (_, _, true) => Format::Values,
            _ => Format::Lines,
        };
        Printer::new(format, self.fields.clone())
    }
}

/// Output of both commands.
struct Print {
    printer: Printer,
    left: Option<u64>,
}

impl Print {
    /// Prints an update; returns whether that was the last one.
    fn take(&mut self, update: &Update) -> Result<Flow, Failure> {
        let Some(text) = self.printer.text(update) else { return Ok(Flow::Continue) };
        output::write(&text)?;
        // A gap is no update that anybody counts.
        if let (Some(left), false) = (&mut self.left, matches!(update, Update::Gap { .. })) {
            *left -= 1;
            return Ok(if *left == 0 { Flow::Enough } else { Flow::Continue });
        }
        Ok(Flow::Continue)
    }
}

/// Prints the updates until it is interrupted.
pub(super) fn run(flags: &WatchFlags) -> ExitCode {
    follow::run(watch(flags))
}

async fn watch(flags: &WatchFlags) -> Result<(), Failure> {
    let (server, choice) = flags.connection.server()?;
    let mut request = request(&flags.channels, choice, flags.print.since.clone());
    if flags.table || flags.chart {
        let view = if flags.chart { View::Chart } else { View::Table };
        let (fields, span) = (flags.print.fields.clone(), flags.backfill.unwrap_or(BOARD_SPAN));
        return top::show(Plan { server, request, fields, view, span, continues: true, quiet: flags.print.quiet })
            .await;
    }
    let mut notes = Notes::new(choice, flags.print.quiet);
    let mut print = Print { printer: flags.print.printer(flags.values), left: flags.print.count };
    request.interval = flags.interval.map(|interval| interval.0);
    let mut earlier = Vec::new();
    if let Some(backfill) = flags.backfill {
        let mut body = past(&server, &request, backfill).await?;
        for (channel, history) in body["history"].as_object().into_iter().flatten() {
            output::write(&print.printer.history(channel, history))?;
        }
        request.since = body["cursor"].as_str().map(str::to_owned);
        earlier = polled::updates(&mut body);
    }
    let mut following = Follow::new(&server, request);
    for update in earlier {
        following.skip(&update);
        if print.take(&update)? == Flow::Enough {
            return Ok(());
        }
    }
    follow::follow(&mut following, &mut notes, |update| print.take(update)).await
}

fn request(channels: &[String], choice: Choice, since: Option<String>) -> Request {
    Request { channels: channels.to_vec(), interval: None, since, choice, patience: Patience::GiveUp }
}

/// Requests the history, and the values that follow it. The connection then continues from the cursor of the response.
async fn past(server: &Server, request: &Request, backfill: Span) -> Result<Value, Error> {
    let (channels, backfill) = (request.channels.join(","), backfill.to_string());
    let mut query = vec![("channels", &*channels), ("backfill", &*backfill)];
    query.extend(request.since.as_deref().map(|since| ("since", since)));
    server.get("api/metrics", &query).await
}

/// Prints the last events, and those that follow.
pub(super) fn tail(flags: &TailFlags) -> ExitCode {
    follow::run(tail_from_the_end(flags))
}

async fn tail_from_the_end(flags: &TailFlags) -> Result<(), Failure> {
    let (server, choice) = flags.connection.server()?;
    let mut notes = Notes::new(choice, flags.print.quiet);
    let mut print = Print { printer: flags.print.printer(false), left: flags.print.count };
    let mut request = request(&flags.channels, choice, flags.print.since.clone());
    let mut earlier = Vec::new();
    if request.since.is_none() {
        for channel in flags.channels.iter().filter(|channel| !channel.ends_with('*')) {
            let (events, cursor) = kept(&server, channel).await?;
            if events.is_empty() {
                notes.note(&format!("{channel} has no events yet; waiting for the first one"));
            }
            earlier.extend(events);
            // The first one is the earliest.
            request.since = request.since.or(cursor);
        }
    }
    let mut following = Follow::new(&server, request);
    earlier.sort_by(|one, other| time(one).cmp(time(other)));
    let skipped = earlier.len().saturating_sub(flags.lines);
    for (index, update) in earlier.iter().enumerate() {
        following.skip(update);
        if index >= skipped && print.take(update)? == Flow::Enough {
            return Ok(());
        }
    }
    follow::follow(&mut following, &mut notes, |update| print.take(update)).await
}

fn time(update: &Update) -> &str {
    match update {
        Update::Event { timestamp: Some(time), .. } => time,
        _ => "",
    }
}

/// Returns the events of a channel that the server keeps, and the cursor after them. A channel that does not exist yet has none.
async fn kept(server: &Server, channel: &str) -> Result<(Vec<Update>, Option<String>), Failure> {
    let mut body = match server.get(&format!("api/metrics/{channel}"), &[]).await {
        Ok(body) => body,
        Err(error) if error.problem().is_some_and(|problem| matches!(problem.status, 404 | 410)) => {
            return Ok((Vec::new(), None));
        }
        Err(error) => return Err(error.into()),
    };
    if body["kind"] == "state" {
        return Err(Failure::usage(format!("{channel} has a value and no events: use tricast watch {channel}")));
    }
    let cursor = body["cursor"].as_str().map(str::to_owned);
    let Value::Array(events) = body["events"].take() else { return Ok((Vec::new(), cursor)) };
    let named = |mut line: Value| {
        line["channel"] = channel.into();
        polled::event(line)
    };
    Ok((events.into_iter().map(named).collect(), cursor))
}
