//! Child processes on the core under test, and their statistics from the kernel.

use std::{
    fs, io,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    Outcome,
    settings::{CORE, Settings},
};

/// Program under test. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    /// Address that it listens on.
    pub(crate) address: SocketAddr,
    /// Time of its start.
    pub(crate) started: Instant,
    _directory: TempDir,
}

impl Process {
    /// Starts `tricast` with one worker and its defaults.
    pub(crate) fn tricast(settings: &Settings) -> Outcome<Self> {
        Self::tricast_with(settings, &[])
    }

    /// Starts it with more arguments.
    pub(crate) fn tricast_with(settings: &Settings, arguments: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(&settings.program);
        command.args(["--workers", "1", "--listen", "127.0.0.1:0"]).args(arguments);
        // A build may have limits per address; here all clients have the same one.
        let reference = Command::new(&settings.program).args(["print-config", "--reference"]).output()?;
        let reference = String::from_utf8_lossy(&reference.stdout).into_owned();
        for limit in ["max_connections_per_address", "max_connections_per_user", "handshakes_per_second_per_address"] {
            if reference.contains(&format!("limits.{limit}")) {
                command.env(format!("TRICAST_LIMITS__{}", limit.to_uppercase()), "0");
            }
        }
        Self::start(settings, &command, tempfile::tempdir()?, None)
    }

    /// Starts `command` on the core under test, with exactly the given environment. The program prints its address on
    /// standard output, unless it is `known`. The working directory is removed at the end.
    pub(crate) fn start(
        settings: &Settings,
        command: &Command,
        directory: TempDir,
        known: Option<SocketAddr>,
    ) -> Outcome<Self> {
        let mut pinned = match installed("taskset").filter(|_| settings.pinned) {
            Some(taskset) => {
                let mut pinned = Command::new(taskset);
                pinned.args(["-c", CORE]).arg(command.get_program());
                pinned
            }
            None => Command::new(command.get_program()),
        };
        let environment = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        pinned.args(command.get_args()).env_clear().envs(environment).current_dir(directory.path());
        pinned.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let started = Instant::now();
        let mut child = pinned.spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (line_tx, lines) = sync_channel(64);
        thread::spawn(move || {
            // Until the child or the receiver has ended.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line_tx.send(line).is_err() {
                    break;
                }
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Self { child, lines, address: known.unwrap_or(nowhere), started, _directory: directory };
        if known.is_none() {
            process.address = process.printed_address()?;
        }
        Ok(process)
    }

    fn printed_address(&self) -> Outcome<SocketAddr> {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(10)).map_err(|_| "the program does not start")?;
            let last = line.split_whitespace().last().unwrap_or_default();
            if let Ok(address) = last.trim_start_matches("http://").trim_end_matches('/').parse() {
                return Ok(address);
            }
        }
    }

    /// Waits until a program that does not print its address accepts connections.
    pub(crate) fn wait_until_it_listens(&self) -> Outcome<()> {
        for _ in 0..100 {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("the program does not listen".into())
    }

    /// Writes a line to its standard input.
    pub(crate) fn write_line(&mut self, line: &str) -> io::Result<()> {
        let Some(stdin) = &mut self.child.stdin else { return Ok(()) };
        writeln!(stdin, "{line}")
    }

    /// Returns the next line of its output, if there is one.
    pub(crate) fn next_line(&self) -> Outcome<Option<String>> {
        match self.lines.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err("the program has ended".into()),
        }
    }

    /// Returns the run time of all its threads so far.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let cpu = self.schedule(0)?;
        if cpu.is_zero() { Err("the kernel counts no run times (/proc/PID/schedstat)".into()) } else { Ok(cpu) }
    }

    /// Returns the time for which its threads were ready but waited for the core.
    pub(crate) fn waited(&self) -> Outcome<Duration> {
        self.schedule(1)
    }

    fn schedule(&self, field: usize) -> Outcome<Duration> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end in between.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            sum += text.split_whitespace().nth(field).and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }

    /// Returns its ticks in user space and in the kernel. They are sampled, so only their ratio over a long time is
    /// meaningful.
    pub(crate) fn ticks(&self) -> Outcome<(u64, u64)> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat looks different")?;
        let field = |number: usize| fields.split_whitespace().nth(number).and_then(|ticks| ticks.parse().ok());
        Ok((field(11).unwrap_or(0), field(12).unwrap_or(0)))
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1_024)
    }

    /// Sends SIGTERM, upon which the server drains.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status().map(drop)
    }

    /// Returns whether it has ended.
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        self.child.try_wait().map(|status| status.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the path of an installed program.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Binds this process and its future children to `cores`; returns false if that fails.
pub(crate) fn stay_on(cores: &str) -> bool {
    let Some(taskset) = installed("taskset") else { return false };
    let mut command = Command::new(taskset);
    command.args(["-apc", cores, &std::process::id().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
