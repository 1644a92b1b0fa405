//! The program as a process of its own, for tests that kill it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// Running program. It is killed at the end of the test.
pub(crate) struct Program {
    child: Child,
    pub url: String,
    log: PathBuf,
}

impl Program {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    /// Starts it with variables of the environment.
    pub(crate) fn start_with(directory: &Path, environment: &[(&str, &str)]) -> Self {
        let log = File::create(directory.join("log")).unwrap();
        Self::start_logging(directory, environment, log.into())
    }

    /// Starts it with a target for its log.
    pub(crate) fn start_logging(directory: &Path, environment: &[(&str, &str)], log: Stdio) -> Self {
        Self::run(directory, environment, &["--data-dir", "data"], log)
    }

    /// Starts it with its data in memory, or where a variable says.
    pub(crate) fn start_without_directory(directory: &Path, environment: &[(&str, &str)]) -> Self {
        let log = File::create(directory.join("log")).unwrap();
        Self::run(directory, environment, &[], log.into())
    }

    fn run(directory: &Path, environment: &[(&str, &str)], arguments: &[&str], log: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tricast"));
        command.env_clear().envs(environment.iter().copied()).current_dir(directory);
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("dashboard")).unwrap();
        let url = line.split_whitespace().last().unwrap().trim_end_matches('/').to_owned();
        Self { child, url, log: directory.join("log") }
    }

    /// Returns its log so far, unless the log has another target.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Returns its log line by line, if it was started with [`Stdio::piped`].
    pub(crate) fn log_lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.child.stderr.take().unwrap()).lines().map_while(Result::ok)
    }

    /// Returns the ID of the process.
    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a signal: `STOP`, `CONT`, `HUP`, `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Kills the process with SIGKILL, as a crash would, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
