//! Settings of a processor.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Error, ErrorKind, Result, RetryPolicy,
    consumer::{ConsumerBuilder, Fence, Membership, group::Sharing},
    producer::ProducerBuilder,
    topic::Topic,
};

/// Upper bound of [`ProcessorSettings::max_held`]: a consumer tracks no more records that are not acknowledged.
const MAX_HELD: usize = 65_536;

/// Records that are handled one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The records of one key. Records without a key have no order.
    #[default]
    PerKey,
    /// The records of one partition.
    PerPartition,
    /// No records.
    Unordered,
}

/// Policy for a record that cannot be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetters {
    /// The record goes to this topic, which is created if it does not exist; see [`crate::dead_letter`].
    Topic(Topic),
    /// The processor stops with an error; the next run begins with the record.
    Stop,
}

pub(super) type ConfigureConsumer = Box<dyn FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send + Sync>;
pub(super) type ConfigureProducer = Box<dyn FnOnce(ProducerBuilder) -> ProducerBuilder + Send + Sync>;

/// Settings of a processor; see the setters of [`ProcessorBuilder`](super::ProcessorBuilder).
pub(super) struct ProcessorSettings {
    pub(super) from: Topic,
    pub(super) to: Topic,
    pub(super) group: Option<Arc<str>>,
    pub(super) shared: Option<Sharing>,
    pub(super) exactly_once: bool,
    /// Whether outputs are recorded before they are sent.
    pub(super) recorded: bool,
    /// Topic that they are recorded in, if it is not that of the group.
    pub(super) changelog: Option<Topic>,
    pub(super) concurrency: usize,
    pub(super) order: Order,
    pub(super) handler_timeout: Duration,
    pub(super) retries: RetryPolicy,
    pub(super) dead_letters: DeadLetters,
    pub(super) drain_timeout: Duration,
    pub(super) commit_interval: Duration,
    pub(super) max_held: usize,
    pub(super) marks_origin: bool,
    pub(super) stored_offsets: bool,
    pub(super) stop_at_end: bool,
    pub(super) consumer: Option<ConfigureConsumer>,
    pub(super) producer: Option<ConfigureProducer>,
}

impl ProcessorSettings {
    pub(super) fn new(from: Topic, to: Topic) -> Self {
        let dead_letters = DeadLetters::Topic(Topic::from(format!("{from}-dead")));
        Self {
            from,
            to,
            group: None,
            shared: None,
            exactly_once: false,
            recorded: false,
            changelog: None,
            concurrency: 1,
            order: Order::default(),
            handler_timeout: Duration::from_secs(60),
            retries: RetryPolicy::default().max_attempts(5),
            dead_letters,
            drain_timeout: Duration::from_secs(30),
            commit_interval: Duration::from_secs(1),
            max_held: 4096,
            marks_origin: true,
            stored_offsets: true,
            stop_at_end: false,
            consumer: None,
            producer: None,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let problem = if self.concurrency == 0 {
            "concurrency is 0: it must be at least 1 handler"
        } else if self.from == self.to {
            "the processor would read its own results: from and to are the same topic"
        } else if matches!(&self.dead_letters, DeadLetters::Topic(topic) if *topic == self.from) {
            "the processor would read its own dead letters: their topic is the one that it reads"
        } else if self.max_held < self.concurrency {
            "max_held is less than concurrency: some handlers would never get a record"
        } else if self.max_held > MAX_HELD {
            "max_held is more than 65536, the records that a consumer can track"
        } else if self.handler_timeout.is_zero() {
            "handler_timeout is 0: no attempt could succeed"
        } else if self.commit_interval.is_zero() {
            "commit_interval is 0: it must be at least 1 ns"
        } else if let Some(problem) = self.retries.problem() {
            problem
        } else if self.exactly_once && !self.stored_offsets {
            "exactly_once needs stored offsets, and without_stored_offsets was called"
        } else if self.exactly_once && self.stop_at_end {
            "exactly_once works in a shared group, which has no end: stop the processor in place of stop_at_end"
        } else if self.exactly_once && matches!(self.shared, Some(Sharing::With(_))) {
            "exactly_once works as a member of its own: take shared or shared_as in place of shared_with"
        } else if !self.stored_offsets && (self.group.is_some() || self.shared.is_some()) {
            "group needs stored offsets, and without_stored_offsets was called"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem).with_topic(&self.from))
    }

    /// Returns the topic that outputs are recorded in, if they are.
    pub(super) fn chosen_changelog(&self, group: &str) -> Option<Topic> {
        let default = || Topic::from(format!("{group}-changelog"));
        self.recorded.then(|| self.changelog.clone().unwrap_or_else(default))
    }

    /// Takes the way in which the processor takes part in a shared group, if it does, and its session.
    pub(super) fn sharing(&mut self) -> (Option<Sharing>, Duration) {
        let chosen = self.shared.take();
        let sharing = match chosen {
            // Records that others may have must not be written any more.
            None if self.exactly_once => Some(Sharing::Alone(Membership::default().fence(Fence::Strict))),
            Some(Sharing::Alone(membership)) if self.exactly_once => {
                Some(Sharing::Alone(membership.fence(Fence::Strict)))
            }
            chosen => chosen,
        };
        let session = match &sharing {
            Some(Sharing::Alone(membership)) => membership.chosen_session(),
            Some(Sharing::With(_)) | None => Duration::ZERO,
        };
        (sharing, session)
    }

    pub(super) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("concurrency", &self.concurrency)
            .field("order", &self.order)
            .field("dead_letters", &self.dead_letters)
            .finish_non_exhaustive()
    }
}
