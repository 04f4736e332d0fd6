//! Context that the tasks of a processor share.

use std::{sync::Arc, time::Duration};

use super::numbering::{Numbering, is_numbering};
use crate::{
    Error, ErrorKind, Result,
    client_core::ClientCore,
    consumer::group::MemberHandle,
    producer::{Partitioner, ProducerBuilder},
    topic::{Topic, TopicPartition},
};

/// Settings and clients of all tasks of a processor.
pub(super) struct TaskContext {
    pub(super) client: ClientCore,
    pub(super) topics: Arc<ProcessorTopics>,
    pub(super) member: MemberHandle,
    pub(super) session: Duration,
    pub(super) outputs: Vec<OutputSettings>,
    /// How long an append of an owner that has died may be on its way and take effect.
    pub(super) late: Duration,
}

impl TaskContext {
    /// Returns the changelog, if outputs are recorded: the last output.
    pub(super) fn changelog(&self) -> Option<&OutputSettings> {
        self.outputs.last().filter(|output| output.per_task)
    }
}

/// An output topic.
pub(super) struct OutputSettings {
    pub(super) topic: Topic,
    /// Partitions that a task writes to: those that the topic has had since the processor began.
    pub(super) partitions: u32,
    /// Whether a task writes to one partition alone, that of the number of its input partition.
    pub(super) per_task: bool,
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) builder: ProducerBuilder,
}

impl OutputSettings {
    /// Returns a partition that the task of an input partition writes to.
    pub(super) fn at(&self, number: u32, task: u32) -> TopicPartition {
        self.topic.partition(if self.per_task { task } else { number })
    }
}

/// The topics of a processor, by which it recognizes its own progress in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessorTopics {
    pub(super) group: Arc<str>,
    pub(super) from: Topic,
    /// The outputs, the changelog last.
    pub(super) outputs: Vec<Topic>,
}

impl ProcessorTopics {
    /// Reads the text that a commit of the group has for an input topic.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if another processor has written it, or another version of floe.
    pub(super) fn read_numbering(&self, input: &str, text: &str) -> Result<Numbering> {
        let refuse = |message: String| {
            let message = format!(
                "the group {:?} {message}: two processors need two groups, and one that has changed begins anew after `floe \
                 group reset`",
                self.group
            );
            Err(Error::new(ErrorKind::InvalidConfig, message).with_topic(&self.from))
        };
        if input != self.from.as_str() {
            return refuse(format!("belongs to a processor that reads {input}"));
        }
        let Ok(numbering) = text.parse::<Numbering>() else {
            let whose = if is_numbering(text) { "another version of floe" } else { "another program" };
            return refuse(format!("has progress that {whose} has written"));
        };
        if !numbering.outputs.iter().map(|output| &output.topic).eq(&self.outputs) {
            let known: Vec<_> = numbering.outputs.iter().map(|output| output.topic.as_str()).collect();
            return refuse(format!("belongs to a processor that writes to {}", known.join(" and ")));
        }
        Ok(numbering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_other_processors_is_refused() {
        let topics = ProcessorTopics {
            group: Arc::from("g"),
            from: Topic::from("orders"),
            outputs: vec![Topic::from("invoices"), Topic::from("orders-dead")],
        };
        let own = "exact1 7 3 clean invoices=0:0 orders-dead=0:0";
        assert!(topics.read_numbering("orders", own).is_ok());
        for (input, text, says) in [
            ("returns", own, "reads returns"),
            ("orders", "exact1 7 3 clean invoices=0:0", "writes to invoices:"),
            ("orders", "exact1 7 3 clean invoices=0:0 orders-dead=0:0 log=0:0", "orders-dead and log"),
            ("orders", "exact1 7 3 clean bills=0:0 orders-dead=0:0", "writes to bills and orders-dead"),
            ("orders", "exact9 something", "another version"),
            ("orders", "note", "another program"),
        ] {
            let error = topics.read_numbering(input, text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
