//! `floe __man`: the manual pages of all commands, which packages install.

use std::path::PathBuf;

use clap::Args;

use crate::exit::{Failure, Outcome};

#[derive(Debug, Args)]
pub(crate) struct ManPagesArgs {
    /// Directory that gets the pages; it exists
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes a page of section 1 for `cli` and for each command that is not hidden, such as `floe-topic-create.1`.
pub(crate) fn run(args: &ManPagesArgs, cli: clap::Command) -> Outcome {
    clap_mangen::generate_to(cli, &args.directory)
        .map_err(|error| Failure::io(format!("cannot write to {}", args.directory.display()), &error))
}
