//! Standard output: written in large pieces, flushed when nothing more is ready.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

use crate::exit::{Failure, Outcome};

/// Large enough that a write costs little beside what is written.
const BUFFER: usize = 256 * 1024;

/// Standard output, held for as long as the command runs.
#[derive(Debug)]
pub(crate) struct Stdout {
    inner: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Stdout {
    pub(crate) fn lock() -> Self {
        let lock = io::stdout().lock();
        let is_terminal = lock.is_terminal();
        Self { inner: BufWriter::with_capacity(BUFFER, lock), is_terminal }
    }

    /// Whether a person is looking at it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Hands everything written so far to the operating system.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.inner.flush().map_err(|error| Failure::output(&error))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Prints one result at once.
pub(crate) fn print(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

/// Tells standard error something that is no result. Where it is gone there is nobody to tell.
pub(crate) fn note(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
