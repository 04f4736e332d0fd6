//! Error codes of replies.

use bytes::Bytes;

use super::{
    input::Input,
    output::Output,
    wire::{Wire, wire_enum, wire_struct},
};
use crate::WireError;

/// Declares the error codes in one table: number, message, name, details.
macro_rules! error_codes {
    (
        $(
            $(#[$meta:meta])*
            $code:literal $message:literal
            $variant:ident $(($inner:ident: $inner_type:ty))? $({ $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })?,
        )*
    ) => {
        /// Outcome of a request, or of one part of it. `None` is success.
        ///
        /// `Display` writes one sentence with the details that the server sent.
        #[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(
                $(#[$meta])*
                #[error($message)]
                $variant $(($inner_type))? $({ $($(#[$field_meta])* $field: $type,)* })?,
            )*
            /// A number that this crate does not know. Its payload, if any, is not read: see
            /// [`decode_reply`](super::frame::decode_reply).
            #[error("unknown error code {0}")]
            Unknown(i16),
        }

        impl ErrorCode {
            /// Returns the number on the wire.
            #[must_use]
            pub fn code(&self) -> i16 {
                match self {
                    $(Self::$variant { .. } => $code,)*
                    Self::Unknown(code) => *code,
                }
            }

            /// Returns the name in the protocol's own spelling.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($variant),)*
                    Self::Unknown(_) => "Unknown",
                }
            }

            /// Every number and name of the table.
            pub const TABLE: &'static [(i16, &'static str)] = &[$(($code, stringify!($variant)),)*];
        }

        impl Wire for ErrorCode {
            fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
                output.i16(self.code());
                match self {
                    $(Self::$variant $(($inner))? $({ $($field,)* })? => {
                        $($inner.encode(output, version)?;)?
                        $($($field.encode(output, version)?;)*)?
                    })*
                    Self::Unknown(_) => {}
                }
                Ok(())
            }

            fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
                match input.i16()? {
                    $($code => {
                        $(let $inner = <$inner_type>::decode(input, version)?;)?
                        $($(let $field = <$type>::decode(input, version)?;)*)?
                        Ok(Self::$variant $(($inner))? $({ $($field,)* })?)
                    })*
                    code => {
                        input.record_unknown_code(code);
                        Ok(Self::Unknown(code))
                    }
                }
            }
        }
    };
}

