//! StreamFetch: one task per stream, which sends a reply and waits for its acknowledgement before the next.
//!
//! Replies hold whole batches, at least one, even above the client's limit: official clients lose the records of a
//! batch that is cut off.
//!
//! Memory for a reply is reserved before its records are read, and a stream that waits, for records or for an
//! acknowledgement, holds no batches: a client that opens many streams and reads none costs no memory.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use floe::{
    Error, ErrorKind, Topic, TopicPartition,
    consumer::Gap,
    engine::{self, BatchReader, ReadRequest, Start, Watermarks},
    memory::MemoryReservation,
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
    memory::Tenant,
    metrics::Frontend,
    node::{Node, until_set},
    response_writer::{Disconnected, READ_BYTES, ResponseSender, records_in, with_buffers},
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

/// Records that memory is reserved for in the first reply. Little, so that a new client finds room where others hold much.
const FIRST_REPLY: usize = 64 * 1024;

/// Longest time that a stream holds memory for records that are there. The engine skips damaged ones, so that there may be
/// none.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// One stream.
pub(super) struct RecordStream {
    node: Arc<Node>,
    session: Arc<Session>,
    tenant: Arc<Tenant>,
    responses: ResponseSender,
    id: u32,
    header: RequestHeader,
    request: StreamFetchRequest,
    at: TopicPartition,
    deletion: watch::Receiver<bool>,
    acknowledgements: watch::Receiver<i64>,
    max_bytes: usize,
    /// Records to reserve memory for in the next reply. A reply that fills it doubles that of the next one.
    wanted: usize,
    /// Open unless the last reply left batches behind.
    reader: Option<Box<dyn BatchReader>>,
    /// Offset of the next record to send.
    position: i64,
    /// Position after the last reply. It stays behind `position` while modules drop records; a duplicate
    /// acknowledgement of it does not rewind the stream.
    last_replied: i64,
    /// End of records that the engine has lost, until the client is told.
    lost_up_to: Option<i64>,
    /// An acknowledged offset outside the partition. The stream refuses it once it has read up to the high watermark:
    /// clients send such an offset to learn whether modules dropped all remaining records.
    invalid_target: Option<i64>,
}

