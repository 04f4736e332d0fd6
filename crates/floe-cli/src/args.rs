//! The command line: every command with its options.

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        backup, bench, check, check_history, completions, config, console, consume, copy, dlq, doctor,
        explain, export,
        fluvio::{partition, smartmodule, spu},
        group, health, import, man_pages, offsets, produce, profile, serve, top, topic,
    },
    exit_code,
    global::GlobalArgs,
};

/// Durable streams from the command line
///
/// --url or a profile selects the engine: `embedded:PATH` is a store in a directory of this machine, `memory:` a store
/// that ends with the command, `fluvio://` and `walrus://` are clusters. Records go to standard output, messages to
/// standard error.
#[derive(Debug, Parser)]
#[command(
    name = "floe",
    version,
    arg_required_else_help = true,
    after_help = format!("{}\n\nRun `floe quickstart` for a tour.", exit_code::summary()),
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
    /// Write records, one for each line of a file or of standard input
    Produce(produce::ProduceArgs),
    /// Read records and print them
    Consume(consume::ConsumeArgs),
    /// Copy topics between any two engines, and go on where an earlier copy stopped
    Copy(copy::CopyArgs),
    /// Write a topic with its records into one file, compressed and with a checksum
    Export(export::ExportArgs),
    /// Write the records of an exported file into a topic
    Import(import::ImportArgs),
    /// Copy an embedded store, also while a process writes to it
    Backup(backup::BackupArgs),
    /// Make an embedded store of a backup
    Restore(backup::RestoreArgs),
    /// List, reset and delete the stored offsets of consumer groups
    #[command(subcommand)]
    Offsets(offsets::OffsetsCommand),
    /// List, describe, reset and delete shared groups, and evict members
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Create, list and delete SmartModules (Fluvio)
    #[command(subcommand, name = "smartmodule")]
    SmartModule(smartmodule::SmartModuleCommand),
    /// List partitions with their leaders and replicas (Fluvio)
    #[command(subcommand)]
    Partition(partition::PartitionCommand),
    /// List, register and unregister SPUs, the data servers (Fluvio)
    #[command(subcommand)]
    Spu(spu::SpuCommand),
    /// List and replay dead letters, the records that a consumer failed to process
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Serve the engine to Fluvio and Walrus clients until Ctrl-C
    Serve(serve::ServeArgs),
    /// Show topics, records, groups and dead letters in a browser until Ctrl-C
    Console(console::ConsoleArgs),
    /// List, select, add, remove and import profiles
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Measure throughput and latency, and verify that each record arrives once and in order
    Bench(bench::BenchArgs),
    /// Watch topics with their rates, and groups with their lag, until q or Ctrl-C
    Top(top::TopArgs),
    /// Try floe in a temporary store: write a record, read it back, run a short benchmark
    Quickstart,
    /// Check whether the engine is ready
    Health(health::HealthArgs),
    /// Try each step between this machine and a record that comes back, and say where it ends
    Doctor(doctor::DoctorArgs),
    /// Examine a store that no process has open, and repair it
    Check(check::CheckArgs),
    /// Judge the recorded history of a log: lost, duplicated, reordered and skipped records
    CheckHistory(check_history::CheckHistoryArgs),
    /// Show the effective settings and their origins
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Explain an error code and how to resolve it
    Explain(explain::ExplainArgs),
    /// Print the completion script of a shell
    Completions(completions::CompletionsArgs),
    /// Write the manual pages of all commands into a directory, for packages
    #[command(name = "__man", hide = true)]
    ManPages(man_pages::ManPagesArgs),
    /// Print the version
    Version,
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use clap::CommandFactory;

    use super::*;
    use crate::format::OutputFormat;

    /// Visits a command and its subcommands.
    fn walk(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
        visit(command);
        for inner in command.get_subcommands() {
            walk(inner, visit);
        }
    }

    #[test]
    fn command_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_help() {
        walk(&Cli::command(), &mut |command| {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.trim().is_empty(), "{} {} has no help", command.get_name(), argument.get_id());
            }
        });
    }

    #[test]
    fn manual_names_every_command_and_option() {
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
    fn global_options_are_accepted_before_and_after_the_command() {
        for line in [
            ["floe", "--url", "memory:", "-o", "json", "topic", "list"],
            ["floe", "topic", "list", "--url", "memory:", "-o", "json"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!((cli.global.url.as_deref(), cli.global.output), (Some("memory:"), OutputFormat::Json));
        }
    }

    /// Renders the long help of a command and its subcommands, keyed by file name.
    fn render_help(command: &mut clap::Command, name: &str, pages: &mut BTreeMap<String, String>) {
        // Trailing spaces would not survive editors.
        let help = command.render_long_help().to_string();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        pages.insert(format!("{name}.txt"), lines.join("\n") + "\n");
        for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
            let name = format!("{name}-{}", inner.get_name());
            render_help(inner, &name, pages);
        }
    }

    /// `FLOE_UPDATE_HELP=1 cargo test -p floe-cli` writes the files.
    #[test]
    fn help_pages_match_the_golden_files() {
        let mut command = Cli::command();
        command.build();
        let mut pages = BTreeMap::new();
        render_help(&mut command, "floe", &mut pages);
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
        if std::env::var_os("FLOE_UPDATE_HELP").is_some() {
            fs::create_dir_all(&directory).unwrap();
            for file in fs::read_dir(&directory).unwrap() {
                fs::remove_file(file.unwrap().path()).unwrap();
            }
            for (name, page) in &pages {
                fs::write(directory.join(name), page).unwrap();
            }
        }
        let files = fs::read_dir(&directory).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, pages.keys().cloned().collect::<Vec<_>>(), "files in tests/help");
        for (name, page) in &pages {
            let golden = fs::read_to_string(directory.join(name)).unwrap().replace("\r\n", "\n");
            assert_eq!(page, &golden, "tests/help/{name}: update with FLOE_UPDATE_HELP=1");
        }
    }
}
