//! The start of a processor that handles records exactly once, and the limits that it checks before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    ExactTasks, changelog,
    context::{OutputSettings, ProcessorTopics, TaskContext},
    numbering::MAX_PARTITIONS,
};
use crate::{
    Consumer, Error, ErrorKind, Result,
    client_core::ClientCore,
    consumer::{ConsumerBuilder, TaskKeeper, TaskLease},
    engine::{Acks, Isolation},
    producer::{DeliveryMode, ProducerBuilder, WhenFull},
    topic::Topic,
};

/// Time that an append may be on its way to a server, in a build without the engine whose setting says so.
#[cfg(not(feature = "fluvio"))]
const LATE: Duration = Duration::from_secs(10);

/// Leases that wait for their tasks to begin.
const LEASES: usize = 1024;

/// The parts of an exactly-once processor before its consumer has started.
pub(in crate::processor) struct ExactOpening {
    topics: Arc<ProcessorTopics>,
    outputs: Vec<OutputSettings>,
    dead_letters: Option<usize>,
    leases: mpsc::Receiver<TaskLease>,
    keeper: TaskKeeper,
}

impl ExactOpening {
    /// Checks an output before anything is written: its engine, its modules, its topic.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], [`ErrorKind::InvalidConfig`]; errors of the engine.
    pub(in crate::processor) async fn check(client: &ClientCore, output: &ProducerBuilder) -> Result<()> {
        let info = client.info();
        let capabilities = info.capabilities;
        if !capabilities.offsets || !capabilities.dense_offsets || capabilities.consuming_reads {
            let error = Error::unsupported("offsets, which exactly-once processors need", info.name);
            return Err(error.with_topic(output.topic()));
        }
        if output.has_smartmodules() {
            let message = "a SmartModule changes what is stored, so that a later process could not recognize its records: \
                           exactly-once processors write without one";
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_topic(output.topic()));
        }
        if client.engine().topic(output.topic().clone()).await?.deduplicates {
            let message = "the topic drops records that it takes for duplicates, so that numbers would be missing: exactly-once \
                           processors need a topic without deduplication";
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_topic(output.topic()));
        }
        Ok(())
    }

    /// Collects the outputs: that of the results, that of dead letters if they are kept, and the changelog, which is created
    /// if outputs are recorded.
    ///
    /// # Errors
    /// As [`ExactOpening::check`].
    pub(in crate::processor) async fn new(
        client: &ClientCore,
        (group, from): (&Arc<str>, &Topic),
        (output, dead_letters, recorded): (ProducerBuilder, Option<ProducerBuilder>, Option<ProducerBuilder>),
    ) -> Result<Self> {
        let mut builders = vec![output];
        let dead_letters = dead_letters.map(|builder| {
            // Dead letters may go to the output, under the same numbers.
            let known = builders.iter().position(|output| output.topic() == builder.topic());
            known.unwrap_or_else(|| {
                builders.push(builder);
                builders.len() - 1
            })
        });
        let mut outputs = Vec::new();
        for builder in builders {
            Self::check(client, &builder).await?;
            let topic = builder.topic().clone();
            let partitions = client.engine().topic(topic.clone()).await?.partitions;
            let partitioner = builder.chosen_partitioner();
            let builder = exact(builder);
            outputs.push(OutputSettings { topic, partitions, per_task: false, partitioner, builder });
        }
        if let Some(builder) = recorded {
            let topic = builder.topic();
            if topic == from || outputs.iter().any(|output| output.topic == *topic) {
                let message =
                    "the changelog needs a topic of its own: this one is read or written by the processor";
                return Err(Error::new(ErrorKind::InvalidConfig, message).with_topic(topic));
            }
            changelog::create(client, (from, topic)).await?;
            Self::check(client, &builder).await?;
            outputs.push(changelog::as_output(exact(builder)));
        }
        let total: u32 = outputs.iter().map(|output| output.partitions).sum();
        if total > MAX_PARTITIONS {
            let message = format!(
                "the outputs have {total} partitions, and an exactly-once processor keeps the numbers of {MAX_PARTITIONS} at most"
            );
            return Err(Error::new(ErrorKind::InvalidConfig, message).with_topic(from));
        }
        let names = outputs.iter().map(|output| output.topic.clone()).collect();
        let topics = ProcessorTopics { group: Arc::clone(group), from: from.clone(), outputs: names };
        let topics = Arc::new(topics);
        let (started, leases) = mpsc::channel(LEASES);
        let known = Arc::clone(&topics);
        let keeper = TaskKeeper {
            leases: started,
            accepts: Arc::new(move |input, text| known.read_numbering(input, text).map(drop)),
        };
        Ok(Self { topics, outputs, dead_letters, leases, keeper })
    }

    /// Configures the consumer of the input: it reads for tasks, and only records that do not go away any more.
    pub(in crate::processor) fn consumer(&self, input: ConsumerBuilder) -> ConsumerBuilder {
        input.tasks(self.keeper.clone()).isolation(Isolation::ReadCommitted)
    }

    /// Begins, once the consumer has joined its group.
    pub(in crate::processor) fn start(
        self,
        client: &ClientCore,
        consumer: &Consumer,
        (session, max_held): (Duration, usize),
    ) -> Option<ExactTasks> {
        let Self { topics, outputs, dead_letters, leases, .. } = self;
        let member = consumer.member()?.clone();
        let late = late(client, &outputs);
        let client = client.clone();
        let context = Arc::new(TaskContext { client, topics, member, session, outputs, late });
        let (running, ends) = (BTreeMap::new(), JoinSet::new());
        Some(ExactTasks { context, leases, running, ends, dead_letters, max_held })
    }
}

/// Sets what exactly once depends on.
fn exact(builder: ProducerBuilder) -> ProducerBuilder {
    builder
        .acks(Acks::Committed)
        .delivery(DeliveryMode::AtLeastOnce)
        .when_full(WhenFull::Wait)
        // With two appends in flight the second could be stored without the first, and numbers be missing.
        .max_in_flight(1)
}

/// How long an append may be on its way and take effect.
///
/// Engines without servers end it with the process. A log that fences knows the numbers of the task: an append of the owner
/// before stores what the own task sends under the same numbers, which the log then takes for sent, or refuses, so that the
/// task looks at the partition again. Behind an append of the own epoch it is refused.
fn late(client: &ClientCore, outputs: &[OutputSettings]) -> Duration {
    let at = outputs.first().map(|output| output.topic.partition(0));
    if client.info().capabilities.conditional_appends || client.engine().endpoint(at.as_ref()).is_none() {
        return Duration::ZERO;
    }
    #[cfg(feature = "fluvio")]
    return client.settings().fluvio.request_timeout;
    #[cfg(not(feature = "fluvio"))]
    LATE
}
