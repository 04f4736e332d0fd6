//! Decodes arbitrary bytes as Fluvio replies: see `fuzz_replies`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "shared with another target and with tests")]
#[path = "../../crates/floe-wire/tests/fluvio_frames/reencode.rs"]
mod reencode;

fuzz_target!(|data: &[u8]| reencode::fuzz_replies(data));
