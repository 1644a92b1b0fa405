//! `tricast push`: pushes values, events and samples, from arguments or from standard input.

use std::{io::BufRead, process::ExitCode, thread, time::Duration};

use clap::Args;
use tokio::sync::mpsc;
use tricast_client::{Error, Pushed, Server};

use super::{
    complain,
    failure::{EXIT_CODES, Failure, NEGATIVE, explain},
    follow,
    input::{Fields, Reader, Shape, Target, pair, value},
    output::{self, printable},
    server::{self, ServerFlags},
};
use crate::config::Span;

/// Most lines of the protocol in one request.
const BATCH: usize = 1_000;

/// Bytes after which a request is sent without further lines.
const BATCH_BYTES: usize = 256 << 10;

/// Lines of standard input that are read ahead.
const AHEAD: usize = 1_000;

/// Shortest and longest time between two attempts.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Shortest and longest time to live that the server accepts.
const SHORTEST_TTL: Span = Span::from_secs(1);
const LONGEST_TTL: Span = Span::from_days(366);

/// Flags of `tricast push`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct PushFlags {
    /// Channel, such as checkout or metrics.sensor. Channels below metrics. are part of the snapshot
    #[arg(value_name = "CHANNEL", value_parser = server::channel)]
    channel: String,
    /// Fields of the value, such as latency=180; or - to read lines of standard input: numbers, k=v pairs, JSON objects, or CSV
    /// with a header
    #[arg(value_name = "FIELD=VALUE", required = true, allow_negative_numbers = true)]
    fields: Vec<String>,
    /// Keep the other fields of the present value
    #[arg(long, group = "target")]
    merge: bool,
    /// Publish an event of this name with the fields
    #[arg(long, value_name = "NAME", group = "target")]
    event: Option<String>,
    /// Record each field as a sample of a duration: the server computes percentiles
    #[arg(long, group = "target")]
    timing: bool,
    /// Record each field as an increment: the server computes total and rate
    #[arg(long, group = "target")]
    counter: bool,
    /// Record each field as a sample of a level: the server computes minimum, maximum and average
    #[arg(long, group = "target")]
    gauge: bool,
    /// Record each field as a member of a set: the server counts distinct ones
    #[arg(long, group = "target")]
    set: bool,
    /// Label of samples; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// End the channel if nothing writes to it for this time, such as 30s, 5m or 7d
    #[arg(long, value_name = "SPAN", value_parser = ttl)]
    ttl: Option<Span>,
    /// Name of the field of bare numbers
    #[arg(long, value_name = "FIELD", default_value = "value")]
    field: String,
    /// Print the response of each request as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// Parses a time to live.
fn ttl(text: &str) -> Result<Span, String> {
    let span = Span::parse(text).ok().filter(|_| text.contains(|char: char| char.is_ascii_alphabetic()));
    match span {
        Some(span) if SHORTEST_TTL <= span && span <= LONGEST_TTL => Ok(span),
        Some(_) => Err("a channel lives for 1s to 366d".into()),
        None => Err("write a time with its unit, such as 30s, 5m, 2h or 7d".into()),
    }
}

impl PushFlags {
    fn shape(&self) -> Result<Shape, Failure> {
        let samples = [(self.timing, "timing"), (self.counter, "counter"), (self.gauge, "gauge"), (self.set, "set")];
        let sample = samples.into_iter().find(|(is_set, _)| *is_set).map(|(_, kind)| kind);
        let target = match (&self.event, sample) {
            (Some(event), _) => Target::Event(event.clone()),
            (None, Some(kind)) => Target::Sample(kind),
            (None, None) => Target::Value { merge: self.merge },
        };
        if sample.is_none() && !self.labels.is_empty() {
            return Err(Failure::usage("--label is for samples: add --timing, --counter, --gauge or --set"));
        }
        let label = |text: &String| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.into())),
            _ => Err(Failure::usage(format!("--label: {} is not NAME=VALUE", printable(text)))),
        };
        let labels = self.labels.iter().map(label).collect::<Result<Fields, Failure>>()?;
        if self.channel.ends_with('*') {
            return Err(Failure::usage("push takes a channel, not a pattern"));
        }
        Ok(Shape { channel: self.channel.clone(), target, labels, ttl: self.ttl })
    }

    /// Returns the fields of the arguments.
    fn fields(&self) -> Result<Fields, Failure> {
        // One number, without a name.
        if let [text] = &self.fields[..]
            && let Ok(number @ serde_json::Value::Number(_)) = value(text)
        {
            return Ok(Fields::from_iter([(self.field.clone(), number)]));
        }
        self.fields.iter().map(|text| pair(text)).collect::<Result<_, _>>().map_err(Failure::usage)
    }
}

