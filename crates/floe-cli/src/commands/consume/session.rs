//! Reading and printing until the end, the limit or Ctrl-C.

use std::io;

use floe::{Error, Message, consumer::RecordBatch, exchange::RecordFields, filter::Filter};
use futures_util::{StreamExt as _, stream};

use super::{
    decode::{self, ValueDecoder},
    sources::{Next, TopicSources},
    stats::ReadingStats,
};
use crate::{
    commands::gaps::GapTally,
    exit::{Failure, Outcome},
    format::OutputFormat,
    interrupt::Interrupt,
    output::{
        amount,
        record::RecordPrinter,
        stdout::{Stdout, note},
    },
    platform::StdoutReader,
};

/// Most records printed one by one between two flushes.
const UNFLUSHED: usize = 1000;

/// Reason why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadingEnd {
    /// The end of the topics or the number of records was reached.
    Complete,
    Interrupted,
}

/// Settings of a session, and the number of records that it may still print.
pub(super) struct SessionParts {
    /// Whether reading removes records for good.
    pub(super) removes: bool,
    pub(super) output: OutputFormat,
    pub(super) grouped: bool,
    /// Number of records still to print, where there is a limit.
    pub(super) remaining: Option<u64>,
    pub(super) filter: Option<Filter>,
    pub(super) decoder: Option<ValueDecoder>,
    pub(super) stats: Option<ReadingStats>,
}

