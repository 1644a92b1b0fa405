//! A real Redis for one test, in a temporary directory.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// Running Redis, or a sentinel.
pub(crate) struct Redis {
    process: Child,
    arguments: Vec<String>,
    /// Arguments of `redis-cli` for reaching it.
    way: Vec<String>,
    directory: TempDir,
}

impl Redis {
    /// Starts a Redis on a Unix socket.
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("tricast-redis-").tempdir().unwrap();
        let socket = directory.path().join("redis.sock").display().to_string();
        let arguments = ["--port", "0", "--unixsocket", &socket].map(str::to_owned).to_vec();
        Self::start_in(directory, arguments, vec!["-s".into(), socket])
    }

    /// Starts one at this port of the loopback address, with further arguments.
    pub(crate) fn at(port: u16, arguments: &[&str], way: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("tricast-redis-").tempdir().unwrap();
        Self::in_directory(directory, port, arguments, way)
    }

    /// Does the same in a directory with prepared files.
    pub(crate) fn in_directory(directory: TempDir, port: u16, arguments: &[&str], way: &[&str]) -> Self {
        let port = port.to_string();
        let has_port = arguments.contains(&"--port");
        let first: &[&str] = if has_port { &[] } else { &["--port", &port] };
        let arguments = first.iter().chain(arguments).map(|text| (*text).to_owned()).collect();
        let way = ["-p", &port].iter().chain(way).map(|text| (*text).to_owned()).collect();
        Self::start_in(directory, arguments, way)
    }

    fn start_in(directory: TempDir, arguments: Vec<String>, way: Vec<String>) -> Self {
        let process = run(directory.path(), &arguments);
        let mut redis = Self { process, arguments, way, directory };
        redis.wait();
        redis
    }

    #[expect(clippy::disallowed_methods, reason = "the test has nothing else to do until it is there")]
    fn wait(&mut self) {
        for _ in 0..600 {
            if self.try_cli(&["ping"]).is_some_and(|answer| answer.contains("PONG")) {
                return;
            }
            assert!(self.process.try_wait().unwrap().is_none(), "redis-server ended; its output is above");
            thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server does not answer");
    }

    /// Returns its URL, for one with a Unix socket.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns its Unix socket, if it has one.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Sends a signal: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Returns the directory of its files.
    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Kills the process with SIGKILL, as a crash would, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it after it was killed, with its data.
    pub(crate) fn start_again(&mut self) {
        self.process = run(self.directory.path(), &self.arguments);
        self.wait();
    }

    fn append_only_file(&self) -> PathBuf {
        let files = fs::read_dir(self.directory.path().join("appendonlydir")).unwrap();
        let mut files = files.map(|entry| entry.unwrap().path());
        files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).unwrap()
    }

    /// Returns the number of bytes in its append-only file.
    pub(crate) fn written(&self) -> u64 {
        fs::metadata(self.append_only_file()).unwrap().len()
    }

    /// Starts it after it was killed, as after a crash of the machine: the append-only file ends after `written` bytes.
    pub(crate) fn start_again_with(&mut self, written: u64) {
        fs::File::options().write(true).open(self.append_only_file()).unwrap().set_len(written).unwrap();
        self.start_again();
    }

    /// Runs a command with `redis-cli` and returns the output.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|| panic!("redis-cli {arguments:?} failed"))
    }

    fn try_cli(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("redis-cli").args(&self.way).args(arguments).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

fn run(directory: &Path, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    // The file of a sentinel comes first.
    let (file, rest): (Vec<_>, Vec<_>) = arguments.iter().partition(|text| text.ends_with(".conf"));
    command.args(file).current_dir(directory);
    if !rest.iter().any(|text| *text == "--sentinel") {
        // Confirmed writes are in its file and on the disk, as in a reliable deployment.
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    }
    command.args(rest).stdout(Stdio::null()).spawn().unwrap()
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns a free port whose neighbour `above` is free too (a Redis Cluster needs both).
pub(crate) fn free_port(above: u16) -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if above == 0 || port.checked_add(above).is_some_and(|other| TcpListener::bind(("127.0.0.1", other)).is_ok()) {
            return port;
        }
    }
}

/// Creates the directory with files that have to exist at the start.
pub(crate) fn directory_with(files: &[(&str, String)]) -> TempDir {
    let directory = tempfile::Builder::new().prefix("tricast-redis-").tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}
