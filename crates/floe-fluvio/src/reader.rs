//! Reads one partition over its own stream, on a connection that it may share.
//!
//! The data server pushes one slice of the log and waits for an acknowledgement with the next offset. The reader sends it as
//! soon as it has split the slice, while the caller consumes the batches, so that the next slice is in flight. An idle
//! reader holds at most one slice here and one in flight.
//!
//! Slices are cut at a number of bytes, possibly within a batch. The reader keeps whole batches; the cut one arrives whole
//! in the next slice. A batch larger than a slice is fetched over another stream with larger slices.
//!
//! A server does not report records that modules drop. A reader with an end therefore probes for it after a silence: it
//! acknowledges an offset that cannot exist. The server looks at the acknowledgement once it has processed all records, and
//! answers that there is no such offset. It keeps only the latest acknowledgement, so the reader opens another stream for
//! the probe if it has acknowledged on the present one.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use floe_core::{
    Error, ErrorKind, Result,
    engine::{BatchReader, Isolation},
    gap::{Gap, GapReason},
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

/// Consecutive slices without a new record before the reader fails.
const MAX_IDLE_SLICES: u32 = 8;

/// Maximum bytes that modules may produce from one batch: what fits a frame for the largest batch.
const MAX_MODULE_OUTPUT: usize = MAX_BATCH_LEN - 1024;

/// How long to wait until a new module has reached the data server.
const MODULE_WAIT: Duration = Duration::from_secs(5);

/// Pause between requests for it meanwhile.
const MODULE_POLL: Duration = Duration::from_millis(250);

/// An offset that no partition has, without a special meaning to servers (-1 and -2 have one).
const IMPOSSIBLE_OFFSET: i64 = -3;

/// Minimum silence of a stream with modules before the reader probes for the end.
const MIN_SILENCE: Duration = Duration::from_millis(500);

/// Maximum of the same: slow modules get more time from slice to slice.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// Id of the first stream of a connection.
const FIRST_STREAM: u32 = 1;

/// Version of acknowledgements.
const UPDATE_OFFSETS: i16 = 0;

/// Room for the frame around a slice.
const FRAME_EXTRA: usize = 1024 * 1024;

/// The position and the options of a read.
#[derive(Debug, Clone)]
pub(super) struct ReadPosition {
    pub(super) source: TopicPartition,
    pub(super) next: i64,
    pub(super) max_bytes: usize,
    pub(super) isolation: Isolation,
    /// Modules that process the records.
    pub(super) smartmodules: Vec<SmartModuleInvocation>,
    /// With modules: exclusive end of the read, at or before the high watermark.
    pub(super) until: Option<i64>,
}

/// A reader of one partition; see the module.
pub(super) struct StreamReader {
    router: Arc<Router>,
    spu: Arc<Spu>,
    at: ReadPosition,
    /// Received batches that were not returned yet, and the gaps between them.
    ready: VecDeque<Result<EncodedBatch>>,
    stream: Option<OpenStream>,
    /// Outcome after the batches in `ready`.
    ending: Option<Ending>,
    idle_slices: u32,
    /// Silence before the reader probes for the end.
    silence: Duration,
    /// Whether to probe the next stream as soon as it is open.
    probe_at_once: bool,
    opened_at: Instant,
    /// Earliest time to open another stream.
    reopen_at: Option<Instant>,
    closed: watch::Receiver<bool>,
}

/// End of a reader.
#[derive(Debug)]
enum Ending {
    /// The topic was deleted, the end was reached, or the error was returned.
    Over,
    Failed(Error),
}

/// An open stream.
#[derive(Debug)]
struct OpenStream {
    pooled: PooledStream,
    replies: Replies<StreamFetchRequest>,
    /// Pending reply to the latest acknowledgement.
    acknowledged: Option<PendingReply<UpdateOffsetsRequest>>,
    /// An acknowledgement for which the connection had no room yet.
    unsent: Option<UpdateOffsetsRequest>,
    /// Time of the latest push or reply.
    silent_since: Instant,
    /// Whether an acknowledgement was sent.
    was_acknowledged: bool,
    /// Whether the reader probes for the end.
    probed: bool,
}

