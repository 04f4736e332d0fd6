//! Files of a benchmark: the picture of the percentiles, and the log with the histograms.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::Args;
use hdrhistogram::serialization::{
    V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag},
};

use super::plot::{self, Curve};
use crate::exit::{Failure, Outcome};

#[derive(Debug, Clone, Args)]
pub(crate) struct OutputFileArgs {
    /// Draw the percentiles of the latency into this file, as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Write the histograms of the latency into this file, as an HdrHistogram log (version 2, in microseconds)
    #[arg(long, value_name = "FILE.hlog")]
    histogram: Option<PathBuf>,
}

/// Files that were created before the run, so that a long run does not end with a file that cannot be written.
#[derive(Debug)]
pub(super) struct OutputFiles {
    plot: Option<(PathBuf, File)>,
    histogram: Option<(PathBuf, File)>,
    began: SystemTime,
}

impl OutputFiles {
    pub(super) fn create(args: &OutputFileArgs) -> Outcome<Self> {
        let create = |path: &Option<PathBuf>| {
            let Some(path) = path else { return Ok(None) };
            let file = File::create(path).map_err(|error| failed(path, &error))?;
            Ok::<_, Failure>(Some((path.clone(), file)))
        };
        Ok(Self { plot: create(&args.plot)?, histogram: create(&args.histogram)?, began: SystemTime::now() })
    }

    pub(super) fn write(self, title: &str, curves: &[Curve<'_>]) -> Outcome {
        if let Some((path, mut file)) = self.plot {
            file.write_all(plot::svg(title, curves).as_bytes()).map_err(|error| failed(&path, &error))?;
        }
        if let Some((path, mut file)) = self.histogram {
            write_log(&mut file, title, self.began, curves).map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("cannot write {}", path.display()), error)
}

/// Writes the log that the tools of HdrHistogram read, with a tag for each curve.
fn write_log(out: &mut impl Write, title: &str, began: SystemTime, curves: &[Curve<'_>]) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!("floe bench: {title}; latencies in microseconds"))
        .with_start_time(began)
        .with_base_time(began)
        .begin_log_with(out, &mut serializer)?;
    let duration = began.elapsed().unwrap_or_default();
    for (name, histogram) in curves {
        // A tag has neither commas nor spaces.
        let name = name.replace(' ', "-");
        log.write_histogram(*histogram, Duration::ZERO, duration, Tag::new(&name)).map_err(|error| {
            match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error.to_string()),
            }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::{
        Histogram,
        serialization::{
            Deserializer,
            interval_log::{IntervalLogIterator, LogEntry},
        },
    };

    use super::*;

    #[test]
    fn log_is_read_back() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        histogram.record_n(250, 1000).unwrap();
        histogram.record(90_000).unwrap();
        let mut log = Vec::new();
        let curves: [Curve<'_>; 2] = [("acknowledged", &histogram), ("end to end", &histogram)];
        write_log(&mut log, "memory:\nx", SystemTime::now(), &curves).unwrap();
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            tags.push(interval.tag().unwrap().as_str().to_owned());
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            )
            .unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            assert_eq!((read.len(), read.max()), (histogram.len(), histogram.max()));
        }
        assert_eq!(tags, ["acknowledged", "end-to-end"]);
        let text = String::from_utf8(log).unwrap();
        // The beginning of a compressed histogram of version 2 in base 64, by which tools recognise it.
        assert!(text.contains(",HISTFAAAA"), "{text}");
    }
}
