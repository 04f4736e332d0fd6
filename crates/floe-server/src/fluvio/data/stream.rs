//! StreamFetch: one task per stream, which sends a reply and waits for its acknowledgement before the next.
//!
//! Replies hold whole batches, at least one, even above the client's limit: official clients lose the records of a
//! batch that is cut off.

use std::sync::Arc;

use bytes::Bytes;
use floe::{
    Error, ErrorKind, Topic, TopicPartition,
    consumer::Gap,
    engine::{self, BatchReader, ReadRequest, Start, Watermarks},
};
use floe_wire::{
    batch::EncodedBatch,
    fluvio::{
        ErrorCode, Isolation, PartitionRecords, RecordSet, StreamFetchReply, StreamFetchRequest,
        frame::RequestHeader, names::CONSUMER_OFFSET_TOPIC,
    },
};
use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::super::{errors, frames};
use crate::{
    access::{Session, operation::CONSUME},
    metrics::Frontend,
    node::{Node, until_set},
    response_writer::{Disconnected, ResponseSender},
    smartmodule::Chain,
};

/// An existing partition.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) at: TopicPartition,
    /// Turns true when the topic is deleted.
    deletion: watch::Receiver<bool>,
}

/// Resolves the partition of a stream request.
pub(super) async fn resolve(
    node: &Node,
    session: &Session,
    request: &StreamFetchRequest,
) -> Result<Resolved, ErrorCode> {
    session.check(CONSUME, &request.topic).map_err(errors::of_denied)?;
    find(node, &request.topic, request.partition).await
}

/// Resolves a partition.
pub(super) async fn find(node: &Node, topic: &str, partition: u32) -> Result<Resolved, ErrorCode> {
    let entry = node.catalog.find(topic).await.map_err(|error| errors::of_read(&error))?;
    match entry {
        Some(entry) if partition < entry.info.partitions && topic != CONSUMER_OFFSET_TOPIC => {
            Ok(Resolved { at: Topic::from(topic).partition(partition), deletion: entry.deletion() })
        }
        _ => Err(ErrorCode::NotLeaderForPartition),
    }
}

/// Why a stream ended.
enum StreamEnd {
    /// The client receives the code.
    Refused(ErrorCode),
    /// The connection is closed.
    Disconnected,
}

impl From<Disconnected> for StreamEnd {
    fn from(_: Disconnected) -> Self {
        Self::Disconnected
    }
}

impl From<ErrorCode> for StreamEnd {
    fn from(error_code: ErrorCode) -> Self {
        Self::Refused(error_code)
    }
}

/// Acknowledgements from here to -1 are ignored: clients send -1 before they have read a record, and real servers use
/// -2 among themselves.
const FIRST_IGNORED_ACK: i64 = -2;

/// One stream.
pub(super) struct RecordStream {
    node: Arc<Node>,
    session: Arc<Session>,
    responses: ResponseSender,
    id: u32,
    header: RequestHeader,
    request: StreamFetchRequest,
    at: TopicPartition,
    deletion: watch::Receiver<bool>,
    acknowledgements: watch::Receiver<i64>,
    max_bytes: usize,
    /// Offset of the next record to send.
    position: i64,
    /// Position after the last reply. It stays behind `position` while modules drop records; a duplicate
    /// acknowledgement of it does not rewind the stream.
    last_replied: i64,
    /// A batch that was read and did not fit into the last reply.
    carried_over: Option<EncodedBatch>,
    /// End of records that the engine has lost, until the client is told.
    lost_up_to: Option<i64>,
    /// An acknowledged offset outside the partition. The stream refuses it once it has read up to the high watermark:
    /// clients send such an offset to learn whether modules dropped all remaining records.
    invalid_target: Option<i64>,
}

