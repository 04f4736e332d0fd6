//! Frames recorded between official clients and a real cluster: see `fixtures/fluvio/PROVENANCE.md`.

use std::{fs, path::Path};

use bytes::{Bytes, BytesMut};
use floe_wire::fluvio::frame;

use crate::reencode::Peer;

/// One recorded frame.
#[derive(Debug, Clone)]
pub(crate) struct RecordedFrame {
    pub(crate) file: String,
    line: usize,
    /// Number of the connection within the file.
    pub(crate) connection: u64,
    pub(crate) peer: Peer,
    pub(crate) from_client: bool,
    /// The frame with its size.
    pub(crate) bytes: Bytes,
}

impl RecordedFrame {
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// Returns the frame without its size.
    pub(crate) fn body(&self) -> Bytes {
        let mut received = BytesMut::from(&self.bytes[..]);
        let body = frame::split_frame(&mut received, frame::DEFAULT_FRAME_LIMIT);
        let body = body.expect("a sane size").expect("a whole frame");
        assert!(received.is_empty(), "{}: more than one frame", self.place());
        body
    }
}

/// Returns the recordings, one element per file.
pub(crate) fn recordings() -> Vec<Vec<RecordedFrame>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fluvio");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of recordings")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    paths.sort();
    paths.iter().map(|path| recording(path)).collect()
}

fn recording(path: &Path) -> Vec<RecordedFrame> {
    let file = path.file_name().expect("a name").to_string_lossy().into_owned();
    let text = fs::read_to_string(path).expect("a recording");
    // The first line describes the recording.
    let lines = text.lines().enumerate().skip(1).filter(|(_, line)| !line.is_empty());
    lines.map(|(index, line)| recorded_frame(&file, index + 1, line)).collect()
}

fn recorded_frame(file: &str, number: usize, line: &str) -> RecordedFrame {
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    RecordedFrame {
        file: file.to_owned(),
        line: number,
        connection: line["conn"].as_u64().expect("a connection"),
        peer: match line["peer"].as_str() {
            Some("sc") => Peer::Controller,
            Some("spu") => Peer::DataServer,
            other => panic!("{file}:{number}: peer {other:?}"),
        },
        from_client: match line["dir"].as_str() {
            Some("c2s") => true,
            Some("s2c") => false,
            other => panic!("{file}:{number}: direction {other:?}"),
        },
        bytes: bytes_of(line["hex"].as_str().expect("hexadecimal digits")),
    }
}

fn bytes_of(hex: &str) -> Bytes {
    assert_eq!(hex.len() % 2, 0, "whole bytes");
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}
