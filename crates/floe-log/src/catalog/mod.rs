//! Catalog of topics, log ids, recovery points and committed offsets in one `redb` database.
//!
//! Every change is one durable transaction. The tables are listed in `docs/formats/log.md`.

mod closed;
mod durable;
mod rows;
mod verify;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};

use crate::{
    LogError, TopicConfig,
    database_file::{DatabaseFile, Failure},
    disk::{Disk, Open, read_all},
    invariant::invariant,
    reserve::Reserve,
};
use rows::{
    DELETING, LOGS, METADATA, OFFSETS, RECOVERY, SYSTEM, TOPICS, add_logs, changes, count_change,
    insert_topic, prepare, read_offsets, read_system, read_topics, retention_row, take_ids,
};
use verify::{Verdict, guarded, verify, version_of};

pub(crate) use closed::{CatalogVersion, ClosedCatalog};
pub(crate) use durable::DurableLog;
use durable::remove_fences;

/// Version of the data directory's format.
///
/// Format 1 lacks `deleting` and `store_id`; opening for writing upgrades it. Releases that know only format 1 delete
/// logs without a topic, so they must not open a directory of format 2.
pub(crate) const FORMAT_VERSION: u64 = 2;

/// Consequence of a catalog that lacks changes.
pub(crate) const EARLIER: &str = "topics, settings and stored offsets may be those of an earlier time";

/// Name of the file.
pub(crate) const CATALOG_FILE: &str = "meta.redb";

/// Largest file that is verified at opening: the copy is held in memory.
pub(crate) const MAX_VERIFIED: usize = 256 << 20;

/// Cache size for database pages. The catalog is small, and the store keeps its contents in memory anyway.
const CACHE_BYTES: usize = 8 << 20;

/// Point up to which a log is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DurablePoint {
    pub(crate) segment: i64,
    pub(crate) position: u64,
    pub(crate) next: i64,
}

/// Stored topic.
#[derive(Debug, Clone)]
pub(crate) struct StoredTopic {
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) created_ms: i64,
    pub(crate) config: TopicConfig,
    pub(crate) logs: Vec<StoredLog>,
}

/// Stored log of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredLog {
    pub(crate) id: u64,
    pub(crate) start: i64,
    pub(crate) durable: Option<DurablePoint>,
}

/// Stored committed offset.
#[derive(Debug, Clone)]
pub(crate) struct StoredOffset {
    pub(crate) group: String,
    pub(crate) topic_id: u64,
    pub(crate) partition: u32,
    pub(crate) offset: i64,
    pub(crate) modified_ms: i64,
    pub(crate) metadata: String,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    store_id: u64,
    /// Problems of the file that the store survives.
    pub(crate) problems: Vec<String>,
    /// Space for changes on a full disk that free space.
    pub(crate) reserve: Reserve,
    state: Mutex<DatabaseState>,
}

#[derive(Debug)]
enum DatabaseState {
    Open(OpenDatabase),
    /// A file operation failed, after which redb refuses all operations. The next change reopens the file.
    Failed {
        /// Number of the change in flight, which may or may not be stored.
        doubtful: Option<u64>,
    },
    /// The database is dropped with the store's lock still held: later it could write into a file that another store
    /// has open.
    Closed,
}

#[derive(Debug)]
struct OpenDatabase {
    database: Database,
    failure: Arc<OnceLock<Failure>>,
}

/// Change in flight.
#[derive(Debug)]
struct Attempt<T> {
    /// Number of the change, once it could be stored.
    number: Option<u64>,
    /// Return value of the change.
    result: Option<T>,
}

impl OpenDatabase {
    /// `verifies` makes redb check all pages and go back to the previous commit if one is damaged.
    fn open(disk: &dyn Disk, path: &Path, how: Open, verifies: bool) -> Result<Self, LogError> {
        let file = disk.open(path, how).map_err(|e| LogError::io(path, "open", e))?;
        let failure = Arc::new(OnceLock::new());
        let backend = DatabaseFile { file, failure: Arc::clone(&failure) };
        let database = guarded(|| {
            Database::builder()
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(verifies)
                .create_with_backend(backend)
        })
        .map_err(|problem| LogError::CatalogDamaged { path: path.to_path_buf(), problem })?
        .map_err(|error| catalog_error(path, error.into(), failure.get()))?;
        Ok(Self { database, failure })
    }

