//! The file of a history.

use std::{
    fmt,
    fs::OpenOptions,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use floe_check::{Call, HistoryEvent, Phase, event::HEADER};
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;

use crate::{
    Effect, Error, ErrorKind, Record, Result,
    topic::{Topic, TopicPartition},
};

/// Writes the history of the clients that have it; see [`ClientBuilder::record`](crate::ClientBuilder::record). Cheap to
/// clone; all clones write to one history.
///
/// Each event is one line and one write, before the call returns: a killed process leaves all events that it has seen, and
/// several processes may append to one file. Nothing is buffered. After a failed write the recorder writes no more, and
/// [`Recorder::problem`] tells why: a history with a hole would show faults that there were not.
///
/// Each consumer is a process of the history, and each producer one for each record that it is given at the same time.
/// Their names begin with a number that is drawn for each recorder.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// use floe::{Client, TopicSpec, history::Recorder};
///
/// # let folder = std::env::temp_dir().join(format!("floe-history-example-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// let recorder = Recorder::append_to(folder.join("history.jsonl"))?;
/// let client = Client::builder("memory:").record(recorder.clone()).connect().await?;
/// client.admin().create_topic(TopicSpec::new("orders")).await?;
/// client.producer("orders").start().await?.send("one coffee").await?;
/// client.close().await?;
/// assert!(recorder.problem().is_none());
/// # let history = std::fs::read_to_string(folder.join("history.jsonl")).unwrap();
/// # assert_eq!(history.lines().count(), 3, "{history}");
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Recorder(Arc<Recording>);

struct Recording {
    /// Tells the processes of this recorder from those of others in the same file.
    run: u32,
    /// Numbers producers, consumers and sends that are recorded by hand.
    numbers: AtomicU64,
    sink: Mutex<Sink>,
}

struct Sink {
    out: Box<dyn Write + Send>,
    problem: Option<io::Error>,
}

impl Recorder {
    /// Creates the file, or appends to it.
    ///
    /// # Errors
    /// [`ErrorKind::StorageError`] if the file cannot be opened or written.
    pub fn append_to(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |error: io::Error| {
            let message = format!("the history {} cannot be written", path.display());
            Error::new(ErrorKind::StorageError, message).with_source(error)
        };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        let recorder = Self::to_writer(file);
        let problem = recorder.0.sink.lock().problem.take();
        problem.map_or(Ok(recorder), |problem| Err(failed(problem)))
    }

    /// Writes to a writer, which must not wait for long: the calls of the clients wait for it.
    #[must_use]
    pub fn to_writer(out: impl Write + Send + 'static) -> Self {
        // Not from the generator of the library: a recorded run of a simulation draws the same numbers as another.
        let run = RandomState::new().build_hasher().finish() as u32;
        let sink = Mutex::new(Sink { out: Box::new(out), problem: None });
        let recorder = Self(Arc::new(Recording { run, numbers: AtomicU64::new(0), sink }));
        recorder.write_line(HEADER.to_owned());
        recorder
    }

    /// Returns why the recorder has stopped, if it has: the history ends before that event.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.sink.lock().problem.as_ref().map(ToString::to_string)
    }

    /// Begins the record of a send that does not pass a producer, such as one into an outbox.
    ///
    /// ```
    /// use floe::{Record, history::Recorder};
    ///
    /// let recorder = Recorder::to_writer(std::io::sink());
    /// let order = Record::new("one coffee");
    /// let send = recorder.begin_send("orders", &order);
    /// // Hand the record over, then:
    /// send.accepted();
    /// ```
    pub fn begin_send<V: AsRef<[u8]>>(&self, topic: impl Into<Topic>, record: &Record<V>) -> RecordedSend {
        let number = self.number();
        let process = self.process("send", number);
        let event = sending(&process, number, record);
        self.write(&HistoryEvent { topic: Some(topic.into().as_str().into()), ..event });
        RecordedSend { recorder: self.clone(), process, number }
    }

    /// Notes that an administrator set the position of a group by other means than a recorded client.
    pub fn reset(&self, group: &str, at: &TopicPartition, offset: i64) {
        let event = HistoryEvent::new(Phase::Ok, Call::Reset, self.process("admin", 0));
        self.write(&HistoryEvent {
            group: Some(group.into()),
            topic: Some(at.topic.as_str().into()),
            partition: Some(at.partition),
            offset: Some(offset),
            ..event
        });
    }

    pub(super) fn number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn process(&self, role: &str, number: u64) -> String {
        format!("{:08x}/{role}-{number}", self.0.run)
    }

    pub(super) fn write(&self, event: &HistoryEvent<'_>) {
        self.write_line(event.to_line());
    }

    fn write_line(&self, mut line: String) {
        line.push('\n');
        let mut sink = self.0.sink.lock();
        if sink.problem.is_some() {
            return;
        }
        let outcome = loop {
            match sink.out.write(line.as_bytes()) {
                Ok(written) if written == line.len() => break Ok(()),
                // The rest in a write of its own could come after a line of another process.
                Ok(_) => break Err(io::Error::from(io::ErrorKind::WriteZero)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "the history cannot be written, and ends here");
            sink.problem = Some(error);
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("run", &self.0.run).finish_non_exhaustive()
    }
}

/// A send that is recorded by hand. Dropping it leaves the outcome unknown.
#[must_use = "say how it ended"]
#[derive(Debug)]
pub struct RecordedSend {
    recorder: Recorder,
    process: String,
    number: u64,
}

impl RecordedSend {
    /// Notes that the record is or will be stored.
    pub fn accepted(self) {
        self.end(Phase::Ok);
    }

    /// Notes that the send failed; [`Error::effect`] says whether the record may be stored.
    pub fn failed(self, error: &Error) {
        self.end(phase_of(error));
    }

    fn end(self, phase: Phase) {
        let event = HistoryEvent::new(phase, Call::Send, self.process);
        self.recorder.write(&HistoryEvent { id: Some(self.number), ..event });
    }
}

/// The event with which the send of a record begins, without its topic.
pub(super) fn sending<V: AsRef<[u8]>>(process: &str, id: u64, record: &Record<V>) -> HistoryEvent<'static> {
    let event = HistoryEvent::new(Phase::Invoke, Call::Send, process.to_owned());
    HistoryEvent {
        id: Some(id),
        partition: record.partition,
        ..contents(event, record.key.as_deref(), record.value.as_ref())
    }
}

/// Adds what tells a record from others.
pub(super) fn contents<'a>(event: HistoryEvent<'a>, key: Option<&[u8]>, value: &[u8]) -> HistoryEvent<'a> {
    let key = key.map(|key| format!("{:x}", digest(key)).into());
    HistoryEvent { key, digest: Some(digest(value)), ..event }
}

/// Whether a failed call may have taken effect.
pub(super) fn phase_of(error: &Error) -> Phase {
    match error.effect() {
        Effect::None => Phase::Fail,
        Effect::Unknown => Phase::Unknown,
    }
}

/// SipHash 1-3 with the key 0, so that all recorders agree.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}
