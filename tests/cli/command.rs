//! Runs the program: to its end, or beside the test with its output line by line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::Program;

/// Timeout for everything that should happen at once. Only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Server with a folder of its own, which is also the home of the commands.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) directory: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = Program::start_with(directory.path(), environment);
        Self { program, directory }
    }

    /// Kills the server and starts it again with the same data.
    pub(crate) fn restart(&mut self) {
        self.program.kill();
        self.program = Program::start(self.directory.path());
    }

    /// Returns a command that speaks to this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(self.directory.path(), &self.program.url, arguments)
    }

    /// Runs a command that has to succeed, and returns its output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let Ended { code, out, err } = run(&mut self.command(arguments));
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    /// Pushes an event with a number.
    pub(crate) fn push_event(&self, n: u64) {
        self.ok(&["push", "deploys", "--event", "released", &format!("n={n}")]);
    }
}

/// Returns a command with nothing of the environment but the URL of a server.
pub(crate) fn command(home: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tricast"));
    command.env_clear().env("HOME", home).env("TRICAST_URL", url).current_dir(home).args(arguments);
    command
}

/// Result of a command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

/// Runs a command with a text as its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Ended {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    running.input().write_all(input.as_bytes()).unwrap();
    drop(running.child.stdin.take());
    running.ended()
}

/// Command beside the test. It is killed at the end of the test.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Running {
    /// Starts a command and reads its output.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self { child, out: lines(out), err: lines(err) }
    }

    pub(crate) fn input(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().unwrap()
    }

    /// Returns the next line of standard output.
    pub(crate) fn line(&mut self) -> String {
        match self.out.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no further line; notes: {:?}", self.err.try_iter().collect::<Vec<_>>())
            }
            Err(RecvTimeoutError::Disconnected) => panic!("ended: {:?}", self.err.try_iter().collect::<Vec<_>>()),
        }
    }

    /// Returns the next line of standard output as JSON.
    pub(crate) fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Returns the next line of standard error that has `part`.
    pub(crate) fn note(&mut self, part: &str) -> String {
        let mut others = Vec::new();
        loop {
            match self.err.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => others.push(line),
                Err(_) => panic!("no note with {part:?} but {others:?}"),
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end.
    pub(crate) fn status(&mut self) -> ExitStatus {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                waited < PATIENCE,
                "the command does not end; notes: {:?}",
                self.err.try_iter().collect::<Vec<_>>()
            );
            thread::park_timeout(Duration::from_millis(10));
            waited += Duration::from_millis(10);
        }
    }

    /// Waits for the end and returns the rest of the output.
    pub(crate) fn ended(mut self) -> Ended {
        let code = self.status().code().unwrap_or(-1);
        let text = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
        Ended { code, out: text(&self.out), err: text(&self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines that a test does not read wait here.
const QUEUE: usize = 100_000;

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = sync_channel(QUEUE);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if line.map_or(true, |line| sender.send(line).is_err()) {
                return;
            }
        }
    });
    lines
}
