//! Records on their way to the target, in batches that carry the marks of the copy: stored batches as they are, or records that are
//! encoded here.

use std::collections::BTreeMap;

use floe::{
    Codec, Error, ErrorKind,
    consumer::BorrowedRecord,
    engine::batch::{BatchBuilder, EncodedBatch, FinishOptions, ProducerIdentity},
};

use super::{position::ROUND_OFFSETS, stamp::stamp, whole_batch::WholeBatch};

/// Bytes of records at which a round is sent.
const ROUND_BYTES: usize = 2 << 20;

/// Bytes of a batch, unless the engine takes fewer.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes of a batch that are not records.
const BATCH_OVERHEAD: usize = 256;

/// Time of records that have none.
const NO_TIME: i64 = -1;

/// Consecutive records of one partition of the source.
#[derive(Debug)]
pub(super) struct CopyRound {
    /// Producer id of the batches. None where batches are not found again, and numbers with holes would only look like a loss.
    lane: Option<i64>,
    /// Bytes of a batch that is encoded here.
    limit: usize,
    /// First offset of the source in this round, and the one after the last.
    offsets: Option<(i64, i64)>,
    targets: BTreeMap<u32, RoundTarget>,
    records: u64,
    bytes: u64,
}

/// Batches for one partition of the target.
#[derive(Debug, Default)]
struct RoundTarget {
    closed: Vec<ClosedBatch>,
    open: Option<OpenBatch>,
}

#[derive(Debug)]
struct OpenBatch {
    builder: BatchBuilder,
    codec: Codec,
    is_timed: bool,
    /// Offset of the source after the last record.
    next: i64,
}

/// A batch, and the offset of the source after its last record.
#[derive(Debug)]
struct ClosedBatch {
    content: BatchContent,
    next: i64,
}

#[derive(Debug)]
enum BatchContent {
    /// Records that have to be encoded.
    Gathered(BatchBuilder, Codec),
    /// A batch with the bytes that the source has.
    Stored(EncodedBatch),
}

impl From<OpenBatch> for ClosedBatch {
    fn from(OpenBatch { builder, codec, next, .. }: OpenBatch) -> Self {
        Self { content: BatchContent::Gathered(builder, codec), next }
    }
}

/// A round that gets no more records.
#[derive(Debug)]
pub(super) struct ClosedRound {
    lane: Option<i64>,
    targets: BTreeMap<u32, RoundTarget>,
    /// Offset of the source after the round.
    pub(super) next: i64,
    pub(super) records: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
}

impl CopyRound {
    pub(super) fn new(lane: Option<i64>, max_batch_bytes: usize) -> Self {
        let limit = BATCH_BYTES.min(max_batch_bytes);
        Self { lane, limit, offsets: None, targets: BTreeMap::new(), records: 0, bytes: 0 }
    }

    /// Whether the round has to be sent before it covers the record of this offset.
    pub(super) fn is_full_before(&self, offset: i64) -> bool {
        let too_far = self.offsets.is_some_and(|(first, _)| offset - first >= ROUND_OFFSETS);
        too_far || self.bytes >= ROUND_BYTES as u64
    }

    /// Covers the offsets before `next`, from `offset` on if the round is new.
    pub(super) fn cover(&mut self, offset: i64, next: i64) {
        let (first, _) = self.offsets.unwrap_or((offset, next));
        self.offsets = Some((first, next));
    }

    /// Adds a batch of the source with its bytes as they are.
    pub(super) fn push_whole(&mut self, batch: &WholeBatch<'_>, next: i64) {
        let target = self.targets.entry(batch.target).or_default();
        target.closed.extend(target.open.take().map(ClosedBatch::from));
        target.closed.push(ClosedBatch { content: BatchContent::Stored(batch.stored.clone()), next });
        self.records += batch.records;
        self.bytes += batch.bytes;
    }

    /// Adds a record for a partition of the target, to be compressed with `codec`.
    ///
    /// # Errors
    /// [`ErrorKind::RecordTooLarge`].
    pub(super) fn push(
        &mut self,
        target: u32,
        record: &BorrowedRecord<'_>,
        codec: Codec,
    ) -> floe::Result<()> {
        let headers: Vec<_> = record.headers.iter().collect();
        let size = BatchBuilder::record_len(record.key, record.value, &headers);
        let time = record.timestamp.unwrap_or(NO_TIME);
        let limit = self.limit;
        let target = self.targets.entry(target).or_default();
        let fits = |open: &OpenBatch| {
            open.is_timed == record.timestamp.is_some()
                && open.codec == codec
                && open.builder.len() + size <= limit
                && open.builder.accepts_timestamp(time)
        };
        if let Some(open) = target.open.take_if(|open| !fits(open)) {
            target.closed.push(open.into());
        }
        let open = target.open.get_or_insert_with(|| OpenBatch {
            builder: BatchBuilder::new(size.saturating_add(BATCH_OVERHEAD).max(limit / 8)),
            codec,
            is_timed: record.timestamp.is_some(),
            next: record.offset,
        });
        open.builder.append(time, record.key, record.value, &headers).map_err(|error| {
            let message = format!("the record at offset {} of the source has {size} bytes", record.offset);
            Error::new(ErrorKind::RecordTooLarge, message).with_source(error)
        })?;
        open.next = record.offset + 1;
        self.records += 1;
        self.bytes += (record.key.map_or(0, <[u8]>::len) + record.value.len()) as u64;
        Ok(())
    }

    /// Closes the round and begins another one; `None` if it covers nothing.
    pub(super) fn take(&mut self) -> Option<ClosedRound> {
        let (_, next) = self.offsets.take()?;
        let (records, bytes) = (std::mem::take(&mut self.records), std::mem::take(&mut self.bytes));
        Some(ClosedRound {
            lane: self.lane,
            targets: std::mem::take(&mut self.targets),
            next,
            records,
            bytes,
        })
    }
}

impl ClosedRound {
    /// Encodes the batches of each partition of the target. The last batch of each covers the round to its end, so that a
    /// restart does not read records again that were left out.
    pub(super) fn encoded(self) -> floe::Result<Vec<(u32, Vec<EncodedBatch>)>> {
        let Self { lane, targets, next: end, .. } = self;
        let mut sends = Vec::new();
        for (target, RoundTarget { mut closed, open }) in targets {
            closed.extend(open.map(ClosedBatch::from));
            if let Some(last) = closed.last_mut() {
                last.next = last.next.max(end);
            }
            let batches = closed.into_iter().map(|batch| batch.marked(lane));
            sends.push((target, batches.collect::<floe::Result<_>>()?));
        }
        Ok(sends)
    }
}

impl ClosedBatch {
    /// Returns the batch with the mark of the copy.
    fn marked(self, lane: Option<i64>) -> floe::Result<EncodedBatch> {
        let Self { content, next } = self;
        let producer = |records: u32| {
            let Some(lane) = lane else { return Ok(ProducerIdentity::NONE) };
            stamp(lane, next, records).ok_or_else(|| {
                let message = format!("offset {next} of the source is beyond those that a copy can mark");
                Error::new(ErrorKind::Unsupported, message)
            })
        };
        match content {
            BatchContent::Stored(batch) => {
                let span = batch.header().offset_span();
                Ok(batch.with_producer(producer(span)?))
            }
            BatchContent::Gathered(builder, codec) => {
                let mut options =
                    FinishOptions { producer: producer(builder.count())?, ..FinishOptions::default() };
                options.compression.codec = codec;
                builder.finish(options).map_err(|error| {
                    Error::new(ErrorKind::SerializationError, "a batch cannot be encoded").with_source(error)
                })
            }
        }
    }
}
