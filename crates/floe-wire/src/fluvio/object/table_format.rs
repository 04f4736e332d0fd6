//! Table formats, by which the Fluvio command line shows records as a table.

use crate::fluvio::wire::{wire_enum, wire_struct};

wire_struct! {
    /// Specification of a table.
    #[derive(Default)]
    pub struct TableFormatSpec {
        /// Name of the table format.
        pub name: String,
        /// Format of the records.
        pub input_format: Option<DataFormat>,
        /// Columns of the table.
        pub columns: Option<Vec<TableFormatColumn>>,
        /// SmartModule that processes the records first.
        pub smartmodule: Option<String>,
    }
}

wire_enum! {
    /// Format of records.
    #[derive(Copy, Hash, Default)]
    pub enum DataFormat {
        /// One JSON object per record.
        #[default]
        0 => Json,
    }
}

wire_struct! {
    /// A column of a table.
    #[derive(Default)]
    pub struct TableFormatColumn {
        /// Heading of the column.
        pub header_label: Option<String>,
        /// Width of the column.
        pub width: Option<String>,
        /// Alignment of the column.
        pub alignment: Option<ColumnAlignment>,
        /// Path of the field to show.
        pub key_path: String,
        /// Format of the field.
        pub format: Option<String>,
        /// Whether the column is shown.
        pub display: Option<bool>,
        /// Whether the column identifies rows.
        pub primary_key: Option<bool>,
        /// Background colour of the heading.
        pub header_background: Option<ColumnColor>,
        /// Text colour of the heading.
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
    /// Observed state of a table format.
    #[derive(Default)]
    pub struct TableFormatStatus {
        /// Resolution of the table format.
        pub resolution: TableFormatResolution,
        /// Reason of the resolution.
        pub reason: Option<String>,
    }
}

wire_enum! {
    /// Resolution of a table format.
    #[derive(Copy, Hash, Default)]
    pub enum TableFormatResolution {
        /// Just created.
        #[default]
        0 => Init,
        /// The specification is invalid.
        1 => Invalid,
        /// In use.
        2 => Running,
        /// Waiting.
        3 => Pending,
        /// Failed.
        4 => Failed,
    }
}
