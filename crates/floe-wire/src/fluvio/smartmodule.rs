//! SmartModules of a request, which process its records.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::wire::{wire_enum, wire_struct};

wire_struct! {
    /// Invocation of one module with its parameters.
    #[derive(Default)]
    pub struct SmartModuleInvocation {
        /// The module.
        pub wasm: SmartModuleSource,
        /// Kind of the module. Servers derive it from the module's exports and use only the start value of an
        /// aggregate.
        pub kind: SmartModuleKind,
        /// Parameters of the module.
        pub params: SmartModuleParameters,
        /// Label in the server's metrics.
        pub name: Option<String> [25..],
    }
}

wire_enum! {
    /// Source of a module.
    pub enum SmartModuleSource {
        /// Stored in the cluster, by its name: `name`, `group/name` or `group/name@version`.
        0 => Predefined(name: String),
        /// Sent with the request: a **gzip**-compressed WebAssembly module.
        1 => AdHoc(gzipped: Bytes),
    }
}

impl Default for SmartModuleSource {
    fn default() -> Self {
        Self::AdHoc(Bytes::new())
    }
}

wire_enum! {
    /// Kind of a module.
    #[derive(Default)]
    pub enum SmartModuleKind {
        /// Keeps or drops records.
        #[default]
        0 => Filter,
        /// Maps one record to one record.
        1 => Map,
        /// Maps one record to many records.
        2 => ArrayMap,
        /// Folds records into an accumulator.
        3 => Aggregate {
            /// Start value.
            accumulator: Bytes,
        },
        /// Changes or drops records.
        4 => FilterMap,
        /// Joins a topic; no longer supported.
        5 => Join(topic: String),
        /// Joins a derived stream; no longer supported.
        6 => JoinStream {
            /// Name of the topic.
            topic: String,
            /// Name of the derived stream.
            derived_stream: String,
        },
        /// Derived from the module's exports.
        7 => Generic(context: SmartModuleContext),
    }
}

wire_enum! {
    /// Input of a module besides records and parameters.
    #[derive(Default)]
    pub enum SmartModuleContext {
        /// No further input.
        #[default]
        0 => None,
        /// The start value of an aggregate.
        1 => Aggregate {
            /// Start value.
            accumulator: Bytes,
        },
        /// A topic to join; no longer supported.
        2 => Join(topic: String),
        /// A derived stream to join; no longer supported.
        3 => JoinStream {
            /// Name of the topic.
            topic: String,
            /// Name of the derived stream.
            derived_stream: String,
        },
    }
}

wire_struct! {
    /// Parameters of a module, passed when it starts.
    #[derive(Default)]
    pub struct SmartModuleParameters {
        /// Values by name.
        pub values: BTreeMap<String, String>,
        /// Earlier records that the module may look back at.
        pub lookback: Option<Lookback> [20..],
    }
}

wire_struct! {
    /// Records before the start of the stream that a module sees.
    #[derive(Copy, Default)]
    pub struct Lookback {
        /// Most records; 0 with an age means no limit.
        pub last: u64,
        /// Greatest age of a record.
        pub age: Option<Duration> [21..],
    }
}
