//! Engine calls as layers see them: one kind for each call, and the facts that layers decide by.

use crate::{Error, topic::Topic};

/// Declares the kinds together with their names and the list of all of them, so that none can miss in one of the two.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)+) => {
        /// The kinds of engine calls.
        ///
        /// Each fact about a kind is an exhaustive `match`, so that a new kind cannot be forgotten in one of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum OperationKind {
            $($(#[$doc])* $kind,)+
        }

        impl OperationKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// Name of the kind in errors, logs and metrics, such as `append`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// [`Engine::append`](crate::engine::Engine::append) and [`Engine::append_at`](crate::engine::Engine::append_at).
    Append = "append",
    /// [`Engine::open`](crate::engine::Engine::open).
    Open = "open",
    /// [`BatchReader::next`](crate::engine::BatchReader::next).
    Read = "read",
    /// [`Engine::watermarks`](crate::engine::Engine::watermarks).
    Watermarks = "watermarks",
    /// [`Engine::log_end`](crate::engine::Engine::log_end).
    LogEnd = "log_end",
    /// [`Engine::offset_for_time`](crate::engine::Engine::offset_for_time).
    OffsetForTime = "offset_for_time",
    /// [`Engine::commit`](crate::engine::Engine::commit).
    Commit = "commit",
    /// [`Engine::committed`](crate::engine::Engine::committed).
    Committed = "committed",
    /// [`Engine::list_committed`](crate::engine::Engine::list_committed).
    ListCommitted = "list_committed",
    /// [`Engine::forget`](crate::engine::Engine::forget).
    Forget = "forget",
    /// [`Engine::topics`](crate::engine::Engine::topics).
    Topics = "topics",
    /// [`Engine::topic`](crate::engine::Engine::topic).
    Topic = "topic",
    /// [`Engine::create_topic`](crate::engine::Engine::create_topic).
    CreateTopic = "create_topic",
    /// [`Engine::add_partitions`](crate::engine::Engine::add_partitions).
    AddPartitions = "add_partitions",
    /// [`Engine::delete_topic`](crate::engine::Engine::delete_topic).
    DeleteTopic = "delete_topic",
    /// [`Engine::watch`](crate::engine::Engine::watch).
    Watch = "watch",
    /// [`Engine::health`](crate::engine::Engine::health).
    Health = "health",
    /// [`Engine::close`](crate::engine::Engine::close).
    Close = "close",
    /// Lists objects of a cluster's controller, such as data servers.
    ListObjects = "list_objects",
    /// Creates an object of a cluster's controller.
    CreateObject = "create_object",
    /// Deletes an object of a cluster's controller.
    DeleteObject = "delete_object",
    /// [`Engine::update_topic`](crate::engine::Engine::update_topic), and changes that a cluster's controller makes.
    UpdateTopic = "update_topic",
    /// [`Engine::trim`](crate::engine::Engine::trim).
    Trim = "trim",
}

/// The server that an operation goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationTarget {
    /// The leader of the partition.
    Leader,
    /// The keeper of stored offsets.
    Offsets,
    /// The server that knows the topics: the controller of a cluster.
    Controller,
}

impl OperationKind {
    /// Whether the call only reads. A failed read has changed nothing.
    #[must_use]
    pub fn is_read(self) -> bool {
        match self {
            Self::Open
            | Self::Read
            | Self::Watermarks
            | Self::LogEnd
            | Self::OffsetForTime
            | Self::Committed
            | Self::ListCommitted
            | Self::Topics
            | Self::Topic
            | Self::Watch
            | Self::Health
            | Self::ListObjects => true,
            Self::Append
            | Self::Commit
            | Self::Forget
            | Self::CreateTopic
            | Self::AddPartitions
            | Self::DeleteTopic
            | Self::Close
            | Self::CreateObject
            | Self::DeleteObject
            | Self::UpdateTopic
            | Self::Trim => false,
        }
    }

