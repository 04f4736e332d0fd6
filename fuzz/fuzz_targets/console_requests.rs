//! Sends arbitrary requests to the console: see `requests::fuzz`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/floe-server/tests/corpora/requests.rs"]
mod requests;

fuzz_target!(|data: &[u8]| requests::fuzz(data));
