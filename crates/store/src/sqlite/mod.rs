//! SQLite: all tenants in one file, `tricast.sqlite`, or in memory.
//!
//! ```text
//! write ─▶ bounded queue ─▶ one thread: BEGIN, all waiting changes, COMMIT, results (group commit)
//! read  ─▶ bounded queue ─▶ a few threads with read-only connections               (a file)
//!                        └▶ the writing thread, as part of a group                 (in memory: there is one connection)
//! ```
//!
//! The file is in WAL mode with `synchronous=FULL`: a confirmed change survives the end of the process and, if the disk
//! flushes reliably, a power cut. That costs a flush of the disk per group, not per change. A failed change is rolled
//! back to the savepoint before it; when the commit of a group fails, all its changes fail.
//!
//! A lock on `tricast.lock` keeps a second process out, which would have neither the queue nor the figures in memory.
//! Reading the file with other programs, and `sqlite3 tricast.sqlite ".backup ..."`, is fine.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

mod alerts;
mod dashboards;
mod events;
mod failure;
mod health;
mod history;
mod keys;
mod orders;
mod outbox;
mod row;
mod schema;
mod threads;

use super::{
    abort::FromFailure,
    activity::{Activity, Gauges, Kind, PendingQuery},
};
use failure::{Abort, Failure};
use health::Health;
use threads::{Read, Write};

/// Name of the database file in the data directory.
const FILE: &str = "tricast.sqlite";

/// Name of the lock file, which is locked as long as a process uses the directory.
const LOCK: &str = "tricast.lock";

/// Largest number of changes that wait for the writing thread, of all tenants together; more are refused.
const WRITE_QUEUE: usize = 4_096;

/// Largest number of reads that wait for a reading thread; more are refused.
const READ_QUEUE: usize = 1_024;

/// Number of reading threads.
const READERS: usize = 2;

/// Longest time that a connection waits for another program that has locked the file, such as a backup.
const BUSY: Duration = Duration::from_secs(5);

/// Number of statements that a connection keeps prepared.
const STATEMENTS: usize = 64;

/// Page cache of a reader in kibibytes. Half of it holds a month of 200 fields by the hour, which is read repeatedly.
const CACHE_KIB: i64 = 16 * 1_024;

/// Size limit of a database in memory, in bytes; beyond it the store is full.
const MEMORY: u32 = 256 << 20;

/// Longest time that closing the store may take.
const CLOSING: Duration = Duration::from_secs(30);

/// Reason why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory can't be created or written.
    #[error("data_dir: {path} can't be used: {source}{}", hint_of(source), path = .path.display())]
    Directory {
        /// Path that was accessed.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("data_dir: {path} is in use by another process", path = .0.display())]
    InUse(PathBuf),
    /// The file is not a database, or is damaged.
    #[error("data_dir: {path} is no SQLite database, or it is damaged: {source}", path = .path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Error that SQLite reported.
        source: rusqlite::Error,
    },
    /// The database belongs to another program.
    #[error("data_dir: {path} is a database, but not one of tricast", path = .0.display())]
    Foreign(PathBuf),
    /// The database was written by a later version of the program.
    #[error(
        "data_dir: {path} has schema {found}, and this version of tricast supports {known} at most: use the version that \
         wrote it, or a newer one",
        path = .path.display()
    )]
    Newer {
        /// Path of the file.
        path: PathBuf,
        /// Schema of the file.
        found: i64,
        /// Newest schema that this version supports.
        known: i64,
    },
    /// SQLite returned another error.
    #[error("data_dir: {path} can't be opened: {source}", path = .path.display())]
    Database {
        /// Path of the file.
        path: PathBuf,
        /// Error that SQLite reported.
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    #[error("can't start a thread of the store: {0}")]
    Thread(io::Error),
}

/// Returns advice about an error of the operating system.
fn hint_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": it belongs to another user; start the server as that user, or configure another directory"
        }
        _ => "",
    }
}

/// Store of all tenants in SQLite. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` once the store is closed. Locked only to queue work, never across an await.
    queues: RwLock<Option<Queues>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Number of connections, one per thread.
    connections: usize,
    activity: Arc<Activity>,
    health: Arc<Health>,
}

struct Queues {
    write: mpsc::Sender<Write>,
    /// `None` in memory, where the writing thread reads as well.
    read: Option<mpsc::Sender<Read>>,
}

