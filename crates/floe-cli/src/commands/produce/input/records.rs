//! Inputs that hold whole records: JSON lines, CSV, and values behind their length.

use std::io::{self, BufRead as _, BufReader, Read};

use floe::{
    Bytes, Error, ErrorKind, Record,
    exchange::{ParsedRecord, read_csv_bytes, read_headers},
};

use super::{Chunk, InputError, Outlet};

/// Records in a chunk, at most.
const RECORDS: usize = 500;

/// Bytes of a chunk at which it is sent.
const CHUNK: usize = 256 * 1024;

/// Records that wait to be sent together.
#[derive(Default)]
struct ChunkBuilder {
    records: Vec<ParsedRecord>,
    len: usize,
}

impl ChunkBuilder {
    /// Adds a record that had `len` bytes. Returns whether the receiver wants more.
    fn add(&mut self, record: ParsedRecord, len: usize, send: &mut Outlet<'_>) -> bool {
        self.records.push(record);
        self.len += len;
        self.records.len() < RECORDS && self.len < CHUNK || self.send(send)
    }

    fn send(&mut self, send: &mut Outlet<'_>) -> bool {
        let Self { records, len } = std::mem::take(self);
        records.is_empty() || send(Ok(Chunk::Records { records, len }))
    }

    /// Sends what is left, and then the error.
    fn fail(mut self, error: InputError, send: &mut Outlet<'_>) -> Result<(), InputError> {
        self.send(send);
        Err(error)
    }
}

/// Reads one record from each line. An empty line holds none.
pub(super) fn read_jsonl(source: impl Read, limit: usize, send: &mut Outlet<'_>) -> Result<(), InputError> {
    // Base64 and escapes make the text of a record longer than the record.
    let limit = limit.saturating_mul(2) as u64;
    let (mut source, mut line, mut chunk) = (BufReader::new(source), Vec::new(), ChunkBuilder::default());
    for number in 1_u64.. {
        line.clear();
        let read = match source.by_ref().take(limit + 1).read_until(b'\n', &mut line) {
            Ok(read) => read,
            Err(error) => return chunk.fail(InputError::Io(error), send),
        };
        if read == 0 {
            break;
        }
        if read as u64 > limit {
            return chunk.fail(InputError::TooLong, send);
        }
        // A mark of the encoding, as some editors write it.
        let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line);
        if text.trim_ascii().is_empty() {
            continue;
        }
        match ParsedRecord::from_json(text) {
            Ok(record) => {
                if !chunk.add(record, read, send) {
                    return Ok(());
                }
            }
            Err(error) => return chunk.fail(malformed(number, error), send),
        }
    }
    chunk.send(send);
    Ok(())
}

fn malformed(line: u64, error: Error) -> InputError {
    let message = format!("line {line} of the input is not a record");
    InputError::Malformed(Error::new(ErrorKind::DeserializationError, message).with_source(error))
}

/// Columns of a file with comma-separated values.
struct RecordColumns {
    partition: Option<usize>,
    timestamp: Option<usize>,
    headers: Option<usize>,
    key: Option<usize>,
    value: usize,
}

impl RecordColumns {
    fn of(heading: &csv::ByteRecord) -> Result<Self, Error> {
        const KNOWN: [&str; 7] = ["topic", "partition", "offset", "timestamp", "headers", "key", "value"];
        let bad = |message| Error::new(ErrorKind::DeserializationError, message);
        for name in heading {
            if !KNOWN.iter().any(|known| known.as_bytes() == name) {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(bad(format!(
                    "unknown column {name:?}: the heading has some of {}",
                    KNOWN.join(", ")
                )));
            }
        }
        let find = |wanted: &str| heading.iter().position(|name| name == wanted.as_bytes());
        Ok(Self {
            partition: find("partition"),
            timestamp: find("timestamp"),
            headers: find("headers"),
            key: find("key"),
            value: find("value").ok_or_else(|| bad("the heading has no column value".to_owned()))?,
        })
    }

    fn record(&self, row: &csv::ByteRecord) -> Result<ParsedRecord, Error> {
        let field = |at: Option<usize>| at.and_then(|at| row.get(at)).filter(|field| !field.is_empty());
        let mut record = Record::new(read_csv_bytes(row.get(self.value).unwrap_or_default())?);
        record.key = field(self.key).map(read_csv_bytes).transpose()?;
        if let Some(headers) = field(self.headers) {
            record.headers = read_headers(headers)?;
        }
        record.timestamp = number(field(self.timestamp), "timestamp")?;
        let mut parsed = ParsedRecord::from(record);
        parsed.partition = number(field(self.partition), "partition")?;
        Ok(parsed)
    }
}

fn number<T: std::str::FromStr>(field: Option<&[u8]>, name: &str) -> Result<Option<T>, Error> {
    let Some(field) = field else { return Ok(None) };
    let parsed = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        let message = format!("the {name} {:?} is no number that fits", String::from_utf8_lossy(field));
        Error::new(ErrorKind::DeserializationError, message)
    })
}

