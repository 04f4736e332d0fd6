//! SmartModules that the cluster keeps.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::fluvio::wire::{wire_enum, wire_struct};

wire_struct! {
    /// A module. This is its layout since version 10.
    #[derive(Default)]
    pub struct SmartModuleSpec {
        /// Where it comes from. With this, the stored name is made of the package's.
        pub meta: Option<SmartModuleMetadata>,
        /// In lists that asked for it, in place of the module itself.
        pub summary: Option<SmartModuleSummary>,
        /// What the payload is.
        pub format: WasmFormat,
        /// The **gzip**-compressed module.
        pub payload: Bytes,
    }
}

wire_struct! {
    /// Where a module comes from.
    #[derive(Default)]
    pub struct SmartModuleMetadata {
        /// Its package.
        pub package: SmartModulePackage,
        /// Its parameters, by name.
        pub params: BTreeMap<String, SmartModuleParameter>,
    }
}

wire_struct! {
    /// The package of a module.
    #[derive(Default)]
    pub struct SmartModulePackage {
        /// Name.
        pub name: String,
        /// Who publishes it.
        pub group: String,
        /// Semantic version.
        pub version: String,
        /// Semantic version of the interface.
        pub api_version: String,
        /// What it does.
        pub description: Option<String>,
        /// Its licence.
        pub license: Option<String>,
        /// Who sees it.
        pub visibility: SmartModuleVisibility [19..],
        /// Where its source is.
        pub repository: Option<String>,
    }
}

wire_enum! {
    /// Who sees a package.
    #[derive(Copy, Hash, Default)]
    pub enum SmartModuleVisibility {
        /// Its group.
        #[default]
        0 => Private,
        /// Everybody.
        1 => Public,
    }
}

wire_struct! {
    /// A parameter that a module takes.
    #[derive(Default)]
    pub struct SmartModuleParameter {
        /// What it is for.
        pub description: Option<String>,
        /// Whether it can be left out.
        pub optional: bool,
    }
}

wire_struct! {
    /// What lists say of a module without its payload.
    #[derive(Copy, Default)]
    pub struct SmartModuleSummary {
        /// Bytes of the payload.
        pub wasm_length: u32,
    }
}

wire_enum! {
    /// What the payload of a module is.
    #[derive(Copy, Hash, Default)]
    pub enum WasmFormat {
        /// WebAssembly.
        #[default]
        0 => Binary,
        /// WebAssembly as text.
        1 => Text,
    }
}
