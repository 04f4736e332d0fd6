//! The Fluvio messages against the official `fluvio-sc-schema` and `fluvio-spu-schema` crates: same bytes and
//! same values in both directions, in every version.

mod sample;
mod sample_messages;
mod transcode;
mod values_admin;
mod values_data;
mod values_errors;
mod values_objects;
