//! The history of a run: recorded by the clients, judged by `floe-check`, which knows nothing of floe.

use std::{
    io::{self, Write},
    sync::Arc,
};

use floe::history::Recorder;
use floe_check::{CheckOptions, Checker, HistoryError, HistoryVerdict};
use parking_lot::Mutex;

/// The recorder of all clients of a run, and its lines.
#[derive(Debug, Clone)]
pub(crate) struct History {
    recorder: Recorder,
    lines: Lines,
}

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl History {
    pub(crate) fn new() -> Self {
        let lines = Lines::default();
        Self { recorder: Recorder::to_writer(lines.clone()), lines }
    }

    pub(crate) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Returns the anomalies. `drained`: a reader got everything.
    pub(crate) fn violations(&self, drained: bool) -> Vec<String> {
        match self.judge(drained) {
            Ok(verdict) => verdict.findings().iter().map(|found| format!("history: {found}")).collect(),
            Err(error) => vec![format!("the history cannot be judged: {error}")],
        }
    }

    fn judge(&self, drained: bool) -> Result<HistoryVerdict, HistoryError> {
        let mut checker = Checker::new(CheckOptions { drained, ..CheckOptions::default() });
        checker.read(self.lines.0.lock().as_slice())?;
        checker.finish()
    }
}
