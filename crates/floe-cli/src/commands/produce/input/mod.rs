//! Reader thread that splits the input into chunks of whole records.

mod records;

use std::{
    io::{self, Read},
    thread,
};

use clap::ValueEnum;
use floe::{Bytes, Error, exchange::ParsedRecord};
use tokio::sync::mpsc;

/// Bytes per read.
const READ: usize = 256 * 1024;

/// Chunks that the thread reads ahead of the producer.
const AHEAD: usize = 4;

/// Format of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum InputFormat {
    /// A value in each line
    #[default]
    Text,
    /// A record in each line, as `consume -o jsonl` writes them
    Jsonl,
    /// Records in lines of comma-separated values with a heading, as `consume -o csv` writes them
    Csv,
    /// Values, each with a NUL byte behind it
    Null,
    /// Values, each behind its length in 4 bytes, big-endian
    LengthPrefixed,
}

/// Shape of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkShape {
    /// Records end at this byte.
    Separated(u8),
    /// All bytes form one record.
    Whole,
}

/// Part of the input: one or more whole records.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Values as they are in the input.
    Values { bytes: Bytes, shape: ChunkShape },
    /// Parsed records, and the bytes that they had.
    Records { records: Vec<ParsedRecord>, len: usize },
}

/// Error that ends the input.
#[derive(Debug)]
pub(super) enum InputError {
    /// A record exceeds the limit.
    TooLong,
    /// A record cannot be parsed.
    Malformed(Error),
    /// The input could not be read.
    Io(io::Error),
}

pub(super) type Outlet<'a> = dyn FnMut(Result<Chunk, InputError>) -> bool + 'a;

/// Reads `source` to its end, or until the receiver is dropped. A record longer than `limit` is an error.
pub(super) fn spawn(
    source: Box<dyn Read + Send>,
    (raw, format): (bool, InputFormat),
    limit: usize,
) -> io::Result<mpsc::Receiver<Result<Chunk, InputError>>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut send = |chunk| sender.blocking_send(chunk).is_ok();
        let outcome = match format {
            _ if raw => read_raw(source, limit, &mut send),
            InputFormat::Text => read_separated(source, b'\n', limit, &mut send),
            InputFormat::Null => read_separated(source, 0, limit, &mut send),
            InputFormat::Jsonl => records::read_jsonl(source, limit, &mut send),
            InputFormat::Csv => records::read_csv(source, &mut send),
            InputFormat::LengthPrefixed => records::read_length_prefixed(source, limit, &mut send),
        };
        if let Err(error) = outcome {
            send(Err(error));
        }
    })?;
    Ok(receiver)
}

/// Sends chunks that end at a separator; `send` returns whether the receiver wants more.
fn read_separated(
    mut source: impl Read,
    separator: u8,
    limit: usize,
    send: &mut Outlet<'_>,
) -> Result<(), InputError> {
    let mut buffer = vec![0; READ];
    let mut filled = 0;
    loop {
        let read = match source.read(&mut buffer[filled..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(InputError::Io(error)),
        };
        if read == 0 {
            buffer.truncate(filled);
            if filled > limit {
                return Err(InputError::TooLong);
            }
            if filled > 0 {
                send(Ok(Chunk::Values { bytes: buffer.into(), shape: ChunkShape::Separated(separator) }));
            }
            return Ok(());
        }
        // Bytes carried over from the previous read contain no separator.
        let last = memchr::memrchr(separator, &buffer[filled..filled + read]).map(|at| filled + at);
        filled += read;
        match last {
            Some(at) => {
                let rest = &buffer[at + 1..filled];
                let mut next = vec![0; rest.len() + READ];
                next[..rest.len()].copy_from_slice(rest);
                filled = rest.len();
                buffer.truncate(at + 1);
                let whole = std::mem::replace(&mut buffer, next);
                let shape = ChunkShape::Separated(separator);
                if !send(Ok(Chunk::Values { bytes: whole.into(), shape })) {
                    return Ok(());
                }
            }
            None if filled > limit => return Err(InputError::TooLong),
            None if filled == buffer.len() => {
                // Growing by a factor keeps the cost of copying a long line linear; the limit above bounds the size.
                buffer.resize(filled * 2, 0);
            }
            None => {}
        }
    }
}

fn read_raw(source: impl Read, limit: usize, send: &mut Outlet<'_>) -> Result<(), InputError> {
    let mut bytes = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(InputError::Io)?;
    if bytes.len() > limit {
        return Err(InputError::TooLong);
    }
    send(Ok(Chunk::Values { bytes: bytes.into(), shape: ChunkShape::Whole }));
    Ok(())
}

/// Values of a chunk: without their separator, including a last value that has none.
#[derive(Debug)]
pub(super) struct ChunkValues<'a> {
    rest: Option<&'a [u8]>,
    shape: ChunkShape,
}

