//! Batches with altered contents.

use bytes::Bytes;
use floe::Result;
use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions};

use super::Lie;

/// A mutable record.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// Returns the batch as altered by the fault.
pub(crate) fn lied_about(lie: Lie, batch: &EncodedBatch) -> Result<EncodedBatch> {
    match lie {
        Lie::FlipByte => rewritten(batch, |record| {
            if let Some(byte) = record.value.last_mut() {
                *byte ^= 1;
            }
        }),
        Lie::FlipByteKeepChecksum => {
            let mut bytes = batch.to_bytes().to_vec();
            // A byte within the records.
            let at = floe_wire::batch::HEADER_LEN + (bytes.len() - floe_wire::batch::HEADER_LEN) / 2;
            bytes[at] ^= 1;
            Ok(EncodedBatch::parse(Bytes::from(bytes))?)
        }
        Lie::TextOnly => rewritten(batch, |record| {
            record.value = String::from_utf8_lossy(&record.value).into_owned().into_bytes();
        }),
        Lie::SpaceForEmpty => rewritten(batch, |record| {
            if record.value.is_empty() {
                record.value = b" ".to_vec();
            }
        }),
        Lie::DropHeaders => rewritten(batch, |record| record.headers.clear()),
        Lie::LastHeaderWins => rewritten(batch, |record| {
            let names: Vec<_> = record.headers.iter().map(|(name, _)| name.clone()).collect();
            let mut index = 0;
            record.headers.retain(|(name, _)| {
                index += 1;
                !names[index..].contains(name)
            });
        }),
        Lie::ZeroTimestamps => rewritten(batch, |record| record.timestamp = 0),
        Lie::EmptyKeyIsNone => rewritten(batch, |record| {
            record.key = record.key.take().filter(|key| !key.is_empty());
        }),
        _ => Ok(batch.clone()),
    }
}

/// Applies `change` to each record and encodes the batch again, uncompressed.
pub(crate) fn rewritten(batch: &EncodedBatch, change: impl Fn(&mut Parts)) -> Result<EncodedBatch> {
    let mut builder = BatchBuilder::new(batch.len());
    for record in batch.records()? {
        let record = record?;
        let mut parts = Parts {
            timestamp: record.timestamp.unwrap_or(0),
            key: record.key.clone(),
            value: record.value.to_vec(),
            headers: record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        };
        change(&mut parts);
        let headers: Vec<_> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        builder.append(parts.timestamp, parts.key.as_deref(), &parts.value, &headers)?;
    }
    let options = FinishOptions { producer: batch.header().producer, ..FinishOptions::default() };
    Ok(builder.finish(options)?.with_base_offset(batch.base_offset()))
}
