//! `tricast top`, and `tricast watch --table` and `--chart`: a live board in the terminal. Without a terminal it is plain text.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use crossterm::{
    cursor,
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute, queue, terminal,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    pin,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tricast_client::{Follow, Request, Server, Status, Update};

use super::{
    board::{Board, Frame, View, cut},
    failure::{EXIT_CODES, Failure},
    follow::{self, Notes},
    output::{self, Paint, Style},
    polled,
    server::{self, ConnectionFlags},
};
use crate::config::Span;

/// Shortest time between two frames.
const FRAME: Duration = Duration::from_millis(200);

/// Time that is waited for the values of all channels before a frame without a terminal.
const COMPLETE: Duration = Duration::from_millis(300);

/// Size of a frame without a terminal.
const PLAIN_SIZE: (usize, usize) = (100, 1_000);

/// Exit code after SIGTERM, as shells report it.
const TERMINATED: u8 = 143;

/// Flags of `tricast top`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Keys: q quit, c charts or table, / filter, arrows and page keys scroll, space pause.")]
#[command(after_long_help = EXIT_CODES)]
pub(super) struct TopFlags {
    /// Channels and patterns
    #[arg(value_name = "CHANNEL", default_value = "metrics.*", value_parser = server::channel)]
    channels: Vec<String>,
    /// Show only these fields; nested ones as paths (latency.p95)
    #[arg(short, long = "field", value_name = "FIELDS", value_delimiter = ',')]
    fields: Vec<String>,
    /// Begin with charts
    #[arg(long)]
    chart: bool,
    /// Time that trends and charts cover
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = Span::parse)]
    span: Span,
    #[command(flatten)]
    connection: ConnectionFlags,
}

/// What a board shows, and for how long.
pub(super) struct Plan {
    pub(super) server: Server,
    pub(super) request: Request,
    pub(super) fields: Vec<String>,
    pub(super) view: View,
    pub(super) span: Span,
    /// Without a terminal: whether it continues after the first frame.
    pub(super) continues: bool,
    pub(super) quiet: bool,
}

/// Shows the board until it is left.
pub(super) fn run(flags: &TopFlags) -> ExitCode {
    follow::run(async {
        let (server, choice) = flags.connection.server()?;
        let channels = flags.channels.clone();
        let request = Request { channels, choice, ..Request::default() };
        let view = if flags.chart { View::Chart } else { View::Table };
        let fields = flags.fields.clone();
        show(Plan { server, request, fields, view, span: flags.span, continues: false, quiet: false }).await
    })
}

/// Shows a board in the terminal, or prints it.
pub(super) async fn show(plan: Plan) -> Result<(), Failure> {
    let is_terminal = output::is_terminal() && io::stdin().is_terminal();
    let mut board = Board::new(plan.fields.clone());
    let mut follow = past(&plan, &mut board).await?;
    if is_terminal { live(&plan, &mut board, &mut follow).await } else { plain(&plan, &mut board, &mut follow).await }
}

/// Reads the history for the trends, and continues from its cursor. Without a history the trends begin now.
async fn past(plan: &Plan, board: &mut Board) -> Result<Follow, Failure> {
    let span = plan.span.to_string();
    let mut request = plan.request.clone();
    let query = [("channels", &*request.channels.join(",")), ("backfill", &span)];
    let mut body = match plan.server.get("api/metrics", &query).await {
        Ok(body) => body,
        // Such as too many channels.
        Err(error) if error.problem().is_some_and(|problem| problem.status == 400) => Value::Null,
        Err(error) => return Err(error.into()),
    };
    let here = Timestamp::now();
    let there = body["timestamp"].as_str().and_then(|text| text.parse().ok()).unwrap_or(here);
    let time = |text: &str| Some(seconds(text.parse().ok()?) - seconds(there).min(seconds(here)) + seconds(here));
    for (channel, history) in body["history"].as_object().into_iter().flatten() {
        board.take_history(channel, history, time);
    }
    if request.since.is_none() {
        request.since = body["cursor"].as_str().map(str::to_owned);
    }
    let mut follow = Follow::new(&plan.server, request);
    for update in polled::updates(&mut body) {
        follow.skip(&update);
        board.take(&update, seconds(here));
    }
    Ok(follow)
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1_000.0
}

fn frame(plan: &Plan, (width, height): (usize, usize), paint: Paint) -> Frame {
    Frame { width, height, now: seconds(Timestamp::now()), span: plan.span.0.as_secs_f64().max(1.0), paint }
}

/// Prints frames as plain text: one, or one after each change.
async fn plain(plan: &Plan, board: &mut Board, follow: &mut Follow) -> Result<(), Failure> {
    let mut notes = Notes::new(plan.request.choice, plan.quiet);
    let closed = output::closed();
    pin!(closed);
    let mut due = (!board.is_empty()).then(|| tokio::time::Instant::now() + COMPLETE);
    loop {
        tokio::select! {
            () = &mut closed => return Err(Failure::Closed),
            update = follow.next() => {
                let update = update?;
                notes.hear(&update);
                follow::check(follow)?;
                board.take(&update, seconds(Timestamp::now()));
                if !board.is_empty() {
                    due.get_or_insert_with(|| tokio::time::Instant::now() + COMPLETE);
                }
            }
            () = async { match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            } } => {
                let lines = board.lines(plan.view, frame(plan, PLAIN_SIZE, Paint::OFF));
                let end = if plan.continues { "\n" } else { "" };
                output::write(&format!("{}\n{end}", lines.join("\n")))?;
                if !plan.continues {
                    return Ok(());
                }
                due = None;
            }
        }
    }
}

