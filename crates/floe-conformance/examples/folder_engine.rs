//! An engine for floe in one file, and the conformance suite on it: `cargo run -p floe-conformance --example folder_engine`.
//!
//! Each topic is a file of encoded batches, one after the other, in a folder. The engine keeps the batches in memory as
//! well, has one partition per topic and stores no offsets of groups; its capabilities say so, and the suite skips the
//! cases that need more.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use floe::{
    Error, ErrorKind, Result, Topic, TopicPartition, TopicSpec,
    engine::{
        AppendAck, AppendRequest, BatchReader, Capabilities, EncodedBatch, Engine, EngineInfo, Health,
        NodeHealth, ReadRequest, Start, Watermarks, batch::Split,
    },
    topic::{TopicEvent, TopicInfo},
};
use floe_conformance::{Target, run_suite};
use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

/// Name of the engine in errors, logs and metrics.
const NAME: &str = "folder";

/// Topic changes that a slow watcher may fall behind before its stream ends.
const WATCH_BACKLOG: usize = 1024;

/// Engine that stores topics as files in a folder.
#[derive(Debug)]
pub(crate) struct FolderEngine {
    folder: PathBuf,
    topics: Mutex<BTreeMap<Topic, Arc<TopicFile>>>,
    changes: broadcast::Sender<TopicEvent>,
    closed: Arc<AtomicBool>,
}

/// The file of one topic. Readers keep it after the topic is deleted, so a topic of the same name is never confused with
/// it.
#[derive(Debug)]
struct TopicFile {
    log: Mutex<TopicLog>,
    /// Wakes readers after an append, the deletion of the topic and the close of the engine.
    changed: Notify,
}

#[derive(Debug)]
struct TopicLog {
    file: File,
    len: u64,
    batches: Vec<EncodedBatch>,
    deleted: bool,
}

impl FolderEngine {
    /// Opens the folder, which may be new.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(storage_error)?;
        let mut topics = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(storage_error)? {
            let path = entry.map_err(storage_error)?.path();
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            topics.insert(Topic::from(name), Arc::new(TopicFile::open(&path)?));
        }
        let changes = broadcast::Sender::new(WATCH_BACKLOG);
        Ok(Self { folder: folder.to_owned(), topics: Mutex::new(topics), changes, closed: Arc::default() })
    }

    fn path(&self, topic: &Topic) -> PathBuf {
        // Valid names consist of a-z, 0-9 and '-': they are file names everywhere.
        self.folder.join(format!("{topic}.log"))
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) { Err(Error::closed("engine")) } else { Ok(()) }
    }

    fn topic_file(&self, name: &Topic) -> Result<Arc<TopicFile>> {
        self.check_open()?;
        let found = self.topics.lock().get(name).map(Arc::clone);
        found.ok_or_else(|| Error::new(ErrorKind::TopicNotFound, "no such topic"))
    }

    fn partition(&self, at: &TopicPartition) -> Result<Arc<TopicFile>> {
        let file = self.topic_file(&at.topic)?;
        if at.partition == 0 {
            Ok(file)
        } else {
            Err(Error::new(ErrorKind::PartitionNotFound, "one partition"))
        }
    }

    fn create(&self, spec: &TopicSpec) -> Result<()> {
        self.check_open()?;
        spec.validate()?;
        if spec.partitions != 1 {
            return Err(Error::unsupported("partitions", NAME));
        }
        let mut topics = self.topics.lock();
        if topics.contains_key(&spec.name) {
            return Err(Error::new(ErrorKind::TopicAlreadyExists, "the topic exists"));
        }
        topics.insert(spec.name.clone(), Arc::new(TopicFile::open(&self.path(&spec.name))?));
        // An error means that there are no watchers.
        let _ = self.changes.send(TopicEvent::Updated(TopicInfo::new(&spec.name, 1)));
        Ok(())
    }

    fn delete(&self, name: &Topic) -> Result<()> {
        let file = self.topic_file(name)?;
        let mut topics = self.topics.lock();
        fs::remove_file(self.path(name)).map_err(storage_error)?;
        topics.remove(name);
        let _ = self.changes.send(TopicEvent::Deleted(name.clone()));
        drop(topics);
        file.log.lock().deleted = true;
        file.changed.notify_waiters();
        Ok(())
    }

    fn infos(&self) -> Vec<TopicInfo> {
        self.topics.lock().keys().map(|name| TopicInfo::new(name, 1)).collect()
    }
}

impl TopicFile {
    /// Opens a file and reads its batches. A batch that a crash cut short was never acknowledged, and is cut off.
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(storage_error)?;
        let mut split = Split::new(fs::read(path).map_err(storage_error)?.into());
        let mut batches = Vec::new();
        for batch in split.by_ref() {
            batches.push(batch?);
        }
        let len = batches.iter().map(|batch| batch.len() as u64).sum();
        if !split.remaining().is_empty() {
            file.set_len(len).map_err(storage_error)?;
        }
        let log = Mutex::new(TopicLog { file, len, batches, deleted: false });
        Ok(Self { log, changed: Notify::new() })
    }

    /// Writes a batch through to the disk. The future of [`Engine::append`] does all of it in its first poll: that is how
    /// batches keep the order in which appends were started, and why a dropped append happened once or not at all.
    fn append(&self, batch: &EncodedBatch) -> Result<i64> {
        batch.verify_checksum()?;
        let mut log = self.log.lock();
        if log.deleted {
            return Err(Error::new(ErrorKind::TopicNotFound, "the topic was deleted"));
        }
        let base = log.end();
        let batch = batch.clone().with_base_offset(base);
        if let Err(error) = log.file.write_all(&batch.to_bytes()).and_then(|()| log.file.sync_data()) {
            // A torn batch must not stay in front of the next one.
            log.file.set_len(log.len).map_err(storage_error)?;
            return Err(storage_error(error));
        }
        log.len += batch.len() as u64;
        log.batches.push(batch);
        drop(log);
        self.changed.notify_waiters();
        Ok(base)
    }
}

