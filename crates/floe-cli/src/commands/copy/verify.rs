//! Compares the source with the records that the copy has in the target.

use std::collections::BTreeMap;

use floe::{
    Error, ErrorKind,
    consumer::{BorrowedRecord, Gap, GapPolicy, StartAt},
    engine::EncodedBatch,
    exchange::RecordFields,
};

use super::{lane::LaneReport, plan::CopyPlan, stamp::mixed, tail};
use crate::{
    exit::{Failure, Outcome},
    output::amount,
};

/// Count and checksums of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RecordDigest {
    pub(super) records: u64,
    /// CRC-32C over all records, in order.
    chain: u32,
    /// Sum over the mixed checksums of the records, whatever their order.
    sum: u64,
}

impl RecordDigest {
    fn add(&mut self, record: &BorrowedRecord<'_>) {
        let mut crc = 0;
        let mut add = |part: Option<&[u8]>| {
            let len = part.map_or(u64::MAX, |part| part.len() as u64);
            crc = crc32c::crc32c_append(crc, &len.to_le_bytes());
            crc = crc32c::crc32c_append(crc, part.unwrap_or_default());
        };
        add(record.key);
        add(Some(record.value));
        for (name, value) in record.headers.iter() {
            add(Some(name.as_bytes()));
            add(Some(value));
        }
        crc = crc32c::crc32c_append(crc, &record.timestamp.unwrap_or(i64::MIN).to_le_bytes());
        self.records += 1;
        self.chain = crc32c::crc32c_append(self.chain, &crc.to_le_bytes());
        self.sum = self.sum.wrapping_add(mixed(u64::from(crc) + 1));
    }

    /// Whether two sides have the same records; in the same order where `ordered`.
    fn equals(&self, other: &Self, ordered: bool) -> bool {
        (self.records, self.sum) == (other.records, other.sum) && (!ordered || self.chain == other.chain)
    }
}

/// Compares all partitions. Returns the number of records compared.
pub(super) async fn verify(plan: &CopyPlan, lanes: &[LaneReport]) -> Outcome<u64> {
    if !plan.reads_target() {
        let name = plan.to.info().name;
        return Err(Error::unsupported("reading without removing, which --verify needs", name).into());
    }
    let copied = copied_digests(plan).await?;
    let (mut records, mut differences) = (0, Vec::new());
    for lane in lanes {
        let source = source_digest(plan, lane).await?;
        let target = copied.get(&lane.partition).copied().unwrap_or_default();
        records += source.records;
        // With one partition on each side the order is kept as well.
        let ordered = plan.choices.keep_partitions || plan.partitions == 1;
        if !source.equals(&target, ordered) {
            differences.push(format!(
                "partition {} of the source has {} (checksum {:08x}), the target has {} ({:08x}) of it",
                lane.partition,
                amount::count(source.records, "record"),
                source.chain,
                amount::thousands(target.records),
                target.chain,
            ));
        }
    }
    let Some(first) = differences.first() else { return Ok(records) };
    let others = match differences.len() - 1 {
        0 => String::new(),
        others => format!("; {} differ as well", amount::count(others as u64, "partition")),
    };
    Err(Failure::verification(format!("{} differs from its copy: {first}{others}", plan.source.name)).with_hint(
        "records that retention has removed from one side since they were copied count as a difference, and so does a \
         --where with a time before now",
    ))
}

async fn source_digest(plan: &CopyPlan, lane: &LaneReport) -> Outcome<RecordDigest> {
    let mut digest = RecordDigest::default();
    let consumer = plan.from.consumer(plan.source.name.clone()).partition(lane.partition);
    let consumer = consumer.from(StartAt::Beginning).on_gap(GapPolicy::Fail).stop_at_end();
    let mut consumer = consumer.start().await?;
    loop {
        let batch = match consumer.next_batch().await {
            Ok(Some(batch)) if batch.first_offset() < lane.reached => batch,
            Ok(_) => break,
            // Told by the copy.
            Err(error) if Gap::of(&error).is_some() => continue,
            Err(error) => return Err(error.into()),
        };
        for record in batch.borrowed().take_while(|record| record.offset < lane.reached) {
            let fields = RecordFields::of_batch(&batch, &record);
            if plan.choices.filter.as_ref().is_none_or(|filter| filter.matches(&fields)) {
                digest.add(&record);
            }
        }
    }
    consumer.close().await?;
    Ok(digest)
}

/// Returns the records of each partition of the source that the target has.
async fn copied_digests(plan: &CopyPlan) -> Outcome<BTreeMap<u32, RecordDigest>> {
    let mut digests = BTreeMap::new();
    for partition in 0..plan.partitions {
        let at = plan.target.partition(partition);
        let lanes = plan.lanes_at(partition);
        let marks = plan.to.admin().watermarks(at.clone()).await?;
        let end = plan.to.engine().log_end(at.clone()).await?.max(marks.high);
        tail::scan(plan.to.engine(), &at, marks.start..end, |batch| {
            match lanes.get(&batch.header().producer.id) {
                Some(lane) => add_batch(digests.entry(*lane).or_default(), batch),
                None => Ok(()),
            }
        })
        .await?;
    }
    Ok(digests)
}

fn add_batch(digest: &mut RecordDigest, batch: &EncodedBatch) -> floe::Result<()> {
    let damaged = |error| {
        let message = format!("the batch at offset {} of the target is damaged", batch.base_offset());
        Error::new(ErrorKind::CorruptData, message).with_source(error)
    };
    batch.verify_checksum().map_err(damaged)?;
    for record in batch.records().map_err(damaged)?.borrowed() {
        digest.add(&record.map_err(damaged)?);
    }
    Ok(())
}