impl<'a> ChunkValues<'a> {
    pub(super) fn of(bytes: &'a [u8], shape: ChunkShape) -> Self {
        Self { rest: (shape == ChunkShape::Whole || !bytes.is_empty()).then_some(bytes), shape }
    }
}

impl<'a> Iterator for ChunkValues<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let end = match self.shape {
            ChunkShape::Separated(separator) => memchr::memchr(separator, rest),
            ChunkShape::Whole => None,
        };
        match end {
            Some(at) => {
                let after = &rest[at + 1..];
                self.rest = (!after.is_empty()).then_some(after);
                Some(&rest[..at])
            }
            None => Some(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a limited number of bytes per read, as a pipe does.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(self.1).min(out.len());
            let (now, later) = self.0.split_at(length);
            out[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    fn values(chunk: &Chunk) -> Vec<Vec<u8>> {
        let Chunk::Values { bytes, shape } = chunk else { panic!("parsed records") };
        ChunkValues::of(bytes, *shape).map(<[u8]>::to_vec).collect()
    }

    fn lines(input: &[u8], piece: usize, limit: usize) -> Result<Vec<Vec<u8>>, InputError> {
        let mut found = Vec::new();
        read_separated(Pieces(input, piece), b'\n', limit, &mut |chunk| {
            found.extend(values(&chunk.unwrap()));
            true
        })?;
        Ok(found)
    }

    #[test]
    fn lines_are_split_at_newlines_for_every_read_size() {
        let cases: [(&[u8], &[&[u8]]); 9] = [
            (b"", &[]),
            (b"\n", &[b""]),
            (b"a", &[b"a"]),
            (b"a\n", &[b"a"]),
            (b"a\nb", &[b"a", b"b"]),
            (b"a\n\nb\n", &[b"a", b"", b"b"]),
            (b"\n\n", &[b"", b""]),
            (b"dos\r\nnul\0\xff\n", &[b"dos\r", b"nul\0\xff"]),
            (
                b"one line that is longer than a piece\nshort",
                &[b"one line that is longer than a piece", b"short"],
            ),
        ];
        for (input, expected) in cases {
            for piece in [1, 2, 3, 7, 1000] {
                assert_eq!(lines(input, piece, 1000).unwrap(), expected, "{input:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn long_lines_grow_the_buffer_up_to_the_limit() {
        let long = vec![b'x'; 3 * READ];
        let mut input = b"short\n".to_vec();
        input.extend(&long);
        assert_eq!(lines(&input, 100_000, 3 * READ).unwrap(), [b"short".to_vec(), long]);
        assert!(matches!(lines(&input, 100_000, 3 * READ - 1), Err(InputError::TooLong)));
        input.push(b'\n');
        input.extend(b"after");
        assert_eq!(lines(&input, usize::MAX, 4 * READ).unwrap().len(), 3);
    }

    #[test]
    fn raw_input_is_one_record() {
        let read = |input: &[u8], limit| {
            let mut found = Vec::new();
            read_raw(input, limit, &mut |chunk| {
                found.extend(values(&chunk.unwrap()));
                true
            })
            .map(|()| found)
        };
        assert_eq!(read(b"a\nb\n", 4).unwrap(), [b"a\nb\n".to_vec()]);
        assert_eq!(read(b"", 4).unwrap(), [b"".to_vec()]);
        assert!(matches!(read(b"a\nb\nc", 4), Err(InputError::TooLong)));
    }

    #[test]
    fn reading_stops_when_the_receiver_is_gone() {
        let endless = io::repeat(b'\n');
        let mut chunks = 0;
        read_separated(endless, b'\n', 10, &mut |_| {
            chunks += 1;
            chunks < 3
        })
        .unwrap();
        assert_eq!(chunks, 3);
    }
}