impl TopicLog {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, EncodedBatch::next_offset)
    }

    /// Returns the batch that holds `offset`, or `None` at the end of the log.
    fn batch_at(&self, offset: i64) -> Option<&EncodedBatch> {
        self.batches.get(self.batches.partition_point(|batch| batch.next_offset() <= offset))
    }

    fn start_of(&self, from: Start) -> Result<i64> {
        match from {
            Start::Earliest => Ok(0),
            Start::Latest => Ok(self.end()),
            Start::Offset(offset) if (0..=self.end()).contains(&offset) => Ok(offset),
            Start::Offset(offset) => Err(Error::new(
                ErrorKind::OffsetOutOfRange,
                format!("offset {offset} is outside 0 to {}", self.end()),
            )),
        }
    }

    fn offset_for_time(&self, timestamp: i64) -> Result<Option<i64>> {
        for batch in &self.batches {
            for record in batch.records()? {
                let record = record?;
                if record.timestamp.is_some_and(|time| time >= timestamp) {
                    return Ok(Some(record.offset));
                }
            }
        }
        Ok(None)
    }
}

fn storage_error(error: io::Error) -> Error {
    Error::new(ErrorKind::StorageError, error.to_string()).with_source(error)
}

/// Answers a call at its first poll.
fn ready<'a, T: Send + 'a>(call: impl FnOnce() -> Result<T> + Send + 'a) -> BoxFuture<'a, Result<T>> {
    Box::pin(async move { call() })
}

impl Engine for FolderEngine {
    fn info(&self) -> EngineInfo {
        let mut capabilities = Capabilities::FULL;
        capabilities.partitions = false;
        capabilities.commit_offsets = false;
        capabilities.smartmodules = false;
        capabilities.conditional_appends = false;
        EngineInfo::new(NAME, capabilities)
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        ready(move || {
            let base = self.partition(&request.target)?.append(&request.batch)?;
            Ok(AppendAck::new(Some(base)))
        })
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        ready(move || {
            let file = self.partition(&request.source)?;
            let next = file.log.lock().start_of(request.from)?;
            Ok(Box::new(FolderReader { file, next, closed: Arc::clone(&self.closed) })
                as Box<dyn BatchReader>)
        })
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        ready(move || {
            let file = self.partition(&of)?;
            let log = file.log.lock();
            Ok(Watermarks::new(0, log.end(), Some(log.len)))
        })
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        ready(move || self.partition(&of)?.log.lock().offset_for_time(timestamp))
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        ready(|| self.check_open().map(|()| self.infos()))
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        ready(move || self.topic_file(&name).map(|_| TopicInfo::new(&name, 1)))
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        ready(move || self.create(&spec))
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        ready(move || self.delete(&name))
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        ready(|| {
            self.check_open()?;
            // Subscribed before the list is taken: a change in between is reported twice rather than not at all.
            let changes = self.changes.subscribe();
            let now = self.infos().into_iter().map(|info| Ok(TopicEvent::Updated(info)));
            let later = stream::unfold(changes, async |mut changes| {
                let change = changes.recv().await.ok()?;
                Some((Ok(change), changes))
            });
            Ok(stream::iter(now).chain(later).boxed())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        ready(|| {
            self.check_open()?;
            let name = self.folder.display().to_string();
            let node = NodeHealth::new(name, true, "open");
            Ok(Health::new(true, vec![node]))
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        ready(|| {
            self.closed.store(true, Ordering::SeqCst);
            for file in self.topics.lock().values() {
                file.changed.notify_waiters();
            }
            Ok(())
        })
    }
}

/// Read position in one topic.
#[derive(Debug)]
struct FolderReader {
    file: Arc<TopicFile>,
    next: i64,
    closed: Arc<AtomicBool>,
}

impl FolderReader {
    async fn next_batch(&mut self) -> Result<Option<EncodedBatch>> {
        loop {
            let mut changed = std::pin::pin!(self.file.changed.notified());
            // Registered before the log is checked: a wake-up in between is not lost.
            changed.as_mut().enable();
            if self.closed.load(Ordering::SeqCst) {
                return Err(Error::closed("engine"));
            }
            {
                let log = self.file.log.lock();
                if log.deleted {
                    return Ok(None);
                }
                // No await point follows the step forward: a dropped future has read nothing.
                if let Some(batch) = log.batch_at(self.next) {
                    self.next = batch.next_offset();
                    return Ok(Some(batch.clone()));
                }
            }
            changed.await;
        }
    }
}

impl BatchReader for FolderReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(self.next_batch())
    }
}

/// Returns the engine as a target of the suite: a new folder for each case, opened again where the case reconnects.
pub(crate) fn target() -> Target {
    Target::in_folder(NAME, |folder| async move { Ok(Arc::new(FolderEngine::open(&folder)?) as _) })
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "the report is the output of the example")]
async fn main() {
    let report = run_suite(&target()).await;
    println!("{report}");
    assert!(report.is_success(), "the engine breaks the contract");
}
