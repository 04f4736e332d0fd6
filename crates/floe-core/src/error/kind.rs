//! The kinds of error, and what follows from each, as one table.

/// Whether a failed operation may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The operation had no effect: a retry creates no duplicate.
    None,
    /// The operation may have taken effect: the answer was lost.
    Unknown,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $retriable:literal, $effect:ident;)*) => {
        /// The kind of failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[doc = $doc])* $name,)*
        }

        impl ErrorKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code used in logs, metrics and JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Meaning of the kind, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// Whether an error of this kind is retriable, unless the error says otherwise.
            #[must_use]
            pub fn is_retriable(self) -> bool {
                match self { $(Self::$name => $retriable,)* }
            }

            /// Effect of an operation that failed with this kind, unless the error says otherwise.
            #[must_use]
            pub fn default_effect(self) -> Effect {
                match self { $(Self::$name => Effect::$effect,)* }
            }
        }
    };
}

// Columns: code, retriable, effect.
kinds! {
    /// No connection within the time allowed.
    ConnectionTimeout = "connection_timeout", true, None;
    /// The server refused the connection.
    ConnectionRefused = "connection_refused", true, None;
    /// The connection broke.
    NetworkError = "network_error", true, Unknown;
    /// The TLS handshake failed.
    TlsFailed = "tls_failed", false, None;
    /// The server does not allow this.
    AuthFailed = "auth_failed", false, None;
    /// No answer within the time allowed.
    RequestTimeout = "request_timeout", true, Unknown;
    /// The server reported a failure of its own.
    ServerError = "server_error", false, Unknown;
    /// The peer sent bytes that violate the protocol.
    ProtocolError = "protocol_error", false, Unknown;
    /// The server asked does not lead the partition.
    NotLeader = "not_leader", true, None;
    /// The server or a limit of the client throttles requests; retry after a wait.
    RateLimited = "rate_limited", true, None;
    /// The circuit breaker is open after recent failures; the call was not attempted.
    CircuitOpen = "circuit_open", true, None;
    /// There is no such topic.
    TopicNotFound = "topic_not_found", false, None;
    /// A topic of this name exists.
    TopicAlreadyExists = "topic_already_exists", false, None;
    /// The topic has no such partition.
    PartitionNotFound = "partition_not_found", false, None;
    /// There is no such SmartModule.
    ModuleNotFound = "module_not_found", false, None;
    /// The partition does not hold this offset (any more, or yet).
    OffsetOutOfRange = "offset_out_of_range", false, None;
    /// Records are missing between two that were read.
    Gap = "gap", false, None;
    /// A record or batch is larger than allowed.
    RecordTooLarge = "record_too_large", false, None;
    /// The request is invalid.
    InvalidCommand = "invalid_command", false, None;
    /// A setting is missing, unknown or invalid.
    InvalidConfig = "invalid_config", false, None;
    /// The engine lacks the capability.
    Unsupported = "unsupported", false, None;
    /// The producer's buffer memory was full.
    BufferFull = "buffer_full", true, None;
    /// A value could not be serialized.
    SerializationError = "serialization_error", false, None;
    /// Bytes could not be deserialized.
    DeserializationError = "deserialization_error", false, None;
    /// The handler of a processor failed on a record.
    HandlerFailed = "handler_failed", true, None;
    /// The handler of an exactly-once processor made another record from the same input than before.
    Nondeterministic = "nondeterministic", false, None;
    /// Stored or received data is damaged.
    CorruptData = "corrupt_data", false, Unknown;
    /// The disk failed, or is full.
    StorageError = "storage_error", false, Unknown;
    /// Another process holds the store.
    StoreInUse = "store_in_use", true, None;
    /// Another member of the group, or a newer epoch of the producer, has or may have what the call is about.
    Fenced = "fenced", false, None;
    /// The partition does not hold what the append expects: read on and decide again.
    ConditionFailed = "condition_failed", false, None;
    /// There is no such group, or it has no such member.
    NotAMember = "not_a_member", false, None;
    /// The client, producer, consumer or store was closed.
    Closed = "closed", false, None;
}

impl ErrorKind {
    /// Whether the server gave no answer: the connection failed, or the time passed.
    #[must_use]
    pub fn is_unanswered(self) -> bool {
        matches!(
            self,
            Self::ConnectionTimeout | Self::ConnectionRefused | Self::NetworkError | Self::RequestTimeout
        )
    }
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_snake_case() {
        let codes: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(codes.iter().all(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    }

    #[test]
    fn codes_spell_the_names() {
        for kind in ErrorKind::ALL {
            let spelled: String = format!("{kind:?}")
                .chars()
                .enumerate()
                .flat_map(|(at, c)| {
                    let gap = (at > 0 && c.is_ascii_uppercase()).then_some('_');
                    gap.into_iter().chain([c.to_ascii_lowercase()])
                })
                .collect();
            assert_eq!(spelled, kind.as_str());
        }
    }
}
