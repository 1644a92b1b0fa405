//! The queue of log lines, and the one thread that writes them.
//!
//! A write to standard error may block for ever: on a pipe without a reader, a terminal after Ctrl-S, a log driver that hangs. Lines
//! that do not fit into the queue are dropped and counted, and the log reports their number once it is read again.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Most lines in the queue.
const LINES: usize = 8_192;

/// Most bytes in the queue, since lines can be long.
const BYTES: usize = 4 << 20;

/// Time between two attempts to add a flush request to a full queue.
const A_MOMENT: Duration = Duration::from_millis(10);

static QUEUE: OnceLock<SyncSender<Item>> = OnceLock::new();
static BYTES_WAITING: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Item {
    Line(Vec<u8>),
    /// Request to confirm that all earlier lines are written.
    Flush(SyncSender<()>),
}

/// Number of lines that were dropped because standard error was not read in time.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Starts the thread that writes. A second call has no effect.
pub(super) fn start() {
    // Of its own: the lock of the shared handle would be held for as long as a write takes.
    let Ok(stderr) = io::stderr().as_fd().try_clone_to_owned().map(File::from) else { return };
    let (sender, items) = sync_channel(LINES);
    if QUEUE.set(sender).is_err() {
        return;
    }
    let write = move || run(&items, stderr, || tracing::warn!(total = dropped(), "log lines were dropped"));
    if let Err(error) = thread::Builder::new().name("log-writer".into()).spawn(write) {
        // Nothing is logged then.
        drop(writeln!(io::stderr(), "tricast: can't start a thread for the log: {error}"));
    }
}

/// Writes until the queue is closed. `report` logs that lines were dropped, once there is room again.
fn run(items: &Receiver<Item>, mut out: impl Write, report: impl Fn()) {
    let mut reported = 0;
    while let Ok(item) = items.recv() {
        match item {
            Item::Line(line) => {
                // A closed standard error is no reason to stop.
                drop(out.write_all(&line));
                let waiting = BYTES_WAITING.fetch_sub(line.len(), Ordering::AcqRel) - line.len();
                let dropped = dropped();
                if dropped > reported && waiting == 0 {
                    reported = dropped;
                    report();
                }
            }
            Item::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Adds a line to the queue, or drops it. Never waits.
pub(super) fn push(line: Vec<u8>) {
    let Some(queue) = QUEUE.get() else {
        // The thread was not started: a command that is not a server.
        return drop(io::stderr().write_all(&line));
    };
    let length = line.len();
    let waiting = BYTES_WAITING.fetch_add(length, Ordering::AcqRel);
    if waiting + length > BYTES || queue.try_send(Item::Line(line)).is_err() {
        BYTES_WAITING.fetch_sub(length, Ordering::AcqRel);
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until all earlier lines are written, for at most `patience`. It blocks the thread, so workers must not call it.
#[expect(clippy::disallowed_methods, reason = "at the end of the program, and on the thread of the greeting")]
pub(super) fn flush(patience: Duration) {
    let Some(queue) = QUEUE.get() else { return };
    let until = Instant::now() + patience;
    let (done, written) = sync_channel(1);
    let mut item = Item::Flush(done);
    while let Err(TrySendError::Full(unsent)) = queue.try_send(item) {
        if Instant::now() >= until {
            return;
        }
        item = unsent;
        thread::sleep(A_MOMENT);
    }
    // Too late is as good as never.
    let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
}

/// Factory of a writer for each line.
pub(super) struct Lines;

/// Writer of one line: the subscriber writes whole lines.
pub(super) struct OneLine;

impl MakeWriter<'_> for Lines {
    type Writer = OneLine;

    fn make_writer(&self) -> OneLine {
        OneLine
    }
}

impl Write for OneLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
