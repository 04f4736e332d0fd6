//! Standard output, buffered and flushed explicitly.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

use crate::{
    escape,
    exit::{Failure, Outcome},
};

/// Buffer size in bytes; large enough to make the cost of a system call negligible.
const BUFFER: usize = 256 * 1024;

/// Locked standard output.
#[derive(Debug)]
pub(crate) struct Stdout {
    buffer: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Stdout {
    pub(crate) fn lock() -> Self {
        let lock = io::stdout().lock();
        let is_terminal = lock.is_terminal();
        Self { buffer: BufWriter::with_capacity(BUFFER, lock), is_terminal }
    }

    /// Whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes the buffer to the operating system.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.buffer.flush().map_err(|error| Failure::output(&error))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.buffer.flush()
    }
}

/// Prints one result and flushes it.
pub(crate) fn print(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// As [`print`], for JSON. On a terminal the characters that act on it are escaped; elsewhere the text stays as it is.
pub(crate) fn print_json(text: &str) -> Outcome {
    if io::stdout().is_terminal() { print(escape::json(text).as_bytes()) } else { print(text.as_bytes()) }
}

/// Prints a note of one line to standard error, and ignores a closed standard error.
pub(crate) fn note(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{}\n", escape::line(text)).as_bytes());
}
