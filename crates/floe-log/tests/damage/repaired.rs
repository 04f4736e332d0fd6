//! Checks and repairs of damaged stores.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use floe_log::{CheckReport, LogError, Store, disk::MemoryDisk};

use crate::{fixture::config, support::body};

/// Records by topic, partition and offset.
type Readable = BTreeSet<(String, u32, i64, Bytes)>;

fn contents(disk: &MemoryDisk) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    disk.paths().into_iter().filter_map(|path| Some((path.clone(), disk.contents(&path)?))).collect()
}

/// Checks the store; None if its format is not known.
pub fn check_without_a_change(disk: &MemoryDisk) -> Result<Option<CheckReport>, String> {
    let before = contents(disk);
    let report = match floe_log::check(&config(disk)) {
        Ok(report) => Some(report),
        Err(LogError::Format { .. }) => None,
        Err(error) => return Err(format!("the check failed: {error:?}")),
    };
    if contents(disk) != before {
        return Err("the check changed a file".to_owned());
    }
    Ok(report)
}

/// Reads what can be read; nothing if the store does not open.
fn readable(disk: &MemoryDisk) -> Result<Readable, String> {
    let mut found = Readable::new();
    let Ok(store) = Store::open(config(disk)) else { return Ok(found) };
    for topic in store.topics() {
        for number in 0..topic.partitions {
            let Ok(partition) = store.partition(&topic.name, number) else { continue };
            let mut reader = partition.reader(partition.bounds().start).map_err(|error| error.to_string())?;
            // Every chunk moves the reader, so this ends.
            while reader.position() < partition.readable_end() {
                let before = reader.position();
                let chunk = reader.next_chunk(4_000).map_err(|error| error.to_string())?;
                if reader.position() == before {
                    return Err(format!("the reader stays at offset {before}"));
                }
                for batch in chunk.batches.iter().filter(|batch| batch.verify_checksum().is_ok()) {
                    found.insert((topic.name.clone(), number, batch.base_offset(), body(batch)));
                }
            }
        }
    }
    Ok(found)
}

/// Repairs the store; it must be whole afterwards, and no record that was readable may be gone.
pub fn check_repair(damaged: &MemoryDisk) -> Result<(), String> {
    let before = readable(&damaged.after_kill())?;
    let disk = damaged.after_kill();
    let repaired = match floe_log::repair(&config(&disk)) {
        Ok(repaired) => repaired,
        Err(LogError::Format { .. }) => return Ok(()),
        Err(error) => return Err(format!("the repair failed: {error:?}")),
    };
    if !repaired.after.is_whole() {
        return Err(format!("after the repair: {:?}", repaired.after.problems));
    }
    if repaired.before.is_whole() && !repaired.kept.is_empty() {
        return Err(format!("a whole store was repaired: {:?}", repaired.kept));
    }
    let after = readable(&disk.after_kill())?;
    if let Some(lost) = before.difference(&after).next() {
        return Err(format!("the repair lost {lost:?}"));
    }
    let store = Store::open(config(&disk)).map_err(|error| format!("after the repair: {error}"))?;
    let report = store.examine().map_err(|error| format!("after the repair: {error}"))?;
    if report.has_damage() {
        return Err(format!("after the repair the store finds {report:?}"));
    }
    Ok(())
}
