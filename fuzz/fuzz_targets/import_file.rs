//! Reads arbitrary bytes as the file of an export. The first byte selects what the rest is: the file itself, its lines,
//! which the target compresses, or its lines without the last one, which the target adds. A record that is read is written
//! and read again as the same.

#![no_main]

#[allow(dead_code, reason = "exports are written elsewhere")]
#[path = "../../crates/floe-cli/src/commands/export_file.rs"]
mod export_file;

use std::{fs, path::PathBuf};

use export_file::{CheckedExport, ExportLines};
use floe::exchange::{ParsedRecord, RecordFields, write_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [kind, bytes @ ..] = data else { return };
    // In memory, where the system has it.
    let folder = PathBuf::from("/dev/shm");
    let folder = if folder.is_dir() { folder } else { std::env::temp_dir() };
    let path = folder.join(format!("floe-import-{}", std::process::id()));
    let file = match kind % 4 {
        0 => bytes.to_vec(),
        1 => compressed(bytes),
        _ => compressed(&with_trailer(bytes)),
    };
    fs::write(&path, file).expect("a writable folder");
    read(&path);
    fs::remove_file(&path).expect("the file");
});

fn compressed(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory takes it")
}

fn with_trailer(lines: &[u8]) -> Vec<u8> {
    let mut lines = lines.to_vec();
    if lines.last() != Some(&b'\n') {
        lines.push(b'\n');
    }
    let records = lines.iter().filter(|byte| **byte == b'\n').count() - 1;
    let crc = crc32c::crc32c(&lines);
    lines.extend_from_slice(format!("{{\"records\":{records},\"crc32c\":\"{crc:08x}\"}}\n").as_bytes());
    lines
}

fn read(path: &std::path::Path) {
    let Ok(export) = CheckedExport::read(path) else { return };
    let mut lines = ExportLines::open(path).expect("it was read");
    let (mut line, mut records) = (Vec::new(), 0);
    // The header, and the last line, are no records.
    while lines.read(&mut line).expect("it was read") {
        records += 1;
        if let Ok(parsed) = ParsedRecord::from_json(&line) {
            again(&parsed);
        }
    }
    assert_eq!(records, export.records + 2);
}

fn again(parsed: &ParsedRecord) {
    let (topic, record) = (parsed.topic.as_deref().unwrap_or_default(), &parsed.record);
    let (partition, offset) = (parsed.partition.unwrap_or_default(), parsed.offset.unwrap_or_default());
    let mut fields = RecordFields::new(topic, partition, offset, &record.value);
    (fields.timestamp, fields.key) = (record.timestamp, record.key.as_deref());
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), &value[..]))
        .collect::<floe::consumer::Headers>();
    fields.headers = headers.borrowed();
    let mut text = Vec::new();
    write_json(&mut text, &fields).expect("memory takes it");
    let second = ParsedRecord::from_json(&text).expect("what was written is read");
    assert_eq!(second.record, parsed.record);
}

/// Failures of the command line, without their words.
mod exit {
    use std::io;

    pub(crate) type Outcome<T = ()> = Result<T, Failure>;

    #[derive(Debug)]
    pub(crate) struct Failure;

    impl Failure {
        pub(crate) fn io(_message: impl Into<String>, _error: &io::Error) -> Self {
            Self
        }

        pub(crate) fn usage(_message: impl Into<String>) -> Self {
            Self
        }

        pub(crate) fn damaged(_message: impl Into<String>) -> Self {
            Self
        }

        pub(crate) fn with_hint(self, _hint: &str) -> Self {
            self
        }

        pub(crate) fn explained_by(self, _error: &io::Error) -> Self {
            self
        }
    }
}
