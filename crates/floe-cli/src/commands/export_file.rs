//! The file of an export; `docs/formats/export.md` describes it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _},
    path::Path,
    time::Duration,
};

use floe::{
    exchange::{RecordFields, write_json},
    filter::Filter,
    topic::TopicInfo,
};
use serde_json::{Value, json};

use crate::exit::{Failure, Outcome};

/// Version of the format.
const VERSION: u64 = 1;

/// Longest line. A record of 16 MiB takes at most six bytes for each of its own in JSON.
const LONGEST_LINE: u64 = 256 << 20;

/// Level of zstd: much smaller than its input, and faster than a network.
const LEVEL: i32 = 3;

const BUFFER: usize = 1 << 20;

/// Writes an export.
pub(super) struct ExportWriter {
    out: zstd::Encoder<'static, BufWriter<File>>,
    line: Vec<u8>,
    crc: u32,
    records: u64,
}

impl ExportWriter {
    /// Creates the file, with the header as its first line.
    pub(super) fn create(path: &Path, topic: &TopicInfo, filter: Option<&Filter>) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER, File::create(path)?);
        let mut out = zstd::Encoder::new(file, LEVEL)?;
        out.include_checksum(true)?;
        let mut writer = Self { out, line: Vec::new(), crc: 0, records: 0 };
        let header = json!({
            "floe_export": VERSION,
            "topic": topic.name.as_str(),
            "partitions": topic.partitions,
            "durability": topic.durability.map(|durability| durability.to_string()),
            "retention_age_ms": topic.retention_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            "retention_bytes": topic.retention_bytes,
            "where": filter.map(Filter::text),
        });
        writer.line.extend_from_slice(header.to_string().as_bytes());
        writer.end_line()?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, record: &RecordFields<'_>) -> io::Result<()> {
        write_json(&mut self.line, record)?;
        self.records += 1;
        self.end_line()
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.line.push(b'\n');
        self.crc = crc32c::crc32c_append(self.crc, &self.line);
        self.out.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }

    /// Writes the last line, and syncs the file.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let trailer = json!({ "records": self.records, "crc32c": format!("{:08x}", self.crc) });
        writeln!(self.out, "{trailer}")?;
        let file = self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

/// A file that was read once as a whole, and is intact.
#[derive(Debug)]
pub(super) struct CheckedExport {
    /// Name and settings of the topic.
    pub(super) topic: TopicInfo,
    pub(super) records: u64,
}

impl CheckedExport {
    /// Reads the file and compares it with its last line.
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let mut lines = ExportLines::open(path)?;
        let (mut line, mut next) = (Vec::new(), Vec::new());
        if !lines.read(&mut line)? {
            return Err(lines.foreign());
        }
        let header: Value = serde_json::from_slice(&line).map_err(|_| lines.foreign())?;
        let topic = topic_of(&header).ok_or_else(|| lines.foreign())?;
        let version = header.get("floe_export").and_then(Value::as_u64);
        if version != Some(VERSION) {
            let message =
                format!("{}: version {} of the format is not known here", lines.name, version.unwrap_or(0));
            return Err(Failure::usage(message).with_hint("import it with a newer release of floe"));
        }
        let (mut crc, mut count) = (0, 0_u64);
        while lines.read(&mut next)? {
            crc = crc32c::crc32c_append(crc, &line);
            count += 1;
            std::mem::swap(&mut line, &mut next);
        }
        // The header is no record.
        let records = count.saturating_sub(1);
        let trailer: Value = serde_json::from_slice(&line).unwrap_or_default();
        let is_whole = trailer.get("records").and_then(Value::as_u64) == Some(records)
            && trailer.get("crc32c").and_then(Value::as_str) == Some(&format!("{crc:08x}"))
            && count > 0;
        if !is_whole {
            return Err(lines.damaged("its last line is missing, or does not match the lines before it"));
        }
        Ok(Self { topic, records })
    }
}

