//! The command line of floe.
//!
//! `args` is what can be typed, `commands` does it, `output` prints it, `exit` says how it ended.

mod args;
mod commands;
mod exit;
mod hint;
mod interrupt;
mod output;
mod position;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Cli, Command},
    commands::{
        bench, completions, consume, explain, health, offsets, partition, produce, quickstart, serve,
        smartmodule, spu, topic,
    },
    exit::{Failure, Outcome},
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.global.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(format);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))?;
    let outcome = runtime.block_on(dispatch(cli));
    // A thread may still be inside a read of standard input, which nothing can end.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(cli: Cli) -> Outcome {
    let global = &cli.global;
    match cli.command {
        Command::Topic(command) => topic::run(global, command).await,
        Command::Produce(args) => produce::run(global, args).await,
        Command::Consume(args) => consume::run(global, args).await,
        Command::Offsets(command) => offsets::run(global, command).await,
        Command::SmartModule(command) => smartmodule::run(global, command).await,
        Command::Partition(command) => partition::run(global, command).await,
        Command::Spu(command) => spu::run(global, command).await,
        Command::Serve(args) => serve::run(global, args).await,
        Command::Bench(args) => bench::run(global, args).await,
        Command::Quickstart => quickstart::run(global).await,
        Command::Health => health::run(global).await,
        Command::Explain(args) => explain::run(global, &args),
        Command::Completions(args) => completions::run(&args),
    }
}
