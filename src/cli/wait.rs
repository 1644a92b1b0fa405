//! `tricast wait`: waits until a channel meets a condition, for scripts.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use tricast_client::{Follow, Patience, Request, Update};

use super::{
    changes::{Format, Printer},
    condition::Condition,
    failure::{EXIT_CODES, Failure, NEGATIVE},
    fields,
    follow::{self, Flow, Notes},
    output,
    server::{self, ConnectionFlags},
};
use crate::config::Span;

/// Flags of `tricast wait`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct WaitFlags {
    /// Channel, of values or of events
    #[arg(value_name = "CHANNEL", value_parser = server::channel)]
    channel: String,
    /// Condition, such as 'ready == 3' or 'errors < 5 && state == done'. Without one: a value, or an event from now on
    #[arg(value_name = "CONDITION", value_parser = Condition::parse)]
    condition: Option<Condition>,
    /// Longest time to wait, such as 30s or 5m; without one for ever
    #[arg(short, long, value_name = "SPAN", value_parser = Span::parse)]
    timeout: Option<Span>,
    /// Wait for an event of this name
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Continue from this cursor, such as that of a push: earlier events since then count
    #[arg(long, value_name = "CURSOR", value_parser = server::cursor)]
    since: Option<String>,
    /// Print the value or event that met the condition as JSON
    #[arg(long)]
    json: bool,
    /// Print no notes about the connection on standard error
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    connection: ConnectionFlags,
}

/// Waits, and exits with 0 once the condition is met.
pub(super) fn run(flags: &WaitFlags) -> ExitCode {
    follow::run(wait(flags))
}

async fn wait(flags: &WaitFlags) -> Result<(), Failure> {
    let (server, choice) = flags.connection.server()?;
    let request = Request {
        channels: vec![flags.channel.clone()],
        interval: None,
        since: flags.since.clone(),
        choice,
        // A server that is just being started is what one waits for.
        patience: Patience::KeepTrying,
    };
    let mut watched = Watched { flags, last: None, is_warned: false, printer: Printer::new(Format::Json, Vec::new()) };
    let mut notes = Notes::new(choice, flags.quiet);
    let mut following = Follow::new(&server, request);
    let waiting = follow::follow(&mut following, &mut notes, |update| watched.take(update));
    let met = match flags.timeout {
        Some(timeout) => tokio::time::timeout(timeout.0, waiting).await,
        None => Ok(waiting.await),
    };
    match met {
        Ok(met) => met,
        Err(_) => Err(Failure::Code(NEGATIVE, watched.unmet())),
    }
}

struct Watched<'a> {
    flags: &'a WaitFlags,
    /// The newest value.
    last: Option<Value>,
    is_warned: bool,
    printer: Printer,
}

impl Watched<'_> {
    fn take(&mut self, update: &Update) -> Result<Flow, Failure> {
        let data = match update {
            Update::State { data, .. } if self.flags.event.is_none() => data,
            Update::Event { event, data, .. } if self.flags.event.as_ref().is_none_or(|name| name == event) => data,
            Update::Gone { .. } => {
                self.last = None;
                return Ok(Flow::Continue);
            }
            _ => return Ok(Flow::Continue),
        };
        self.last = Some(data.clone());
        if self.flags.condition.as_ref().is_none_or(|condition| condition.is_met(data)) {
            if let (true, Some(text)) = (self.flags.json, self.printer.text(update)) {
                output::write(&text)?;
            }
            return Ok(Flow::Enough);
        }
        if let (false, Some(text)) = (self.is_warned, self.flags.condition.as_ref().and_then(|c| c.wrong_type(data))) {
            self.is_warned = true;
            super::complain(&output::printable(&text));
        }
        Ok(Flow::Continue)
    }

    /// Explains why the condition was not met in time.
    fn unmet(&self) -> String {
        let (channel, time) = (&self.flags.channel, self.flags.timeout.unwrap_or_default());
        let Some(data) = &self.last else { return format!("{channel}: nothing within {time}") };
        let names = self.flags.condition.as_ref().map(Condition::fields).unwrap_or_default();
        let show = |name: &&str| {
            let value = fields::find(data, name).map_or_else(|| "missing".into(), fields::inline);
            format!("{name} is {value}")
        };
        let values: Vec<_> = names.iter().map(show).collect();
        format!("{channel}: the condition was not met within {time}; {}", output::printable(&values.join(", ")))
    }
}
