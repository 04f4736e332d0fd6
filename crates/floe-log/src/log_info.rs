//! Description of a log in its own directory (`log.info`), so that the catalog can be rebuilt from the directories.
//!
//! The byte layout is in `docs/formats/log.md`.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use bytes::{Buf, BufMut};

use crate::{
    Durability, TopicConfig,
    disk::{Disk, Open, read_all, write_all_at},
};

/// Name of the file in the log's directory.
pub(crate) const LOG_INFO: &str = "log.info";

const MAGIC: &[u8; 8] = b"floe-log";
const VERSION: u32 = 1;
/// Limit of the bytes read; metadata of a topic is small.
const MAX_LEN: usize = 16 << 20;

/// Store, topic and partition that a log belongs to, with the topic's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogInfo {
    pub(crate) store_id: u64,
    pub(crate) log_id: u64,
    pub(crate) topic_id: u64,
    pub(crate) partition: u32,
    pub(crate) created_ms: i64,
    pub(crate) topic: String,
    /// `config.partitions` is the current number.
    pub(crate) config: TopicConfig,
}

/// Result of reading the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadInfo {
    Found(Box<LogInfo>),
    Missing,
    /// The file is not intact; the text describes the damage.
    Damaged(String),
}

impl LogInfo {
    /// Returns whether both name the same log; names and settings may differ.
    pub(crate) fn is_same_log(&self, other: &Self) -> bool {
        (self.store_id, self.log_id, self.topic_id, self.partition)
            == (other.store_id, other.log_id, other.topic_id, other.partition)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.put_slice(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put_u64(self.store_id);
        bytes.put_u64(self.log_id);
        bytes.put_u64(self.topic_id);
        bytes.put_u32(self.partition);
        bytes.put_u32(self.config.partitions);
        bytes.put_i64(self.created_ms);
        let (kind, interval) = durability_code(self.config.durability);
        bytes.put_u8(kind);
        bytes.put_u64(interval);
        let age = self.config.retention_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        for value in [age, self.config.retention_bytes, self.config.segment_bytes] {
            bytes.put_u8(u8::from(value.is_some()));
            bytes.put_u64(value.unwrap_or(0));
        }
        put_text(&mut bytes, &self.topic);
        bytes.put_u32(u32::try_from(self.config.metadata.len()).unwrap_or(u32::MAX));
        for (key, value) in &self.config.metadata {
            put_text(&mut bytes, key);
            put_text(&mut bytes, value);
        }
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (checked, mut checksum) = bytes
            .len()
            .checked_sub(4)
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or_else(|| format!("{} bytes are too few", bytes.len()))?;
        if !checked.starts_with(MAGIC) {
            return Err("the file does not describe a floe log".to_owned());
        }
        if crc32c::crc32c(checked) != checksum.get_u32() {
            return Err("the checksum does not match".to_owned());
        }
        Self::decode_fields(checked.get(MAGIC.len()..).unwrap_or_default())
    }

    fn decode_fields(mut fields: &[u8]) -> Result<Self, String> {
        let short = |_| "a field is missing".to_owned();
        let version = fields.try_get_u32().map_err(short)?;
        if version != VERSION {
            return Err(format!("version {version}, this release reads {VERSION}"));
        }
        let store_id = fields.try_get_u64().map_err(short)?;
        let log_id = fields.try_get_u64().map_err(short)?;
        let topic_id = fields.try_get_u64().map_err(short)?;
        let partition = fields.try_get_u32().map_err(short)?;
        let partitions = fields.try_get_u32().map_err(short)?;
        let created_ms = fields.try_get_i64().map_err(short)?;
        let kind = fields.try_get_u8().map_err(short)?;
        let durability = durability_of(kind, fields.try_get_u64().map_err(short)?);
        let mut limits = [None; 3];
        for limit in &mut limits {
            let is_set = fields.try_get_u8().map_err(short)? != 0;
            let value = fields.try_get_u64().map_err(short)?;
            *limit = is_set.then_some(value);
        }
        let [age, retention_bytes, segment_bytes] = limits;
        let topic = take_text(&mut fields)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..fields.try_get_u32().map_err(short)? {
            let key = take_text(&mut fields)?;
            metadata.insert(key, take_text(&mut fields)?);
        }
        let config = TopicConfig {
            partitions,
            durability,
            retention_age: age.map(Duration::from_millis),
            retention_bytes,
            segment_bytes,
            metadata,
        };
        Ok(Self { store_id, log_id, topic_id, partition, created_ms, topic, config })
    }

    /// Writes the file to a temporary one and renames it into place; syncs neither.
    pub(crate) fn write(&self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        let temporary = directory.join("log.info.new");
        let file = disk.open(&temporary, Open::Create)?;
        write_all_at(&*file, &self.encode(), 0)?;
        drop(file);
        disk.rename(&temporary, &directory.join(LOG_INFO))
    }

    /// Replaces the file of this directory if it describes the same log differently.
    pub(crate) fn update(&self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        match Self::read(disk, directory)? {
            ReadInfo::Found(found) if self.is_same_log(&found) && *found != *self => {
                self.write(disk, directory)
            }
            _ => Ok(()),
        }
    }

    /// Reads the file of this directory.
    ///
    /// # Errors
    /// The system's error, except that of a missing file.
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> io::Result<ReadInfo> {
        let file = match disk.open(&directory.join(LOG_INFO), Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReadInfo::Missing),
            Err(error) => return Err(error),
        };
        let bytes = read_all(&*file, MAX_LEN)?;
        Ok(match Self::decode(&bytes) {
            Ok(info) => ReadInfo::Found(Box::new(info)),
            Err(problem) => ReadInfo::Damaged(problem),
        })
    }
}