impl SqliteStore {
    /// Opens the store in `directory`, which is created if it does not exist; the file may grow without a limit.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_within(directory, 0)
    }

    /// Opens the store with a file of at most `max_bytes`, beyond which the store is full; 0 means no limit. A file
    /// that is larger already grows no further. The journal is not counted.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_within(directory: &Path, max_bytes: usize) -> Result<Self, OpenError> {
        let touch = |path: &Path, source| OpenError::Directory { path: path.to_owned(), source };
        make_private(directory).map_err(|source| touch(directory, source))?;
        let lock = directory.join(LOCK);
        let locked = open_private(&lock).map_err(|source| touch(&lock, source))?;
        locked.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(directory.to_owned()),
            TryLockError::Error(source) => touch(&lock, source),
        })?;
        let path = directory.join(FILE);
        open_private(&path).map_err(|source| touch(&path, source))?;
        for beside in ["-wal", "-shm"].map(|suffix| directory.join(format!("{FILE}{suffix}"))) {
            // SQLite creates them with the mode of the database; these exist from before.
            if let Ok(file) = File::open(&beside) {
                close_to_others(&file, &beside);
            }
        }
        let mut writer = Connection::open(&path).map_err(|source| failure::of_opening(&path, source))?;
        let prepare = |connection: &Connection| -> rusqlite::Result<()> {
            connection.busy_timeout(BUSY)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            connection.pragma_update(None, "synchronous", "FULL")
        };
        prepare(&writer).map_err(|source| failure::of_opening(&path, source))?;
        // Before the journal mode is set, which would be written into a foreign file.
        schema::check(&writer, &path)?;
        schema::wal(&writer).map_err(|source| failure::of_opening(&path, source))?;
        schema::migrate(&mut writer, &path)?;
        bound(&writer, max_bytes).map_err(|source| failure::of_opening(&path, source))?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader = Connection::open_with_flags(&path, flags).and_then(|reader| {
                prepare(&reader)?;
                reader.pragma_update(None, "cache_size", -CACHE_KIB)?;
                Ok(reader)
            });
            readers.push(reader.map_err(|source| failure::of_opening(&path, source))?);
        }
        Self::start(writer, readers, Some(locked), Arc::default())
    }

    /// Opens the file of a store that another process uses, without its lock: for a few changes, which SQLite's own locks keep
    /// apart from those of that process.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::InUse`] if that process is of a version with another schema.
    pub fn beside(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        let open = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            Ok(connection)
        };
        let connection = open().map_err(|source| failure::of_opening(&path, source))?;
        schema::check(&connection, &path)?;
        if !schema::is_current(&connection).map_err(|source| failure::of_opening(&path, source))? {
            return Err(OpenError::InUse(directory.to_owned()));
        }
        Self::start(connection, Vec::new(), None, Arc::default())
    }

    /// Creates a store in memory with a limit of 256 MiB. Its data are lost with the process.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::in_memory_of(MEMORY, Arc::default())
    }

    /// Creates another store in memory with a limit of its own; both share their counters.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn another_in_memory(&self) -> Result<Self, OpenError> {
        Self::in_memory_of(MEMORY, Arc::clone(&self.inner.activity))
    }

    /// Returns whether both are the same store.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(super) fn in_memory_of(bytes: u32, activity: Arc<Activity>) -> Result<Self, OpenError> {
        let path = Path::new(schema::MEMORY);
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_in_memory()?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            connection.pragma_update(None, "page_size", 4_096)?;
            connection.query_row(&format!("PRAGMA max_page_count = {}", bytes / 4_096), [], |_| Ok(()))?;
            Ok(connection)
        };
        let mut connection = open().map_err(|source| failure::of_opening(path, source))?;
        schema::migrate(&mut connection, path)?;
        Self::start(connection, Vec::new(), None, activity)
    }

    fn start(
        writer: Connection,
        readers: Vec<Connection>,
        lock: Option<File>,
        activity: Arc<Activity>,
    ) -> Result<Self, OpenError> {
        let (write, writes) = mpsc::channel(WRITE_QUEUE);
        let health = Arc::<Health>::default();
        let writing = threads::start_writer(writer, writes, lock, Arc::clone(&health));
        let mut threads = vec![writing.map_err(OpenError::Thread)?];
        let mut read = None;
        if !readers.is_empty() {
            let (sender, reads) = mpsc::channel(READ_QUEUE);
            let reads = Arc::new(Mutex::new(reads));
            for reader in readers {
                threads.push(threads::start_reader(reader, Arc::clone(&reads)).map_err(OpenError::Thread)?);
            }
            read = Some(sender);
        }
        let queues = RwLock::new(Some(Queues { write, read }));
        let connections = threads.len();
        Ok(Self { inner: Arc::new(Inner { queues, threads: Mutex::new(threads), connections, activity, health }) })
    }

    /// Returns whether the store can be read, and committed its last change.
    pub async fn responds(&self) -> bool {
        self.is_available() && self.read::<_, Failure>(|_| Ok(())).await.is_ok()
    }

    /// Returns the counters of reads and changes.
    pub fn activity(&self) -> &Activity {
        &self.inner.activity
    }

    /// Returns the current state.
    pub fn gauges(&self) -> Gauges {
        let queues = self.inner.queues.read();
        let waiting = queues.as_ref().map_or(0, |Queues { write, read }| {
            let of_reads = read.as_ref().map_or(0, |read| READ_QUEUE - read.capacity());
            WRITE_QUEUE - write.capacity() + of_reads
        });
        let connections = if queues.is_some() { self.inner.connections } else { 0 };
        Gauges { waiting, connections, in_use: connections }
    }

    /// Writes all queued changes, moves the journal into the file, closes it and releases the directory. Later calls
    /// fail with `StoreError::Unavailable`.
    pub async fn close(&self) {
        // The threads end when their queues do.
        drop(self.inner.queues.write().take());
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        let joined = tokio::task::spawn_blocking(move || {
            // A panic of a thread was logged already.
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        if tokio::time::timeout(CLOSING, joined).await.is_err() {
            tracing::error!("the store did not close in time");
        }
    }

    /// Queues a change. Changes are made in the order of the calls.
    fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Abort<E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        self.enqueue(true, work)
    }

    /// Queues a change that need not survive a power cut: on its own it does not wait for the disk.
    fn write_unsynced<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Abort<E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        self.enqueue(false, work)
    }

    fn enqueue<T, E>(
        &self,
        synced: bool,
        work: impl FnOnce(&Connection) -> Result<T, Abort<E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = PendingQuery::begin(&self.inner.activity, Kind::Write);
        let sent = match &*self.inner.queues.read() {
            Some(queues) => queues.write.try_send(threads::write(work, reply, pending, synced)).map_err(Failure::from),
            None => Err(Failure::Closed),
        };
        Box::pin(async move {
            sent.map_err(E::from_failure)?;
            // Dropped without a result when the transaction could not be started.
            answer.await.unwrap_or_else(|_| Err(E::from_failure(Failure::Closed)))
        })
    }

    /// Queues a read of the database for one of the reading threads.
    fn read<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Abort<E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: FromFailure<Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = PendingQuery::begin(&self.inner.activity, Kind::Read);
        let sent = match &*self.inner.queues.read() {
            Some(Queues { read: Some(read), .. }) => {
                read.try_send(threads::read(work, reply, pending)).map_err(Failure::from)
            }
            Some(Queues { write, read: None }) => {
                write.try_send(threads::write(work, reply, pending, false)).map_err(Failure::from)
            }
            None => Err(Failure::Closed),
        };
        Box::pin(async move {
            sent.map_err(E::from_failure)?;
            answer.await.unwrap_or_else(|_| Err(E::from_failure(Failure::Closed)))
        })
    }
}

