//! What can be typed.

use clap::{Args, Parser, Subcommand};
use floe::{
    config::{Config, Sources},
    url::EngineUrl,
};

use crate::{
    commands::{
        bench, completions, config, consume, dlq, explain, health, offsets, partition, produce, profile,
        serve, smartmodule, spu, topic,
    },
    exit::Outcome,
    output::OutputFormat,
    telemetry::{self, Exporter},
};

/// Durable streams from the command line.
///
/// Topics live where --url or a profile says: `embedded:PATH` is a store in a folder of this machine, `memory:` one that
/// is gone with the command, `fluvio://` and `walrus://` are clusters. Records go to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "floe",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 unreachable or timed out, 5 not allowed, 6 data damaged,\n7 records missing, 8 done in part, 130 Ctrl-C.\n\nNew here? Run `floe quickstart`."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where topics live unless something else is said.
const DEFAULT_URL: &str = "embedded:./floe-data";

/// The configuration file of a project, in the folder that a command is started in.
pub(crate) const PROJECT_FILE: &str = "floe.toml";

/// What every command understands, before or after its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Where the topics live: embedded:PATH, memory:, fluvio://HOST:PORT or walrus://HOST:PORT,… [env: FLOE_URL]
    /// [default: that of the profile, else embedded:./floe-data]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// The profile to use, from floe.toml or your own configuration file [env: FLOE_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,

    /// How results are printed; with json and jsonl, errors are JSON too
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: OutputFormat,

    /// Where metrics and spans go: off, otlp, prometheus or prometheus=HOST:PORT; several by commas
    #[arg(
        long,
        global = true,
        env = "FLOE_TELEMETRY",
        default_value = "off",
        value_name = "WHERE",
        value_delimiter = ',',
        value_parser = telemetry::parse_exporter
    )]
    pub(crate) telemetry: Vec<Exporter>,
}

/// What every command is told, after all sources were read.
#[derive(Debug, Clone)]
pub(crate) struct Global {
    /// Where the topics live.
    pub(crate) url: String,
    /// How results are printed.
    pub(crate) output: OutputFormat,
    /// All settings, with where each came from.
    pub(crate) config: Config,
}

impl GlobalArgs {
    /// Puts files, variables and flags together.
    pub(crate) fn resolve(&self) -> Outcome<Global> {
        let mut sources = Sources::discover();
        if let Some(profile) = &self.profile {
            sources = sources.profile(profile);
        }
        if let Some(url) = &self.url {
            sources = sources.flag("--url", "url", url);
        }
        let mut config = sources.load()?;
        let mut url = config.url().unwrap_or(DEFAULT_URL).to_owned();
        // A URL that cannot be read is reported by the command that needs it.
        if let Ok(mut parsed) = url.parse::<EngineUrl>()
            && parsed.options.keys().any(|option| option.contains('.'))
        {
            config.take_options(&mut parsed)?;
            url = parsed.with_options();
        }
        Ok(Global { url, output: self.output, config })
    }

    /// For commands that open no engine, or one of their own: a mistake in a file shall not keep them from working.
    pub(crate) fn without_sources(&self) -> Global {
        Global { url: DEFAULT_URL.to_owned(), output: self.output, config: Config::default() }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, list, describe, change, delete and watch topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Write records: each line of a file or of standard input is one
    Produce(produce::ProduceArgs),
    /// Read records and print them
    Consume(consume::ConsumeArgs),
    /// List, reset and delete the stored offsets of consumer groups
    #[command(subcommand)]
    Offsets(offsets::OffsetsCommand),
    /// Store, list and delete SmartModules (Fluvio)
    #[command(subcommand, name = "smartmodule")]
    SmartModule(smartmodule::SmartModuleCommand),
    /// List partitions with the data servers that hold them (Fluvio)
    #[command(subcommand)]
    Partition(partition::PartitionCommand),
    /// List, register and unregister data servers (Fluvio)
    #[command(subcommand)]
    Spu(spu::SpuCommand),
    /// List and replay dead letters: records that could not be handled
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Serve the engine to clients of Fluvio and Walrus, until Ctrl-C
    Serve(serve::ServeArgs),
    /// List, choose, add, remove and import profiles
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Measure: write records, read them back, and check that each came once and in order
    Bench(bench::BenchArgs),
    /// See it work: a topic in a temporary store, a record in and out, a short measurement
    Quickstart,
    /// Tell whether the engine can work
    Health(health::HealthArgs),
    /// Show the settings in force and where each comes from
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Explain an error code and what to do about it
    Explain(explain::ExplainArgs),
    /// Print the completion script for a shell
    Completions(completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn walk(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
        visit(command);
        for inner in command.get_subcommands() {
            walk(inner, visit);
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_argument_is_explained() {
        walk(&Cli::command(), &mut |command| {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.trim().is_empty(), "{} {} has no help", command.get_name(), argument.get_id());
            }
        });
    }

    #[test]
    fn every_argument_is_in_the_manual() {
        let manual = include_str!("../../../docs/cli.md");
        walk(&Cli::command(), &mut |command| {
            assert!(manual.contains(command.get_name()), "docs/cli.md does not name {}", command.get_name());
            for argument in command.get_arguments() {
                if let Some(long) = argument.get_long() {
                    assert!(manual.contains(&format!("--{long}")), "docs/cli.md does not name --{long}");
                }
            }
        });
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            ["floe", "--url", "memory:", "-o", "json", "topic", "list"],
            ["floe", "topic", "list", "--url", "memory:", "-o", "json"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!((cli.global.url.as_deref(), cli.global.output), (Some("memory:"), OutputFormat::Json));
        }
    }
}
