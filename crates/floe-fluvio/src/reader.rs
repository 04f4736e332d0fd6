//! Reads one partition over a stream of its own, on a connection that it may share.
//!
//! The data server pushes one slice of the log and waits until it is told where to go on. It is told as soon as the
//! slice was looked through, while the batches in it are still being handed out, so that the next slice is on its way.
//! A reader that nobody pulls holds at most one slice here and one on its way.
//!
//! Slices are cut at a number of bytes, within a batch if need be. Whole batches are kept, the cut one comes again whole
//! in the next slice. A batch larger than a slice is fetched over another stream with larger slices.
//!
//! Of records that modules drop a server says nothing. A reader with an end therefore asks, after a silence, whether it
//! is reached: it tells a stream to go on at an offset that cannot be. A server looks at that once it is through with
//! everything there is, and answers that there is no such offset. It keeps only the last of what it was told, so a stream
//! that was told anything before is not asked, but a new one.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use floe_core::{
    Error, ErrorKind, Result,
    engine::{BatchReader, Isolation},
    topic::TopicPartition,
};
use floe_wire::{
    batch::{EncodedBatch, MAX_BATCH_LEN, Tail},
    fluvio::{
        ErrorCode, Isolation as WireIsolation, OffsetUpdate, SmartModuleInvocation, SmartModuleKind,
        StreamFetchReply, StreamFetchRequest, UpdateOffsetsRequest,
    },
};
use futures_util::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    errors,
    router::{Router, Spu},
    server::choose,
    stream_pool::PooledStream,
};
use crate::mux::{PendingReply, Replies};

/// Slices in a row without anything new in them that are put up with.
const MAX_IDLE_SLICES: u32 = 8;

/// Most bytes that modules may make of one batch: the most that fits a frame as large as any batch may need.
const MAX_MADE: usize = MAX_BATCH_LEN - 1024;

/// How long a module that was just created may take to reach the data server.
const MODULE_WAIT: Duration = Duration::from_secs(5);

/// How often it is asked for meanwhile.
const MODULE_POLL: Duration = Duration::from_millis(250);

/// An offset that no partition has, for which servers have no other meaning (-1 and -2 have one).
const NOWHERE: i64 = -3;

/// How long a stream with modules is silent before it is asked whether it is at its end, at least.
const SILENCE: Duration = Duration::from_millis(500);

/// The same, at most: modules that take long to pass anything get more time from slice to slice.
const MOST_SILENCE: Duration = Duration::from_secs(10);

/// What servers call the first stream of a connection.
const FIRST_STREAM: u32 = 1;

/// Version of acknowledgements.
const UPDATE_OFFSETS: i16 = 0;

/// A frame around a slice.
const FRAME_EXTRA: usize = 1024 * 1024;

/// What to read.
#[derive(Debug, Clone)]
pub(super) struct Position {
    pub(super) source: TopicPartition,
    pub(super) next: i64,
    pub(super) max_bytes: usize,
    pub(super) isolation: Isolation,
    /// What the records go through on their way.
    pub(super) smartmodules: Vec<SmartModuleInvocation>,
    /// With modules: nothing from here on is wanted, and the partition reaches at least so far.
    pub(super) until: Option<i64>,
}

/// See the module.
pub(super) struct StreamReader {
    router: Arc<Router>,
    spu: Arc<Spu>,
    at: Position,
    /// Received and not handed out yet.
    ready: VecDeque<EncodedBatch>,
    stream: Option<Stream>,
    /// What comes after the batches in `ready`.
    ending: Option<Ending>,
    idle_slices: u32,
    /// How long a silence is put up with before the end is asked for.
    silence: Duration,
    /// Whether the next stream is asked as soon as it is open.
    asks_at_once: bool,
    opened_at: Instant,
    /// Not before this is another stream opened.
    rests_until: Option<Instant>,
    closed: watch::Receiver<bool>,
}

/// How a reader ends.
#[derive(Debug)]
enum Ending {
    /// The topic was deleted, or the error was handed out.
    Over,
    Failed(Error),
}

