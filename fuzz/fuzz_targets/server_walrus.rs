//! Sends arbitrary bytes to a server's Walrus front-end: see `Victim::walrus`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "shared with another target and with tests")]
#[path = "../../crates/floe-server/tests/corpora/connections.rs"]
mod connections;

fuzz_target!(|data: &[u8]| connections::fuzz(|victim| victim.walrus(data)));
