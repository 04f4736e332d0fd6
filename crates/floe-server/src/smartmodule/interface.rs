//! Encoding of a module's inputs and decoding of its outputs: the messages of the crate `fluvio-smartmodule`.
//!
//! A request carries the version of the encoding, which is also passed to the module and decides which fields exist.

use bytes::{BufMut, Bytes};
use floe_wire::{
    WireError,
    batch::section_len,
    fluvio::{Input, Output, SmartModuleFailure, SmartModuleParameters, Wire},
};

/// Last version whose inputs hold parameters and a record to join.
const LAST_WITH_PARAMETERS: i16 = 22;
/// First version whose parameters hold a look-back.
const FIRST_WITH_LOOKBACK: i16 = 20;
/// First version whose inputs hold a record to join, and whose aggregates return their accumulator.
const FIRST_WITH_JOIN: i16 = 16;
/// First version whose inputs hold the base time of their records.
const FIRST_WITH_TIME: i16 = 22;

/// Encodes the input of a transform.
pub(super) fn records_input(base_offset: i64, base_timestamp: i64, section: &[u8], version: i16) -> Vec<u8> {
    let mut out = Vec::with_capacity(section.len() + 32);
    out.put_i64(base_offset);
    put_blob(&mut out, section);
    if version <= LAST_WITH_PARAMETERS {
        // Empty parameters: modules receive theirs once, at `init`.
        out.put_u16(0);
        if version >= FIRST_WITH_LOOKBACK {
            out.put_u8(0);
        }
        if version >= FIRST_WITH_JOIN {
            out.put_u32(0);
        }
    }
    if version >= FIRST_WITH_TIME {
        out.put_i64(base_timestamp);
    }
    out
}

/// Appends the accumulator to the input of an aggregate.
pub(super) fn put_accumulator(input: &mut Vec<u8>, accumulator: &[u8]) {
    put_blob(input, accumulator);
}

/// Encodes the input of `init`.
pub(super) fn init_input(parameters: &SmartModuleParameters, version: i16) -> Result<Vec<u8>, WireError> {
    let mut output = Output::new();
    parameters.encode(&mut output, version)?;
    Ok(output.into_frame().to_bytes().to_vec())
}

/// Output of a transform.
#[derive(Debug, PartialEq)]
pub(super) struct RecordsOutput {
    /// A record section.
    pub(super) section: Bytes,
    pub(super) failure: Option<Box<SmartModuleFailure>>,
}

/// Decodes the output of a transform, and leaves `input` behind it.
pub(super) fn records_output(input: &mut Input, version: i16) -> Result<RecordsOutput, WireError> {
    let bytes = input.clone().rest();
    let section = input.take(section_len(&bytes)?)?;
    let failure = Option::<SmartModuleFailure>::decode(input, version)?.map(Box::new);
    Ok(RecordsOutput { section, failure })
}

/// Decodes the accumulator that follows the records of an aggregate.
pub(super) fn accumulator(input: &mut Input, version: i16) -> Result<Bytes, WireError> {
    if version < FIRST_WITH_JOIN {
        return Ok(Bytes::new());
    }
    Bytes::decode(input, version)
}

/// Decodes the message of a failed `init` or `look_back`.
pub(super) fn hint(bytes: Bytes, version: i16) -> Result<String, WireError> {
    String::decode(&mut Input::new(bytes), version)
}

/// Returns the message for a negative result of a transform.
pub(super) fn transform_status(status: i32) -> &'static str {
    match status {
        -11 => "failed to decode SmartModule base input",
        -22 => "failed to decode SmartModule record input",
        -33 => "failed to encode SmartModule output",
        -44 => "failed to parse SmartModule extra params",
        -55 => "undefined right record in Join SmartModule",
        _ => "encountered unknown error during SmartModule processing",
    }
}

/// Result of `init` that comes with a message.
pub(super) const INIT_ERROR: i32 = -2;

/// Returns the message for a negative result of `init`.
pub(super) fn init_status(status: i32) -> &'static str {
    match status {
        INIT_ERROR => "Error during initialization",
        -10 => "failed to decode SmartModule init input",
        -11 => "failed to encode SmartModule init output",
        _ => "encountered unknown error during SmartModule processing",
    }
}

/// Result of `look_back` that comes with a message.
pub(super) const LOOK_BACK_ERROR: i32 = -99;

/// Returns the message for a negative result of `look_back`.
pub(super) fn look_back_status(status: i32) -> &'static str {
    match status {
        -66 => "failed to decode SmartModule look_back input",
        -77 => "failed to decode SmartModule look_back record input",
        -88 => "failed to encode SmartModule look_back output",
        LOOK_BACK_ERROR => "Error returned from user look_back function call",
        _ => "encountered unknown error during SmartModule processing",
    }
}

fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    // A module has less than 4 GiB of memory, so a longer blob fails in its allocation.
    out.put_u32(u32::try_from(blob.len()).unwrap_or(u32::MAX));
    out.put_slice(blob);
}
