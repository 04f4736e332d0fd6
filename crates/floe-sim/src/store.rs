//! Log behind the simulated servers. It survives their crashes; an injected bug proves that the rules detect it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use floe::{
    Result, Topic, TopicPartition, TopicSpec,
    engine::{
        AppendAck, AppendRequest, BatchReader, CommittedOffset, Engine, EngineInfo, Health, ReadRequest,
        Start, Watermarks,
    },
    topic::{TopicEvent, TopicInfo},
};
use floe_conformance::Model;
use floe_wire::batch::EncodedBatch;
use futures_util::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use parking_lot::Mutex;

use crate::{backing::Backing, handled::Handled, referee::Referee, rng::Rng, trace::Trace};

/// Stored log by partition: batches of offsets and values.
pub(crate) type StoredLog = BTreeMap<u32, Vec<Vec<(i64, String)>>>;

/// Topic of the members of shared groups.
pub(crate) const COORDINATION: &str = "floe-groups";

/// Injected bug of a server, which the rules must detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// No bug.
    None,
    /// Every fifth batch is acknowledged and not written.
    AckWithoutWrite,
    /// Every fifth batch is written twice.
    WriteTwice,
    /// Every fifth batch is swapped with the next one.
    Swap,
    /// Readers never get every fifth batch.
    LoseOnRead,
    /// Committed offsets are one too high.
    CommitAhead,
    /// The seventh append and all later ones get no reply.
    NeverAnswer,
    /// On a disk: syncs of segments are left out.
    SkipSync,
    /// On a disk: the log acknowledges and shows records before it syncs them.
    AckBeforeSync,
    /// Readers get every fifth batch with wrong bytes at its end.
    ServeTorn,
}

/// Engine of the simulated servers: the reference model, which uses no threads.
#[derive(Debug, Clone)]
pub struct Store {
    model: Backing,
    /// The model, which can lose records; not in use over a disk.
    reference: Model,
    lie: Lie,
    trace: Trace,
    handled: Handled,
    referee: Referee,
    appends: Arc<AtomicUsize>,
    swapped: Arc<Mutex<Option<AppendRequest>>>,
    rng: Arc<Mutex<Rng>>,
    /// Maximum delay of an acknowledgement, in milliseconds.
    slowness: u64,
}

impl Store {
    /// Creates an empty store.
    #[must_use]
    pub(crate) fn new(
        (lie, slowness): (Lie, u64),
        rng: Rng,
        trace: Trace,
        (handled, referee): (Handled, Referee),
    ) -> Self {
        let reference = Model::new();
        Self {
            model: Backing::new(Arc::new(reference.clone())),
            reference,
            lie,
            trace,
            handled,
            referee,
            appends: Arc::default(),
            swapped: Arc::default(),
            rng: Arc::new(Mutex::new(rng)),
            slowness,
        }
    }

    /// Uses this engine in place of the model.
    pub(crate) fn over(self, backing: &Backing) -> Self {
        Self { model: backing.clone(), ..self }
    }

    /// Returns all stored batches of a partition.
    ///
    /// # Errors
    /// The partition does not exist.
    pub async fn batches(&self, at: &TopicPartition) -> Result<Vec<EncodedBatch>> {
        self.batches_from(at, Start::Earliest).await
    }

    async fn batches_from(&self, at: &TopicPartition, from: Start) -> Result<Vec<EncodedBatch>> {
        let mut reader = self.model.open(ReadRequest::new(at.clone(), from)).await?;
        let mut batches = Vec::new();
        while let Some(batch) = reader.next().now_or_never() {
            match batch? {
                Some(batch) => batches.push(batch),
                None => break,
            }
        }
        Ok(batches)
    }

    /// Returns the committed offset of a group.
    ///
    /// # Errors
    /// The errors of the model.
    pub async fn stored_offset(&self, group: &str, at: &TopicPartition) -> Result<Option<i64>> {
        self.model.committed(Arc::from(group), at.clone()).await
    }

    /// Loses the last records of the coordination topic. Their offsets are assigned again.
    pub(crate) async fn lose_tail(&self, rng: &mut Rng) -> Result<()> {
        let Ok(info) = self.model.topic(COORDINATION.into()).await else { return Ok(()) };
        for partition in 0..info.partitions {
            let at = Topic::from(COORDINATION).partition(partition);
            let batches = self.batches(&at).await?;
            if batches.is_empty() {
                continue;
            }
            let most = rng.pick(&[2, 8, 30]);
            let lost = rng.within(1..=most);
            let kept = batches.len().saturating_sub(usize::try_from(lost).unwrap_or(1));
            let end = batches[..kept].last().map_or(0, EncodedBatch::next_offset);
            self.trace.note(format_args!("{at} ends at {end}, {} batches are lost", batches.len() - kept));
            self.reference.truncate(&at, end)?;
            self.referee.lose_tail(&batches[..kept], &self.handled);
        }
        Ok(())
    }