impl RecordStream {
    pub(super) fn new(
        (node, session): (Arc<Node>, Arc<Session>),
        responses: ResponseSender,
        (id, header, request): (u32, RequestHeader, StreamFetchRequest),
        Resolved { at, deletion }: Resolved,
        acknowledgements: watch::Receiver<i64>,
    ) -> Self {
        // A negative limit means none.
        let wanted = usize::try_from(request.max_bytes).unwrap_or(usize::MAX);
        Self {
            max_bytes: wanted.min(node.limits.response_bytes),
            position: request.fetch_offset,
            last_replied: request.fetch_offset,
            node,
            session,
            responses,
            id,
            header,
            request,
            at,
            deletion,
            acknowledgements,
            carried_over: None,
            lost_up_to: None,
            invalid_target: None,
        }
    }

    /// Runs until the connection closes, or until an error, which is sent to the client.
    pub(super) async fn run(mut self) {
        let Err(StreamEnd::Refused(error_code)) = self.send_all().await else { return };
        self.node.metrics.error(Frontend::Data, error_code.name());
        let partition =
            PartitionRecords { partition: self.at.partition, error_code, ..PartitionRecords::default() };
        // A closed connection leaves no client to inform.
        if let Ok(pieces) = self.encode(partition) {
            let _ = self.responses.send(pieces).await;
        }
    }

    async fn send_all(&mut self) -> Result<std::convert::Infallible, StreamEnd> {
        let mut chain = self.chain().await?;
        let mut reader = self.open().await?;
        loop {
            self.session.admit_reading().await;
            let Some(first) = self.first_batch(&mut reader).await? else {
                if self.skip_lost().await? {
                    self.await_acknowledgement(&mut reader).await?;
                }
                continue;
            };
            // The rules may have changed since the stream was opened.
            self.session.check(CONSUME, self.at.topic.as_str()).map_err(errors::of_denied)?;
            let has_sent = match &mut chain {
                None => self.send(&mut reader, first).await.map(|()| true)?,
                Some(chain) => self.send_through(chain, &mut reader, first).await?,
            };
            // If modules dropped all records, no reply was sent and there is nothing to acknowledge.
            if !has_sent {
                continue;
            }
            self.await_acknowledgement(&mut reader).await?;
        }
    }

    /// Opens the chain of modules that the request names.
    async fn chain(&self) -> Result<Option<Chain>, ErrorCode> {
        let StreamFetchRequest { smartmodules, smartmodule: only, wasm_module, .. } = &self.request;
        if only.is_some() || !wasm_module.is_empty() {
            let message =
                "modules in the encoding of versions below 18 are not supported: send them in the list";
            return Err(ErrorCode::SmartModuleChainInitError(message.to_owned()));
        }
        if smartmodules.is_empty() {
            return Ok(None);
        }
        self.node.smartmodules.open(smartmodules, &self.at, self.header.version).await.map(Some)
    }

    /// Opens a reader at the position, which must be within the partition.
    async fn open(&mut self) -> Result<Box<dyn BatchReader>, ErrorCode> {
        (self.carried_over, self.lost_up_to) = (None, None);
        let marks = self.watermarks().await?;
        check_start(self.position, marks)?;
        let isolation = match self.request.isolation {
            Isolation::ReadUncommitted => engine::Isolation::ReadUncommitted,
            Isolation::ReadCommitted => engine::Isolation::ReadCommitted,
        };
        let request = ReadRequest::new(self.at.clone(), Start::Offset(self.position))
            .max_bytes(self.max_bytes.max(1))
            .isolation(isolation);
        match self.node.engine.open(request).await {
            Ok(reader) => Ok(reader),
            Err(error) => Err(self.code_of(&error).await),
        }
    }

    /// Returns the next batch once there is one; `None` if the client moved the position meanwhile, or records are lost.
    async fn first_batch(
        &mut self,
        reader: &mut Box<dyn BatchReader>,
    ) -> Result<Option<EncodedBatch>, ErrorCode> {
        if self.lost_up_to.is_some() {
            return Ok(None);
        }
        if let Some(batch) = self.carried_over.take() {
            return Ok(Some(batch));
        }
        if let Some(offset) = self.invalid_target {
            let marks = self.watermarks().await?;
            if self.position >= marks.high {
                return check_start(offset, marks).map(|()| None);
            }
        }
        let outcome = tokio::select! {
            biased;
            () = until_set(&mut self.deletion) => return Err(ErrorCode::TopicDeleted),
            changed = self.acknowledgements.changed() => {
                changed.map_err(|_| ErrorCode::SpuOffline)?;
                None
            }
            outcome = reader.next() => Some(outcome),
        };
        match outcome {
            Some(Ok(Some(batch))) => Ok(Some(batch)),
            Some(Ok(None)) => Err(ErrorCode::TopicDeleted),
            Some(Err(error)) => match Gap::of(&error) {
                Some(gap) => {
                    self.lost_up_to = Some(gap.to);
                    Ok(None)
                }
                None => Err(self.code_of(&error).await),
            },
            None => {
                self.acknowledged(reader).await?;
                Ok(None)
            }
        }
    }

