//! Records as a file.

use std::{io, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::IntoResponse as _,
};
use floe::{
    ErrorKind,
    consumer::StartAt,
    exchange::{CSV_HEADING, RecordFields, write_csv, write_json},
};
use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use super::{
    Answer,
    paced_reader::PacedReader,
    scan::{RecordRequest, RecordSelection, SCAN_AHEAD, STALLED, place},
};
use crate::console::{Console, read_memory::ReadRoom, request_error::RequestError};

/// Records that one file holds at most.
const MAX_RECORDS: usize = 1_000_000;

/// Parts of a file that wait for the browser: one, beside the one in work.
const CHUNKS: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum FileFormat {
    JsonLines,
    Csv,
}

pub(super) async fn export(
    State(console): State<Arc<Console>>,
    RecordRequest { topic, query, caller }: RecordRequest,
) -> Answer {
    let (format, kind, ending) = match query.format.as_deref() {
        None | Some("jsonl") => (FileFormat::JsonLines, "application/jsonl", "jsonl"),
        Some("csv") => (FileFormat::Csv, "text/csv; charset=utf-8", "csv"),
        Some(_) => return Err(RequestError::invalid("the format is jsonl or csv")),
    };
    let selection = RecordSelection::new(topic, &query, StartAt::Beginning)?;
    let place = place(&console.scans)?;
    let (reader, room) = selection.open(&console, caller, (false, SCAN_AHEAD)).await?;
    let name = format!("attachment; filename=\"{}.{ending}\"", selection.topic);
    let export = Export {
        reader,
        selection,
        format,
        left: query.limit.unwrap_or(MAX_RECORDS).min(MAX_RECORDS),
        has_begun: false,
        _place: place,
    };
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(export.run(room, sender));
    let chunks = stream::try_unfold(receiver, async |mut receiver: mpsc::Receiver<FilePart>| {
        match receiver.recv().await {
            Some(FilePart::Chunk(chunk)) => Ok(Some((chunk, receiver))),
            Some(FilePart::End) => Ok(None),
            // The connection breaks off, so that the file does not look whole.
            None => Err(io::Error::other("the export broke off")),
        }
    });
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

struct Export {
    reader: PacedReader,
    selection: RecordSelection,
    format: FileFormat,
    left: usize,
    has_begun: bool,
    _place: OwnedSemaphorePermit,
}

/// A part of the file on its way to the browser.
enum FilePart {
    Chunk(Bytes),
    /// The file is whole.
    End,
}

impl Export {
    /// Writes the file as fast as the browser takes it. A browser that stands still loses it: after a while, or as soon as other
    /// clients need the memory.
    async fn run(mut self, room: ReadRoom, parts: mpsc::Sender<FilePart>) {
        let cut_off = room.cut_off();
        let ended = tokio::select! {
            biased;
            ended = self.write(&parts) => ended,
            error = cut_off => Err(io::Error::other(error.to_json().to_string())),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, topic = self.selection.topic, "an export broke off");
        }
    }

    async fn write(&mut self, parts: &mpsc::Sender<FilePart>) -> io::Result<()> {
        loop {
            let (part, is_last) = match self.next().await? {
                Some(chunk) => (FilePart::Chunk(chunk), false),
                None => (FilePart::End, true),
            };
            let sent = timeout(STALLED, parts.send(part)).await;
            let is_gone = sent.map_err(|_| io::Error::other("the browser does not read"))?.is_err();
            if is_gone || is_last {
                return Ok(());
            }
        }
    }

    /// Returns the next part of the file.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut out = Vec::new();
        if !self.has_begun && self.format == FileFormat::Csv {
            out.extend_from_slice(CSV_HEADING.as_bytes());
        }
        self.has_begun = true;
        while out.is_empty() && self.left > 0 {
            let batch = match self.reader.next_batch().await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Gap => continue,
                Err(error) => return Err(io::Error::other(error)),
            };
            for record in batch.borrowed() {
                let fields = RecordFields::of_batch(&batch, &record);
                if self.left == 0 || !self.selection.matches(&fields) {
                    continue;
                }
                self.left -= 1;
                match self.format {
                    FileFormat::Csv => write_csv(&mut out, &fields)?,
                    FileFormat::JsonLines => {
                        write_json(&mut out, &fields)?;
                        out.push(b'\n');
                    }
                }
            }
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }
}