/// Returns the stored kind and interval of a durability; the catalog stores the same.
pub(crate) fn durability_code(durability: Durability) -> (u8, u64) {
    match durability {
        Durability::Os => (0, 0),
        Durability::Interval(ms) => (1, ms),
        Durability::Always => (2, 0),
    }
}

/// Returns the durability of a stored kind and interval.
pub(crate) fn durability_of(kind: u8, interval: u64) -> Durability {
    match kind {
        0 => Durability::Os,
        1 => Durability::Interval(interval),
        _ => Durability::Always,
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    bytes.put_slice(text.as_bytes());
}

fn take_text(fields: &mut &[u8]) -> Result<String, String> {
    let len = fields.try_get_u32().ok().and_then(|len| usize::try_from(len).ok());
    let (text, rest) =
        len.and_then(|len| fields.split_at_checked(len)).ok_or_else(|| "a text is cut off".to_owned())?;
    *fields = rest;
    String::from_utf8(text.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn sample() -> LogInfo {
        let config = TopicConfig::new()
            .partitions(3)
            .durability(Durability::Interval(250))
            .retention_age(Some(Duration::from_secs(60)))
            .segment_bytes(Some(1 << 20))
            .metadata(BTreeMap::from([("owner".to_owned(), "billing".to_owned())]));
        let topic = "orders/ü".to_owned();
        LogInfo { store_id: 7, log_id: 4, topic_id: 3, partition: 2, created_ms: 99, topic, config }
    }

    #[test]
    fn info_survives_a_round_trip_and_damage_is_found_at_any_byte() {
        let disk = MemoryDisk::new();
        let directory = Path::new("/logs/4");
        assert_eq!(LogInfo::read(&disk, directory).unwrap(), ReadInfo::Missing);
        sample().write(&disk, directory).unwrap();
        assert_eq!(LogInfo::read(&disk, directory).unwrap(), ReadInfo::Found(Box::new(sample())));
        let path = directory.join(LOG_INFO);
        assert_eq!(disk.paths(), std::slice::from_ref(&path), "the temporary file is gone");
        let good = disk.contents(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x04;
            for bytes in [&bad, &good[..at]] {
                disk.put(&path, bytes);
                assert!(
                    matches!(LogInfo::read(&disk, directory).unwrap(), ReadInfo::Damaged(_)),
                    "byte {at}"
                );
            }
        }
    }
}
