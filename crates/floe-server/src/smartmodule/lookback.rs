//! Look-back: shows modules the records before the first one that they transform.

use std::time::{SystemTime, UNIX_EPOCH};

use floe::{
    Error, TopicPartition,
    engine::{Isolation, ReadRequest, SharedEngine, Start, Watermarks},
};
use floe_wire::{batch::EncodedBatch, fluvio::Lookback};

use super::{
    chain::{Chain, MAX_SECTION_LEN},
    instance::Section,
};

/// Bytes per read.
const READ_BYTES: usize = 1 << 20;

/// Shows each module of the chain the records that it asked for, batch by batch.
pub(super) async fn run(engine: &SharedEngine, chain: &mut Chain, at: &TopicPartition) -> Result<(), String> {
    for index in 0..chain.instances().len() {
        let Some(lookback) = chain.instances().get(index).and_then(|instance| instance.lookback) else {
            continue;
        };
        let text = |error: Error| error.to_string();
        let marks = engine.watermarks(at.clone()).await.map_err(text)?;
        let Some(range) = Range::of(engine, at, lookback, marks).await.map_err(text)? else { continue };
        let request = ReadRequest::new(at.clone(), Start::Offset(range.from))
            .max_bytes(READ_BYTES)
            .isolation(Isolation::ReadCommitted);
        let mut reader = engine.open(request).await.map_err(text)?;
        let mut next = range.from;
        while next < range.end {
            let Some(batch) = reader.next().await.map_err(text)? else { break };
            next = batch.next_offset();
            let shown = chain.call(move |instances| {
                let Some(section) = range.section(&batch)? else { return Ok(()) };
                let instance = instances.get_mut(index).ok_or("internal error: the chain lost a module")?;
                instance.look_back(&section).map_err(|broken| broken.to_string())
            });
            shown.await?;
        }
    }
    Ok(())
}

/// Range of records to show.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    from: i64,
    end: i64,
    /// Records before this time, or without a time, are left out.
    since: Option<i64>,
}

impl Range {
    async fn of(
        engine: &SharedEngine,
        at: &TopicPartition,
        lookback: Lookback,
        marks: Watermarks,
    ) -> Result<Option<Self>, Error> {
        let last = i64::try_from(lookback.last).unwrap_or(i64::MAX);
        let latest = marks.high.saturating_sub(last).clamp(marks.start, marks.high);
        let since = lookback.age.map(|age| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(i64::MAX)
        });
        let from = match since {
            // The age alone limits the number of records.
            Some(since) if last == 0 => match engine.offset_for_time(at.clone(), since).await? {
                Some(from) => from,
                None => return Ok(None),
            },
            _ => latest,
        };
        Ok((from < marks.high).then_some(Self { from, end: marks.high, since }))
    }

    /// Returns the records of a batch that lie in the range.
    fn section(self, batch: &EncodedBatch) -> Result<Option<Section>, String> {
        let Self { from, end, since } = self;
        let section = batch.record_section_of(MAX_SECTION_LEN, batch.base_offset(), |record| {
            (from..end).contains(&record.offset)
                && since.is_none_or(|since| record.timestamp.is_some_and(|time| time >= since))
        });
        let records = section.map_err(|error| error.to_string())?;
        if records.starts_with(&[0; 4]) {
            return Ok(None);
        }
        let (base_offset, base_timestamp) = (batch.base_offset(), batch.header().first_timestamp);
        Ok(Some(Section { base_offset, base_timestamp, records }))
    }
}