/// Reads one record from each line after the heading.
pub(super) fn read_csv(source: impl Read, send: &mut Outlet<'_>) -> Result<(), InputError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(source);
    let mut chunk = ChunkBuilder::default();
    let columns =
        match reader.byte_headers().map_err(Failed::from).and_then(|heading| Ok(RecordColumns::of(heading)?))
        {
            Ok(columns) => columns,
            Err(error) => return chunk.fail(error.at(1), send),
        };
    let mut row = csv::ByteRecord::new();
    loop {
        let begun = reader.position().byte();
        let line = reader.position().line();
        match reader.read_byte_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return chunk.fail(Failed::from(error).at(line), send),
        }
        let len = usize::try_from(reader.position().byte().saturating_sub(begun)).unwrap_or(0);
        match columns.record(&row) {
            Ok(record) => {
                if !chunk.add(record, len, send) {
                    return Ok(());
                }
            }
            Err(error) => return chunk.fail(malformed(line, error), send),
        }
    }
    chunk.send(send);
    Ok(())
}

/// Reason why a line of comma-separated values is not read.
enum Failed {
    Csv(csv::Error),
    Record(Error),
}

impl From<csv::Error> for Failed {
    fn from(error: csv::Error) -> Self {
        Self::Csv(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Record(error)
    }
}

impl Failed {
    fn at(self, line: u64) -> InputError {
        match self {
            Self::Record(error) => malformed(line, error),
            Self::Csv(error) => match error.into_kind() {
                csv::ErrorKind::Io(error) => InputError::Io(error),
                other => {
                    let error = Error::new(ErrorKind::DeserializationError, format!("{other:?}"));
                    malformed(line, error)
                }
            },
        }
    }
}

/// Reads values, each behind its length. An input that ends within one is an error.
pub(super) fn read_length_prefixed(
    source: impl Read,
    limit: usize,
    send: &mut Outlet<'_>,
) -> Result<(), InputError> {
    let (mut source, mut chunk) = (BufReader::new(source), ChunkBuilder::default());
    loop {
        let mut length = [0; 4];
        match read_whole(&mut source, &mut length) {
            Ok(0) => break,
            Ok(4) => {}
            Ok(_) => return chunk.fail(InputError::Io(io::ErrorKind::UnexpectedEof.into()), send),
            Err(error) => return chunk.fail(InputError::Io(error), send),
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > limit {
            return chunk.fail(InputError::TooLong, send);
        }
        let mut value = vec![0; length];
        if let Err(error) = source.read_exact(&mut value) {
            return chunk.fail(InputError::Io(error), send);
        }
        if !chunk.add(ParsedRecord::from(Record::new(Bytes::from(value))), length + 4, send) {
            return Ok(());
        }
    }
    chunk.send(send);
    Ok(())
}

/// Reads until the buffer is full or the input ends; returns the number of bytes.
fn read_whole(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match source.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Reader = fn(&[u8], &mut Outlet<'_>) -> Result<(), InputError>;

    fn read(reader: Reader, input: &[u8]) -> (Vec<ParsedRecord>, Result<(), InputError>) {
        let mut found = Vec::new();
        let outcome = reader(input, &mut |chunk| {
            let Ok(Chunk::Records { records, .. }) = chunk else { panic!("no records") };
            found.extend(records);
            true
        });
        (found, outcome)
    }

    const JSONL: Reader = |input, send| read_jsonl(input, 100, send);
    const CSV: Reader = |input, send| read_csv(input, send);
    const PREFIXED: Reader = |input, send| read_length_prefixed(input, 100, send);

    #[test]
    fn records_come_before_the_mistake_behind_them() {
        let (found, outcome) =
            read(JSONL, b"\xef\xbb\xbf{\"value\":\"1\"}\n\n{\"value\":\"2\"}\n{\"vale\":1}\n");
        assert_eq!(found.len(), 2);
        let Err(InputError::Malformed(error)) = outcome else { panic!("{outcome:?}") };
        assert!(error.to_string().contains("line 4"), "{error}");
        let (found, outcome) = read(CSV, b"key,value\na,\"1\n2\"\n,3\nonly one\n");
        assert_eq!((found.len(), &found[0].record.value[..]), (2, &b"1\n2"[..]));
        assert_eq!(found[1].record.key, None);
        assert!(matches!(outcome, Err(InputError::Malformed(_))));
        let (found, outcome) = read(PREFIXED, b"\0\0\0\x01a\0\0\0\0\0\0\0\x05b");
        assert_eq!((found.len(), &found[0].record.value[..]), (2, &b"a"[..]));
        assert!(matches!(outcome, Err(InputError::Io(_))));
    }

    #[test]
    fn headings_and_lengths_are_checked_before_they_are_trusted() {
        for bad in [&b"key\na\n"[..], b"value,other\na,b\n", b"value,partition\na,x\n"] {
            assert!(matches!(read(CSV, bad).1, Err(InputError::Malformed(_))), "{bad:?}");
        }
        assert!(matches!(read(PREFIXED, b"\xff\xff\xff\xff").1, Err(InputError::TooLong)));
        assert!(matches!(read(PREFIXED, b"\0\0").1, Err(InputError::Io(_))));
        let long = format!("{{\"value\":\"{}\"}}", "x".repeat(1_000));
        assert!(matches!(read(JSONL, long.as_bytes()).1, Err(InputError::TooLong)));
        for empty in [JSONL, CSV, PREFIXED] {
            assert!(read(empty, b"").0.is_empty());
        }
    }
}
