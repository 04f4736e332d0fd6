//! How a request names the modules that its records go through.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::wire::{wire_enum, wire_struct};

wire_struct! {
    /// One module with its parameters.
    #[derive(Default)]
    pub struct SmartModuleInvocation {
        /// Which module.
        pub wasm: SmartModuleSource,
        /// Chosen by what the module exports; only the start value of an aggregate is taken from here.
        pub kind: SmartModuleKind,
        /// What the module is told.
        pub params: SmartModuleParameters,
        /// Label in the server's metrics.
        pub name: Option<String> [25..],
    }
}

wire_enum! {
    /// Where a module comes from.
    pub enum SmartModuleSource {
        /// From the cluster, by its name: `name`, `group/name` or `group/name@version`.
        0 => Predefined(name: String),
        /// From the request: a **gzip**-compressed WebAssembly module.
        1 => AdHoc(gzipped: Bytes),
    }
}

impl Default for SmartModuleSource {
    fn default() -> Self {
        Self::AdHoc(Bytes::new())
    }
}

wire_enum! {
    /// What a module does.
    #[derive(Default)]
    pub enum SmartModuleKind {
        /// Keeps or drops records.
        #[default]
        0 => Filter,
        /// Makes one record of one record.
        1 => Map,
        /// Makes many records of one record.
        2 => ArrayMap,
        /// Folds records into an accumulator.
        3 => Aggregate {
            /// Start value.
            accumulator: Bytes,
        },
        /// Keeps and changes, or drops.
        4 => FilterMap,
        /// Joins a topic, which is no more.
        5 => Join(topic: String),
        /// Joins a derived stream, which is no more.
        6 => JoinStream {
            /// Name of the topic.
            topic: String,
            /// Name of the derived stream.
            derived_stream: String,
        },
        /// Whatever the module exports.
        7 => Generic(context: SmartModuleContext),
    }
}

wire_enum! {
    /// What a module is given besides records and parameters.
    #[derive(Default)]
    pub enum SmartModuleContext {
        /// Nothing.
        #[default]
        0 => None,
        /// The start value of an aggregate.
        1 => Aggregate {
            /// Start value.
            accumulator: Bytes,
        },
        /// A topic to join, which is no more.
        2 => Join(topic: String),
        /// A derived stream to join, which is no more.
        3 => JoinStream {
            /// Name of the topic.
            topic: String,
            /// Name of the derived stream.
            derived_stream: String,
        },
    }
}

wire_struct! {
    /// What a module is told when it starts.
    #[derive(Default)]
    pub struct SmartModuleParameters {
        /// By name.
        pub values: BTreeMap<String, String>,
        /// Which records before the first one it may look at.
        pub lookback: Option<Lookback> [20..],
    }
}

wire_struct! {
    /// Records that a module sees before the stream begins.
    #[derive(Copy, Default)]
    pub struct Lookback {
        /// How many at most; 0 with an age means as many as are young enough.
        pub last: u64,
        /// How old at most.
        pub age: Option<Duration> [21..],
    }
}
