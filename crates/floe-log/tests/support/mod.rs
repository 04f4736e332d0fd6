//! Batches and helpers for the integration tests.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a subset")]

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use floe_log::{
    Appended, LogError, Partition, StoreConfig,
    disk::{FaultyDisk, MemoryDisk},
};
use floe_wire::batch::EncodedBatch;

/// Builds a batch of `count` offsets with `body` in place of its records, which the log never decodes.
pub fn batch(count: u32, time_ms: i64, body: &[u8]) -> EncodedBatch {
    producer_batch(count, time_ms, body, (-1, -1, -1))
}

/// Builds a [`batch`] that names its producer (id, epoch, first sequence).
pub fn producer_batch(
    count: u32,
    time_ms: i64,
    body: &[u8],
    (id, epoch, sequence): (i64, i16, i32),
) -> EncodedBatch {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&0_i64.to_be_bytes());
    bytes.extend_from_slice(&i32::try_from(45 + body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&0_i16.to_be_bytes());
    bytes.extend_from_slice(&i32::try_from(count - 1).unwrap().to_be_bytes());
    bytes.extend_from_slice(&time_ms.to_be_bytes());
    bytes.extend_from_slice(&time_ms.to_be_bytes());
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(body);
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    EncodedBatch::parse(Bytes::from(bytes)).unwrap()
}

/// Returns the bytes that [`batch`] put in place of the records.
pub fn body(batch: &EncodedBatch) -> Bytes {
    batch.rest()
}

/// Appends and waits for the completion.
pub fn append(partition: &Arc<Partition>, batch: EncodedBatch) -> Result<Appended, LogError> {
    let (answer, answered) = mpsc::sync_channel(1);
    partition.submit(batch, move |result| drop(answer.send(result)));
    answered.recv().expect("every append is completed")
}

/// Appends one record with this body.
pub fn append_one(partition: &Arc<Partition>, body: &[u8]) -> i64 {
    append(partition, batch(1, 1_000, body)).expect("the append succeeds").base_offset
}

/// Reads all batches from `from` on as (base offset, body), with verified checksums.
pub fn read_all(partition: &Arc<Partition>, from: i64) -> Result<Vec<(i64, Bytes)>, LogError> {
    let mut reader = partition.reader(from)?.verify(true);
    let mut found = Vec::new();
    loop {
        let chunk = reader.next_chunk(1 << 20)?;
        if chunk.batches.is_empty() {
            return Ok(found);
        }
        found.extend(chunk.batches.iter().map(|batch| (batch.base_offset(), body(batch))));
    }
}

/// Configures a store on this disk.
pub fn on(disk: &MemoryDisk) -> StoreConfig {
    StoreConfig::at("/").disk(Arc::new(disk.clone()))
}

/// A store on a disk that fails on demand.
pub fn faulty(memory: &MemoryDisk) -> (FaultyDisk, StoreConfig) {
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    (disk.clone(), StoreConfig::at("/").disk(Arc::new(disk)))
}
