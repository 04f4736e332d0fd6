//! SmartModules stored in the cluster.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::fluvio::wire::{wire_enum, wire_struct};

wire_struct! {
    /// A module. This is its layout since version 10.
    #[derive(Default)]
    pub struct SmartModuleSpec {
        /// Package and parameters. With a package, the controller derives the stored name from it.
        pub meta: Option<SmartModuleMetadata>,
        /// Summary, which replaces the payload in lists that request it.
        pub summary: Option<SmartModuleSummary>,
        /// Format of the payload.
        pub format: WasmFormat,
        /// The **gzip**-compressed module.
        pub payload: Bytes,
    }
}

wire_struct! {
    /// Package of a module, and its parameters.
    #[derive(Default)]
    pub struct SmartModuleMetadata {
        /// The package.
        pub package: SmartModulePackage,
        /// Parameters by name.
        pub params: BTreeMap<String, SmartModuleParameter>,
    }
}

wire_struct! {
    /// The package of a module.
    #[derive(Default)]
    pub struct SmartModulePackage {
        /// Name of the package.
        pub name: String,
        /// Group that publishes the package.
        pub group: String,
        /// Semantic version of the package.
        pub version: String,
        /// Semantic version of the interface.
        pub api_version: String,
        /// Description.
        pub description: Option<String>,
        /// Licence.
        pub license: Option<String>,
        /// Visibility of the package.
        pub visibility: SmartModuleVisibility [19..],
        /// Address of the source repository.
        pub repository: Option<String>,
    }
}

wire_enum! {
    /// Visibility of a package.
    #[derive(Copy, Hash, Default)]
    pub enum SmartModuleVisibility {
        /// Visible to its group.
        #[default]
        0 => Private,
        /// Visible to all groups.
        1 => Public,
    }
}

wire_struct! {
    /// A parameter that a module takes.
    #[derive(Default)]
    pub struct SmartModuleParameter {
        /// Description of the parameter.
        pub description: Option<String>,
        /// Whether the parameter is optional.
        pub optional: bool,
    }
}

wire_struct! {
    /// Summary of a module in lists without payload.
    #[derive(Copy, Default)]
    pub struct SmartModuleSummary {
        /// Size of the payload in bytes.
        pub wasm_length: u32,
    }
}

wire_enum! {
    /// Format of a module's payload.
    #[derive(Copy, Hash, Default)]
    pub enum WasmFormat {
        /// WebAssembly.
        #[default]
        0 => Binary,
        /// WebAssembly as text.
        1 => Text,
    }
}