/// Pushes, and prints nothing unless somebody looks.
pub(super) fn run(flags: &PushFlags) -> ExitCode {
    follow::run(push(flags))
}

async fn push(flags: &PushFlags) -> Result<(), Failure> {
    let shape = flags.shape()?;
    if flags.fields == ["-"] {
        let server = flags.server.server()?;
        return Stream { server, shape, is_json: flags.json, has_worked: false, faults: 0 }
            .run(flags.field.clone())
            .await;
    }
    if flags.fields.iter().any(|field| field == "-") {
        return Err(Failure::usage("- reads all fields from standard input; leave the others out"));
    }
    let lines = shape.lines(flags.fields()?).map_err(Failure::usage)?;
    let pushed = flags.server.server()?.push(&lines).await?;
    if flags.json {
        print_json(&pushed)?;
    } else if output::is_terminal() {
        output::write(&format!("accepted, cursor {}\n", printable(&pushed.cursor)))?;
    }
    for refusal in &pushed.refusals {
        complain(&printable(&refusal.detail));
    }
    if pushed.refused > 0 { Err(Failure::Code(NEGATIVE, String::new())) } else { Ok(()) }
}

fn print_json(pushed: &Pushed) -> Result<(), Failure> {
    let line = serde_json::json!({"accepted": pushed.accepted, "refused": pushed.refused, "cursor": pushed.cursor});
    Ok(output::write(&(output::json(&line) + "\n"))?)
}

/// Pushes of the lines of standard input.
struct Stream {
    server: Server,
    shape: Shape,
    is_json: bool,
    has_worked: bool,
    /// Lines that were not pushed.
    faults: u64,
}

/// Line of standard input with its number, or why it can't be read.
type Line = (u64, Result<String, String>);

impl Stream {
    async fn run(mut self, field: String) -> Result<(), Failure> {
        let (sender, mut lines) = mpsc::channel::<Line>(AHEAD);
        let reading = thread::Builder::new().name("stdin".into()).spawn(move || read_lines(&sender));
        reading.map_err(|error| Failure::Code(NEGATIVE, format!("can't start a thread: {error}")))?;
        let mut reader = Reader::new(field);
        while let Some(line) = lines.recv().await {
            let mut batch = Batch::default();
            self.add(&mut reader, line, &mut batch)?;
            while !batch.is_full()
                && let Ok(line) = lines.try_recv()
            {
                self.add(&mut reader, line, &mut batch)?;
            }
            if !batch.lines.is_empty() {
                self.push(&batch).await?;
            }
        }
        match self.faults {
            0 => Ok(()),
            faults => Err(Failure::Code(NEGATIVE, format!("{faults} lines were not pushed"))),
        }
    }

    /// Adds a line to a batch, or reports what is wrong with it.
    fn add(&mut self, reader: &mut Reader, (number, text): Line, batch: &mut Batch) -> Result<(), Failure> {
        let fields = text.and_then(|text| reader.read(&text));
        match fields.and_then(|fields| fields.map(|fields| self.shape.lines(fields)).transpose()) {
            Ok(lines) => batch.extend(number, lines.unwrap_or_default()),
            // Without a form the following lines would be refused as well.
            Err(error) if number == 1 => return Err(Failure::usage(format!("line 1: {error}"))),
            Err(error) => {
                complain(&format!("line {number}: {error}"));
                self.faults += 1;
            }
        }
        Ok(())
    }