impl StreamReader {
    /// Opens the first stream.
    pub(super) async fn open(
        router: Arc<Router>,
        spu: Arc<Spu>,
        at: ReadPosition,
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
            silence: MIN_SILENCE,
            probe_at_once: false,
            opened_at: Instant::now(),
            reopen_at: None,
            closed,
        };
        reader.stream = Some(reader.open_stream().await?);
        Ok(reader)
    }

    async fn open_stream(&self) -> Result<OpenStream> {
        let versions = match self.spu.server.versions() {
            Some(versions) => versions,
            None => Arc::clone(&self.spu.control.link().await?.versions),
        };
        let version = choose::<StreamFetchRequest>(&versions)?;
        let max_bytes = self.slice_bytes();
        // Readers that share the connection may need room for the largest batch.
        let frame_limit = MAX_BATCH_LEN + FRAME_EXTRA;
        let pooled = match self.at.until {
            None => self.spu.streams.join(&self.spu.server, frame_limit).await?,
            // A probe needs the id of the stream before the first slice: it is known on a connection of its own.
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
        let probed = self.probe_at_once && self.at.until.is_some();
        Ok(OpenStream {
            pooled,
            replies,
            acknowledged: None,
            unsent: probed.then(probe),
            silent_since: Instant::now(),
            was_acknowledged: false,
            probed,
        })
    }

    /// Maximum bytes in a slice.
    fn slice_bytes(&self) -> usize {
        if self.at.smartmodules.is_empty() {
            return self.at.max_bytes.clamp(1, MAX_BATCH_LEN);
        }
        // The output of modules for a batch arrives whole or not at all: if it is larger than this, the server silently
        // skips it and everything up to the end.
        MAX_MODULE_OUTPUT
    }

    async fn next_batch(&mut self) -> Result<Option<EncodedBatch>> {
        loop {
            if *self.closed.borrow() {
                self.stream = None;
                return Err(Error::closed("engine"));
            }
            if let Some(next) = self.ready.pop_front() {
                return next.map(Some);
            }
            match &self.ending {
                None => {}
                Some(Ending::Over) => {
                    self.stream = None;
                    return Ok(None);
                }
                Some(Ending::Failed(error)) => {
                    // Kept until the explanation is there, so that dropping the future loses nothing.
                    let error = error.clone();
                    let router = Arc::clone(&self.router);
                    let error = router.explain(&self.at.source, error).await;
                    self.stream = None;
                    self.ending = Some(Ending::Over);
                    return Err(error);
                }
            }
            if self.stream.is_none() {
                if let Some(until) = self.reopen_at {
                    sleep_until(until).await;
                    self.reopen_at = None;
                }
                match self.open_stream().await {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        self.probe_at_once = false;
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

    /// Returns the next push, or `None` after another event. Dropping the future loses nothing.
    async fn receive(&mut self) -> Result<Option<StreamFetchReply>> {
        let limit = self.spu.server.settings().request_timeout;
        let aggregates = self.aggregates();
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let OpenStream { pooled, replies, acknowledged, unsent, silent_since, was_acknowledged, probed } =
            stream;
        if let Some(request) = unsent {
            *acknowledged = Some(pooled.mux.begin(request, UPDATE_OFFSETS, limit).await?);
            *unsent = None;
        }
        let probes = self.at.until.is_some() && !*probed && acknowledged.is_none();
        let probe_at = *silent_since + self.silence;
        let answer = async {
            match acknowledged {
                Some(pending) => pending.wait().await,
                None => std::future::pending().await,
            }
        };
        let mut probe_another = false;
        let received = tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => Err(Error::closed("engine")),
            answer = answer => {
                *acknowledged = None;
                *silent_since = Instant::now();
                let refused = answer?.results.into_iter().find(|result| !result.error_code.is_success());
                match refused {
                    // A server with other stream ids cannot be probed.
                    Some(_) if *probed => Ok(None),
                    Some(result) => Err(errors::error(&result.error_code)),
                    None => Ok(None),
                }
            }
            reply = replies.next() => reply.map(Some),
            () = sleep_until(probe_at), if probes => {
                // An aggregate would lose its state with the stream, so the reader probes on the same one: during the
                // silence the server has seen the earlier acknowledgement.
                probe_another = *was_acknowledged && !aggregates;
                if !probe_another {
                    *probed = true;
                    *unsent = Some(probe());
                }
                Ok(None)
            }
        };
        if probe_another {
            self.probe_at_once = true;
            self.stream = None;
        }
        received
    }

    fn aggregates(&self) -> bool {
        let mut kinds = self.at.smartmodules.iter().map(|module| &module.kind);
        kinds.any(|kind| matches!(kind, SmartModuleKind::Aggregate { .. }))
    }

    /// Ends the reader with an error after the batches in `ready`.
    fn fail(&mut self, error: Error) {
        self.ending = Some(Ending::Failed(error));
    }

    /// Keeps the whole batches of a slice, and acknowledges it.
    fn take(&mut self, reply: StreamFetchReply) {
        let stream_id = reply.stream_id;
        let slice = reply.partition;
        if self.is_probe_answer(&slice.error_code) {
            return;
        }
        let before = self.at.next;
        let mut split = slice.records.split();
        for batch in split.by_ref() {
            match batch {
                Ok(batch) if batch.next_offset() > self.at.next => {
                    self.at.next = batch.next_offset();
                    self.ready.push_back(Ok(batch));
                }
                // The batch ends before the requested offset.
                Ok(_) => {}
                Err(problem) => {
                    let message =
                        format!("a batch at or after offset {} is damaged: {problem}", self.at.next);
                    return self.fail(Error::new(ErrorKind::CorruptData, message));
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
                self.reopen_at = Some(Instant::now() + MODULE_POLL);
                return;
            }
            code => {
                let error = errors::error(&code);
                // A retry would not find the module either.
                let retriable =
                    error.is_retriable() && !matches!(code, ErrorCode::SmartModuleNotFound { .. });
                return self.fail(error.with_retriable(retriable));
            }
        }
        self.skip_to(slice.next_filter_offset);
        if self.stream.as_ref().is_some_and(|stream| stream.probed) {
            self.leave_probed_stream();
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
                    let message = format!("the server sends no new records from offset {} on", self.at.next);
                    self.fail(Error::new(ErrorKind::ProtocolError, message).with_retriable(true));
                } else {
                    self.acknowledge(stream_id);
                }
            }
        }
    }

    /// Continues at the offset up to which the server has processed the records, if it gives one.
    fn skip_to(&mut self, to: i64) {
        let from = self.at.next;
        if to <= from {
            return;
        }
        // Modules may have dropped records. Without them, the server has lost some.
        if self.at.smartmodules.is_empty() {
            let gap = Gap::new(self.at.source.clone(), from..to, GapReason::Corrupt);
            self.ready.push_back(Err(gap.into_error()));
        }
        self.at.next = to;
    }

    /// Whether this answers the probe: the server has processed all records and returned none.
    fn is_probe_answer(&mut self, code: &ErrorCode) -> bool {
        let probed = self.stream.as_ref().is_some_and(|stream| stream.probed);
        let (Some(until), true) = (self.at.until, probed) else { return false };
        let answers = matches!(code, ErrorCode::OffsetEvicted { offset: IMPOSSIBLE_OFFSET, .. });
        if answers {
            self.at.next = self.at.next.max(until);
            self.ending = Some(Ending::Over);
        }
        answers
    }

    /// Drops a stream that pushed a slice after the probe, because the server ends it. Another one continues.
    fn leave_probed_stream(&mut self) {
        self.learn_silence();
        self.stream = None;
        if self.aggregates() {
            // The state of the module is lost with the stream. The caller opens another reader.
            let message = "the stream of an aggregate ended";
            self.fail(Error::new(ErrorKind::NetworkError, message).with_retriable(true));
        }
    }

    /// Raises the slice size after a slice without a whole batch.
    fn grow(&mut self, needed: Option<usize>) {
        let current = self.at.max_bytes.clamp(1, MAX_BATCH_LEN);
        if current >= MAX_BATCH_LEN {
            let message = format!("the batch at offset {} is larger than the format allows", self.at.next);
            return self.fail(Error::new(ErrorKind::CorruptData, message));
        }
        // The first batch may begin below the requested offset; it is the first in the slice nevertheless.
        let wanted = needed.unwrap_or(0).max(current.saturating_mul(2)).max(4096);
        self.at.max_bytes = wanted.min(MAX_BATCH_LEN);
        self.stream = None;
    }

    fn acknowledge(&mut self, stream_id: u32) {
        let limit = self.spu.server.settings().request_timeout;
        self.learn_silence();
        floe_core::invariant!(self.stream.is_some(), "a slice of {} came without a stream", self.at.source);
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

    /// Adjusts the silence after a slice: the next one may take as long.
    fn learn_silence(&mut self) {
        if let Some(stream) = &mut self.stream {
            self.silence = self.silence.max(stream.silent_since.elapsed() * 2).min(MAX_SILENCE);
            stream.silent_since = Instant::now();
        }
    }
}

/// Returns the acknowledgement that probes the only stream of a connection for its end.
fn probe() -> UpdateOffsetsRequest {
    UpdateOffsetsRequest {
        offsets: vec![OffsetUpdate { offset: IMPOSSIBLE_OFFSET, stream_id: FIRST_STREAM }],
    }
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