/// The terminal in the state that a board needs. Dropping it restores the terminal.
struct Screen;

impl Screen {
    fn open() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, terminal::BeginSynchronizedUpdate, cursor::MoveTo(0, 0))?;
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                out.write_all(b"\r\n")?;
            }
            out.write_all(line.as_bytes())?;
            queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        }
        queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown), terminal::EndSynchronizedUpdate)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nothing else to do for a terminal that is gone.
        drop(execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen));
        drop(terminal::disable_raw_mode());
    }
}

/// State of the board on the screen.
struct Live<'a> {
    plan: &'a Plan,
    view: View,
    /// The filter is being typed.
    is_typing: bool,
    is_paused: bool,
    status: String,
    paint: Paint,
}

/// What a key does.
enum Key {
    Quit,
    Nothing,
    Draw,
}

async fn live(plan: &Plan, board: &mut Board, follow: &mut Follow) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let screen = Screen::open()?;
    let mut keys = keys()?;
    let paint = Paint::of_stdout();
    let mut live =
        Live { plan, view: plan.view, is_typing: false, is_paused: false, status: "connecting".into(), paint };
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut drawn = Instant::now();
    let mut is_due = true;
    loop {
        tokio::select! {
            update = follow.next() => {
                let update = update?;
                follow::check(follow)?;
                if let Update::Status(status) = &update {
                    live.status = describe(status);
                }
                board.take(&update, seconds(Timestamp::now()));
                is_due |= !live.is_paused;
            }
            event = keys.recv() => match event.map(|event| live.handle(&event, board)) {
                None | Some(Key::Quit) => break,
                Some(Key::Nothing) => {}
                // A key is responded to at once.
                Some(Key::Draw) => (is_due, drawn) = (true, drawn.checked_sub(FRAME).unwrap_or(drawn)),
            },
            _ = ticks.tick() => is_due |= !live.is_paused,
            () = tokio::time::sleep(FRAME.saturating_sub(drawn.elapsed())), if is_due => {
                screen.draw(&live.lines(board))?;
                (drawn, is_due) = (Instant::now(), false);
            }
            _ = terminate.recv() => return Err(Failure::Code(TERMINATED, String::new())),
            _ = hangup.recv() => return Err(Failure::Closed),
        }
    }
    Ok(())
}

/// Reads keys on a thread of its own, because reading a terminal blocks.
fn keys() -> io::Result<mpsc::Receiver<Event>> {
    let (sender, keys) = mpsc::channel(16);
    thread::Builder::new().name("keys".into()).spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(keys)
}

fn describe(status: &Status) -> String {
    match status {
        Status::Live(transport) => format!("live by {transport}"),
        Status::Fallback { to, .. } => format!("trying {to}"),
        Status::Lost { reason, .. } => format!("reconnecting: {}", output::printable(&reason.to_string())),
    }
}

impl Live<'_> {
    fn handle(&mut self, event: &Event, board: &mut Board) -> Key {
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) = event
        else {
            return Key::Draw;
        };
        if modifiers.contains(KeyModifiers::CONTROL) && matches!(code, KeyCode::Char('c' | 'd')) {
            return Key::Quit;
        }
        if self.is_typing {
            match code {
                KeyCode::Enter => self.is_typing = false,
                KeyCode::Esc => {
                    self.is_typing = false;
                    board.filter.clear();
                }
                KeyCode::Backspace => drop(board.filter.pop()),
                KeyCode::Char(char) => board.filter.push(*char),
                _ => return Key::Nothing,
            }
            board.offset = 0;
            return Key::Draw;
        }
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Key::Quit,
            KeyCode::Char('c') => self.view = if self.view == View::Table { View::Chart } else { View::Table },
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => board.scroll(1),
            KeyCode::Up | KeyCode::Char('k') => board.scroll(-1),
            KeyCode::PageDown => board.scroll(10),
            KeyCode::PageUp => board.scroll(-10),
            KeyCode::Home => board.offset = 0,
            _ => return Key::Nothing,
        }
        Key::Draw
    }

    fn lines(&self, board: &Board) -> Vec<String> {
        let (width, height) = terminal::size().map_or((80, 24), |(width, height)| (width as usize, height as usize));
        let pause = if self.is_paused { "  paused" } else { "" };
        let head = format!("tricast  {}  {}{pause}", self.plan.server.url(), self.status);
        let foot = match (self.is_typing, board.filter.is_empty()) {
            (true, _) => format!("filter: {}_   Enter keeps it, Esc removes it", output::printable(&board.filter)),
            (false, false) => format!("filter: {}   / changes it, q quits", output::printable(&board.filter)),
            (false, true) => "q quit   c charts or table   / filter   arrows scroll   space pause".into(),
        };
        let size = (width, height.saturating_sub(2));
        let mut lines = vec![self.paint.paint(Style::Bold, &cut(&head, width))];
        if board.is_empty() {
            lines.push(format!("no values yet of {}", self.plan.request.channels.join(", ")));
        }
        lines.extend(board.lines(self.view, frame(self.plan, size, self.paint)));
        lines.truncate(height.saturating_sub(1).max(1));
        lines.resize(height.saturating_sub(1).max(1), String::new());
        lines.push(self.paint.paint(Style::Dim, &cut(&foot, width)));
        lines
    }
}
