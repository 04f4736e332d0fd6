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
    consumer::{Consumer, StartAt},
    exchange::{CSV_HEADING, RecordFields, write_csv, write_json},
};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Answer,
    scan::{RecordRequest, RecordSelection, place},
};
use crate::console::{Console, request_error::RequestError};

/// Records that one file holds at most.
const MAX_RECORDS: usize = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum FileFormat {
    JsonLines,
    Csv,
}

pub(super) async fn export(
    State(console): State<Arc<Console>>,
    RecordRequest { topic, query }: RecordRequest,
) -> Answer {
    let (format, kind, ending) = match query.format.as_deref() {
        None | Some("jsonl") => (FileFormat::JsonLines, "application/jsonl", "jsonl"),
        Some("csv") => (FileFormat::Csv, "text/csv; charset=utf-8", "csv"),
        Some(_) => return Err(RequestError::invalid("the format is jsonl or csv")),
    };
    let selection = RecordSelection::new(topic, &query, StartAt::Beginning)?;
    let place = place(&console.scans)?;
    let consumer = selection.open(&console.client, false).await?;
    let name = format!("attachment; filename=\"{}.{ending}\"", selection.topic);
    let export = Export {
        consumer,
        selection,
        format,
        left: query.limit.unwrap_or(MAX_RECORDS).min(MAX_RECORDS),
        has_begun: false,
        _place: place,
    };
    let chunks = stream::try_unfold(export, async |mut export: Export| {
        Ok::<_, io::Error>(export.next().await?.map(|chunk| (chunk, export)))
    });
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

struct Export {
    consumer: Consumer,
    selection: RecordSelection,
    format: FileFormat,
    left: usize,
    has_begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Export {
    /// Returns the next part of the file. An error breaks the connection off, so that the file does not look whole.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut out = Vec::new();
        if !self.has_begun && self.format == FileFormat::Csv {
            out.extend_from_slice(CSV_HEADING.as_bytes());
        }
        self.has_begun = true;
        while out.is_empty() && self.left > 0 {
            let batch = match self.consumer.next_batch().await {
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