pub(super) struct Session<'a> {
    sources: TopicSources,
    parts: SessionParts,
    out: Stdout,
    printer: RecordPrinter,
    interrupt: &'a Interrupt,
    reader: StdoutReader,
    /// Printed messages that the buffer may still hold.
    unflushed: Vec<Message>,
    gaps: GapTally,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        sources: TopicSources,
        (out, printer): (Stdout, RecordPrinter),
        interrupt: &'a Interrupt,
        parts: SessionParts,
    ) -> Self {
        let (reader, unflushed) = (StdoutReader::watch(), Vec::new());
        Self { sources, parts, out, printer, interrupt, reader, unflushed, gaps: GapTally::default() }
    }

    /// Prints `first`, then the records of the topics.
    pub(super) async fn run(mut self, first: Vec<Message>) -> Outcome {
        let outcome = self.print_all(first).await;
        if outcome.as_ref().is_err_and(Failure::is_broken_pipe) {
            // Records that the reader did not take stay unacknowledged, so closing stores no offset beyond them.
            let unwritten = if self.parts.removes { self.unflushed.len() } else { 0 };
            self.sources.close().await?;
            if unwritten > 0 {
                let records = amount::count(unwritten as u64, "record");
                return Err(Failure::loss(format!(
                    "{records} were taken from the topic and not written: the pipe is closed"
                )));
            }
            return outcome.map(drop);
        }
        // Even after an error the output is complete: the JSON array is closed, the printed records are acknowledged.
        let ended = self.finish();
        let closed = self.sources.close().await;
        let end = outcome?;
        ended?;
        closed?;
        if end == ReadingEnd::Interrupted {
            return Err(Failure::interrupted());
        }
        self.gaps.verdict("")
    }

    async fn print_all(&mut self, first: Vec<Message>) -> Outcome<ReadingEnd> {
        self.printer.begin(&mut self.out).map_err(|error| Failure::output(&error))?;
        for message in first {
            self.print_message(message).await?;
        }
        while self.parts.remaining != Some(0) {
            if self.interrupt.is_pressed() {
                return Ok(ReadingEnd::Interrupted);
            }
            match self.next().await? {
                Some(Next::Batch(batch)) => self.print_batch(&batch).await?,
                Some(Next::Message(message)) => self.print_message(message).await?,
                Some(Next::Gap(error)) => self.report_gap(error)?,
                Some(Next::End) => return Ok(ReadingEnd::Complete),
                None => {}
            }
            self.print_stats().await;
        }
        Ok(ReadingEnd::Complete)
    }

    /// Returns the next event; none to look at the clock and at Ctrl-C. Flushes before it waits, so that printed records are
    /// visible at once.
    async fn next(&mut self) -> Outcome<Option<Next>> {
        // With --count, a group must not acknowledge the rest of a batch.
        let singly = self.parts.removes || self.parts.grouped && self.parts.remaining.is_some();
        if let Some(next) = self.sources.at_hand(singly) {
            return Ok(Some(next?));
        }
        self.flush()?;
        let stats = self.parts.stats.as_ref().map(ReadingStats::time_left);
        let due = async {
            match stats {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            next = self.sources.next(singly) => Ok(Some(next?)),
            () = self.interrupt.pressed() => Ok(None),
            () = due => Ok(None),
            // On a quiet topic no write would notice.
            () = self.reader.gone() => Err(Failure::output(&io::ErrorKind::BrokenPipe.into())),
        }
    }

    async fn print_stats(&mut self) {
        if self.parts.stats.as_ref().is_some_and(ReadingStats::is_due) {
            let lag = self.sources.lag().await.ok();
            if let Some(stats) = &mut self.parts.stats {
                stats.print(lag);
            }
        }
    }

    async fn print_batch(&mut self, batch: &RecordBatch) -> Outcome {
        match self.parts.decoder.clone() {
            Some(decoder) => self.print_decoded(batch, &decoder).await?,
            None => self.print_records(batch).map_err(|error| Failure::output(&error))?,
        }
        if self.parts.grouped {
            self.out.flush()?;
            batch.ack();
        }
        Ok(())
    }

    /// Prints the selected records of a batch, up to the limit.
    fn print_records(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let parts = &mut self.parts;
        let values_only = self.printer.wants_values_only() && parts.filter.is_none() && parts.stats.is_none();
        for record in batch.borrowed() {
            if parts.remaining == Some(0) {
                break;
            }
            if values_only {
                self.printer.write_value(&mut self.out, record.value)?;
            } else {
                let fields = RecordFields::of_batch(batch, &record);
                if !parts.selects(&fields) {
                    continue;
                }
                self.printer.write(&mut self.out, &fields)?;
            }
            parts.remaining = parts.remaining.map(|left| left - 1);
        }
        Ok(())
    }

    /// As [`Session::print_records`], with the values that a program makes of them.
    async fn print_decoded<'b>(&mut self, batch: &'b RecordBatch, decoder: &ValueDecoder) -> Outcome {
        let records = batch.borrowed().map(|record| RecordFields::of_batch(batch, &record));
        let selected: Vec<_> = records.filter(|fields| self.parts.selects(fields)).collect();
        let limit =
            self.parts.remaining.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let decode = |fields: RecordFields<'b>| async move {
            let value = decoder.decode(&fields).await;
            (fields, value)
        };
        let mut decoded = stream::iter(selected).take(limit).map(decode).buffered(decode::AT_ONCE);
        while let Some((mut fields, value)) = decoded.next().await {
            let value = value?;
            fields.value = &value;
            self.printer.write(&mut self.out, &fields).map_err(|error| Failure::output(&error))?;
            self.parts.remaining = self.parts.remaining.map(|left| left - 1);
            // A person who watches sees each as it comes.
            self.out.flush()?;
        }
        Ok(())
    }

    async fn print_message(&mut self, message: Message) -> Outcome {
        let mut fields = RecordFields::from(&message);
        if self.parts.selects(&fields) {
            let shown = match &self.parts.decoder {
                Some(decoder) => Some(decoder.decode(&fields).await?),
                None => None,
            };
            if let Some(shown) = &shown {
                fields.value = shown;
            }
            self.printer.write(&mut self.out, &fields).map_err(|error| Failure::output(&error))?;
            self.parts.remaining = self.parts.remaining.map(|left| left.saturating_sub(1));
        }
        self.unflushed.push(message);
        if self.unflushed.len() >= UNFLUSHED { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Outcome {
        self.out.flush()?;
        for message in self.unflushed.drain(..) {
            message.ack();
        }
        Ok(())
    }

    /// Reports a gap; reading continues after it.
    fn report_gap(&mut self, error: Error) -> Outcome {
        self.flush()?;
        self.gaps.tell(error, self.parts.output);
        Ok(())
    }

    fn finish(&mut self) -> Outcome {
        self.printer.end(&mut self.out).map_err(|error| Failure::output(&error))?;
        self.flush()?;
        if self.parts.output == OutputFormat::Table {
            note(&amount::count(self.printer.printed(), "record"));
        }
        Ok(())
    }
}

impl SessionParts {
    /// Counts a record, and returns whether it is to be printed.
    fn selects(&mut self, record: &RecordFields<'_>) -> bool {
        if let Some(stats) = &mut self.stats {
            stats.count(record);
        }
        self.filter.as_ref().is_none_or(|filter| filter.matches(record))
    }
}