fn topic_of(header: &Value) -> Option<TopicInfo> {
    header.get("floe_export")?;
    let name = header.get("topic")?.as_str()?;
    let partitions = u32::try_from(header.get("partitions")?.as_u64()?).ok()?;
    let mut topic = TopicInfo::new(name, partitions);
    topic.durability = header.get("durability").and_then(Value::as_str).and_then(|text| text.parse().ok());
    topic.retention_age = header.get("retention_age_ms").and_then(Value::as_u64).map(Duration::from_millis);
    topic.retention_bytes = header.get("retention_bytes").and_then(Value::as_u64);
    Some(topic)
}

/// Lines of an export, decompressed.
pub(super) struct ExportLines {
    name: String,
    lines: BufReader<zstd::Decoder<'static, BufReader<File>>>,
}

impl ExportLines {
    pub(super) fn open(path: &Path) -> Outcome<Self> {
        let name = path.display().to_string();
        let cannot = |error: io::Error| Failure::io(format!("cannot read {name}"), &error);
        let file = File::open(path).map_err(cannot)?;
        if file.metadata().map_err(cannot)?.is_dir() {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        }
        let decoder = zstd::Decoder::new(file).map_err(cannot)?;
        Ok(Self { lines: BufReader::with_capacity(BUFFER, decoder), name })
    }

    /// Reads a line with its newline. Returns whether there was one.
    pub(super) fn read(&mut self, line: &mut Vec<u8>) -> Outcome<bool> {
        line.clear();
        // The decoder has a line of its own for each way in which a frame can be wrong.
        let read = (&mut self.lines).take(LONGEST_LINE).read_until(b'\n', line);
        match read {
            Ok(0) => Ok(false),
            Ok(_) if line.last() == Some(&b'\n') => Ok(true),
            Ok(_) => {
                Err(self.damaged("it ends in the middle of a line, or a line is longer than any record"))
            }
            Err(error) => Err(self.damaged("it cannot be decompressed").explained_by(&error)),
        }
    }

    fn damaged(&self, problem: &str) -> Failure {
        let failure = Failure::damaged(format!("{} is not a whole export: {problem}", self.name));
        failure.with_hint("nothing was imported; copy the file again, or export the topic anew")
    }

    fn foreign(&self) -> Failure {
        Failure::usage(format!("{} is not an export of floe", self.name))
            .with_hint("`floe produce` sends the lines of any other file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes an export of three records and returns its decompressed bytes.
    fn written(path: &Path) -> Vec<u8> {
        let mut topic = TopicInfo::new("orders", 2);
        (topic.retention_age, topic.retention_bytes) = (Some(Duration::from_secs(5)), Some(7));
        let mut writer = ExportWriter::create(path, &topic, None).unwrap();
        for offset in 0..3 {
            writer.write(&RecordFields::new("orders", 1, offset, b"one\ncoffee \xff")).unwrap();
        }
        writer.finish().unwrap();
        zstd::decode_all(File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn a_file_is_read_back_and_other_tools_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.zst");
        let text = String::from_utf8(written(&path)).unwrap();
        assert!(text.starts_with("{\"durability\":null,\"floe_export\":1,"), "{text}");
        assert_eq!(text.lines().count(), 5);
        let checked = CheckedExport::read(&path).unwrap();
        assert_eq!((checked.records, checked.topic.partitions), (3, 2));
        assert_eq!(checked.topic.retention_age, Some(Duration::from_secs(5)));
        let trailer: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let whole = text.rsplit_once("{\"crc32c\"").unwrap().0;
        assert_eq!(trailer["crc32c"], format!("{:08x}", crc32c::crc32c(whole.as_bytes())));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.zst");
        let text = written(&path);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(CheckedExport::read(&path).is_err(), "cut to {len} bytes");
        }
        for at in 0..text.len() {
            let mut other = text.clone();
            other[at] ^= 1;
            std::fs::write(&path, zstd::encode_all(&other[..], 1).unwrap()).unwrap();
            // Whitespace and the like in the last line may change without a change of its meaning.
            assert!(CheckedExport::read(&path).is_err(), "changed at {at}");
        }
        for end in text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at) {
            if end + 1 < text.len() {
                std::fs::write(&path, zstd::encode_all(&text[..=end], 1).unwrap()).unwrap();
                assert!(CheckedExport::read(&path).is_err(), "whole lines up to {end}");
            }
        }
    }
}