    async fn append_batch(&self, request: AppendRequest) -> Result<AppendAck> {
        let number = self.appends.fetch_add(1, Ordering::Relaxed) + 1;
        let fifth = number.is_multiple_of(5);
        let at = request.target.clone();
        let outcome = match self.lie {
            Lie::AckWithoutWrite if fifth => {
                let high = self.model.watermarks(at.clone()).await?.high;
                Ok(AppendAck::new(Some(high)))
            }
            Lie::WriteTwice if fifth => {
                self.model.append(request.clone()).await?;
                self.model.append(request).await
            }
            Lie::Swap if fifth && self.swapped.lock().is_none() => {
                let high = self.model.watermarks(at.clone()).await?.high;
                *self.swapped.lock() = Some(request);
                Ok(AppendAck::new(Some(high)))
            }
            Lie::Swap => {
                let outcome = self.model.append(request).await;
                let held_back = self.swapped.lock().take();
                if let Some(held_back) = held_back {
                    self.model.append(held_back).await?;
                }
                outcome
            }
            Lie::NeverAnswer if number >= 7 => std::future::pending().await,
            _ => self.model.append(request).await,
        };
        self.trace.note(format_args!("append {number} to {at}: {outcome:?}"));
        if at.topic.as_str() == COORDINATION && outcome.is_ok() {
            let news = self.batches_from(&at, Start::Offset(self.referee.next())).await?;
            self.referee.judge(&news, &self.handled);
        }
        let pause = if self.slowness == 0 { None } else { Some(self.rng.lock().millis(0..=self.slowness)) };
        // After the batch is stored, so that the order of the calls is kept.
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        outcome
    }
}

impl Engine for Store {
    fn info(&self) -> EngineInfo {
        self.model.info()
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.append_batch(request))
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        Box::pin(async move {
            let reader = self.model.open(request).await?;
            let reader: Box<dyn BatchReader> = match self.lie {
                Lie::LoseOnRead => Box::new(Forgetful { reader, count: 0 }),
                Lie::ServeTorn => Box::new(Torn { reader, count: 0 }),
                _ => reader,
            };
            Ok(reader)
        })
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        self.model.watermarks(of)
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        self.model.offset_for_time(of, timestamp)
    }

    fn commit(
        &self,
        group: Arc<str>,
        mut positions: Vec<(TopicPartition, i64)>,
    ) -> BoxFuture<'_, Result<()>> {
        // The server stores positions of its own in groups that start with `__`.
        if !group.starts_with("__") {
            self.trace.note(format_args!("{group} commits {positions:?}"));
            self.handled.check(&group, &positions);
            if self.lie == Lie::CommitAhead {
                positions.iter_mut().for_each(|(_, next)| *next += 1);
            }
        }
        self.model.commit(group, positions)
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        self.model.committed(group, at)
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        self.model.list_committed(group)
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        self.model.forget(group, at)
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        self.model.topics()
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        self.model.topic(name)
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        self.model.create_topic(spec)
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        self.model.delete_topic(name)
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        self.model.watch()
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        self.model.health()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.model.close()
    }
}

/// Reader with the bug [`Lie::LoseOnRead`].
#[derive(Debug)]
struct Forgetful {
    reader: Box<dyn BatchReader>,
    count: usize,
}

impl BatchReader for Forgetful {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            loop {
                let batch = self.reader.next().await?;
                self.count += 1;
                if batch.is_none() || !self.count.is_multiple_of(5) {
                    return Ok(batch);
                }
            }
        })
    }
}

/// Reader with the bug [`Lie::ServeTorn`].
#[derive(Debug)]
struct Torn {
    reader: Box<dyn BatchReader>,
    count: usize,
}

impl BatchReader for Torn {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let batch = self.reader.next().await?;
            self.count += 1;
            let Some(whole) = batch.as_ref().filter(|_| self.count.is_multiple_of(5)) else {
                return Ok(batch);
            };
            let mut bytes = [&whole.prefix()[..], &whole.rest()[..]].concat();
            let kept = bytes.len() * 3 / 4;
            bytes[kept..].fill(0);
            Ok(EncodedBatch::parse(bytes.into()).ok())
        })
    }
}
