//! A real Redis of a test's own, in a directory that goes with it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// A running Redis, or a sentinel.
pub(crate) struct Redis {
    process: Child,
    arguments: Vec<String>,
    /// What `redis-cli` needs to find it.
    way: Vec<String>,
    place: TempDir,
}

impl Redis {
    /// One that is spoken to by a Unix socket.
    pub(crate) fn start() -> Self {
        let place = tempfile::Builder::new().prefix("tricast-redis-").tempdir().unwrap();
        let socket = place.path().join("redis.sock").display().to_string();
        let arguments = ["--port", "0", "--unixsocket", &socket].map(str::to_owned).to_vec();
        Self::start_in(place, arguments, vec!["-s".into(), socket])
    }

    /// One at this port of the loopback address, with further arguments.
    pub(crate) fn at(port: u16, arguments: &[&str], way: &[&str]) -> Self {
        let place = tempfile::Builder::new().prefix("tricast-redis-").tempdir().unwrap();
        Self::in_place(place, port, arguments, way)
    }

    /// The same, where files were put before.
    pub(crate) fn in_place(place: TempDir, port: u16, arguments: &[&str], way: &[&str]) -> Self {
        let port = port.to_string();
        let has_port = arguments.contains(&"--port");
        let first: &[&str] = if has_port { &[] } else { &["--port", &port] };
        let arguments = first.iter().chain(arguments).map(|text| (*text).to_owned()).collect();
        let way = ["-p", &port].iter().chain(way).map(|text| (*text).to_owned()).collect();
        Self::start_in(place, arguments, way)
    }

    fn start_in(place: TempDir, arguments: Vec<String>, way: Vec<String>) -> Self {
        let process = run(place.path(), &arguments);
        let mut redis = Self { process, arguments, way, place };
        redis.wait();
        redis
    }

    #[expect(clippy::disallowed_methods, reason = "the test has nothing else to do until it is there")]
    fn wait(&mut self) {
        for _ in 0..600 {
            if self.try_cli(&["ping"]).is_some_and(|answer| answer.contains("PONG")) {
                return;
            }
            assert!(self.process.try_wait().unwrap().is_none(), "redis-server ended; its words are above");
            thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server does not answer");
    }

    /// Its URL, of one with a Unix socket.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its Unix socket, of one with such.
    pub(crate) fn socket(&self) -> PathBuf {
        self.place.path().join("redis.sock")
    }

    /// Sends a signal: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Where its files are.
    pub(crate) fn place(&self) -> PathBuf {
        self.place.path().to_owned()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it after it was killed, with what it had written.
    pub(crate) fn start_again(&mut self) {
        self.process = run(self.place.path(), &self.arguments);
        self.wait();
    }

    /// What `redis-cli` answers.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|| panic!("redis-cli {arguments:?} failed"))
    }

    fn try_cli(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("redis-cli").args(&self.way).args(arguments).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

fn run(place: &Path, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    // A sentinel's file comes first.
    let (file, rest): (Vec<_>, Vec<_>) = arguments.iter().partition(|text| text.ends_with(".conf"));
    command.args(file).current_dir(place);
    if !rest.iter().any(|text| *text == "--sentinel") {
        // What it answered is in its file and on the disk, as of one that is to be relied on.
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

/// A port that nobody had a moment ago, whose neighbour `above` is free, too (a Redis Cluster needs both).
pub(crate) fn free_port(above: u16) -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if above == 0 || port.checked_add(above).is_some_and(|other| TcpListener::bind(("127.0.0.1", other)).is_ok()) {
            return port;
        }
    }
}

/// Writes a file that is to be there when it starts.
pub(crate) fn place_with(files: &[(&str, String)]) -> TempDir {
    let place = tempfile::Builder::new().prefix("tricast-redis-").tempdir().unwrap();
    for (name, text) in files {
        fs::write(place.path().join(name), text).unwrap();
    }
    place
}
