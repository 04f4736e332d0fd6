//! Rude and hostile clients against small limits: the memory that they make the server hold stays within its budget, and a
//! well-behaved client goes on. No test measures time.

mod batches;
mod connections;
mod memory;
mod modules;
#[path = "../server/peer.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod peer;
mod registry;
mod server;
mod watches;
