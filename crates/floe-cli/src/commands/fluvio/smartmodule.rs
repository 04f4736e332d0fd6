//! `floe smartmodule`: the WebAssembly modules of a Fluvio cluster.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use floe::engine::fluvio::objects::{Metadata, SmartModuleSpec, SmartModuleVisibility};
use serde_json::{Value, json};

use super::{require, with_admin};
use crate::{
    commands::confirm,
    exit::{Failure, Outcome},
    global::Global,
    output::{List, amount, print_document, print_list},
};

const CAPABILITY: &str = "SmartModules";

#[derive(Debug, Subcommand)]
pub(crate) enum SmartModuleCommand {
    /// Create a SmartModule, or replace the one of that name
    Create {
        /// Name of the SmartModule
        name: String,
        /// Compiled module (.wasm)
        #[arg(long, value_name = "FILE")]
        wasm: PathBuf,
    },
    /// List the SmartModules
    List,
    /// Delete a SmartModule
    Delete {
        /// Name of the SmartModule
        name: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(global: &Global, command: SmartModuleCommand) -> Outcome {
    match command {
        SmartModuleCommand::Create { name, wasm } => create(global, &name, &wasm).await,
        SmartModuleCommand::List => list(global).await,
        SmartModuleCommand::Delete { name, yes } => delete(global, name, yes).await,
    }
}

/// Reads a compiled module from a file.
pub(super) fn read_wasm(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))
}

async fn create(global: &Global, name: &str, wasm: &Path) -> Outcome {
    require(&global.url, CAPABILITY)?;
    let module = read_wasm(wasm)?;
    let size = module.len() as u64;
    let stored = with_admin(global, CAPABILITY, async |admin| {
        admin
            .create_smartmodule(name, &module)
            .await
            .map_err(|error| Failure::from(error).explained(format!("{} was not stored", wasm.display())))
    })
    .await?;
    // The cluster may assign another name.
    let stored = if stored.is_empty() { name.to_owned() } else { stored };
    let text = format!("created SmartModule {stored} ({})\n", amount::bytes(size));
    print_document(global.output, &json!({ "created": stored, "bytes": size }), &text)
}

async fn list(global: &Global) -> Outcome {
    let modules =
        with_admin(global, CAPABILITY, async |admin| Ok(admin.list::<SmartModuleSpec>(&[]).await?)).await?;
    let list = List {
        headings: vec!["name", "package", "version", "visibility", "stored size"],
        rows: modules.iter().map(row).collect(),
        documents: modules.iter().map(document).collect(),
        text: modules.iter().map(|module| format!("{}\n", module.name)).collect(),
    };
    print_list(global.output, &list)
}

/// Returns the compressed size in bytes. Old clusters send the module itself in place of a summary.
fn stored_size(module: &SmartModuleSpec) -> u64 {
    module.summary.map_or(module.payload.len() as u64, |summary| summary.wasm_length.into())
}

fn visibility(of: SmartModuleVisibility) -> &'static str {
    match of {
        SmartModuleVisibility::Private => "private",
        SmartModuleVisibility::Public => "public",
    }
}

fn row(module: &Metadata<SmartModuleSpec>) -> Vec<String> {
    let package = module.spec.meta.as_ref().map(|meta| &meta.package);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        module.name.clone(),
        or_dash(package.map(|package| format!("{}/{}", package.group, package.name))),
        or_dash(package.map(|package| package.version.clone())),
        or_dash(package.map(|package| visibility(package.visibility).to_owned())),
        amount::bytes(stored_size(&module.spec)),
    ]
}

fn document(module: &Metadata<SmartModuleSpec>) -> Value {
    let package = module.spec.meta.as_ref().map(|meta| {
        json!({
            "group": meta.package.group,
            "name": meta.package.name,
            "version": meta.package.version,
            "description": meta.package.description,
            "visibility": visibility(meta.package.visibility),
            "params": meta.params.iter().map(|(name, about)| json!({
                "name": name, "description": about.description, "optional": about.optional,
            })).collect::<Vec<_>>(),
        })
    });
    json!({ "name": module.name, "stored_bytes": stored_size(&module.spec), "package": package })
}

async fn delete(global: &Global, name: String, yes: bool) -> Outcome {
    require(&global.url, CAPABILITY)?;
    confirm(yes, &format!("deleting SmartModule {name}"))?;
    with_admin(global, CAPABILITY, async |admin| Ok(admin.delete::<SmartModuleSpec>(name.clone()).await?))
        .await?;
    print_document(global.output, &json!({ "deleted": name }), &format!("deleted SmartModule {name}\n"))
}