/// A stream that is open.
#[derive(Debug)]
struct Stream {
    pooled: PooledStream,
    replies: Replies<StreamFetchRequest>,
    /// The answer to the last acknowledgement, until it came.
    acknowledged: Option<PendingReply<UpdateOffsetsRequest>>,
    /// An acknowledgement for which the connection had no room yet.
    unsent: Option<UpdateOffsetsRequest>,
    /// Since when nothing came.
    silent_since: Instant,
    /// Whether it was told where to go on.
    was_acknowledged: bool,
    /// Whether it was asked for its end.
    asked: bool,
}

impl StreamReader {
    /// Opens the first stream.
    pub(super) async fn open(
        router: Arc<Router>,
        spu: Arc<Spu>,
        at: Position,
        closed: watch::Receiver<bool>,
    ) -> Result<Self> {
        let mut reader = Self {
            router,
            spu,
            at,
            ready: VecDeque::new(),
            stream: None,
            ending: None,
            idle_slices: 0,
            silence: SILENCE,
            asks_at_once: false,
            opened_at: Instant::now(),
            rests_until: None,
            closed,
        };
        reader.stream = Some(reader.open_stream().await?);
        Ok(reader)
    }

    async fn open_stream(&self) -> Result<Stream> {
        let versions = match self.spu.server.versions() {
            Some(versions) => versions,
            None => Arc::clone(&self.spu.control.link().await?.versions),
        };
        let version = choose::<StreamFetchRequest>(&versions)?;
        let max_bytes = self.slice_bytes();
        // Whoever shares the connection may need room for the largest batch.
        let frame_limit = MAX_BATCH_LEN + FRAME_EXTRA;
        let pooled = match self.at.until {
            None => self.spu.streams.join(&self.spu.server, frame_limit).await?,
            // Asking for the end takes the number of the stream, which the first slice would tell.
            Some(_) => self.spu.streams.alone(&self.spu.server, frame_limit).await?,
        };
        let request = StreamFetchRequest {
            topic: self.at.source.topic.to_string(),
            partition: self.at.source.partition,
            fetch_offset: self.at.next,
            max_bytes: i32::try_from(max_bytes).unwrap_or(i32::MAX),
            isolation: match self.at.isolation {
                Isolation::ReadUncommitted => WireIsolation::ReadUncommitted,
                Isolation::ReadCommitted => WireIsolation::ReadCommitted,
            },
            smartmodules: self.at.smartmodules.clone(),
            ..StreamFetchRequest::default()
        };
        let replies = pooled.mux.stream(&request, version).await?;
        let asked = self.asks_at_once && self.at.until.is_some();
        Ok(Stream {
            pooled,
            replies,
            acknowledged: None,
            unsent: asked.then(question),
            silent_since: Instant::now(),
            was_acknowledged: false,
            asked,
        })
    }

    /// Most bytes in a slice.
    fn slice_bytes(&self) -> usize {
        if self.at.smartmodules.is_empty() {
            return self.at.max_bytes.clamp(1, MAX_BATCH_LEN);
        }
        // What modules make of a batch comes whole or not at all: if it is larger than this, the server skips it, and
        // everything up to the end, without a word.
        MAX_MADE
    }

