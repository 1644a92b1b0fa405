//! A real PostgreSQL for tests, in a temporary directory.
//!
//! A shell supervises it: it executes commands from its standard input, and when that ends, even by a crash of the test,
//! it stops PostgreSQL and removes the directory.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Script of the shell. `$1`: the directory, `$2`: the directory of PostgreSQL's programs, the rest: settings.
const SUPERVISOR: &str = r#"
cd "$1" || exit 1
directory=$1 programs=$2
shift 2
start() {
  tries=0 postgres=
  until "$programs/pg_isready" -q -h "$directory"; do
    # After it was killed its children may take a moment to go, and a new one does not start before.
    if ! kill -0 $postgres 2> /dev/null; then
      [ $((tries += 1)) -lt 100 ] || { cat log >&2; exit 1; }
      "$programs/postgres" -D data -k "$directory" -c listen_addresses= "$@" >> log 2>&1 &
      postgres=$!
    fi
    sleep 0.05
  done
}
all() {
  echo $postgres
  for status in /proc/[0-9]*/stat; do
    read -r pid _ _ parent _ < "$status" && [ "$parent" = $postgres ] && echo "$pid"
  done 2> /dev/null
}
"$programs/initdb" -D data -U tricast -A trust -E UTF8 --locale=C --no-sync > log 2>&1 || { cat log >&2; exit 1; }
start "$@"
echo ready
while read -r word rest; do
  case $word in
    kill) kill -KILL $postgres; wait $postgres ;;
    start) start "$@" ;;
    signal) kill "-$rest" $(all) ;;
    sql) "$programs/psql" -q -X -v ON_ERROR_STOP=1 -h "$directory" -U tricast -d postgres -c "$rest" >> log 2>&1 || { cat log >&2; exit 1; } ;;
  esac
  echo done
done
kill -CONT $(all)
kill -QUIT $postgres
wait $postgres
cd / && rm -rf "$directory"
"#;

/// Running PostgreSQL server with a data directory of its own.
pub(crate) struct Cluster {
    directory: PathBuf,
    databases: AtomicU32,
    shell: Mutex<Shell>,
}

struct Shell {
    _process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Cluster {
    /// Returns the PostgreSQL that all tests of this process share; each uses a database of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["fsync=off", "shared_preload_libraries=pg_stat_statements"]))
    }

    /// Starts a PostgreSQL for a single test, with these settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_in(&Self::make_directory(), settings)
    }

    /// Starts a PostgreSQL with TLS as `localhost` on an address of its own. Returns that address too.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn start_with_tls(certificate: &str, key: &str) -> (Self, String) {
        let directory = Self::make_directory();
        for (name, text) in [("server.pem", certificate), ("server.key", key)] {
            let file = directory.join(name);
            fs::write(&file, text).unwrap();
            // PostgreSQL refuses a key that others can read.
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = substitute() {
                chown(&file, Some(user), Some(group)).unwrap();
            }
        }
        let process = std::process::id();
        // No other process uses the address, so its port is free.
        let address = format!("127.{}.{}.{}", process >> 16 & 127 | 128, process >> 8 & 255, process & 255);
        let file = |name: &str| {
            format!("ssl_{name}_file={}/server.{}", directory.display(), if name == "key" { "key" } else { "pem" })
        };
        let settings = ["ssl=on", &file("cert"), &file("key"), &format!("listen_addresses={address}")];
        (Self::start_in(&directory, &settings), address)
    }

    fn make_directory() -> PathBuf {
        let directory = tempfile::Builder::new().prefix("tricast-postgres-").tempdir().unwrap().keep();
        // PostgreSQL refuses to run as root.
        if let Some((user, group)) = substitute() {
            chown(&directory, Some(user), Some(group)).unwrap();
        }
        directory
    }

    fn start_in(directory: &Path, settings: &[&str]) -> Self {
        let programs = programs();
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "sh"]).args([directory, &programs]);
        for setting in settings.iter().chain(&["max_connections=200", "shared_buffers=32MB"]) {
            command.args(["-c", setting]);
        }
        if let Some((user, group)) = substitute() {
            command.uid(user).gid(group);
        }
        // Otherwise Ctrl-C would end it before its shell can.
        let mut process = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut shell = Shell { _process: process, orders, answers };
        shell.answer("ready");
        Self { directory: directory.to_owned(), databases: AtomicU32::new(0), shell: Mutex::new(shell) }
    }

    /// Creates an empty database and returns its URL.
    pub(crate) fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name}"));
        self.url("tricast", &name)
    }

    /// Returns the URL of a database for that user.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={user}", self.directory.display())
    }

    /// Runs one statement as the superuser.
    pub(crate) fn sql(&self, sql: &str) {
        self.command(&format!("sql {}", sql.replace('\n', " ")));
    }

    /// Kills PostgreSQL at once, as a power cut would.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn kill(&self) {
        self.command("kill");
    }

    /// Starts PostgreSQL again after a kill; it accepts connections on return.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn start_again(&self) {
        self.command("start");
    }

    /// Sends a signal to all its processes: `STOP`, `CONT`.
    #[allow(dead_code, reason = "not every program of tests needs it")]
    pub(crate) fn signal(&self, name: &str) {
        self.command(&format!("signal {name}"));
    }

    fn command(&self, command: &str) {
        let mut shell = self.shell.lock().unwrap();
        writeln!(shell.orders, "{command}").unwrap();
        shell.answer("done");
    }
}

impl Shell {
    fn answer(&mut self, expected: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected, "PostgreSQL failed; its output is above");
    }
}

/// Returns the directory of PostgreSQL's programs, of the newest installed version.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> =
        versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).collect();
    found.sort();
    let in_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    found.pop().or_else(|| in_path.into_iter().find(|bin| bin.join("initdb").exists())).unwrap()
}

/// Returns the user and group that run PostgreSQL if the tests run as root.
fn substitute() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}
