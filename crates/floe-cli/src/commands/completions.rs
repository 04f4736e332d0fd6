//! `floe completions`: the completion script of a shell.

use clap::Args;
use clap_complete::Shell;

use crate::{exit::Outcome, output::stdout};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

/// Prints the script that completes `cli`.
pub(crate) fn run(args: &CompletionsArgs, cli: &mut clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, cli, "floe", &mut script);
    stdout::print(&script)
}
