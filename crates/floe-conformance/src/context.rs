//! Context of a case: a client, topics of its own, and shorthands for writing and reading.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use floe::{
    Client, ErrorKind, Result, Topic, TopicPartition, TopicSpec,
    consumer::{Consumer, Message, StartAt},
    engine::{AppendRequest, BatchReader, Capabilities, ReadRequest, SharedEngine, Start},
    producer::RecordMetadata,
};
use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions};
use parking_lot::Mutex;

use crate::{
    CaseFailure, Target,
    needs::Offer,
    target::{CaseSite, Connection},
};

/// Makes the names of topics and groups unique within this process.
static TOPICS: AtomicU32 = AtomicU32::new(0);

/// Context of a case.
#[derive(Debug)]
pub struct Context {
    case: &'static str,
    site: CaseSite,
    persistent: bool,
    connection: Mutex<Connection>,
    topics: Mutex<Vec<Topic>>,
}

impl Context {
    pub(crate) async fn new(target: &Target, case: &'static str) -> Result<Self> {
        let site = target.prepare();
        let connection = Mutex::new(site.connect().await?);
        Ok(Self { case, site, persistent: target.is_persistent(), connection, topics: Mutex::default() })
    }

    /// Returns the client of the case.
    #[must_use]
    pub fn client(&self) -> Client {
        self.connection.lock().client.clone()
    }

    /// Returns the engine below the client.
    #[must_use]
    pub fn engine(&self) -> SharedEngine {
        SharedEngine::clone(&self.connection.lock().engine)
    }

    /// Returns the capabilities that the engine reports.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.engine().info().capabilities
    }

    pub(crate) fn offer(&self) -> Offer {
        Offer { capabilities: self.capabilities(), persistent: self.persistent }
    }

    /// Closes the client and connects a new one.
    pub(crate) async fn reconnect(&self) -> Result<()> {
        self.client().close().await?;
        let connection = self.site.connect().await?;
        *self.connection.lock() = connection;
        Ok(())
    }

    /// Returns a unique topic name; a topic of that name is deleted after the case.
    pub(crate) fn topic_name(&self) -> Topic {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        let case: String = self.case.chars().take(20).map(|c| if c == '_' { '-' } else { c }).collect();
        let topic = Topic::from(format!(
            "floe-{}-{:x}-{now:x}-{number:x}",
            case.trim_matches('-'),
            std::process::id()
        ));
        self.topics.lock().push(topic.clone());
        topic
    }

    /// Registers a topic that the case named itself for deletion after the case.
    pub(crate) fn adopt(&self, topic: &Topic) {
        self.topics.lock().push(topic.clone());
    }

    /// Creates a topic with one partition.
    pub(crate) async fn topic(&self) -> Result<Topic> {
        self.topic_with(1).await
    }

    /// Creates a topic with this many partitions.
    pub(crate) async fn topic_with(&self, partitions: u32) -> Result<Topic> {
        let name = self.topic_name();
        self.client().admin().create_topic(TopicSpec::new(&name).partitions(partitions)).await?;
        Ok(name)
    }

    /// Returns start and high watermark of every partition.
    pub(crate) async fn bounds(&self, topic: &Topic) -> Result<Vec<(i64, i64)>> {
        let description = self.client().admin().describe(topic).await?;
        description
            .partitions
            .into_iter()
            .map(|one| one.watermarks.map(|marks| (marks.start, marks.high)))
            .collect()
    }

    /// Returns a unique group name.
    pub(crate) fn group(&self) -> String {
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        format!("group-{now:x}-{number}")
    }

    /// Sends these values through one producer and waits until all are acknowledged.
    pub(crate) async fn send(
        &self,
        topic: &Topic,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Vec<RecordMetadata>> {
        let producer = self.client().producer(topic).start().await?;
        let placed = producer.send_all(values).await?;
        producer.close().await?.into_result(topic)?;
        Ok(placed)
    }

    /// Reads the next `count` records from the beginning.
    pub(crate) async fn read(&self, topic: &Topic, count: usize) -> Result<Vec<Message>, CaseFailure> {
        let mut consumer = self.client().consumer(topic).from(StartAt::Beginning).start().await?;
        let messages = take(&mut consumer, count).await?;
        consumer.close().await?;
        Ok(messages)
    }

    /// Reads up to the current end.
    pub(crate) async fn read_to_end(&self, topic: &Topic) -> Result<Vec<Message>, CaseFailure> {
        let mut consumer =
            self.client().consumer(topic).from(StartAt::Beginning).stop_at_end().start().await?;
        drain(&mut consumer).await
    }

    /// Returns the committed offset of the group.
    pub(crate) async fn stored(&self, group: &str, at: &TopicPartition) -> Result<Option<i64>> {
        let rows = self.client().admin().committed_offsets(Some(group)).await?;
        Ok(rows.into_iter().find(|row| row.at == *at).map(|row| row.next))
    }

    /// Appends one batch to the engine, without a producer.
    pub(crate) async fn append(&self, at: &TopicPartition, batch: EncodedBatch) -> Result<Option<i64>> {
        let request = AppendRequest::new(at.clone(), batch, floe::engine::Acks::Leader);
        Ok(self.engine().append(request).await?.base_offset)
    }

    /// Opens a reader of the engine, without a consumer.
    pub(crate) async fn open(&self, at: &TopicPartition, from: Start) -> Result<Box<dyn BatchReader>> {
        let request = ReadRequest::new(at.clone(), from).max_bytes(64 * 1024);
        self.engine().open(request).await
    }

    /// Deletes the topics of the case where the engine supports deletion, and closes the client.
    pub(crate) async fn clean_up(&self) {
        let topics = std::mem::take(&mut *self.topics.lock());
        if self.capabilities().delete_topic {
            let mut client = self.client();
            for topic in topics {
                let deleted = client.admin().delete_topic(&topic).await;
                // Cases about closing leave a closed client.
                if deleted.is_err_and(|error| error.kind() == ErrorKind::Closed) && self.persistent {
                    let Ok(connection) = self.site.connect().await else { return };
                    client = connection.client.clone();
                    *self.connection.lock() = connection;
                    // Some cases never create the topic that they name.
                    let _ = client.admin().delete_topic(&topic).await;
                }
            }
        }
        let _ = self.client().close().await;
    }
}