error_codes! {
    /// The cause is unknown to the server.
    -1 "the server met an unknown error" UnknownServerError,
    /// Success.
    #[default]
    0 "success" None,
    /// Never sent by platform 0.18, which sends [`ErrorCode::OffsetEvicted`] or [`ErrorCode::Other`] instead.
    1 "the offset is out of range" OffsetOutOfRange,
    /// An error without a code of its own, as text.
    2 "server error: {0}" Other(message: String),
    /// This server does not lead the partition; data servers send the same code for unknown topics and partitions.
    6 "the data server does not lead the partition" NotLeaderForPartition,
    /// A produce with read-committed isolation was written but not committed in time; it may still be committed.
    7 "the request ({kind:?}) was not finished within {timeout_ms} ms" RequestTimedOut {
        /// The timeout of the request, in milliseconds.
        timeout_ms: u64,
        /// The kind of request.
        kind: RequestKind,
    },
    /// A batch is larger than the server's limit or the topic's segments; no batch of its entry was written.
    10 "the message is too large" MessageTooLarge,
    /// The caller lacks the permission.
    13 "permission denied" PermissionDenied,
    /// The server's storage failed; part of the data may have been written.
    56 "the server's storage failed" StorageError,
    /// The request to create is malformed.
    60 "invalid create request" InvalidCreateRequest,
    /// The request to delete is malformed.
    61 "invalid delete request" InvalidDeleteRequest,
    /// The offset was removed by retention, or never existed.
    71 "offset {offset} is no longer stored, the first stored offset is {next_available}" OffsetEvicted {
        /// The requested offset.
        offset: i64,
        /// The first stored offset.
        next_available: i64,
    },
    /// The partition's storage is full.
    72 "partition {topic}-{partition} is full" PartitionFull {
        /// Name of the topic.
        topic: String,
        /// Number of the partition.
        partition: u32,
    },
    /// An earlier write failed; the partition refuses writes until its data server restarts.
    73 "the partition refuses writes after a failed write" PartitionShortCircuited,
    /// A failure on a data server.
    1000 "an error occurred on the data server" SpuError,
    /// A data server could not be registered. The spelling is the protocol's.
    1001 "the data server could not be registered" SpuRegisterationFailed,
    /// The data server is offline.
    1002 "the data server is offline" SpuOffline,
    /// The data server does not exist.
    1003 "the data server was not found" SpuNotFound,
    /// A data server with this id or name exists.
    1004 "the data server already exists" SpuAlreadyExists,
    /// The topic's specification is invalid; the message of the status has the reason.
    2000 "a topic error occurred" TopicError,
    /// The topic does not exist.
    2001 "the topic was not found" TopicNotFound,
    /// A topic of this name exists.
    2002 "the topic already exists" TopicAlreadyExists,
    /// The topic is not ready yet.
    2003 "the topic is not initialized yet" TopicPendingInitialization,
    /// A retention or a size is below the minimum.
    2004 "the topic's configuration is invalid" TopicInvalidConfiguration,
    /// Not all partitions came up in time; the topic exists and is incomplete.
    2005 "the topic's partitions are not all provisioned" TopicNotProvisioned,
    /// The name is invalid: see [`check_topic_name`](super::names::check_topic_name).
    2006 "the topic name is invalid" TopicInvalidName,
    /// The topic was deleted while it was in use.
    2007 "the topic was deleted" TopicDeleted,
    /// The kind of replica assignment does not allow the operation.
    2008 "the topic's kind of replica assignment does not allow the operation" TopicInvalidReplicaType,
    /// The partition is not ready yet.
    3000 "the partition is not initialized yet" PartitionPendingInitialization,
    /// This server does not lead the partition (offset requests).
    3001 "the data server does not lead the partition" PartitionNotLeader,
    /// The stream is not known on this connection. The spelling is the protocol's.
    3002 "the stream is not known on this connection" FetchSessionNotFoud,
    /// Internal to official clients.
    3003 "offsets could not be flushed: {0}" OffsetFlushRequestError(message: String),
    /// Internal to official clients.
    3004 "offset management is disabled for the stream" OffsetManagementDisabled,
    /// Internal to official clients.
    3005 "the maximum number of retries is reached" MaxRetryReached,
    /// Of managed connectors, which were removed.
    5000 "a managed connector failed" ManagedConnectorError,
    /// Of managed connectors, which were removed.
    5001 "the managed connector was not found" ManagedConnectorNotFound,
    /// Of managed connectors, which were removed.
    5002 "the managed connector already exists" ManagedConnectorAlreadyExists,
    /// A SmartModule failed.
    6000 "a SmartModule error occurred" SmartModuleError,
    /// The SmartModule does not exist, or has not reached this data server yet.
    6001 "SmartModule {name:?} was not found" SmartModuleNotFound {
        /// Name of the module.
        name: String,
    },
    /// The module is not a valid WebAssembly module.
    6002 "the SmartModule is invalid: {error}" SmartModuleInvalid {
        /// Description of the fault.
        error: String,
        /// Name of the module, if it has one.
        name: Option<String>,
    },
    /// The module does not export the function that its kind needs.
    6003 "the SmartModule is not a {kind} module: {error}" SmartModuleInvalidExports {
        /// Description of the fault.
        error: String,
        /// The kind that was expected.
        kind: String,
    },
    /// The module failed on a record.
    6004 "{0}" SmartModuleRuntimeError(failure: Box<SmartModuleFailure>),
    /// The chain of modules could not be built.
    6005 "the SmartModule chain could not be initialized: {0}" SmartModuleChainInitError(message: String),
    /// The `init` function of a module failed.
    6006 "the SmartModule could not be initialized: {0}" SmartModuleInitError(hint: String),
    /// The `look_back` function of a module failed.
    6007 "the SmartModule failed to look back: {0}" SmartModuleLookBackError(message: String),
    /// The module needs more memory than the server allows.
    6008 "the SmartModule needs {requested} bytes of memory, {max} are allowed" SmartModuleMemoryLimitExceeded {
        /// Requested bytes.
        requested: u64,
        /// Allowed bytes.
        max: u64,
    },
    /// A table format failed.
    7000 "a table format error occurred" TableFormatError,
    /// The table format does not exist.
    7001 "the table format was not found" TableFormatNotFound,
    /// A table format of this name exists.
    7002 "the table format already exists" TableFormatAlreadyExists,
    /// Of derived streams, which were removed.
    8000 "a derived stream error occurred" DerivedStreamObjectError,
    /// Of derived streams, which were removed.
    8001 "derived stream {0:?} was not found" DerivedStreamNotFound(name: String),
    /// Of derived streams, which were removed.
    8002 "the data to join cannot be fetched" DerivedStreamJoinFetchError,
    /// Of derived streams, which were removed.
    8003 "derived stream {0:?} is invalid" DerivedStreamInvalid(name: String),
    /// The topic does not allow the codec of a batch, or the codec is unknown.
    9000 "the topic does not allow the codec, or it is unknown" CompressionError,
    /// The deduplication module is not in the cluster.
    10000 "the deduplication SmartModule is not loaded" DeduplicationSmartModuleNotLoaded,
    /// The name of the deduplication module is invalid.
    10001 "the deduplication SmartModule name is invalid: {0}" DeduplicationSmartModuleNameInvalid(name: String),
    /// The mirror does not exist.
    11001 "the mirror was not found" MirrorNotFound,
    /// A mirror of this name exists.
    11002 "the mirror already exists" MirrorAlreadyExists,
    /// Only the remote cluster writes the topic.
    11003 "the mirrored topic cannot be written on the home cluster" MirrorProduceFromHome,
    /// The topic belongs to its home cluster.
    11004 "the mirrored topic cannot be deleted on the remote cluster" MirrorDeleteFromRemote,
    /// The mirror is of the wrong kind.
    11005 "the mirror is of the wrong kind" MirrorInvalidType,
    /// Only the home cluster writes the topic.
    11006 "the mirrored topic cannot be written on the remote cluster" MirrorProduceFromRemoteNotAllowed,
    /// Deleting a system object requires force.
    12001 "system {kind} {name:?} can only be deleted by force" SystemSpecDeletionAttempt {
        /// Kind of object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Updating a system object requires force.
    12002 "system {kind} {name:?} can only be updated by force" SystemSpecUpdatingAttempt {
        /// Kind of object.
        kind: String,
        /// Its name.
        name: String,
    },
}

impl ErrorCode {
    /// Returns whether this is [`ErrorCode::None`].
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Converts [`ErrorCode::None`] to `Ok`.
    ///
    /// # Errors
    /// Any other code.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }
}

wire_enum! {
    /// Kind of a request that timed out.
    #[derive(Copy, Default)]
    pub enum RequestKind {
        /// A produce request.
        #[default]
        0 => Produce,
    }
}

wire_enum! {
    /// Kind of a module in an error.
    #[derive(Copy, Default)]
    pub enum FailedModuleKind {
        /// A filter.
        #[default]
        0 => Filter,
        /// One record to one record.
        1 => Map,
        /// One record to many records.
        2 => ArrayMap,
        /// An accumulator.
        3 => Aggregate,
        /// A filter that also changes records.
        4 => FilterMap,
        /// A join of two topics; no longer supported.
        5 => Join,
        /// Derived from the module's exports.
        6 => Generic,
    }
}

wire_struct! {
    /// Failure of a module on a record.
    #[derive(Default)]
    pub struct SmartModuleFailure {
        /// Message of the module.
        pub hint: String,
        /// Offset of the record.
        pub offset: i64,
        /// Kind of the module.
        pub kind: FailedModuleKind,
        /// Key of the record.
        pub record_key: Option<RecordBlob>,
        /// Value of the record.
        pub record_value: RecordBlob,
    }
}

impl std::fmt::Display for SmartModuleFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the SmartModule ({:?}) failed at offset {}: {}", self.kind, self.offset, self.hint)
    }
}

impl Wire for Box<SmartModuleFailure> {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        self.as_ref().encode(output, version)
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        SmartModuleFailure::decode(input, version).map(Self::new)
    }
}

/// Key or value of a record outside a batch: a blob with a variable-length integer in front.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordBlob(pub Bytes);

impl Wire for RecordBlob {
    fn encode(&self, output: &mut Output, _version: i16) -> Result<(), WireError> {
        output.varint_blob(&self.0)
    }

    fn decode(input: &mut Input, _version: i16) -> Result<Self, WireError> {
        input.varint_blob().map(Self)
    }
}
