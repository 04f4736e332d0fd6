//! Reader thread that splits the input into chunks of whole lines.

use std::{
    io::{self, Read},
    thread,
};

use floe::Bytes;
use tokio::sync::mpsc;

/// Bytes per read.
const READ: usize = 256 * 1024;

/// Chunks that the thread reads ahead of the producer.
const AHEAD: usize = 4;

/// Bytes of one or more whole records.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Bytes,
    /// Whether all bytes form one record.
    raw: bool,
}

impl Chunk {
    /// All bytes, including newlines.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Error that ends the input.
#[derive(Debug)]
pub(super) enum InputError {
    /// A record exceeds the limit.
    TooLong,
    /// The input could not be read.
    Io(io::Error),
}

/// Reads `source` to its end, or until the receiver is dropped. A record longer than `limit` is an error.
pub(super) fn spawn(
    source: Box<dyn Read + Send>,
    raw: bool,
    limit: usize,
) -> io::Result<mpsc::Receiver<Result<Chunk, InputError>>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut send = |chunk| sender.blocking_send(chunk).is_ok();
        let outcome =
            if raw { read_raw(source, limit, &mut send) } else { read_lines(source, limit, &mut send) };
        if let Err(error) = outcome {
            send(Err(error));
        }
    })?;
    Ok(receiver)
}

/// Sends chunks that end at a newline; `send` returns whether the receiver wants more.
fn read_lines(
    mut source: impl Read,
    limit: usize,
    send: &mut impl FnMut(Result<Chunk, InputError>) -> bool,
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
                send(Ok(Chunk { bytes: buffer.into(), raw: false }));
            }
            return Ok(());
        }
        // Bytes carried over from the previous read contain no newline.
        let newline = memchr::memrchr(b'\n', &buffer[filled..filled + read]).map(|at| filled + at);
        filled += read;
        match newline {
            Some(at) => {
                let rest = &buffer[at + 1..filled];
                let mut next = vec![0; rest.len() + READ];
                next[..rest.len()].copy_from_slice(rest);
                filled = rest.len();
                buffer.truncate(at + 1);
                let whole = std::mem::replace(&mut buffer, next);
                if !send(Ok(Chunk { bytes: whole.into(), raw: false })) {
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

fn read_raw(
    source: impl Read,
    limit: usize,
    send: &mut impl FnMut(Result<Chunk, InputError>) -> bool,
) -> Result<(), InputError> {
    let mut bytes = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(InputError::Io)?;
    if bytes.len() > limit {
        return Err(InputError::TooLong);
    }
    send(Ok(Chunk { bytes: bytes.into(), raw: true }));
    Ok(())
}

/// Records of a chunk: lines without their newline, including a last line that has none.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    rest: Option<&'a [u8]>,
    raw: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn of(chunk: &'a Chunk) -> Self {
        let bytes = &*chunk.bytes;
        Self { rest: (chunk.raw || !bytes.is_empty()).then_some(bytes), raw: chunk.raw }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        match memchr::memchr(b'\n', rest).filter(|_| !self.raw) {
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

    fn lines(input: &[u8], piece: usize, limit: usize) -> Result<Vec<Vec<u8>>, InputError> {
        let mut found = Vec::new();
        read_lines(Pieces(input, piece), limit, &mut |chunk| {
            found.extend(Lines::of(&chunk.unwrap()).map(<[u8]>::to_vec));
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
                found.extend(Lines::of(&chunk.unwrap()).map(<[u8]>::to_vec));
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
        read_lines(endless, 10, &mut |_| {
            chunks += 1;
            chunks < 3
        })
        .unwrap();
        assert_eq!(chunks, 3);
    }
}