impl RecordStream {
    pub(super) fn new(
        (node, session, tenant): (Arc<Node>, Arc<Session>, Arc<Tenant>),
        responses: ResponseSender,
        (id, header, request): (u32, RequestHeader, StreamFetchRequest),
        Resolved { at, deletion }: Resolved,
        acknowledgements: watch::Receiver<i64>,
    ) -> Self {
        // A negative limit means none.
        let wanted = usize::try_from(request.max_bytes).unwrap_or(usize::MAX);
        let max_bytes = wanted.min(node.limits.response_bytes).max(1);
        Self {
            max_bytes,
            wanted: max_bytes.min(FIRST_REPLY),
            reader: None,
            position: request.fetch_offset,
            last_replied: request.fetch_offset,
            node,
            session,
            tenant,
            responses,
            id,
            header,
            request,
            at,
            deletion,
            acknowledgements,
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
        self.open().await?;
        loop {
            self.session.admit_reading().await;
            let Some((room, first)) = self.first_batch().await? else {
                if self.skip_lost().await? {
                    self.await_acknowledgement().await?;
                }
                continue;
            };
            // The rules may have changed since the stream was opened.
            self.session.check(CONSUME, self.at.topic.as_str()).map_err(errors::of_denied)?;
            let has_sent = match &mut chain {
                None => self.send(room, first).await.map(|()| true)?,
                Some(chain) => self.send_through(chain, room, first).await?,
            };
            // If modules dropped all records, no reply was sent and there is nothing to acknowledge.
            if !has_sent {
                continue;
            }
            self.await_acknowledgement().await?;
        }
    }

    // The methods that wait take the stream mutably: its reader cannot be shared between threads.

    /// Opens the chain of modules that the request names.
    async fn chain(&mut self) -> Result<Option<Chain>, ErrorCode> {
        let StreamFetchRequest { smartmodules, smartmodule: only, wasm_module, .. } = &self.request;
        if only.is_some() || !wasm_module.is_empty() {
            let message =
                "modules in the encoding of versions below 18 are not supported: send them in the list";
            return Err(ErrorCode::SmartModuleChainInitError(message.to_owned()));
        }
        if smartmodules.is_empty() {
            return Ok(None);
        }
        let open = self.node.smartmodules.open(&self.tenant, smartmodules, &self.at, self.header.version);
        open.await.map(Some)
    }

    /// Opens a reader at the position, which must be within the partition.
    async fn open(&mut self) -> Result<(), ErrorCode> {
        (self.reader, self.lost_up_to) = (None, None);
        let tenant = Arc::clone(&self.tenant);
        let _turn = tenant.openings.acquire().await.ok();
        let marks = self.watermarks().await?;
        check_start(self.position, marks)?;
        let isolation = match self.request.isolation {
            Isolation::ReadUncommitted => engine::Isolation::ReadUncommitted,
            Isolation::ReadCommitted => engine::Isolation::ReadCommitted,
        };
        let request = ReadRequest::new(self.at.clone(), Start::Offset(self.position))
            .max_bytes(self.max_bytes.min(READ_BYTES))
            .isolation(isolation);
        match self.node.engine.open(request).await {
            Ok(reader) => {
                self.reader = Some(reader);
                Ok(())
            }
            Err(error) => Err(self.code_of(&error).await),
        }
    }

    /// Returns the next batch once there is one, and the memory for a reply; `None` if the client moved the position
    /// meanwhile, the memory does not suffice for the batch, or records are lost.
    async fn first_batch(&mut self) -> Result<Option<(MemoryReservation, EncodedBatch)>, StreamEnd> {
        if self.lost_up_to.is_some() {
            return Ok(None);
        }
        if let Some(offset) = self.invalid_target {
            let marks = self.watermarks().await?;
            if self.position >= marks.high {
                return Ok(check_start(offset, marks).map(|()| None)?);
            }
        }
        if self.reader.is_none() {
            self.open().await?;
        }
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let (responses, wanted, reads) = (&self.responses, self.wanted, &self.node.first_reads);
        let reading = async {
            // A reader that cannot tell is read first: it keeps a bounded number of batches anyway.
            let knows = reader.ready().await;
            let room = if knows { Some(responses.reserve(with_buffers(wanted)).await?) } else { None };
            // The size of the next batch is unknown before it is read.
            let _turn = if room.is_some() { reads.acquire().await.ok() } else { None };
            let next = reader.next();
            let outcome = match &room {
                Some(_) => tokio::time::timeout(READ_LIMIT, next).await.ok(),
                None => Some(next.await),
            };
            Ok(outcome.map(|outcome| (room, outcome)))
        };
        let outcome = tokio::select! {
            biased;
            () = until_set(&mut self.deletion) => return Err(ErrorCode::TopicDeleted.into()),
            changed = self.acknowledgements.changed() => {
                changed.map_err(|_| ErrorCode::SpuOffline)?;
                None
            }
            outcome = reading => Some(outcome.map_err(|Disconnected| StreamEnd::Disconnected)?),
        };
        match outcome {
            Some(Some((room, Ok(Some(batch))))) => self.with_room(room, batch).await,
            Some(Some((_, Ok(None)))) => Err(ErrorCode::TopicDeleted.into()),
            Some(Some((_, Err(error)))) => match Gap::of(&error) {
                Some(gap) => {
                    self.lost_up_to = Some(gap.to);
                    Ok(None)
                }
                None => Err(self.code_of(&error).await.into()),
            },
            Some(None) => Ok(None),
            None => {
                self.acknowledged().await?;
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

    /// Checks that the memory of a reply holds its first batch. Otherwise the batch is read anew once there is enough.
    async fn with_room(
        &mut self,
        room: Option<MemoryReservation>,
        batch: EncodedBatch,
    ) -> Result<Option<(MemoryReservation, EncodedBatch)>, StreamEnd> {
        match room {
            Some(room) if batch.len() <= records_in(&room) => Ok(Some((room, batch))),
            Some(_) => {
                self.wanted = batch.len();
                self.reader = None;
                Ok(None)
            }
            None => {
                let room = self.responses.reserve(with_buffers(self.max_bytes.max(batch.len()))).await?;
                Ok(Some((room, batch)))
            }
        }
    }

    /// Adapts the memory of the next reply to the size of this one.
    fn adapt(&mut self, room: &MemoryReservation, bytes: usize) {
        let least = self.max_bytes.min(FIRST_REPLY);
        let had = records_in(room);
        let wanted = if bytes > had / 2 { had.saturating_mul(2) } else { had / 2 };
        self.wanted = wanted.clamp(least, self.max_bytes);
    }

    /// Sends one reply: `first`, and further batches that are available and fit.
    async fn send(&mut self, room: MemoryReservation, first: EncodedBatch) -> Result<(), StreamEnd> {
        let limit = records_in(&room).min(self.max_bytes);
        let mut bytes = first.len();
        let mut batches = vec![first];
        while let Some(batch) = self.another_batch(bytes, limit) {
            bytes += batch.len();
            batches.push(batch);
        }
        self.adapt(&room, bytes);
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
        Ok(self.responses.send_records(room, pieces).await?)
    }

    /// Sends `first`, and further batches that are available and fit, through the chain. Returns false if it dropped
    /// all records.
    async fn send_through(
        &mut self,
        chain: &mut Chain,
        room: MemoryReservation,
        first: EncodedBatch,
    ) -> Result<bool, StreamEnd> {
        let limit = records_in(&room).min(self.max_bytes);
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
            next = self.another_batch(bytes, limit);
        }
        self.adapt(&room, bytes);
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
        self.responses.send_records(room, pieces).await?;
        Ok(true)
    }

    /// Returns a batch that is available and fits into a reply that holds `bytes` already. Otherwise drops the reader and
    /// what it has read ahead: the next reply opens another one.
    fn another_batch(&mut self, bytes: usize, limit: usize) -> Option<EncodedBatch> {
        if bytes >= limit {
            self.reader = None;
            return None;
        }
        // A gap waits for the next reply; the reader reports any other error, or the end, again on the next call.
        let batch = match self.reader.as_mut()?.next().now_or_never()? {
            Ok(batch) => batch?,
            Err(error) => {
                self.lost_up_to = Gap::of(&error).map(|gap| gap.to);
                return None;
            }
        };
        if bytes + batch.len() > limit {
            self.reader = None;
            return None;
        }
        Some(batch)
    }

    /// Waits until the client acknowledges the last reply.
    async fn await_acknowledgement(&mut self) -> Result<(), ErrorCode> {
        loop {
            if let Some(offset) = self.invalid_target {
                check_start(offset, self.watermarks().await?)?;
            }
            tokio::select! {
                biased;
                () = until_set(&mut self.deletion) => return Err(ErrorCode::TopicDeleted),
                changed = self.acknowledgements.changed() => changed.map_err(|_| ErrorCode::SpuOffline)?,
            }
            if self.acknowledged().await? {
                return Ok(());
            }
        }
    }

    /// Moves to the latest acknowledged offset. Returns false if that offset is to be ignored.
    async fn acknowledged(&mut self) -> Result<bool, ErrorCode> {
        let next = *self.acknowledgements.borrow_and_update();
        if next < 0 {
            self.invalid_target = Some(next).filter(|next| *next < FIRST_IGNORED_ACK);
            return Ok(false);
        }
        if next != self.position && next != self.last_replied {
            (self.position, self.last_replied) = (next, next);
            self.open().await?;
        }
        Ok(true)
    }

    async fn watermarks(&mut self) -> Result<Watermarks, ErrorCode> {
        match self.node.engine.watermarks(self.at.clone()).await {
            Ok(marks) => Ok(marks),
            Err(error) => Err(self.code_of(&error).await),
        }
    }

    /// Maps an engine error to a code. An open stream reports a missing topic as deleted.
    async fn code_of(&mut self, error: &Error) -> ErrorCode {
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
