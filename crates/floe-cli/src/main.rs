//! The command line of floe.
//!
//! `args` declares the command line, `commands` runs it, `output` prints results, and `exit` reports failures.

mod args;
mod command_code;
mod commands;
mod escape;
mod exit;
mod exit_code;
mod format;
mod global;
mod hint;
mod interrupt;
mod logging;
mod output;
mod platform;
mod public_address;
mod server_watch;
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};

use crate::{
    args::{Cli, Command},
    commands::{
        backup, bench, check, check_history, complete, completions, config, console, consume, copy, dlq,
        doctor, explain, export,
        fluvio::{partition, smartmodule, spu},
        group, health, import, man_pages, offsets, produce, profile, quickstart, serve, top, topic,
    },
    exit::{Failure, Outcome},
    global::Global,
    output::stdout,
    public_address::refuse_public_http,
    telemetry::{Exporter, Telemetry},
};

/// The allocator, which returns freed memory to the system after a while, on a thread of its own. That of the GNU C
/// library keeps most of it: what rude clients of a server held at its busiest moment would stay resident for ever.
#[cfg(all(unix, feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|name| name == complete::NAME) {
        // Neither log nor telemetry: a shell waits for the answer, and shows whatever else is printed.
        let words: Vec<_> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
        let mut root = Cli::command();
        root.build();
        if let Ok(cli) = Cli::try_parse_from(["floe", "version"]) {
            let _ = in_runtime(complete::run(&root, cli.global, &words));
        }
        return ExitCode::SUCCESS;
    }
    let matches = Cli::command().get_matches();
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let format = cli.global.output;
    match run(cli, &name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(format);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli, name: &str) -> Outcome {
    in_runtime(async {
        platform::report_file_size_limit();
        observe(cli, name).await
    })
}

/// Runs a command to its end, but not the threads that it leaves behind.
fn in_runtime(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the async runtime", &error))?;
    let outcome = runtime.block_on(command);
    // A thread may still block in a read of standard input, which cannot be cancelled.
    runtime.shutdown_background();
    outcome
}

/// Runs the command and exports its telemetry where --telemetry asks for it.
async fn observe(cli: Cli, name: &str) -> Outcome {
    let format = cli.global.output;
    let serves = matches!(cli.command, Command::Serve(_) | Command::Console(_));
    cli.global.log.install(format, serves)?;
    let global = match cli.command {
        Command::Quickstart
        | Command::Explain(_)
        | Command::Completions(_)
        | Command::ManPages(_)
        | Command::Profile(_)
        | Command::Version => cli.global.without_sources(),
        _ => cli.global.resolve()?,
    };
    if format.is_of_records() && !matches!(cli.command, Command::Consume(_)) {
        return Err(Failure::usage(
            "-o csv, null and length-prefixed are formats of records: they belong to consume",
        ));
    }
    let settings = &global.config.settings().telemetry;
    for exporter in &cli.global.telemetry {
        if let Exporter::Prometheus(address) = exporter {
            refuse_public_http(address, cli.global.listen_public).await?;
        }
    }
    let telemetry = Telemetry::start(&cli.global.telemetry, serves, format, settings).await?;
    let outcome = match &cli.command {
        // A span of `serve` would never end; a span of `bench` would add its context to the measured records.
        Command::Serve(_) | Command::Console(_) | Command::Bench(_) => {
            Box::pin(dispatch(cli, &global, &telemetry)).await
        }
        _ => Box::pin(telemetry.in_span(name, dispatch(cli, &global, &telemetry))).await,
    };
    if let Err(problem) = telemetry.stop().await {
        exit::notify(format, "warning", &format!("telemetry was not exported: {problem}"));
    }
    outcome
}

async fn dispatch(cli: Cli, global: &Global, telemetry: &Telemetry) -> Outcome {
    match cli.command {
        Command::Topic(command) => topic::run(global, command).await,
        Command::Produce(args) => produce::run(global, args).await,
        Command::Consume(args) => consume::run(global, args).await,
        Command::Copy(args) => Box::pin(copy::run(global, args)).await,
        Command::Export(args) => export::run(global, args).await,
        Command::Import(args) => import::run(global, args).await,
        Command::Backup(args) => backup::run(global, args).await,
        Command::Restore(args) => backup::restore(global, args).await,
        Command::Offsets(command) => offsets::run(global, command).await,
        Command::Group(command) => group::run(global, command).await,
        Command::Dlq(command) => dlq::run(global, command).await,
        Command::SmartModule(command) => smartmodule::run(global, command).await,
        Command::Partition(command) => partition::run(global, command).await,
        Command::Spu(command) => spu::run(global, command).await,
        Command::Serve(args) => serve::run(global, args, telemetry).await,
        Command::Console(args) => console::run(global, args).await,
        Command::Profile(command) => profile::run(&cli.global, command),
        Command::Bench(args) => bench::run(global, args).await,
        Command::Top(args) => top::run(global, args).await,
        Command::Quickstart => quickstart::run(global).await,
        Command::Health(args) => health::run(global, &args).await,
        Command::Doctor(args) => doctor::run(global, &args).await,
        Command::Check(args) => check::run(global, args).await,
        Command::CheckHistory(args) => check_history::run(global, &args),
        Command::Config(command) => config::run(global, &command),
        Command::Explain(args) => explain::run(global, &args),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
        Command::ManPages(args) => man_pages::run(&args, Cli::command()),
        Command::Version => stdout::print(Cli::command().render_version().as_bytes()),
    }
}