    /// Moves behind lost records and tells the client by a reply without records, whose acknowledgement is awaited like any
    /// other; false if there are none. Clients continue at the offset of that reply.
    async fn skip_lost(&mut self) -> Result<bool, StreamEnd> {
        let Some(to) = self.lost_up_to.take().filter(|to| *to > self.position) else { return Ok(false) };
        tracing::warn!(at = %self.at, from = self.position, to, "told a client of lost records");
        self.node.metrics.error(Frontend::Data, "records_lost");
        (self.position, self.last_replied) = (to, to);
        let marks = self.watermarks().await?;
        let pieces = self.encode(PartitionRecords {
            partition: self.at.partition,
            high_watermark: marks.high,
            log_start_offset: marks.start,
            next_filter_offset: to,
            ..PartitionRecords::default()
        })?;
        self.responses.send(pieces).await?;
        Ok(true)
    }

    /// Sends one reply: `first`, and further batches that are available and fit.
    async fn send(
        &mut self,
        reader: &mut Box<dyn BatchReader>,
        first: EncodedBatch,
    ) -> Result<(), StreamEnd> {
        // The reply is reserved at its largest size before more is read, so a client that does not read costs no
        // memory.
        let room = self.responses.reserve(self.max_bytes.max(first.len())).await?;
        let mut bytes = first.len();
        let mut batches = vec![first];
        while let Some(batch) = self.another_batch(reader, bytes) {
            bytes += batch.len();
            batches.push(batch);
        }
        let marks = self.watermarks().await?;
        let records = batches.iter().map(|batch| u64::from(batch.header().offset_span())).sum();
        if let Some(last) = batches.last() {
            self.position = last.next_offset();
            self.last_replied = self.position;
        }
        let pieces = self.encode(PartitionRecords {
            partition: self.at.partition,
            high_watermark: marks.high,
            log_start_offset: marks.start,
            records: RecordSet::from_batches(&batches),
            ..PartitionRecords::default()
        })?;
        self.node.metrics.sent(records, bytes);
        self.session.received(bytes);
        Ok(self.responses.send_reserved(room, pieces).await?)
    }

    /// Sends `first`, and further batches that are available and fit, through the chain. Returns false if it dropped
    /// all records.
    async fn send_through(
        &mut self,
        chain: &mut Chain,
        reader: &mut Box<dyn BatchReader>,
        first: EncodedBatch,
    ) -> Result<bool, StreamEnd> {
        let (mut bytes, mut records, mut batches, mut error_code) = (0, 0, Vec::new(), ErrorCode::None);
        let mut next = Some(first);
        while let Some(batch) = next {
            let transformed = chain.transform(&batch, self.position).await;
            let transformed =
                transformed.map_err(|problem| ErrorCode::Other(format!("SmartModule err {problem}")))?;
            self.position = batch.next_offset();
            if let Some(output) = transformed.batch {
                bytes += output.len();
                records += output.records().map_or(0, |records| u64::from(records.record_count()));
                batches.push(output);
            }
            if let Some(failure) = transformed.failure {
                error_code = ErrorCode::SmartModuleRuntimeError(failure);
                break;
            }
            // Returning between dropped batches lets the caller look at acknowledgements.
            if batches.is_empty() {
                return Ok(false);
            }
            next = self.another_batch(reader, bytes);
        }
        let room = self.responses.reserve(bytes).await?;
        let marks = self.watermarks().await?;
        let pieces = self.encode(PartitionRecords {
            partition: self.at.partition,
            error_code,
            high_watermark: marks.high,
            log_start_offset: marks.start,
            next_filter_offset: self.position,
            records: RecordSet::from_batches(&batches),
            ..PartitionRecords::default()
        })?;
        self.last_replied = self.position;
        self.node.metrics.sent(records, bytes);
        self.session.received(bytes);
        self.responses.send_reserved(room, pieces).await?;
        Ok(true)
    }

