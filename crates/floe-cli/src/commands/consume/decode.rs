//! Values that a program of the user translates.

use std::{process::Stdio, time::Duration};

use floe::exchange::RecordFields;
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::exit::{Failure, Outcome};

/// Programs that run at once. Their outputs are printed in the order of the records.
pub(super) const AT_ONCE: usize = 8;

/// Longest time of one record.
const LIMIT: Duration = Duration::from_secs(10);

/// A shell command that gets a value on its standard input and writes what is shown.
#[derive(Debug, Clone)]
pub(super) struct ValueDecoder {
    command: String,
    /// Longest time of one record.
    limit: Duration,
}

impl ValueDecoder {
    pub(super) fn new(command: &str) -> Self {
        Self { command: command.to_owned(), limit: LIMIT }
    }

    /// Translates the value of a record.
    ///
    /// # Errors
    /// Fails if the program cannot be started, fails, takes longer than 10 seconds, or writes nothing for a value that is not
    /// empty.
    pub(super) async fn decode(&self, record: &RecordFields<'_>) -> Outcome<Vec<u8>> {
        let value = record.value;
        let failure = |problem: String| {
            let place = format!("{}/{}/{}", record.topic, record.partition, record.offset);
            Failure::failed_program(format!("--decode {:?}: {problem} at {place}", self.command))
        };
        let mut program = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failure(format!("cannot be started: {error}")))?;
        let mut input = program.stdin.take();
        let feed = async {
            if let Some(input) = &mut input {
                // A program need not read all of its input.
                let _ = input.write_all(value).await;
            }
            drop(input.take());
        };
        let ended = timeout(self.limit, async { tokio::join!(feed, program.wait_with_output()).1 }).await;
        let output = ended
            .map_err(|_| failure(format!("took longer than {:?}", self.limit)))?
            .map_err(|error| failure(error.to_string()))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            let told = told.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
            return Err(failure(format!("ended with {}{told}", output.status)));
        }
        if output.stdout.is_empty() && !value.is_empty() {
            return Err(failure("wrote nothing".to_owned()));
        }
        let mut shown = output.stdout;
        // Most programs end their output with a newline, which the format of records adds by itself.
        if shown.last() == Some(&b'\n') {
            shown.pop();
        }
        Ok(shown)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn decode(command: &str, value: &[u8]) -> Outcome<Vec<u8>> {
        ValueDecoder::new(command).decode(&RecordFields::new("orders", 0, 7, value)).await
    }

    #[tokio::test]
    async fn values_are_translated() {
        assert_eq!(decode("tr a-z A-Z", b"one\ntwo").await.unwrap(), b"ONE\nTWO");
        assert_eq!(decode("cat", b"").await.unwrap(), b"");
        // More than a pipe holds, of which the program reads nothing.
        assert_eq!(decode("echo short", &vec![b'x'; 1 << 20]).await.unwrap(), b"short");
        assert_eq!(decode("cat", &vec![b'x'; 1 << 20]).await.unwrap().len(), 1 << 20);
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_and_told_with_the_record() {
        // It neither reads its input, which is more than a pipe holds, nor ends.
        let decoder =
            ValueDecoder { limit: Duration::from_millis(50), ..ValueDecoder::new("exec sleep 1000") };
        let value = vec![b'x'; 1 << 20];
        let failure = decoder.decode(&RecordFields::new("orders", 0, 7, &value)).await.unwrap_err();
        let message = failure.message();
        assert!(message.contains("took longer than 50ms") && message.contains("orders/0/7"), "{message}");
    }

    #[tokio::test]
    async fn programs_that_fail_are_told_with_the_record() {
        for (command, told) in [
            ("echo no >&2; exit 3", ": no"),
            ("true", "wrote nothing"),
            ("no-such-program-here", "ended with"),
        ] {
            let failure = decode(command, b"x").await.unwrap_err();
            let message = failure.message();
            assert!(message.contains(told) && message.contains("orders/0/7"), "{message}");
        }
    }
}