    /// Pushes a batch; waits for a server that is away for a while.
    async fn push(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut wait = RETRY;
        let mut is_lost = false;
        loop {
            match self.server.push(&batch.lines).await {
                Ok(pushed) => {
                    self.has_worked = true;
                    if is_lost {
                        complain("connected again");
                    }
                    return self.report(batch, &pushed);
                }
                Err(error) if !self.has_worked && !is_lost && error.is_unreachable() => return Err(error.into()),
                Err(error) if !error.is_temporary() => return self.refused(batch, error),
                Err(error) if !self.may_repeat(&error) => {
                    let count = batch.lines.len();
                    complain(&format!(
                        "{}\n  {count} lines may have been pushed or not; they are not repeated",
                        explain(&error)
                    ));
                    self.faults += count as u64;
                    return Ok(());
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_lost, true) {
                        complain(&format!("{}; trying again", error));
                    }
                    let after = error.problem().and_then(|problem| problem.retry_after);
                    tokio::time::sleep(after.unwrap_or(wait)).await;
                    wait = LONGEST_RETRY.min(wait * 2);
                }
            }
        }
    }

    /// Returns whether a repetition can't publish an event, or count a sample, twice.
    fn may_repeat(&self, error: &Error) -> bool {
        let is_refused = error.problem().is_some_and(|problem| matches!(problem.status, 429 | 503));
        matches!(self.shape.target, Target::Value { .. }) || error.is_unreachable() || is_refused
    }

    fn report(&mut self, batch: &Batch, pushed: &Pushed) -> Result<(), Failure> {
        for refusal in &pushed.refusals {
            let number = batch.numbers.get(refusal.index).copied().unwrap_or_default();
            complain(&format!("line {number}: {}", printable(&refusal.detail)));
        }
        self.faults += pushed.refused;
        if self.is_json { print_json(pushed) } else { Ok(()) }
    }

    /// Handles the refusal of a whole request: that of a single line concerns the line alone.
    fn refused(&mut self, batch: &Batch, error: Error) -> Result<(), Failure> {
        let is_of_the_line = error.problem().is_some_and(|problem| matches!(problem.status, 400 | 409));
        match &batch.numbers[..] {
            [number] if is_of_the_line => {
                complain(&format!("line {number}: {}", explain(&error)));
                self.faults += 1;
                self.has_worked = true;
                Ok(())
            }
            _ => Err(error.into()),
        }
    }
}

/// Lines of the protocol for one request.
#[derive(Default)]
struct Batch {
    lines: Vec<String>,
    /// The line of the input from which each comes.
    numbers: Vec<u64>,
    bytes: usize,
}

impl Batch {
    fn extend(&mut self, number: u64, lines: Vec<String>) {
        for line in lines {
            self.bytes += line.len();
            self.lines.push(line);
            self.numbers.push(number);
        }
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= BATCH || self.bytes >= BATCH_BYTES
    }
}

/// Longest line of standard input, in bytes: what a push may have.
const LONGEST_LINE: u64 = 1 << 20;

/// Reads standard input until its end, or until the receiver of the lines is closed.
fn read_lines(lines: &mpsc::Sender<Line>) {
    let mut stdin = std::io::stdin().lock();
    for number in 1.. {
        let mut bytes = Vec::new();
        let line = match std::io::Read::take(&mut stdin, LONGEST_LINE).read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(_) => String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned()),
            Err(error) => {
                // There is nothing more to read.
                drop(lines.blocking_send((number, Err(format!("can't read standard input: {error}")))));
                return;
            }
        };
        if lines.blocking_send((number, line)).is_err() {
            return;
        }
    }
}