/// Creates a directory that only its owner can access, unless it exists.
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Opens a file for writing that only its owner can read, and creates it if it does not exist.
fn open_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    close_to_others(&file, path);
    Ok(file)
}

/// Removes the permissions of others if the file is accessible to every user of the machine, as earlier versions
/// created it. A file that only its group can access is left alone: that is intended.
fn close_to_others(file: &File, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(mode) = file.metadata().map(|metadata| metadata.permissions().mode()) else { return };
    if mode & 0o007 == 0 {
        return;
    }
    let closed = file.set_permissions(fs::Permissions::from_mode(mode & 0o700));
    match closed {
        Ok(()) => {
            tracing::info!(path = %path.display(), "removed the permissions of other users from this file")
        }
        Err(error) => tracing::warn!(path = %path.display(), %error, "every user of this machine can read this file"),
    }
}

/// Returns the number of a tenant; `None` for a tenant that never wrote.
fn tenant(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    use rusqlite::OptionalExtension;
    let mut find = connection.prepare_cached("SELECT id FROM tenants WHERE name = ?1")?;
    find.query_row([name], |row| row.get(0)).optional()
}

/// Returns the number of a tenant, which is assigned if it has none.
fn tenant_or_new(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    if let Some(id) = tenant(connection, name)? {
        return Ok(id);
    }
    connection.prepare_cached("INSERT INTO tenants (name) VALUES (?1)")?.execute([name])?;
    Ok(connection.last_insert_rowid())
}

/// Sets the size limit of the file; 0 means no limit.
fn bound(writer: &Connection, max_bytes: usize) -> rusqlite::Result<()> {
    if max_bytes == 0 {
        return Ok(());
    }
    let page: i64 = writer.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    // More pages than SQLite can count are as good as no limit.
    let pages = (i64::try_from(max_bytes).unwrap_or(i64::MAX) / page.max(1)).clamp(1, 4_294_967_294);
    writer.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

#[cfg(test)]
mod tests;
