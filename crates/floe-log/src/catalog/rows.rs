//! Tables of the catalog and their rows.

use std::{collections::BTreeMap, time::Duration};

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::{DurablePoint, FORMAT_VERSION, StoredLog, StoredOffset, StoredTopic};
use crate::{
    TopicConfig,
    log_info::{durability_code, durability_of},
};

/// Topic id, partitions, creation ms, durability kind, durability ms, retention ms, retention bytes, segment bytes.
pub(super) type TopicRow = (u64, u32, i64, u8, u64, Option<u64>, Option<u64>, Option<u64>);

pub(super) const SYSTEM: TableDefinition<'_, &str, u64> = TableDefinition::new("system");
pub(super) const TOPICS: TableDefinition<'_, &str, TopicRow> = TableDefinition::new("topics");
pub(super) const METADATA: TableDefinition<'_, (u64, &str), &str> = TableDefinition::new("topic_metadata");
/// Topic id and partition to log id and log start.
pub(super) const LOGS: TableDefinition<'_, (u64, u32), (u64, i64)> = TableDefinition::new("logs");
/// Log id to segment base, position in it, next offset: all bytes before are synced.
pub(super) const RECOVERY: TableDefinition<'_, u64, (i64, u64, i64)> = TableDefinition::new("recovery");
/// Group, topic id and partition to offset, time of the commit, metadata.
pub(super) const OFFSETS: TableDefinition<'_, (&str, u64, u32), (i64, i64, &str)> =
    TableDefinition::new("offsets");
/// Ids of logs of deleted topics whose files may still exist.
pub(super) const DELETING: TableDefinition<'_, u64, ()> = TableDefinition::new("deleting");

/// Log id and id of a fenced producer to its recent batches before the point in [`RECOVERY`]. Missing in catalogs that never
/// had one.
pub(super) const FENCES: TableDefinition<'_, (u64, i64), Vec<FencedRow>> = TableDefinition::new("fences");

/// Epoch, first sequence, span, checksum, base offset, append time.
pub(super) type FencedRow = (i16, i32, u32, u32, i64, i64);

/// Numbers the change, so that the catalog can tell later whether it was stored.
pub(super) fn count_change(transaction: &WriteTransaction) -> Result<u64, redb::Error> {
    let mut system = transaction.open_table(SYSTEM)?;
    let number = changes(&system)? + 1;
    system.insert("changes", number)?;
    Ok(number)
}

/// Returns the number of stored changes.
pub(super) fn changes(system: &impl ReadableTable<&'static str, u64>) -> Result<u64, redb::Error> {
    Ok(system.get("changes")?.map_or(0, |changes| changes.value()))
}

/// Reads format version and store id; None if the database is new.
pub(super) fn read_system(transaction: &ReadTransaction) -> Result<Option<(u64, Option<u64>)>, redb::Error> {
    let system = match transaction.open_table(SYSTEM) {
        Ok(system) => system,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value = |key| Ok::<_, redb::Error>(system.get(key)?.map(|value| value.value()));
    let store_id = value("store_id")?;
    Ok(value("format_version")?.map(|version| (version, store_id)))
}

/// Creates what a new database, or one of an older format, lacks.
pub(super) fn prepare(transaction: &WriteTransaction, store_id: u64) -> Result<(), redb::Error> {
    let mut system = transaction.open_table(SYSTEM)?;
    system.insert("format_version", FORMAT_VERSION)?;
    system.insert("store_id", store_id)?;
    if system.get("next_id")?.is_none() {
        system.insert("next_id", 1)?;
    }
    transaction.open_table(TOPICS)?;
    transaction.open_table(METADATA)?;
    transaction.open_table(LOGS)?;
    transaction.open_table(RECOVERY)?;
    transaction.open_table(OFFSETS)?;
    transaction.open_table(DELETING)?;
    Ok(())
}

pub(super) fn take_ids(transaction: &WriteTransaction, count: u64) -> Result<u64, redb::Error> {
    let mut system = transaction.open_table(SYSTEM)?;
    let first = system.get("next_id")?.map_or(1, |next| next.value());
    system.insert("next_id", first + count)?;
    Ok(first)
}

/// Returns the retention of a configuration as it is in a row: age in milliseconds, bytes.
pub(super) fn retention_row(config: &TopicConfig) -> (Option<u64>, Option<u64>) {
    let age = config.retention_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    (age, config.retention_bytes)
}

pub(super) fn insert_topic(
    transaction: &WriteTransaction,
    name: &str,
    id: u64,
    config: &TopicConfig,
    created_ms: i64,
) -> Result<(), redb::Error> {
    let (kind, interval) = durability_code(config.durability);
    let (age, bytes) = retention_row(config);
    let row = (id, config.partitions, created_ms, kind, interval, age, bytes, config.segment_bytes);
    transaction.open_table(TOPICS)?.insert(name, row)?;
    let mut metadata = transaction.open_table(METADATA)?;
    for (key, value) in &config.metadata {
        metadata.insert((id, key.as_str()), value.as_str())?;
    }
    Ok(())
}

pub(super) fn add_logs(
    transaction: &WriteTransaction,
    topic: u64,
    partitions: std::ops::Range<u32>,
) -> Result<Vec<StoredLog>, redb::Error> {
    let first = take_ids(transaction, partitions.len() as u64)?;
    let mut table = transaction.open_table(LOGS)?;
    let mut logs = Vec::new();
    for (partition, id) in partitions.zip(first..) {
        table.insert((topic, partition), (id, 0))?;
        logs.push(StoredLog { id, start: 0, durable: None });
    }
    Ok(logs)
}

pub(super) fn read_topics(transaction: &ReadTransaction) -> Result<Vec<StoredTopic>, redb::Error> {
    let metadata_table = transaction.open_table(METADATA)?;
    let log_table = transaction.open_table(LOGS)?;
    let recovery_table = transaction.open_table(RECOVERY)?;
    let mut topics = Vec::new();
    for row in transaction.open_table(TOPICS)?.iter()? {
        let (name, row) = row?;
        let (id, partitions, created_ms, kind, interval, age, bytes, segment_bytes) = row.value();
        let mut metadata = BTreeMap::new();
        for entry in metadata_table.range((id, "")..(id + 1, ""))? {
            let (key, value) = entry?;
            metadata.insert(key.value().1.to_owned(), value.value().to_owned());
        }
        let mut logs = Vec::new();
        for entry in log_table.range((id, 0)..(id + 1, 0))? {
            let (log_id, start) = entry?.1.value();
            let durable = recovery_table.get(log_id)?.map(|row| {
                let (segment, position, next) = row.value();
                DurablePoint { segment, position, next }
            });
            logs.push(StoredLog { id: log_id, start, durable });
        }
        let config = TopicConfig {
            partitions,
            durability: durability_of(kind, interval),
            retention_age: age.map(Duration::from_millis),
            retention_bytes: bytes,
            segment_bytes,
            metadata,
        };
        topics.push(StoredTopic { name: name.value().to_owned(), id, created_ms, config, logs });
    }
    Ok(topics)
}

pub(super) fn read_offsets(transaction: &ReadTransaction) -> Result<Vec<StoredOffset>, redb::Error> {
    let mut offsets = Vec::new();
    for row in transaction.open_table(OFFSETS)?.iter()? {
        let (key, value) = row?;
        let (group, topic_id, partition) = key.value();
        let (offset, modified_ms, metadata) = value.value();
        offsets.push(StoredOffset {
            group: group.to_owned(),
            topic_id,
            partition,
            offset,
            modified_ms,
            metadata: metadata.to_owned(),
        });
    }
    Ok(offsets)
}
