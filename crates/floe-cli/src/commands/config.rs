//! `floe config`: the effective settings.

use clap::{Args, Subcommand};
use floe::config::{ConfigEntry, reference};
use serde_json::json;

use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    output::{print_document, stdout, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the effective settings; secrets are masked
    Show(ShowArgs),
    /// Print the reference of all settings as Markdown
    Reference,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Settings to print, by name such as producer.linger or by section such as producer [default: all]
    names: Vec<String>,
    /// Print the origin of each value
    #[arg(long)]
    origin: bool,
}

pub(crate) fn run(global: &Global, command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Show(args) => show(global, args),
        ConfigCommand::Reference => stdout::print(reference().as_bytes()),
    }
}

fn show(global: &Global, args: &ShowArgs) -> Outcome {
    let mut entries = global.config.entries();
    for name in &args.names {
        if !entries.iter().any(|entry| is_selected(entry, name)) {
            return Err(Failure::usage(format!("unknown setting {name:?}"))
                .with_hint("`floe config reference` lists all settings"));
        }
    }
    entries.retain(|entry| args.names.is_empty() || args.names.iter().any(|name| is_selected(entry, name)));
    let documents = entries.iter().map(
        |entry| json!({ "setting": entry.key, "value": entry.value, "origin": entry.origin.to_string() }),
    );
    let document = json!({ "profile": global.config.profile(), "settings": documents.collect::<Vec<_>>() });
    let text = if global.output == OutputFormat::Table {
        let row = |entry: &ConfigEntry| {
            let mut row = vec![entry.key.clone(), entry.value.clone()];
            row.extend(args.origin.then(|| entry.origin.to_string()));
            row
        };
        let names: &[&str] =
            if args.origin { &["setting", "value", "origin"] } else { &["setting", "value"] };
        table(names, &entries.iter().map(row).collect::<Vec<_>>())
    } else {
        let line = |entry: &ConfigEntry| {
            let origin = if args.origin { format!("\t{}", entry.origin) } else { String::new() };
            format!("{} = {}{origin}\n", entry.key, entry.value)
        };
        entries.iter().map(line).collect()
    };
    print_document(global.output, &document, &text)
}

fn is_selected(entry: &ConfigEntry, name: &str) -> bool {
    entry.key == name || entry.key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}
