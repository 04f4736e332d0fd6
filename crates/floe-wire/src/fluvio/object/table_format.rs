//! Table formats: how a command line shows records as a table.

use crate::fluvio::wire::{wire_enum, wire_struct};

wire_struct! {
    /// A table.
    #[derive(Default)]
    pub struct TableFormatSpec {
        /// Its name.
        pub name: String,
        /// What records look like.
        pub input_format: Option<DataFormat>,
        /// Its columns.
        pub columns: Option<Vec<TableFormatColumn>>,
        /// A module that records go through first.
        pub smartmodule: Option<String>,
    }
}

wire_enum! {
    /// What records look like.
    #[derive(Copy, Hash, Default)]
    pub enum DataFormat {
        /// One JSON object each.
        #[default]
        0 => Json,
    }
}

wire_struct! {
    /// A column.
    #[derive(Default)]
    pub struct TableFormatColumn {
        /// Its heading.
        pub header_label: Option<String>,
        /// Its width.
        pub width: Option<String>,
        /// Its alignment.
        pub alignment: Option<ColumnAlignment>,
        /// Which field of the record it shows.
        pub key_path: String,
        /// How it shows it.
        pub format: Option<String>,
        /// Whether it is shown.
        pub display: Option<bool>,
        /// Whether its values tell rows apart.
        pub primary_key: Option<bool>,
        /// Background of its heading.
        pub header_background: Option<ColumnColor>,
        /// Text of its heading.
        pub header_text: Option<ColumnColor>,
    }
}

wire_enum! {
    /// Alignment of a column.
    #[derive(Copy, Hash, Default)]
    pub enum ColumnAlignment {
        /// Left.
        0 => Left,
        /// Right.
        1 => Right,
        /// Centred.
        #[default]
        2 => Center,
    }
}

wire_enum! {
    /// A colour.
    #[derive(Copy, Hash, Default)]
    pub enum ColumnColor {
        /// Blue.
        #[default]
        0 => Blue,
        /// Yellow.
        1 => Yellow,
        /// Green.
        2 => Green,
    }
}

wire_struct! {
    /// What the controller reports of a table format.
    #[derive(Default)]
    pub struct TableFormatStatus {
        /// Whether it is in use.
        pub resolution: TableFormatResolution,
        /// Why it is not.
        pub reason: Option<String>,
    }
}

wire_enum! {
    /// Whether a table format is in use.
    #[derive(Copy, Hash, Default)]
    pub enum TableFormatResolution {
        /// Just created.
        #[default]
        0 => Init,
        /// The specification makes no sense.
        1 => Invalid,
        /// In use.
        2 => Running,
        /// Waiting.
        3 => Pending,
        /// Failed.
        4 => Failed,
    }
}
