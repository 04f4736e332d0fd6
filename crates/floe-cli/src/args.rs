//! What can be typed.

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        bench, completions, config, consume, dlq, explain, health, offsets, partition, produce, profile,
        serve, smartmodule, spu, topic,
    },
    exit_code,
    global::GlobalArgs,
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
    after_help = format!("{}\n\nNew here? Run `floe quickstart`.", exit_code::summary()),
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
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
    use crate::format::OutputFormat;

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