    /// Runs one transaction; `attempt` records how far it got.
    fn write<T>(
        &self,
        attempt: &mut Attempt<T>,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        attempt.number = Some(count_change(&transaction)?);
        attempt.result = Some(change(&transaction)?);
        transaction.commit()?;
        Ok(())
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        look(&self.database.begin_read()?)
    }
}

impl Catalog {
    /// Opens the catalog that was examined, creates it if the file is missing or empty, and upgrades an older format.
    /// `store_id` is the id of a new store.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        store_id: u64,
        examined: Examined,
    ) -> Result<Self, LogError> {
        let Examined { undone, changed } = examined;
        let reserve = Reserve::new(Arc::clone(&disk), path.with_file_name("reserve"));
        let open = || OpenDatabase::open(&*disk, path, Open::WriteOrCreate, undone.is_some());
        // After a crash the database repairs itself and may have to grow for that.
        let open = match open() {
            Err(LogError::DiskFull { .. }) if reserve.release() => open()?,
            opened => opened?,
        };
        let system =
            open.read(read_system).map_err(|error| catalog_error(path, error, open.failure.get()))?;
        let state = Mutex::new(DatabaseState::Open(open));
        let undone =
            undone.map(|problem| format!("the last change of the catalog was undone: {problem}; {EARLIER}"));
        let problems = undone.into_iter().chain(changed).collect();
        let mut catalog = Self { disk, path: path.to_path_buf(), store_id, problems, reserve, state };
        match system {
            Some((found, _)) if found == 0 || found > FORMAT_VERSION => {
                return Err(LogError::Format { found, supported: FORMAT_VERSION });
            }
            Some((FORMAT_VERSION, Some(stored))) => catalog.store_id = stored,
            _ => catalog.write(|transaction| prepare(transaction, store_id))?,
        }
        Ok(catalog)
    }

    /// Returns the low half of the store id, which fits into the headers of files.
    pub(crate) fn short_store_id(&self) -> u32 {
        u32::try_from(self.store_id & u64::from(u32::MAX)).unwrap_or_default()
    }

    /// Returns the number of stored changes.
    pub(crate) fn changes(&self) -> Result<u64, LogError> {
        self.read(|transaction| changes(&transaction.open_table(SYSTEM)?))
    }

    /// Returns the store and the number of stored changes.
    pub(crate) fn version(&self) -> Result<CatalogVersion, LogError> {
        Ok(CatalogVersion { store_id: self.store_id, changes: self.changes()? })
    }

    /// Returns the id that distinguishes this store from all others.
    pub(crate) fn store_id(&self) -> u64 {
        self.store_id
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, LogError> {
        let mut state = self.state.lock();
        let open = self.database(&mut state)?;
        let mut attempt = Attempt { number: None, result: None };
        let outcome = open.write(&mut attempt, change);
        if let Err(error) = self.note_failure(&mut state, attempt.number, outcome)
            && !self.is_stored_despite_failure(&mut state, attempt.number)
        {
            return Err(error);
        }
        invariant!(attempt.result.is_some(), "a stored change has a result");
        attempt.result.ok_or(LogError::Closed)
    }

    /// Makes a change that allows files to be removed: on a full disk with the help of the reserve.
    fn write_to_free<T>(
        &self,
        change: impl Fn(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, LogError> {
        match self.write(&change) {
            Err(LogError::DiskFull { .. }) if self.reserve.release() => self.write(&change),
            result => result,
        }
    }

    fn read<T>(&self, look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, LogError> {
        let mut state = self.state.lock();
        let result = self.database(&mut state)?.read(look);
        self.note_failure(&mut state, None, result)
    }

    /// Returns the database, and reopens it after a failure.
    fn database<'s>(&self, state: &'s mut DatabaseState) -> Result<&'s OpenDatabase, LogError> {
        if let DatabaseState::Failed { doubtful } = state {
            let (open, changes) = self.reopen()?;
            // The change was stored although it was reported as failed: memory and database agree again only after the
            // store is reopened.
            if doubtful.is_some_and(|doubtful| changes >= doubtful) {
                return Err(LogError::catalog(redb::Error::PreviousIo));
            }
            tracing::info!(path = %self.path.display(), "the catalog was reopened after a disk error");
            *state = DatabaseState::Open(open);
        }
        match state {
            DatabaseState::Open(open) => Ok(open),
            DatabaseState::Failed { .. } | DatabaseState::Closed => Err(LogError::Closed),
        }
    }

    /// Reopens the database and returns it with the number of stored changes.
    fn reopen(&self) -> Result<(OpenDatabase, u64), LogError> {
        let open = OpenDatabase::open(&*self.disk, &self.path, Open::Write, false)?;
        let changes = open
            .read(|transaction| changes(&transaction.open_table(SYSTEM)?))
            .map_err(|error| catalog_error(&self.path, error, open.failure.get()))?;
        Ok((open, changes))
    }

    /// Returns whether a failed change is stored nevertheless, which happens if its last write failed after it took
    /// effect. One more transaction then makes it durable.
    fn is_stored_despite_failure(&self, state: &mut DatabaseState, number: Option<u64>) -> bool {
        let (DatabaseState::Failed { .. }, Some(number)) = (&*state, number) else { return false };
        let Ok((open, changes)) = self.reopen() else { return false };
        let is_stored = changes >= number;
        if is_stored && open.write(&mut Attempt { number: None, result: None }, |_| Ok(())).is_err() {
            return false;
        }
        *state = DatabaseState::Open(open);
        is_stored
    }

    /// Abandons a database whose file failed. Not after a failed sync: reading the file again cannot tell whether the
    /// unsynced pages are lost.
    fn note_failure<T>(
        &self,
        state: &mut DatabaseState,
        doubtful: Option<u64>,
        result: Result<T, redb::Error>,
    ) -> Result<T, LogError> {
        let DatabaseState::Open(open) = state else {
            invariant!(false, "an operation runs on an open database");
            return Err(LogError::Closed);
        };
        let failure = open.failure.get().copied();
        if failure.is_some_and(|failure| !failure.is_sync) {
            *state = DatabaseState::Failed { doubtful };
        }
        result.map_err(|error| catalog_error(&self.path, error, failure.as_ref()))
    }

    pub(crate) fn close(&self) {
        *self.state.lock() = DatabaseState::Closed;
    }

    pub(crate) fn topics(&self) -> Result<Vec<StoredTopic>, LogError> {
        self.read(read_topics)
    }

    pub(crate) fn create_topic(
        &self,
        name: &str,
        config: TopicConfig,
        created_ms: i64,
    ) -> Result<StoredTopic, LogError> {
        self.write(|transaction| {
            let id = take_ids(transaction, 1)?;
            insert_topic(transaction, name, id, &config, created_ms)?;
            let logs = add_logs(transaction, id, 0..config.partitions)?;
            Ok(StoredTopic { name: name.to_owned(), id, created_ms, config, logs })
        })
    }

    /// Adds a topic with logs that exist already, given as (log id, start); None takes a new log. The topic keeps its
    /// id unless another topic has it.
    pub(crate) fn adopt_topic(
        &self,
        name: &str,
        (id, created_ms): (u64, i64),
        config: TopicConfig,
        present: &[Option<(u64, i64)>],
    ) -> Result<StoredTopic, LogError> {
        self.write(|transaction| {
            let is_taken = transaction.open_table(TOPICS)?.iter()?.any(|row| {
                // A row that cannot be read fails the transaction below.
                row.is_ok_and(|(_, row)| row.value().0 == id)
            });
            let id = if id == 0 || is_taken { take_ids(transaction, 1)? } else { id };
            insert_topic(transaction, name, id, &config, created_ms)?;
            let mut logs = Vec::new();
            for (number, log) in (0..).zip(present) {
                match log {
                    None => logs.extend(add_logs(transaction, id, number..number + 1)?),
                    Some((log, start)) => {
                        transaction.open_table(LOGS)?.insert((id, number), (*log, *start))?;
                        logs.push(StoredLog { id: *log, start: *start, durable: None });
                    }
                }
            }
            Ok(StoredTopic { name: name.to_owned(), id, created_ms, config, logs })
        })
    }

    /// Raises the next id to at least `next`.
    pub(crate) fn raise_next_id(&self, next: u64) -> Result<(), LogError> {
        let present = self.read(|transaction| {
            Ok(transaction.open_table(SYSTEM)?.get("next_id")?.map_or(1, |id| id.value()))
        })?;
        if present >= next {
            return Ok(());
        }
        self.write(|transaction| {
            transaction.open_table(SYSTEM)?.insert("next_id", next)?;
            Ok(())
        })
    }

    /// Returns the ids of logs whose topic is deleted and whose files may still exist.
    pub(crate) fn deleting(&self) -> Result<Vec<u64>, LogError> {
        self.read(|transaction| {
            let table = transaction.open_table(DELETING)?;
            let mut logs = Vec::new();
            for row in table.iter()? {
                logs.push(row?.0.value());
            }
            Ok(logs)
        })
    }

    /// Forgets logs of deleted topics once their files are gone.
    pub(crate) fn finish_deleting(&self, logs: &[u64]) -> Result<(), LogError> {
        if logs.is_empty() {
            return Ok(());
        }
        self.write_to_free(|transaction| {
            let mut deleting = transaction.open_table(DELETING)?;
            for log in logs {
                deleting.remove(log)?;
            }
            Ok(())
        })
    }

    pub(crate) fn add_partitions(
        &self,
        name: &str,
        id: u64,
        from: u32,
        total: u32,
    ) -> Result<Vec<StoredLog>, LogError> {
        self.write(|transaction| {
            let mut topics = transaction.open_table(TOPICS)?;
            let row = topics.get(name)?.map(|row| row.value());
            if let Some(mut row) = row {
                row.1 = total;
                topics.insert(name, row)?;
            }
            add_logs(transaction, id, from..total)
        })
    }

    /// Stores the retention of a topic.
    pub(crate) fn set_retention(&self, name: &str, config: &TopicConfig) -> Result<(), LogError> {
        self.write(|transaction| {
            let mut topics = transaction.open_table(TOPICS)?;
            let row = topics.get(name)?.map(|row| row.value());
            if let Some(mut row) = row {
                (row.5, row.6) = retention_row(config);
                topics.insert(name, row)?;
            }
            Ok(())
        })
    }

    pub(crate) fn delete_topic(&self, name: &str, id: u64, logs: &[u64]) -> Result<(), LogError> {
        self.write_to_free(|transaction| {
            transaction.open_table(TOPICS)?.remove(name)?;
            transaction.open_table(METADATA)?.retain_in((id, "")..(id + 1, ""), |_, _| false)?;
            transaction.open_table(LOGS)?.retain_in((id, 0)..(id + 1, 0), |_, _| false)?;
            let mut recovery = transaction.open_table(RECOVERY)?;
            let mut deleting = transaction.open_table(DELETING)?;
            for log in logs {
                recovery.remove(log)?;
                deleting.insert(log, ())?;
            }
            remove_fences(transaction, logs)?;
            transaction.open_table(OFFSETS)?.retain(|(_, topic, _), _| topic != id)?;
            Ok(())
        })
    }

    /// Stores the starts of logs, given as (topic id, partition, log id, start), in one transaction.
    pub(crate) fn set_starts(&self, starts: &[(u64, u32, u64, i64)]) -> Result<(), LogError> {
        if starts.is_empty() {
            return Ok(());
        }
        self.write_to_free(|transaction| {
            let mut logs = transaction.open_table(LOGS)?;
            for (topic, partition, log, start) in starts {
                // The row is missing if the topic was deleted in the meantime; it must not return. A later start stays,
                // since files before it may be removed.
                let present = logs.get((*topic, *partition))?.map(|row| row.value().1);
                if present.is_some_and(|present| present < *start) {
                    logs.insert((*topic, *partition), (*log, *start))?;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn offsets(&self) -> Result<Vec<StoredOffset>, LogError> {
        self.read(read_offsets)
    }

    /// Applies offset changes in order, in one transaction.
    pub(crate) fn change_offsets(&self, changes: &[OffsetChange]) -> Result<(), LogError> {
        self.write(|transaction| {
            let mut offsets = transaction.open_table(OFFSETS)?;
            for change in changes {
                let key = (change.group.as_str(), change.topic_id, change.partition);
                match &change.value {
                    Some((offset, modified_ms, metadata)) => {
                        offsets.insert(key, (*offset, *modified_ms, metadata.as_str()))?;
                    }
                    None => {
                        offsets.remove(key)?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// Committed offset to store or remove.
#[derive(Debug, Clone)]
pub(crate) struct OffsetChange {
    pub(crate) group: String,
    pub(crate) topic_id: u64,
    pub(crate) partition: u32,
    /// Offset, commit time, metadata; None removes the offset.
    pub(crate) value: Option<(i64, i64, String)>,
}

/// Result of examining a file that can be opened.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// Why the last change of the previous process is undone, if it is.
    undone: Option<String>,
    /// Description of bytes that changed after the catalog was closed, in places that the database does not verify.
    pub(crate) changed: Option<String>,
}

/// Verifies the file of a catalog, which was closed as `closed` says. A missing one, an empty one, and one above
/// [`MAX_VERIFIED`] pass.
pub(crate) fn examine(
    disk: &dyn Disk,
    path: &Path,
    closed: Option<ClosedCatalog>,
) -> Result<Examined, LogError> {
    let bytes = match disk.open(path, Open::Read).and_then(|file| read_all(&*file, MAX_VERIFIED + 1)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Examined::default()),
        Err(error) => return Err(LogError::io(path, "read", error)),
    };
    if bytes.is_empty() || bytes.len() > MAX_VERIFIED {
        return Ok(Examined::default());
    }
    // A catalog of another version comes from a backup; its age is compared later.
    let differing = closed
        .filter(|closed| ClosedCatalog::of(closed.version, &bytes) != *closed)
        .map(|closed| (closed.version, bytes.clone()));
    match verify(bytes).map_err(|error| LogError::io(path, "verify", error))? {
        Verdict::Whole => {
            let changed = differing.filter(|(version, bytes)| version_of(bytes) == Some(*version)).map(|_| {
                "bytes that no topic or offset uses have changed since the store was closed; a repair keeps all \
                 topics and offsets"
                    .to_owned()
            });
            Ok(Examined { undone: None, changed })
        }
        Verdict::LastCommitDamaged(problem) => Ok(Examined { undone: Some(problem), changed: None }),
        Verdict::Damaged(problem) => Err(LogError::CatalogDamaged { path: path.to_path_buf(), problem }),
    }
}

fn catalog_error(path: &Path, error: redb::Error, failure: Option<&Failure>) -> LogError {
    match failure.map(|failure| failure.kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            LogError::DiskFull { path: path.to_path_buf() }
        }
        Some(io::ErrorKind::NotFound) => LogError::Removed { path: path.to_path_buf() },
        Some(io::ErrorKind::UnexpectedEof) => damaged(path, &error),
        _ => match error {
            redb::Error::Corrupted(_) => damaged(path, &error),
            // A wrong magic number.
            redb::Error::Io(ref source) if source.kind() == io::ErrorKind::InvalidData => {
                damaged(path, &error)
            }
            error => LogError::catalog(error),
        },
    }
}

fn damaged(path: &Path, error: &redb::Error) -> LogError {
    LogError::CatalogDamaged { path: path.to_path_buf(), problem: error.to_string() }
}
