//! floe and the official Fluvio client on the same cluster, in turns. See the README beside this crate.
//!
//! Every measurement runs in a child process, so that processor time and memory belong to one client alone.

mod bare_side;
mod figures;
mod floe_side;
mod job;
mod official_side;
mod payload;
mod suite;
mod table;
mod usage;

use job::{BenchmarkJob, Side};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: floe-peers --sc HOST:PORT [--rounds N] [--only produce,consume,consume-tuned,latency,stall] \
                     [--records-of-100 N] [--records-of-1000 N] [--codecs none,lz4,zstd] [--batches default,1MB] \
                     [--servers PID,PID] [--data-server HOST:PORT]";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [child, side, job] if child == "child" => {
            let job: BenchmarkJob = serde_json::from_str(job)?;
            let figures = match side.parse::<Side>()? {
                Side::Official => fluvio_future::task::run_block_on(official_side::run(job))?,
                Side::Bare => bare_side::run(&job)?,
                Side::Floe => floe_side::runtime()?.block_on(floe_side::run(job))?,
            };
            println!("{}", serde_json::to_string(&figures)?);
            // Tasks of the official client would delay the end of the process.
            std::process::exit(0)
        }
        _ => {
            let settings =
                suite::Settings::parse(&arguments).map_err(|problem| format!("{problem}\n{USAGE}"))?;
            floe_side::runtime()?.block_on(suite::run(&settings))
        }
    }
}