    /// Returns a batch that is available and fits into a reply that holds `bytes` already.
    fn another_batch(&mut self, reader: &mut Box<dyn BatchReader>, bytes: usize) -> Option<EncodedBatch> {
        if bytes >= self.max_bytes {
            return None;
        }
        // A gap waits for the next reply; the reader reports any other error, or the end, again on the next call.
        let batch = match reader.next().now_or_never()? {
            Ok(batch) => batch?,
            Err(error) => {
                self.lost_up_to = Gap::of(&error).map(|gap| gap.to);
                return None;
            }
        };
        if bytes + batch.len() > self.max_bytes {
            self.carried_over = Some(batch);
            return None;
        }
        Some(batch)
    }

    /// Waits until the client acknowledges the last reply.
    async fn await_acknowledgement(&mut self, reader: &mut Box<dyn BatchReader>) -> Result<(), ErrorCode> {
        loop {
            if let Some(offset) = self.invalid_target {
                check_start(offset, self.watermarks().await?)?;
            }
            tokio::select! {
                biased;
                () = until_set(&mut self.deletion) => return Err(ErrorCode::TopicDeleted),
                changed = self.acknowledgements.changed() => changed.map_err(|_| ErrorCode::SpuOffline)?,
            }
            if self.acknowledged(reader).await? {
                return Ok(());
            }
        }
    }

    /// Moves to the latest acknowledged offset. Returns false if that offset is to be ignored.
    async fn acknowledged(&mut self, reader: &mut Box<dyn BatchReader>) -> Result<bool, ErrorCode> {
        let next = *self.acknowledgements.borrow_and_update();
        if next < 0 {
            self.invalid_target = Some(next).filter(|next| *next < FIRST_IGNORED_ACK);
            return Ok(false);
        }
        if next != self.position && next != self.last_replied {
            (self.position, self.last_replied) = (next, next);
            *reader = self.open().await?;
        }
        Ok(true)
    }

    async fn watermarks(&self) -> Result<Watermarks, ErrorCode> {
        match self.node.engine.watermarks(self.at.clone()).await {
            Ok(marks) => Ok(marks),
            Err(error) => Err(self.code_of(&error).await),
        }
    }

    /// Maps an engine error to a code. An open stream reports a missing topic as deleted.
    async fn code_of(&self, error: &Error) -> ErrorCode {
        match error.kind() {
            ErrorKind::TopicNotFound => ErrorCode::TopicDeleted,
            ErrorKind::OffsetOutOfRange => match self.node.engine.watermarks(self.at.clone()).await {
                Ok(marks) => check_start(self.position, marks).err().unwrap_or(ErrorCode::OffsetEvicted {
                    offset: self.position,
                    next_available: marks.start,
                }),
                Err(error) => errors::of_read(&error),
            },
            _ => errors::of_read(error),
        }
    }

    fn encode(&self, partition: PartitionRecords) -> Result<Vec<Bytes>, Disconnected> {
        let reply = StreamFetchReply { topic: self.at.topic.to_string(), stream_id: self.id, partition };
        frames::pieces::<StreamFetchRequest>(&self.header, &reply)
    }
}

/// Checks that a read may start at `offset`; the codes are those of a real server.
pub(super) fn check_start(offset: i64, marks: Watermarks) -> Result<(), ErrorCode> {
    if offset < marks.start {
        return Err(ErrorCode::OffsetEvicted { offset, next_available: marks.start });
    }
    if offset > marks.high {
        return Err(ErrorCode::Other(format!("start offset: {offset} is greater than leo: {}", marks.high)));
    }
    Ok(())
}