    /// Whether the call is idempotent: a retry is harmless even if an earlier attempt took effect.
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        match self {
            Self::Commit | Self::Forget | Self::AddPartitions | Self::Trim | Self::Close => true,
            Self::Append
            | Self::CreateTopic
            | Self::DeleteTopic
            | Self::CreateObject
            | Self::DeleteObject
            | Self::UpdateTopic => false,
            kind => kind.is_read(),
        }
    }

    /// Whether the caller retries the call itself, so that a layer must not: the producer retries appends, because only
    /// it can keep their order; the consumer reopens readers at the next offset; a health check reports the present
    /// state; a close happens once.
    #[must_use]
    pub fn is_retried_by_caller(self) -> bool {
        matches!(self, Self::Append | Self::Open | Self::Read | Self::Health | Self::Close)
    }

    /// Whether the caller waits between its attempts and needs the answer to recover: appends, opening a reader, and
    /// looking up where a partition begins or ends. An open circuit lets one such call a second pass.
    #[must_use]
    pub fn is_recovery(self) -> bool {
        matches!(self, Self::Append | Self::Open | Self::Watermarks | Self::LogEnd)
    }

    /// The server that a call of this kind goes to. The circuit breaker keeps one circuit for each.
    #[must_use]
    pub fn target(self) -> OperationTarget {
        match self {
            Self::Append
            | Self::Open
            | Self::Read
            | Self::Watermarks
            | Self::LogEnd
            | Self::OffsetForTime
            | Self::Trim => OperationTarget::Leader,
            Self::Commit | Self::Committed | Self::ListCommitted | Self::Forget => OperationTarget::Offsets,
            Self::Topics
            | Self::Topic
            | Self::CreateTopic
            | Self::AddPartitions
            | Self::DeleteTopic
            | Self::Watch
            | Self::Health
            | Self::Close
            | Self::ListObjects
            | Self::CreateObject
            | Self::DeleteObject
            | Self::UpdateTopic => OperationTarget::Controller,
        }
    }
}

/// One engine call: labels for observers, facts for layers that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Name of the engine.
    pub engine: &'static str,
    /// Kind of the call.
    pub kind: OperationKind,
    /// The topic concerned.
    pub topic: Option<Topic>,
    /// The partition concerned.
    pub partition: Option<u32>,
    /// Bytes sent with the call.
    pub bytes: usize,
    /// Records sent with the call.
    pub records: u32,
}

impl Operation {
    /// A call that concerns no topic.
    #[must_use]
    pub fn new(engine: &'static str, kind: OperationKind) -> Self {
        Self { engine, kind, topic: None, partition: None, bytes: 0, records: 0 }
    }

    /// Sets the topic.
    #[must_use]
    pub fn with_topic(mut self, topic: &Topic) -> Self {
        self.topic = Some(topic.clone());
        self
    }

    /// Sets the partition.
    #[must_use]
    pub fn with_partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets how much the call sends.
    #[must_use]
    pub fn with_payload(mut self, bytes: usize, records: u32) -> Self {
        (self.bytes, self.records) = (bytes, records);
        self
    }

    /// The same call with another kind: a reader that was opened reads.
    #[must_use]
    pub fn with_kind(&self, kind: OperationKind) -> Self {
        Self { kind, ..self.clone() }
    }

    /// Adds to an error the engine, operation, topic and partition that it does not name yet.
    #[must_use]
    pub fn locate(&self, error: Error) -> Error {
        let mut error = error.with_engine(self.engine).with_operation(self.kind.as_str());
        if let Some(topic) = &self.topic {
            error = error.with_topic(topic);
        }
        if let Some(partition) = self.partition {
            error = error.with_partition(partition);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: HashSet<_> = OperationKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), OperationKind::ALL.len());
    }

    #[test]
    fn facts_about_kinds_agree() {
        for &kind in OperationKind::ALL {
            if kind.is_read() {
                assert!(kind.is_idempotent(), "{}: a read is idempotent", kind.as_str());
            }
            if kind.is_recovery() {
                let target = kind.target();
                assert_eq!(target, OperationTarget::Leader, "{}: recovery asks the leader", kind.as_str());
            }
        }
        let kinds = |fact: fn(OperationKind) -> bool| -> Vec<_> {
            OperationKind::ALL.iter().copied().filter(|kind| fact(*kind)).map(OperationKind::as_str).collect()
        };
        assert_eq!(kinds(OperationKind::is_recovery), ["append", "open", "watermarks", "log_end"]);
        assert_eq!(kinds(OperationKind::is_retried_by_caller), ["append", "open", "read", "health", "close"]);
        assert_eq!(
            kinds(|kind| kind.is_idempotent() && !kind.is_read()),
            ["commit", "forget", "add_partitions", "close", "trim"]
        );
    }

    #[test]
    fn looking_up_the_end_of_a_log_is_a_read_of_the_leader() {
        assert!(OperationKind::LogEnd.is_read());
        assert_eq!(OperationKind::LogEnd.target(), OperationTarget::Leader);
    }
}
