//! Records on their way to the target, encoded into batches that carry the marks of the copy.

use std::collections::BTreeMap;

use floe::{
    Codec, Error, ErrorKind,
    consumer::BorrowedRecord,
    engine::batch::{BatchBuilder, EncodedBatch, FinishOptions},
};

use super::{position::ROUND_OFFSETS, stamp::stamp};

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
    codec: Codec,
    /// Bytes of a batch.
    limit: usize,
    /// First offset of the source in this round, and the one after the last.
    offsets: Option<(i64, i64)>,
    targets: BTreeMap<u32, RoundTarget>,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// Batches for one partition of the target.
#[derive(Debug, Default)]
struct RoundTarget {
    closed: Vec<(BatchBuilder, i64)>,
    open: Option<OpenBatch>,
}

#[derive(Debug)]
struct OpenBatch {
    builder: BatchBuilder,
    is_timed: bool,
    /// Offset of the source after the last record.
    next: i64,
}

impl CopyRound {
    pub(super) fn new(lane: Option<i64>, codec: Codec, max_batch_bytes: usize) -> Self {
        let limit = BATCH_BYTES.min(max_batch_bytes);
        Self { lane, codec, limit, offsets: None, targets: BTreeMap::new(), records: 0, bytes: 0 }
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

    /// Returns the offset after the round; none if it covers nothing.
    pub(super) fn next(&self) -> Option<i64> {
        self.offsets.map(|(_, next)| next)
    }

    /// Adds a record for a partition of the target.
    ///
    /// # Errors
    /// [`ErrorKind::RecordTooLarge`].
    pub(super) fn push(&mut self, target: u32, record: &BorrowedRecord<'_>) -> floe::Result<()> {
        let headers: Vec<_> = record.headers.iter().collect();
        let size = BatchBuilder::record_len(record.key, record.value, &headers);
        let time = record.timestamp.unwrap_or(NO_TIME);
        let limit = self.limit;
        let target = self.targets.entry(target).or_default();
        let fits = |open: &OpenBatch| {
            open.is_timed == record.timestamp.is_some()
                && open.builder.len() + size <= limit
                && open.builder.accepts_timestamp(time)
        };
        if let Some(open) = target.open.take_if(|open| !fits(open)) {
            target.closed.push((open.builder, open.next));
        }
        let open = target.open.get_or_insert_with(|| OpenBatch {
            builder: BatchBuilder::new(size.saturating_add(BATCH_OVERHEAD).max(limit / 8)),
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

    /// Closes the batches and begins another round. The last batch of each partition covers the round to its end, so that
    /// a restart does not read records again that were left out.
    pub(super) fn take(&mut self) -> floe::Result<Vec<(u32, Vec<EncodedBatch>)>> {
        let end = self.next().unwrap_or(0);
        (self.offsets, self.records, self.bytes) = (None, 0, 0);
        let mut sends = Vec::new();
        for (target, RoundTarget { closed, open }) in std::mem::take(&mut self.targets) {
            let last = open.map(|open| (open.builder, end.max(open.next)));
            let batches = closed.into_iter().chain(last).map(|(builder, next)| self.finish(builder, next));
            sends.push((target, batches.collect::<floe::Result<_>>()?));
        }
        Ok(sends)
    }

    fn finish(&self, builder: BatchBuilder, next: i64) -> floe::Result<EncodedBatch> {
        let mut options = FinishOptions::default();
        if let Some(lane) = self.lane {
            options.producer = stamp(lane, next, builder.count()).ok_or_else(|| {
                let message = format!("offset {next} of the source is beyond those that a copy can mark");
                Error::new(ErrorKind::Unsupported, message)
            })?;
        }
        options.compression.codec = self.codec;
        builder.finish(options).map_err(|error| {
            Error::new(ErrorKind::SerializationError, "a batch cannot be encoded").with_source(error)
        })
    }
}