/// Reads the next `count` records.
pub(crate) async fn take(consumer: &mut Consumer, count: usize) -> Result<Vec<Message>, CaseFailure> {
    let mut messages = Vec::new();
    while messages.len() < count {
        match consumer.try_next().await? {
            Some(message) => messages.push(message),
            None => {
                let read = messages.len();
                return Err(CaseFailure::new(format!("the stream ended after {read} of {count} records")));
            }
        }
    }
    Ok(messages)
}

/// Reads up to the end of the stream.
pub(crate) async fn drain(consumer: &mut Consumer) -> Result<Vec<Message>, CaseFailure> {
    let mut messages = Vec::new();
    while let Some(message) = consumer.try_next().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// Returns the values as text; bytes that are not UTF-8 are escaped.
pub(crate) fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| text(&message.value)).collect()
}

/// Returns bytes as text; bytes that are not UTF-8 are escaped.
pub(crate) fn text(value: &[u8]) -> String {
    str::from_utf8(value).map_or_else(|_| value.escape_ascii().to_string(), ToOwned::to_owned)
}

/// Returns the offsets.
pub(crate) fn offsets(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.offset).collect()
}

/// Returns `prefix-0`, `prefix-1` and so on.
pub(crate) fn numbered(prefix: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{prefix}-{number}")).collect()
}

/// Encodes an uncompressed batch with these values.
pub(crate) fn batch<V: AsRef<[u8]>>(values: &[V]) -> Result<EncodedBatch, CaseFailure> {
    let mut builder = BatchBuilder::new(1024);
    for value in values {
        builder.append(now(), None, value.as_ref(), &[])?;
    }
    Ok(builder.finish(FinishOptions::default())?)
}

/// Returns the values in a batch.
pub(crate) fn values_of(batch: &EncodedBatch) -> Result<Vec<Bytes>, CaseFailure> {
    let mut values = Vec::new();
    for record in batch.records()? {
        values.push(record?.value);
    }
    Ok(values)
}

/// Returns the current time in milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Waits until `condition` holds, for effects in the background. Fails long before the case would count as hanging, so that
/// the failure names the condition.
pub(crate) async fn eventually<F, R>(what: &str, mut condition: F) -> Result<(), CaseFailure>
where
    F: FnMut() -> R,
    R: Future<Output = Result<bool, CaseFailure>>,
{
    const PAUSE: Duration = Duration::from_millis(5);
    const ATTEMPTS: usize = 4000;
    for _ in 0..ATTEMPTS {
        if condition().await? {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(CaseFailure::new(format!("this condition was never met: {what}")))
}