    async fn next_batch(&mut self) -> Result<Option<EncodedBatch>> {
        loop {
            if *self.closed.borrow() {
                self.stream = None;
                return Err(Error::closed("engine"));
            }
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            match &self.ending {
                None => {}
                Some(Ending::Over) => {
                    self.stream = None;
                    return Ok(None);
                }
                Some(Ending::Failed(error)) => {
                    // Stays the ending until it is explained, so that a call that is dropped loses nothing.
                    let error = error.clone();
                    let router = Arc::clone(&self.router);
                    let error = router.explain(&self.at.source, error).await;
                    self.stream = None;
                    self.ending = Some(Ending::Over);
                    return Err(error);
                }
            }
            if self.stream.is_none() {
                if let Some(until) = self.rests_until {
                    sleep_until(until).await;
                    self.rests_until = None;
                }
                match self.open_stream().await {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        self.asks_at_once = false;
                    }
                    Err(error) => self.end(error),
                }
                continue;
            }
            let outcome = self.receive().await;
            match outcome {
                Ok(Some(reply)) => self.take(reply),
                Ok(None) => {}
                Err(error) => self.end(error),
            }
        }
    }

    fn end(&mut self, error: Error) {
        let error = error.with_endpoint(self.spu.server.address.endpoint.to_string());
        self.ending.get_or_insert(Ending::Failed(error));
    }

    /// The next push, or nothing where something else was dealt with. Loses nothing when it is dropped.
    async fn receive(&mut self) -> Result<Option<StreamFetchReply>> {
        let limit = self.spu.server.settings().request_timeout;
        let aggregates = self.aggregates();
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let Stream { pooled, replies, acknowledged, unsent, silent_since, was_acknowledged, asked } = stream;
        if let Some(request) = unsent {
            *acknowledged = Some(pooled.mux.begin(request, UPDATE_OFFSETS, limit).await?);
            *unsent = None;
        }
        let asks = self.at.until.is_some() && !*asked && acknowledged.is_none();
        let ask_at = *silent_since + self.silence;
        let answer = async {
            match acknowledged {
                Some(pending) => pending.wait().await,
                None => std::future::pending().await,
            }
        };
        let mut asks_another = false;
        let received = tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => Err(Error::closed("engine")),
            answer = answer => {
                *acknowledged = None;
                *silent_since = Instant::now();
                let refused = answer?.results.into_iter().find(|result| !result.error_code.is_success());
                match refused {
                    // A server that counts its streams in another way cannot be asked.
                    Some(_) if *asked => Ok(None),
                    Some(result) => Err(errors::error(&result.error_code)),
                    None => Ok(None),
                }
            }
            reply = replies.next() => reply.map(Some),
            () = sleep_until(ask_at), if asks => {
                // What an aggregate has come to would go with the stream. Such a one is asked all the same: the server
                // had all of the silence to see what it was told before.
                asks_another = *was_acknowledged && !aggregates;
                if !asks_another {
                    *asked = true;
                    *unsent = Some(question());
                }
                Ok(None)
            }
        };
        if asks_another {
            self.asks_at_once = true;
            self.stream = None;
        }
        received
    }

    fn aggregates(&self) -> bool {
        let mut kinds = self.at.smartmodules.iter().map(|module| &module.kind);
        kinds.any(|kind| matches!(kind, SmartModuleKind::Aggregate { .. }))
    }

    /// Keeps the whole batches of a slice, and asks for the next one.
    fn take(&mut self, reply: StreamFetchReply) {
        let stream_id = reply.stream_id;
        let slice = reply.partition;
        if self.answers_for_the_end(&slice.error_code) {
            return;
        }
        let before = self.at.next;
        let mut split = slice.records.split();
        for batch in split.by_ref() {
            match batch {
                Ok(batch) if batch.next_offset() > self.at.next => {
                    self.at.next = batch.next_offset();
                    self.ready.push_back(batch);
                }
                // It ends before what was asked for.
                Ok(_) => {}
                Err(problem) => {
                    let message =
                        format!("a batch at or after offset {} is damaged: {problem}", self.at.next);
                    self.ending = Some(Ending::Failed(Error::new(ErrorKind::CorruptData, message)));
                    return;
                }
            }
        }
        match slice.error_code {
            ErrorCode::None => {}
            ErrorCode::TopicDeleted => {
                self.ending = Some(Ending::Over);
                return;
            }
            ErrorCode::SmartModuleNotFound { .. } if self.opened_at.elapsed() < MODULE_WAIT => {
                self.stream = None;
                self.rests_until = Some(Instant::now() + MODULE_POLL);
                return;
            }
            code => {
                let error = errors::error(&code);
                // It would be missing the next time as well.
                let passes = error.is_retriable() && !matches!(code, ErrorCode::SmartModuleNotFound { .. });
                self.ending = Some(Ending::Failed(error.with_retriable(passes)));
                return;
            }
        }
        if slice.next_filter_offset > 0 {
            // Modules were at work: what is left out was looked at.
            self.at.next = self.at.next.max(slice.next_filter_offset);
        }
        if self.stream.as_ref().is_some_and(|stream| stream.asked) {
            self.leave_asked_stream();
            return;
        }
        if self.at.next > before {
            self.idle_slices = 0;
            self.acknowledge(stream_id);
            return;
        }
        match split.tail() {
            Tail::Incomplete { needed, .. } if slice.next_filter_offset <= 0 => self.grow(needed),
            Tail::Empty | Tail::Incomplete { .. } => {
                self.idle_slices += 1;
                if self.idle_slices > MAX_IDLE_SLICES {
                    let message = format!("the server sends nothing new from offset {} on", self.at.next);
                    let error = Error::new(ErrorKind::ProtocolError, message).with_retriable(true);
                    self.ending = Some(Ending::Failed(error));
                } else {
                    self.acknowledge(stream_id);
                }
            }
        }
    }

    /// Whether this is the answer to the question for the end: the server is through with what there is, and nothing
    /// came of it.
    fn answers_for_the_end(&mut self, code: &ErrorCode) -> bool {
        let asked = self.stream.as_ref().is_some_and(|stream| stream.asked);
        let (Some(until), true) = (self.at.until, asked) else { return false };
        let answers = matches!(code, ErrorCode::OffsetEvicted { offset: NOWHERE, .. });
        if answers {
            self.at.next = self.at.next.max(until);
            self.ending = Some(Ending::Over);
        }
        answers
    }

    /// A slice came after all, and then the stream ends: another one goes on.
    fn leave_asked_stream(&mut self) {
        self.learn_silence();
        self.stream = None;
        if self.aggregates() {
            // The state of the module went with the stream. Whoever opens another reader has it.
            let message = "the stream ended while modules worked on it";
            let error = Error::new(ErrorKind::NetworkError, message).with_retriable(true);
            self.ending = Some(Ending::Failed(error));
        }
    }

    /// Not one whole batch came: the next one is larger than a slice.
    fn grow(&mut self, needed: Option<usize>) {
        let current = self.at.max_bytes.clamp(1, MAX_BATCH_LEN);
        if current >= MAX_BATCH_LEN {
            let message = format!("the batch at offset {} is larger than any batch may be", self.at.next);
            self.ending = Some(Ending::Failed(Error::new(ErrorKind::CorruptData, message)));
            return;
        }
        // The first batch may begin below the offset asked for, but it is the first one in the slice all the same.
        let wanted = needed.unwrap_or(0).max(current.saturating_mul(2)).max(4096);
        self.at.max_bytes = wanted.min(MAX_BATCH_LEN);
        self.stream = None;
    }

    fn acknowledge(&mut self, stream_id: u32) {
        let limit = self.spu.server.settings().request_timeout;
        self.learn_silence();
        let Some(stream) = &mut self.stream else { return };
        stream.was_acknowledged = true;
        let request =
            UpdateOffsetsRequest { offsets: vec![OffsetUpdate { offset: self.at.next, stream_id }] };
        match stream.pooled.mux.try_begin(&request, UPDATE_OFFSETS, limit) {
            Ok(Some(pending)) => stream.acknowledged = Some(pending),
            Ok(None) => stream.unsent = Some(request),
            Err(error) => self.end(error),
        }
    }

    /// A slice came: the next one may take as long.
    fn learn_silence(&mut self) {
        if let Some(stream) = &mut self.stream {
            self.silence = self.silence.max(stream.silent_since.elapsed() * 2).min(MOST_SILENCE);
            stream.silent_since = Instant::now();
        }
    }
}

/// Asks the only stream of a connection for its end.
fn question() -> UpdateOffsetsRequest {
    UpdateOffsetsRequest { offsets: vec![OffsetUpdate { offset: NOWHERE, stream_id: FIRST_STREAM }] }
}

impl BatchReader for StreamReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(self.next_batch())
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.at.until.map(|_| self.at.next)
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader")
            .field("at", &self.at)
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}
