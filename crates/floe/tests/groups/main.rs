//! Shared groups on the engine `memory:`, on a paused clock.

mod administration;
mod exactly_once;
mod faults;
mod handlers;
mod sharing;
mod topics;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use floe::{
    Client, Consumer, Error, ErrorKind, Message, Record, Result, TopicSpec,
    consumer::{ConsumerBuilder, Membership},
    engine::{BatchReader, SharedEngine},
    layer::{Layer, Operation, OperationKind},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";

/// A store that several clients use, each through a connection of its own that can be cut.
struct World {
    engine: SharedEngine,
    /// Keeps the store open.
    client: Client,
}

impl World {
    async fn new(partitions: u32) -> Self {
        let client = Client::connect("memory:").await.unwrap();
        client.admin().create_topic(TopicSpec::new(TOPIC).partitions(partitions)).await.unwrap();
        Self { engine: Arc::clone(client.engine()), client }
    }

    /// Sends `count` records to each partition: the values are their numbers.
    async fn send(&self, partitions: u32, count: u32) {
        self.send_to(TOPIC, partitions, count).await;
    }

    async fn send_to(&self, topic: &str, partitions: u32, count: u32) {
        let producer = self.client.producer(topic).start().await.unwrap();
        let records = (0..count).flat_map(|number| {
            (0..partitions).map(move |partition| Record::new(number.to_string()).partition(partition))
        });
        producer.send_all(records).await.unwrap();
        assert_eq!(producer.close().await.unwrap().undelivered.len(), 0);
    }

    fn worker(&self) -> Worker {
        let connection = Connection::default();
        let client = Client::from_engine(connection.clone().layer(Arc::clone(&self.engine)));
        Worker { client, connection }
    }
}

/// A process that takes part in the group.
struct Worker {
    client: Client,
    connection: Connection,
}

impl Worker {
    fn consumer(&self) -> ConsumerBuilder {
        self.client.consumer(TOPIC).group(GROUP).shared()
    }

    async fn join(&self) -> Consumer {
        self.consumer().start().await.unwrap()
    }

    async fn join_as(&self, membership: Membership) -> Consumer {
        self.consumer().shared_as(membership).start().await.unwrap()
    }
}

/// Passes calls on while it is not cut; then they wait, except those for the health of the engine.
#[derive(Debug, Clone)]
struct Connection {
    cut: watch::Sender<bool>,
    delay: watch::Sender<Duration>,
    /// Appends to the coordination topic that fail.
    failures: Arc<AtomicUsize>,
    /// How long the next appends to the coordination topic wait: as long as an outage that the engine outlasts by retries.
    outages: Arc<Mutex<VecDeque<Duration>>>,
    /// Whether appends to the coordination topic wait.
    stalls: watch::Sender<bool>,
    /// Whether all calls fail.
    refuses: watch::Sender<bool>,
    /// Whether no topic may be created.
    forbids: watch::Sender<bool>,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            cut: watch::Sender::new(false),
            delay: watch::Sender::new(Duration::ZERO),
            failures: Arc::default(),
            outages: Arc::default(),
            stalls: watch::Sender::new(false),
            refuses: watch::Sender::new(false),
            forbids: watch::Sender::new(false),
        }
    }
}

impl Connection {
    fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    fn delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }

    /// Lets all calls fail.
    fn refuse(&self) {
        self.refuses.send_replace(true);
    }

    /// Takes the right to create topics.
    fn forbid(&self) {
        self.forbids.send_replace(true);
    }

    /// Lets the next append to the coordination topic fail.
    fn fail_append(&self) {
        self.failures.store(1, Ordering::Relaxed);
    }

    /// Lets the next appends to the coordination topic wait.
    fn outlast(&self, outages: impl IntoIterator<Item = Duration>) {
        self.outages.lock().extend(outages);
    }

    /// Lets appends to the coordination topic wait while `stalled`.
    fn stall(&self, stalled: bool) {
        self.stalls.send_replace(stalled);
    }

    fn is_failing(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0
    }

    async fn passes(&self) {
        let delay = *self.delay.borrow();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.cut.subscribe().wait_for(|cut| !cut).await.unwrap();
    }
}

impl Layer for Connection {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let coordinates = operation.topic.as_ref().is_some_and(|topic| topic.as_str() == "floe-groups");
        if operation.kind == OperationKind::Append && coordinates && self.is_failing() {
            self.failures.store(0, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::NetworkError, "the connection broke"));
        }
        if operation.kind == OperationKind::Append && coordinates {
            let outage = self.outages.lock().pop_front();
            tokio::time::sleep(outage.unwrap_or_default()).await;
            self.stalls.subscribe().wait_for(|stalled| !stalled).await.unwrap();
        }
        if *self.refuses.borrow() {
            return Err(Error::new(ErrorKind::NetworkError, "no connection"));
        }
        if operation.kind == OperationKind::CreateTopic && *self.forbids.borrow() {
            return Err(Error::new(ErrorKind::AuthFailed, "the server does not allow this"));
        }
        if operation.kind != OperationKind::Health {
            self.passes().await;
        }
        attempt().await
    }

    fn wrap_reader(&self, _: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(Reader { reader, connection: self.clone() })
    }
}

#[derive(Debug)]
struct Reader {
    reader: Box<dyn BatchReader>,
    connection: Connection,
}

impl BatchReader for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let batch = self.reader.next().await;
            self.connection.passes().await;
            batch
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}

/// Partition and value of a record.
fn place(message: &Message) -> (u32, u32) {
    (message.partition, std::str::from_utf8(&message.value).unwrap().parse().unwrap())
}

/// Takes this many records.
async fn take(consumer: &mut Consumer, count: usize) -> Vec<Message> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(consumer.try_next().await.unwrap().expect("a shared consumer has no end"));
    }
    taken
}

/// Takes records until none comes for a second.
async fn drain(consumer: &mut Consumer, handled: &mut BTreeMap<(u32, u32), u32>) {
    while let Ok(message) = timeout(Duration::from_secs(1), consumer.try_next()).await {
        *handled.entry(place(&message.unwrap().expect("a shared consumer has no end"))).or_default() += 1;
    }
}

/// Polls the consumers for a time in which they hand out nothing.
async fn pass(time: Duration, consumers: &mut [&mut Consumer]) {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until {
        for consumer in consumers.iter_mut() {
            assert!(timeout(Duration::from_millis(100), consumer.try_next()).await.is_err());
        }
    }
}

/// Waits until the engine has stored this offset of the group. Its store of offsets has a thread of its own, which the
/// paused clock does not wait for.
async fn until_stored(client: &Client, next: i64) {
    for _ in 0..5000 {
        let stored = client.admin().committed_offsets(Some(GROUP)).await.unwrap();
        if stored.iter().any(|offset| offset.next == next) {
            return;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
    }
    panic!("the offset {next} was never stored");
}

/// The partitions that each member of the group has, by the administration.
async fn shares(client: &Client) -> Vec<usize> {
    let group = client.groups().describe(GROUP).await.unwrap();
    let of = |id: &str| group.partitions.iter().filter(|at| at.member.as_deref() == Some(id)).count();
    let mut shares: Vec<_> = group.members.iter().map(|member| of(&member.id)).collect();
    shares.sort_unstable();
    shares
}
