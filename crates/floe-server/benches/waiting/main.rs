//! Cost of waiting clients: `cargo bench -p floe-server --bench waiting -- [idle] [tailing]`.
//!
//! Each measurement starts a server in a separate process.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run shall stop")]
#![allow(clippy::print_stdout, reason = "the report")]

mod idle;
mod process;
mod tailing;

use process::ServerProcess;

fn main() {
    if process::served() {
        return;
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if wants("idle") {
        let server = ServerProcess::start();
        runtime.block_on(idle::measure(&server));
    }
    if wants("tailing") {
        let server = ServerProcess::start();
        runtime.block_on(tailing::measure(&server));
    }
}
